"""Digests of a large file's blocks, so that a part of it can be checked before the part is used.

In: the sha256 of each 16 MiB of a file, from the manifest. Out: bytes that are known to be as published, or an error that names
the file and the range.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from atlas.errors import ArtifactError

BLOCK_BYTES = 16 * 2**20
_READERS = 2  # hashing lets go of the interpreter's lock


def block_digests(path: Path) -> list[str]:
    """Return the sha256 of each block of a file."""
    n_blocks = -(-path.stat().st_size // BLOCK_BYTES)
    with path.open("rb") as handle, ThreadPoolExecutor(_READERS, thread_name_prefix="digest") as pool:
        return list(pool.map(lambda number: _digest(handle.fileno(), number), range(n_blocks)))


class CheckedBlocks:
    """What of one large file is known to be as published.

    A block is read and hashed when it is first required; two threads may do so at once, to the same end.

    Parameters
    ----------
    path, digests
        The file, and the sha256 of each of its blocks.
    name, release
        Name of the file in its release, and of the release, for messages.
    failed
        Told of a changed block before the error is raised.
    """

    def __init__(
        self,
        path: Path,
        digests: Sequence[str],
        *,
        name: str,
        release: str,
        failed: Callable[[ArtifactError], None] = lambda error: None,
    ) -> None:
        self._path = path
        self._digests = digests
        self._name, self._release = name, release
        self._failed = failed
        self._bytes = path.stat().st_size
        self._good = np.zeros(len(digests), dtype=bool)
        self._n_left = len(digests)
        self._counting = threading.Lock()

    @property
    def bytes_left(self) -> int:
        """Bytes that have not been checked yet."""
        left = int(np.count_nonzero(~self._good)) * BLOCK_BYTES
        short = 0 if not len(self._good) or self._good[-1] else len(self._good) * BLOCK_BYTES - self._bytes
        return left - short

    def require(self, start: int, stop: int) -> None:
        """Check the bytes from ``start`` to ``stop`` (exclusive), as far as they have not been.

        Raises
        ------
        ArtifactError
            ``corrupt`` if they were changed; ``details`` names the range of bytes.
        """
        if self._n_left:
            self._check(range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)))

    def require_rows(self, rows: np.ndarray, *, offset: int, width: int) -> None:
        """Check rows of ``width`` bytes each, of which the first begins at ``offset``; raises as :meth:`require`."""
        if self._n_left:
            first = offset + rows.astype(np.int64) * width
            touched = np.zeros(len(self._digests), dtype=bool)
            touched[first // BLOCK_BYTES] = True
            touched[(first + width - 1) // BLOCK_BYTES] = True
            self._check(np.flatnonzero(touched).tolist())

    def forget(self) -> None:
        """Let every block be checked again."""
        with self._counting:
            self._good[:] = False
            self._n_left = len(self._digests)

    def _check(self, numbers: Iterable[int]) -> None:
        left = [number for number in numbers if not self._good[number]]
        if not left:
            return
        with self._path.open("rb") as handle, ThreadPoolExecutor(_READERS, thread_name_prefix="digest") as pool:
            for number, seen in zip(left, pool.map(lambda one: _digest(handle.fileno(), one), left), strict=True):
                if seen != self._digests[number]:
                    error = self._changed(number, seen)
                    self._failed(error)
                    raise error
                with self._counting:
                    self._n_left -= not self._good[number]
                    self._good[number] = True

    def _changed(self, number: int, seen: str) -> ArtifactError:
        start = number * BLOCK_BYTES
        stop = min(start + BLOCK_BYTES, self._bytes)
        return ArtifactError(
            f"{self._name} of release {self._release!r} was changed after it was published, somewhere in its bytes "
            f"{start:,} to {stop - 1:,} (sha256 {seen[:12]}…, manifest says {self._digests[number][:12]}…). "
            "Restore it or rebuild.",
            kind="corrupt",
            details={"path": str(self._path), "bytes": [start, stop], "seen": seen, "expected": self._digests[number]},
        )


def _digest(file: int, number: int) -> str:
    return hashlib.sha256(os.pread(file, BLOCK_BYTES, number * BLOCK_BYTES)).hexdigest()
