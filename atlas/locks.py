"""One writer a folder: a lock file that a second process meets at once, and that the system drops with the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.errors import BusyError, ResourceError

LOCK = ".lock"
"""Name of the lock file in the folder it guards."""


@contextmanager
def one_writer(folder: Path, *, purpose: str, who: str, option: str) -> Iterator[None]:
    """Hold a folder, which is made if need be, for one writer; a second one never waits.

    Parameters
    ----------
    purpose
        What is being done; the second writer is told.
    who
        What the first writer is to the second: ``build``.
    option
        Option of the command line that gives another folder.

    Raises
    ------
    BusyError
        If another process holds it.
    ResourceError
        If the folder may not be written.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise ResourceError(
            f"Cannot write in {folder}: {error.strerror}. Choose a writable folder with {option}."
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise BusyError(
                f"{folder} is in use by another {who} ({holder}). Wait for it, or use another {option}.",
                details={"holder": holder},
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(f"process {os.getpid()}: {purpose}")
        handle.flush()
        yield
