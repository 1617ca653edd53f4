"""Features of a frozen tower, kept on disk in memory maps and found by the content they were made from.

A folder holds segments, each a file of keys and a file of rows that only grow; every process appends to a segment of its own
and reads all. A kill between the two writes leaves rows without keys, which readers ignore. A full disk ends the keeping, never
the training.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

_KEY_BYTES = 16
_FRESH_ROWS = 16384  # rows held in memory before they are read back from the map


def content_key(*parts: bytes) -> bytes:
    """Return the key of some content: parts are told apart by their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()[:_KEY_BYTES]


class FeatureCache:
    """Keeps ``(dim,)`` float32 rows by key.

    Parameters
    ----------
    folder
        Folder of one tower's features; give each tower, by its fingerprint, a folder of its own.
    dim
        Length of a row.
    """

    def __init__(self, folder: Path, *, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._segments: list[np.ndarray] = []
        self._place: dict[bytes, tuple[int, int]] = {}
        self._fresh: dict[bytes, np.ndarray] = {}  # written, but not yet mapped
        self._own = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._writable = True
        self.n_computed = 0
        self._open()

    def __len__(self) -> int:
        return len(self._place) + len(self._fresh)

    def get(self, keys: Sequence[bytes], *, compute: Callable[[list[int]], np.ndarray]) -> np.ndarray:
        """Return the rows of ``keys``, ``(n, dim)`` float32, computing and keeping those that are new.

        Parameters
        ----------
        keys
            From :func:`content_key`; they may repeat.
        compute
            Given positions in ``keys``, returns their rows ``(m, dim)`` float32.
        """
        first: dict[bytes, int] = {}
        for position, key in enumerate(keys):
            if key not in self._place and key not in self._fresh:
                first.setdefault(key, position)
        if first:
            rows = np.ascontiguousarray(compute(list(first.values())), dtype="<f4")
            self.n_computed += len(first)
            self._append(list(first), rows)
        out = np.empty((len(keys), self._dim), dtype=np.float32)
        for position, key in enumerate(keys):
            out[position] = self._row(key)
        if len(self._fresh) > _FRESH_ROWS:
            self._settle()
        return out

    def _row(self, key: bytes) -> np.ndarray:
        fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh
        segment, row = self._place[key]
        found: np.ndarray = self._segments[segment][row]
        return found

    def _open(self) -> None:
        for path in sorted(self._folder.glob("*.keys")) if self._folder.is_dir() else ():
            rows_path = path.with_suffix(".rows")
            keys = path.read_bytes()
            n = min(len(keys) // _KEY_BYTES, _size(rows_path) // (4 * self._dim))
            if n == 0:
                continue
            self._segments.append(np.memmap(rows_path, dtype="<f4", mode="r", shape=(n, self._dim)))
            for row in range(n):
                self._place[keys[row * _KEY_BYTES : (row + 1) * _KEY_BYTES]] = (len(self._segments) - 1, row)

    def _settle(self) -> None:
        """Let go of the rows held in memory; those on disk are mapped instead."""
        self._fresh.clear()
        self._segments.clear()
        self._place.clear()
        self._open()

    def _append(self, keys: list[bytes], rows: np.ndarray) -> None:
        """Write rows first, keys after; after a failure rows live in memory until there are too many."""
        self._fresh.update(zip(keys, rows, strict=True))
        if not self._writable:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for suffix, content in ((".rows", rows.tobytes()), (".keys", b"".join(keys))):
                with (self._folder / (self._own + suffix)).open("ab") as stream:
                    stream.write(content)
        except OSError as error:
            self._writable = False
            logger.warning("features of the frozen tower are no longer kept in %s: %s", self._folder, error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
