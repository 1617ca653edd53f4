"""A job in the hands of a worker: progress, heartbeat, cancelling, and the one report of how it ended.

Every write names the lease, so that a worker which lost its job (it slept too long, another one took over) changes nothing.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, null, text, update

from atlas.errors import AtlasError
from atlas.workspace.session import WorkspaceDatabase, writing
from atlas.workspace.tables import JobRow

logger = logging.getLogger(__name__)

LEASE = text("interval '30 seconds'")
"""How long a silent worker keeps its job."""

BEAT_S = 2.0
"""Pause between two heartbeats, which also carry the progress and bring the wish to cancel."""

RESULTS = "results"
"""Turn in which results become known and are removed: never both at once."""


def finished(status: str) -> dict[str, Any]:
    """Return the columns of a job that ends now; its request, which may be long, is let go."""
    return {
        "status": status,
        "request": null(),
        "worker": None,
        "lease_until": None,
        "finished_at": func.now(),
        "expires_at": func.now() + JobRow.keep_days * text("interval '1 day'"),
    }


class LeasedJob:
    """A job that this process works on.

    Attributes
    ----------
    job_id, kind, release, request
        As submitted, ``request`` whole.
    attempt
        1 for the first worker that took it.
    """

    def __init__(
        self,
        database: WorkspaceDatabase,
        *,
        job_id: str,
        kind: str,
        release: str,
        request: dict[str, Any],
        attempt: int,
        token: str,
    ) -> None:
        self.job_id, self.kind, self.release, self.request, self.attempt = job_id, kind, release, request, attempt
        self._database = database
        self._token = token
        self._share = 0.0
        self._message: str | None = None
        self._wanted = threading.Event()
        self._lost = threading.Event()

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked to cancel it."""
        return self._wanted.is_set()

    @property
    def lost(self) -> bool:
        """Whether the lease is another worker's by now, or the job is gone."""
        return self._lost.is_set()

    def progress(self, share: float, message: str | None = None) -> None:
        """Note how far the work is, in [0, 1]; the next heartbeat tells the database."""
        self._share, self._message = min(max(float(share), 0.0), 1.0), _clean(message)

    def cancelled(self) -> bool:
        """Whether to stop working: cancelled, or lost to another worker. Costs nothing."""
        return self.cancel_requested or self.lost

    def beat(self) -> None:
        """Renew the lease, tell the progress, learn whether the job is to be cancelled.

        Raises
        ------
        DatabaseUnavailableError
            If the database is away; the lease goes on for a while.
        """
        values: dict[str, Any] = {"lease_until": func.now() + LEASE, "progress": self._share}
        if not self.cancel_requested:
            values["message"] = self._message
        with writing(self._database) as connection:
            renewed = connection.execute(self._mine().values(values).returning(JobRow.cancel_requested)).one_or_none()
        if renewed is None:
            self._lost.set()
        elif renewed.cancel_requested:
            self._wanted.set()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat in a thread of its own for as long as the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_S) and not self.lost:
                try:
                    self.beat()
                except AtlasError as error:
                    logger.warning("job %s cannot be renewed for now: %s", self.job_id, error.message)

        thread = threading.Thread(target=beat, name=f"beat-{self.job_id[:8]}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def done(self, result: dict[str, Any], *, kept: Callable[[], bool] = lambda: True) -> bool:
        """Report the result.

        Parameters
        ----------
        result
            JSON that names where the answer is.
        kept
            Whether the answer is still on disk; asked while no expiry can run. If not, the job goes back to the queue.

        Returns
        -------
        bool
            Whether the result stands.
        """
        with writing(self._database, turn=RESULTS, shared=True) as connection:
            if not kept():
                connection.execute(self._mine().values(_waiting()))
                return False
            ended = finished("done") | {"result": result, "progress": 1.0, "message": None}
            return bool(connection.execute(self._mine().values(ended)).rowcount)

    def failed(self, error: AtlasError) -> None:
        """Report that it cannot be done, and why."""
        self._end("failed", error=error_body(error))

    def cancel(self) -> None:
        """Report that it was stopped because somebody asked for it."""
        self._end("cancelled", message="Cancelled.")

    def give_back(self) -> None:
        """Put it back into the queue, as if it had not been begun: this worker is told to stop."""
        with writing(self._database) as connection:
            connection.execute(self._mine().values(_waiting() | {"attempts": JobRow.attempts - 1}))

    def _end(self, status: str, **more: Any) -> None:
        with writing(self._database) as connection:
            connection.execute(self._mine().values(finished(status) | more))

    def _mine(self) -> Any:
        return update(JobRow).where(
            JobRow.job_id == self.job_id, JobRow.worker == self._token, JobRow.status == "running"
        )


def error_body(error: AtlasError) -> dict[str, Any]:
    """Return an error as a body of the API shows it: ``code``, ``message``, ``details``."""
    details = json.loads(json.dumps(error.details, default=str).replace("\\u0000", ""))
    return {"code": error.code, "message": _clean(error.message) or "", "details": details}


def _waiting() -> dict[str, Any]:
    return {"status": "queued", "worker": None, "lease_until": None, "progress": 0.0, "message": None}


def _clean(message: str | None) -> str | None:
    return None if message is None else message.replace("\0", "").encode("utf-8", "replace").decode()[:2_000]
