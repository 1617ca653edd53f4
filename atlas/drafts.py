"""A file that appears whole or not at all: written beside its place, renamed at the end."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from atlas.errors import ResourceError


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Give a draft to write, empty and beside ``path``; it takes its place at the end, or goes.

    Drafts that killed processes left of the same file are removed first; a process holds the lock of its draft as long as it
    lives, so those of others that still write are kept.

    Raises
    ------
    ResourceError
        If it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _sweep(path)
    try:
        with draft.open("wb") as held:
            with suppress(OSError):  # a file system without locks, where nothing is swept either
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield draft
            os.replace(draft, path)
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # of a read-only folder, where there is no draft either
            draft.unlink(missing_ok=True)


def ready_folder(path: Path) -> Path:
    """Make a folder if it is not there, see that files can be written into it, and return it.

    Raises
    ------
    ResourceError
        If it is a file, or cannot be made or written into.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ResourceError(
            f"{path} cannot be used as a folder of results: {error.strerror or error}. Give another folder, or make room."
        ) from error


def _sweep(path: Path) -> None:
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+\.tmp")
    with suppress(OSError):  # a folder that is not there is told of by who writes to it
        for old in [one for one in path.parent.iterdir() if name.fullmatch(one.name) and one.is_file()]:
            with suppress(OSError), old.open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                old.unlink()
