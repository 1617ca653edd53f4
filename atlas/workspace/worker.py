"""The worker: takes jobs one after another, for as long as it runs; ``geo-atlas work``.

It needs little while it waits: a release is opened when a job asks for it and let go when nothing came for a while, with all
memory that libraries keep if the process may begin anew. A database that is away is waited for. A worker that is told to stop
puts its job back into the queue; one that is killed leaves it to its lease.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.answers import Job
from atlas.errors import AtlasError, InputError, NotFoundError, ResourceError
from atlas.settings import Settings
from atlas.workspace.jobs import Jobs
from atlas.workspace.kinds import KINDS, SCANS, JobContext, JobKind
from atlas.workspace.lease import LeasedJob

if TYPE_CHECKING:
    from atlas.atlas import Atlas
    from atlas.catalog.database import Database

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""Pause between two looks into an empty queue."""

RETRY_S = 5.0
"""Pause after the database was found away."""

EXPIRY_S = 600.0
"""Pause between two rounds that remove expired results."""

IDLE_S = 60.0
"""How long a release stays open after its last job."""

_LOOK_S = 0.5
_GRAVE = ".expired-"
_LEFT_S = 86_400.0

Watch = Callable[[float, str | None], None]


def work(
    settings: Settings,
    *,
    once: bool = False,
    stop: threading.Event,
    kinds: Mapping[str, JobKind] = KINDS,
    renew: Callable[[], None] = lambda: None,
) -> int:
    """Work until told to stop, and return how many jobs were carried out.

    Parameters
    ----------
    settings
        Home, database, and the bounds of jobs.
    once
        Return when no job waits; errors of the database are then raised.
    stop
        Ends the work; a job that runs is given back.
    kinds
        The kinds of jobs that can be carried out.
    renew
        Called, with nothing held or open, after a release was let go.

    Raises
    ------
    AtlasError
        With ``once`` only, if the database cannot be used.
    """
    n_done = 0
    said: str | None = None
    while not stop.is_set():
        try:
            with opened_workspace(settings) as database:
                said = None
                n_done += _work_on(database, settings, once=once, stop=stop, kinds=kinds)
        except AtlasError as error:
            if once:
                raise
            if error.message != said:  # an hour without a database is one line, not seven hundred
                logger.warning("no jobs for now: %s", error.message)
            said = error.message
            stop.wait(RETRY_S)
            continue
        if once:
            break
        if not stop.is_set():
            renew()
    return n_done


def begin_anew() -> None:
    """Replace this process by a fresh one with the same arguments: the only way to give back all that libraries keep."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 # ourselves, as we were started


@contextlib.contextmanager
def opened_workspace(settings: Settings) -> Iterator[Database]:
    """Open the database with its tables brought to this version's schema."""
    from atlas.catalog.database import open_database

    with open_database(settings) as database:
        database.migrate()
        yield database


def work_off(
    database: Database, settings: Settings, job_id: str, *, watch: Watch, kinds: Mapping[str, JobKind] = KINDS
) -> Job:
    """Carry out one job here and return it finished; if a worker has it already, wait for that one.

    Parameters
    ----------
    watch
        Called with the share done, in [0, 1], and a sentence or ``None``.

    Notes
    -----
    Ctrl-C cancels a job that runs here.
    """
    jobs = Jobs(database)
    with _Bench(settings, kinds) as bench:
        while True:
            leased = jobs.take(_name(), job_id=job_id)
            if leased is not None:
                try:
                    bench.carry_out(leased, stop=threading.Event(), watch=watch)
                except BaseException:
                    leased.cancel()
                    raise
            job = jobs.get(job_id)
            if job.status not in ("queued", "running"):
                return job
            watch(job.progress, job.message)
            time.sleep(_LOOK_S)


def _work_on(
    database: Database, settings: Settings, *, once: bool, stop: threading.Event, kinds: Mapping[str, JobKind]
) -> int:
    """Work while the database can be used, until told to stop, the queue is empty (``once``) or a release was let go."""
    jobs = Jobs(database)
    n_done = 0
    expiry_due = 0.0
    with _Bench(settings, kinds) as bench:
        while not stop.is_set():
            if time.monotonic() >= expiry_due:
                expire(jobs, settings, kinds=kinds)
                expiry_due = time.monotonic() + EXPIRY_S
            leased = jobs.take(_name())
            if leased is not None:
                bench.carry_out(leased, stop=stop)
                n_done += 1
            elif once or bench.tidy():
                break
            else:
                stop.wait(POLL_S)
    return n_done


def expire(jobs: Jobs, settings: Settings, *, kinds: Mapping[str, JobKind] = KINDS) -> int:
    """Remove results whose time is over, with their folders; return how many."""

    def remove(job: Job) -> bool:
        kind = kinds.get(job.kind)
        try:
            folder = kind.folder(settings.home_path, job.release, job.result or {}) if kind else None
        except InputError as error:  # such a row must not keep all others from being worked on
            logger.warning("the expired job %s names no folder: %s", job.job_id, error.message)
            return True
        if folder is None or not folder.is_dir():
            return True
        try:
            # Gone at once for readers, whatever happens to its files.
            os.replace(folder, folder.with_name(f"{_GRAVE}{folder.name}-{os.getpid()}"))
        except OSError as error:
            logger.warning("the expired result %s cannot be removed: %s", folder, error.strerror)
            return False
        return True

    n = jobs.expire(remove)
    _sweep_up(settings.home_path / SCANS)
    if n:
        logger.info("%d expired results removed", n)
    return n


def _sweep_up(scans: Path) -> None:
    """Remove what is no result any more, and half results of workers that were killed long ago."""
    for left in scans.glob("*/.*"):
        with contextlib.suppress(OSError):
            if left.name.startswith(_GRAVE) or time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left)


class _Bench:
    """Where jobs are carried out; keeps the last release open for a while."""

    def __init__(self, settings: Settings, kinds: Mapping[str, JobKind]) -> None:
        self._settings = settings
        self._kinds = kinds
        self._atlas: Atlas | None = None
        self._used_at = 0.0

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def tidy(self) -> bool:
        """Close the release that nobody asked for in a while; return whether it did."""
        if self._atlas is None or time.monotonic() - self._used_at <= IDLE_S:
            return False
        self._let_go()
        return True

    def carry_out(self, leased: LeasedJob, *, stop: threading.Event, watch: Watch | None = None) -> None:
        """Run a job and report how it ended; whatever happens to the job, the worker lives."""
        logger.info("job %s (%s), attempt %d", leased.job_id, leased.kind, leased.attempt)
        failure: AtlasError | None = None
        result = None
        with leased.beating():
            try:
                result = self._run(leased, stop, watch)
            except AtlasError as error:
                failure = error
            except MemoryError:
                failure = ResourceError("The machine has not enough memory for this job. Try a shorter list.")
            except OSError as error:
                failure = ResourceError(f"The job could not read or write its files: {error.strerror or error}.")
            except Exception as error:
                logger.error("job %s failed", leased.job_id, exc_info=error)
                failure = AtlasError("The job failed for a reason that only the worker's log tells.")
                failure.code = "internal"
        if failure is not None and self._removed(leased.release):  # whatever it failed at, this is why
            failure = NotFoundError(
                f"Release {leased.release!r} was removed while the job ran. Start it again on one that is there.",
                details={"release": leased.release},
            )
        self._used_at = time.monotonic()
        _until_told(lambda: self._report(leased, result, failure, stop), stop=stop)

    def _run(self, leased: LeasedJob, stop: threading.Event, watch: Watch | None) -> dict[str, object]:
        kind = self._kinds.get(leased.kind)
        if kind is None:
            raise InputError(
                f"This version has no kind of job {leased.kind!r}; it knows: {', '.join(sorted(self._kinds))}.",
                details={"seen": leased.kind, "expected": sorted(self._kinds)},
            )

        def progress(share: float, message: str | None = None) -> None:
            leased.progress(share, message)
            if watch is not None:
                watch(share, message)

        return kind.run(
            JobContext(
                request=leased.request,
                release=leased.release,
                settings=self._settings,
                open_atlas=lambda: self._open(leased.release),
                progress=progress,
                cancelled=lambda: stop.is_set() or leased.cancelled(),
            )
        )

    def _report(
        self,
        leased: LeasedJob,
        result: dict[str, object] | None,
        failure: AtlasError | None,
        stop: threading.Event,
    ) -> None:
        if leased.lost:
            logger.warning("job %s was taken over by another worker or removed", leased.job_id)
        elif result is not None:
            folder = self._kinds[leased.kind].folder(self._settings.home_path, leased.release, result)
            if leased.done(result, kept=lambda: folder is None or folder.is_dir()):
                logger.info("job %s is done", leased.job_id)
        elif leased.cancel_requested:
            leased.cancel()
        elif stop.is_set():
            leased.give_back()
        elif failure is not None:
            logger.warning("job %s failed: %s", leased.job_id, failure.message)
            leased.failed(failure)

    def _open(self, release: str) -> Atlas:
        if self._atlas is None or self._atlas.release.name != release or not self._atlas.release.folder.is_dir():
            from atlas.atlas import Atlas

            self._let_go()
            self._atlas = Atlas.open(self._settings, release=release)
        return self._atlas

    def _removed(self, release: str) -> bool:
        """Whether a release that was opened for a job is gone from the disk."""
        atlas = self._atlas
        return atlas is not None and atlas.release.name == release and not atlas.release.folder.is_dir()

    def _let_go(self) -> None:
        if self._atlas is not None:
            self._atlas.close()
            self._atlas = None
            gc.collect()


def _until_told(report: Callable[[], None], *, stop: threading.Event) -> None:
    """Report until the database hears it; when told to stop meanwhile, once more and no longer: the lease runs out."""
    while True:
        try:
            report()
            return
        except AtlasError as error:
            logger.warning("the end of a job cannot be reported for now: %s", error.message)
            if stop.wait(RETRY_S):
                return


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
