"""Jobs: rows that outlive the request, the service and the worker that carries them out.

A worker takes a row with ``SKIP LOCKED`` and holds it by a lease that its heartbeat renews. A worker that dies stops renewing,
and the row goes to the next one, at most ``MAX_ATTEMPTS`` times. All times are the database's: clocks of machines may differ.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, or_, select, text, update

from atlas.answers import Job
from atlas.digests import sha256_json
from atlas.errors import BusyError, InputError, NotFoundError, TooLargeError
from atlas.settings import Settings
from atlas.workspace.lease import LEASE, RESULTS, LeasedJob, finished
from atlas.workspace.session import WorkspaceDatabase, iso, reading, storable, writing
from atlas.workspace.tables import JobRow

MAX_ATTEMPTS = 3
"""Workers that may die over one job; then it is taken for their cause."""

MAX_WAITING = 1_000
"""Jobs that may wait or run in all; holders of the token are not counted."""

_SHOWN_ITEMS = 20
_SHOWN_CHARS = 200
_ZERO = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # a zero byte in JSON, not a text that spells one
_ACTIVE = ("queued", "running")
_FINISHED = ("done", "failed", "cancelled")
_EXPIRED_AT_ONCE = 500

_COLUMNS = tuple(
    column for column in JobRow.__table__.columns if column.name not in ("request", "request_key", "worker", "client")
)


class Jobs:
    """The jobs of one database."""

    def __init__(self, database: WorkspaceDatabase) -> None:
        self._database = database

    def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        release: str,
        client: str,
        settings: Settings,
        unlimited: bool = False,
    ) -> Job:
        """Put work into the queue; the same work of the same client, still waiting or running, is returned instead.

        Parameters
        ----------
        kind
            ``scan``: ``request`` holds ``terms`` (list of strings), ``name`` and ``title``.
        request
            JSON; a list ``terms`` is held to ``job_max_terms``.
        client
            Opaque name of who asks; it is never shown.
        unlimited
            For the command line and for holders of the admin token: the bounds per client and in all are lifted.

        Raises
        ------
        BusyError
            If the client has as many jobs as it may have, or the queue is full.
        TooLargeError, InputError
            If the request holds too many terms or bytes, or is no clean text.
        """
        body = _checked(request, settings)
        key = sha256_json({"kind": kind, "release": release, "request": body})
        with writing(self._database, turn="submit") as connection:
            same = select(JobRow.job_id).where(
                JobRow.client == client, JobRow.request_key == key, JobRow.status.in_(_ACTIVE), ~JobRow.cancel_requested
            )
            job_id = connection.scalar(same)
            if job_id is None:
                if not unlimited:
                    _check_room(connection, client=client, limit=settings.jobs_per_client)
                job_id = secrets.token_hex(16)  # whoever knows it may look at the job and cancel it: not to be guessed
                row = {
                    "job_id": job_id, "kind": kind, "status": "queued", "release": release, "client": client, "request": body,
                    "request_key": key, "summary": _summary(body), "keep_days": settings.job_expiry_days,
                }  # fmt: skip
                connection.execute(insert(JobRow).values(row))
            return _read(connection, job_id)

    def get(self, job_id: str) -> Job:
        """Return one job; raises ``NotFoundError`` if there is none of this id."""
        with reading(self._database) as connection:
            return _read(connection, job_id)

    def list(self, *, client: str | None = None, limit: int = 100) -> tuple[Job, ...]:
        """Return the newest jobs, of one client or of all."""
        query = select(*_COLUMNS).order_by(JobRow.created_at.desc(), JobRow.job_id).limit(limit)
        if client is not None:
            query = query.where(JobRow.client == client)
        with reading(self._database) as connection:
            return tuple(_job(row) for row in connection.execute(query))

    def counts(self) -> dict[str, int]:
        """Return how many jobs have which status, of those that are not forgotten."""
        query = select(JobRow.status, func.count()).group_by(JobRow.status)
        with reading(self._database) as connection:
            return {status: int(n) for status, n in connection.execute(query).all()}

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once if it waits, at its next step if it runs, not at all if it is finished.

        Raises
        ------
        NotFoundError
            If there is no such job.
        """
        of_id = JobRow.job_id == _id(job_id)
        with writing(self._database) as connection:
            idle = or_(JobRow.status == "queued", and_(JobRow.status == "running", JobRow.lease_until < func.now()))
            stopped = update(JobRow).where(of_id, idle).values(finished("cancelled") | {"message": "Cancelled."})
            if not connection.execute(stopped).rowcount:
                running = update(JobRow).where(of_id, JobRow.status == "running")
                connection.execute(running.values(cancel_requested=True, message="Being cancelled."))
            return _read(connection, job_id)

    def take(self, worker: str, *, job_id: str | None = None) -> LeasedJob | None:
        """Take the oldest job that waits, or whose worker is lost; ``None`` if there is none.

        Parameters
        ----------
        worker
            Name of who takes it, for people.
        job_id
            Take this job or none.
        """
        waits = or_(JobRow.status == "queued", and_(JobRow.status == "running", JobRow.lease_until < func.now()))
        query = select(JobRow.job_id, JobRow.attempts, JobRow.cancel_requested).where(waits)
        if job_id is not None:
            query = query.where(JobRow.job_id == job_id)
        query = query.order_by(JobRow.created_at, JobRow.job_id).limit(1).with_for_update(skip_locked=True)
        with writing(self._database) as connection:
            while (row := connection.execute(query).one_or_none()) is not None:
                if row.cancel_requested:
                    _close(connection, row.job_id, finished("cancelled"), message="Cancelled.")
                elif row.attempts >= MAX_ATTEMPTS:
                    _close(connection, row.job_id, finished("failed"), error=_lost(row.attempts))
                else:
                    return self._lease(connection, row.job_id, worker)
        return None

    def expire(self, remove: Callable[[Job], bool]) -> int:
        """Forget results whose time is over; return how many.

        Parameters
        ----------
        remove
            Removes what a finished job left on disk and tells whether it could; if not, the job is kept for the next round.
            It is called only for results that no other job still offers, while no worker can report a result as done.
        """
        due = (
            select(*_COLUMNS)
            .where(JobRow.expires_at < func.now(), JobRow.status.in_(_FINISHED))
            .order_by(JobRow.expires_at)
            .limit(_EXPIRED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        keep = JobRow.keep_days * text("interval '1 day'")
        with writing(self._database, turn=RESULTS) as connection:
            # An expired job is told apart from one that never was for as long again.
            connection.execute(delete(JobRow).where(JobRow.status == "expired", JobRow.expires_at + keep < func.now()))
            n_expired = 0
            for job in [_job(row) for row in connection.execute(due)]:
                if job.result is None or _still_offered(connection, job) or remove(job):
                    _close(connection, job.job_id, {"status": "expired", "result": None})
                    n_expired += 1
        return n_expired

    def _lease(self, connection: Connection, job_id: str, worker: str) -> LeasedJob:
        token = f"{worker} {secrets.token_hex(4)}"
        taken = (
            update(JobRow)
            .where(JobRow.job_id == job_id)
            .values(
                status="running",
                worker=token,
                attempts=JobRow.attempts + 1,
                lease_until=func.now() + LEASE,
                started_at=func.coalesce(JobRow.started_at, func.now()),
                progress=0.0,
                message=None,
            )
            .returning(JobRow.job_id, JobRow.kind, JobRow.release, JobRow.request, JobRow.attempts)
        )
        row = connection.execute(taken).one()
        return LeasedJob(
            self._database,
            job_id=row.job_id,
            kind=row.kind,
            release=row.release,
            request=dict(row.request or {}),
            attempt=row.attempts,
            token=token,
        )


def _close(connection: Connection, job_id: str, values: dict[str, Any], **more: Any) -> None:
    connection.execute(update(JobRow).where(JobRow.job_id == job_id).values(values | more))


def _lost(attempts: int) -> dict[str, Any]:
    return {
        "code": "internal",
        "message": f"The job was begun {attempts} times and its worker ended each time, perhaps for want of memory. "
        "Try a shorter list.",
        "details": {"attempts": attempts},
    }


def _still_offered(connection: Connection, job: Job) -> bool:
    same = exists().where(
        JobRow.job_id != job.job_id,
        JobRow.status == "done",
        JobRow.kind == job.kind,
        JobRow.release == job.release,
        JobRow.result == job.result,
    )
    return bool(connection.scalar(select(same)))


def _check_room(connection: Connection, *, client: str, limit: int) -> None:
    active = select(func.count()).select_from(JobRow).where(JobRow.status.in_(_ACTIVE))
    own = connection.scalar(active.where(JobRow.client == client)) or 0
    if own >= limit:
        advice = (
            "Wait until one is finished, or cancel one." if limit else "They are left to holders of the admin token."
        )
        raise BusyError(
            f"You have {own} jobs waiting or running, and {limit} are allowed. {advice}",
            details={"seen": own, "limit": limit},
        )
    if (connection.scalar(active) or 0) >= MAX_WAITING:
        raise BusyError(f"{MAX_WAITING} jobs are waiting already. Try again later.", details={"limit": MAX_WAITING})


def _checked(request: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the request as plain JSON that the database can hold."""
    terms = request.get("terms")
    if isinstance(terms, (list, tuple)) and len(terms) > settings.job_max_terms:
        raise TooLargeError(
            f"The list has {len(terms)} terms; at most {settings.job_max_terms} are allowed "
            "(GEO_ATLAS_JOB_MAX_TERMS). Shorten or split it.",
            details={"seen": len(terms), "limit": settings.job_max_terms},
        )
    try:
        raw = json.dumps(dict(request), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"The request cannot be kept as JSON: {error}.") from error
    storable("\0" if _ZERO.search(raw) else raw, what="request")
    if len(raw.encode()) > settings.upload_max_bytes:
        raise TooLargeError(
            f"The request has {len(raw.encode())} bytes; at most {settings.upload_max_bytes} are allowed "
            "(GEO_ATLAS_UPLOAD_MAX_BYTES).",
            details={"seen": len(raw.encode()), "limit": settings.upload_max_bytes},
        )
    body: dict[str, Any] = json.loads(raw)
    return body


def _summary(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a request: of a long list its beginning, and its length as ``n_<name>``."""
    shown: dict[str, Any] = {}
    for name, value in request.items():
        if isinstance(value, list):
            shown[name] = [_short(one) for one in value[:_SHOWN_ITEMS]]
            shown[f"n_{name}"] = len(value)
        else:
            shown[name] = _short(value)
    return shown


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHOWN_CHARS:
        return value[: _SHOWN_CHARS - 1] + "…"
    return value


def _read(connection: Connection, job_id: str) -> Job:
    row = connection.execute(select(*_COLUMNS).where(JobRow.job_id == _id(job_id))).one_or_none()
    if row is None:
        raise _unknown(job_id)
    return _job(row)


def _id(job_id: str) -> str:
    """Return ``job_id`` if it can be one."""
    if not (job_id.isascii() and job_id.isalnum()):
        raise _unknown(job_id)
    return job_id


def _unknown(job_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no job {job_id[:64]!r}. It may have expired long ago; start it anew.",
        details={"job_id": job_id[:64]},
    )


def _job(row: Row[Any]) -> Job:
    return Job(
        job_id=row.job_id,
        kind=row.kind,
        status=row.status,
        release=row.release,
        progress=round(row.progress, 4),
        message=row.message,
        created_at=iso(row.created_at) or "",
        started_at=iso(row.started_at),
        finished_at=iso(row.finished_at),
        expires_at=iso(row.expires_at),
        request=row.summary,
        result=row.result,
        error=row.error,
    )
