"""The vectors of an atlas on disk: ``vectors.npy``, (n_samples, dim) float16, each row of unit length.

Row order is that of ``samples.parquet``. Everything is computed in float32 or float64; float16 is only how rows are kept. A
score that leaves this room is always ``exact_scores``: it depends on the query and the row alone, bit for bit, whatever
engine, batch or chunk found the row.
"""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from atlas.blocks import CheckedBlocks
from atlas.errors import ArtifactError, InputError

CHUNK_BYTES = 32 << 20
_PREAD_MIN_FILE_BYTES = 256 << 20  # smaller files live in the page cache; reading them row by row would only cost calls
_PREAD_MAX_ROWS = 4_096
_PREAD_THREADS = 16


class VectorStore:
    """Read-only access to a file of unit vectors; a context manager.

    Parameters
    ----------
    path
        File in npy format 1.0 or 2.0, float16, C order, two-dimensional.
    mmap
        Map the file (default) or read it into memory.
    guard
        Asked before bytes of the file are used; raises if they were changed.

    Raises
    ------
    ArtifactError
        If the file is missing, is not a float16 matrix, or is shorter than its header says.
    """

    def __init__(self, path: Path, *, mmap: bool = True, guard: CheckedBlocks | None = None) -> None:
        self.path = path
        self._guard = guard
        if guard is not None:
            guard.require(0, 1 if mmap else path.stat().st_size)
        self._matrix = _open_matrix(path, mmap=mmap)
        self.n, self.dim = self._matrix.shape
        self._offset = int(getattr(self._matrix, "offset", 0))
        self._file: int | None = None
        self._pool: ThreadPoolExecutor | None = None
        if isinstance(self._matrix, np.memmap) and self._matrix.nbytes >= _PREAD_MIN_FILE_BYTES:
            self._open_random_reader()

    @classmethod
    def open(cls, path: Path, *, mmap: bool = True, guard: CheckedBlocks | None = None) -> VectorStore:
        """Open the file; the same as the constructor, named for readers."""
        return cls(path, mmap=mmap, guard=guard)

    def __enter__(self) -> VectorStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file handle and the reader threads; calling it twice is harmless."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def release_pages(self) -> None:
        """Take the pages that were read through the map out of the process; see :func:`release_pages`."""
        release_pages(self._matrix)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return the vectors of ``ids``.

        Parameters
        ----------
        ids
            (m,) integers in [0, n).

        Returns
        -------
        (m, dim) float32.
        """
        ids = self._check_rows(ids)
        if self._guard is not None:
            self._guard.require_rows(ids, offset=self._offset, width=2 * self.dim)
        if self._pool is not None and 0 < ids.size <= _PREAD_MAX_ROWS:
            return self._read_scattered(ids).astype(np.float32)
        return np.asarray(self._matrix[ids], dtype=np.float32)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return the vectors of rows ``start`` to ``stop`` (exclusive) as (stop - start, dim) float32."""
        if self._guard is not None:
            self._guard.require(self._offset + 2 * self.dim * start, self._offset + 2 * self.dim * min(stop, self.n))
        return np.asarray(self._matrix[start:stop], dtype=np.float32)

    def blocks(self, *, chunk_bytes: int = CHUNK_BYTES) -> Any:
        """Yield ``(start, block)`` over all rows in order; a block is (m, dim) float32 of about ``chunk_bytes``."""
        step = max(1, chunk_bytes // (4 * self.dim))
        for start in range(0, self.n, step):
            yield start, self.block(start, min(start + step, self.n))

    def scores(
        self, query: np.ndarray, rows: np.ndarray | None = None, *, chunk_bytes: int = CHUNK_BYTES
    ) -> np.ndarray:
        """Return inner products with every row, or with ``rows``, by float32 matrix products in chunks.

        The last bits depend on the batch, as matrix products do; for final scores use :meth:`exact_scores`.

        Parameters
        ----------
        query
            (dim,) or (n_queries, dim) float32.
        rows
            (m,) row numbers; default: all n.

        Returns
        -------
        (m,) or (n_queries, m) float32.
        """
        single = query.ndim == 1
        queries = np.ascontiguousarray(np.atleast_2d(query), dtype=np.float32)
        ids = None if rows is None else self._check_rows(rows)
        n = self.n if ids is None else ids.size
        found = np.empty((queries.shape[0], n), dtype=np.float32)
        step = max(1, chunk_bytes // (4 * self.dim))
        for start in range(0, n, step):
            stop = min(start + step, n)
            block = self.block(start, stop) if ids is None else self.rows(ids[start:stop])
            found[:, start:stop] = queries @ block.T
        return found[0] if single else found

    def exact_scores(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the final scores of ``rows``: inner products summed in float64, rounded once, kept within [-1, 1].

        Parameters
        ----------
        query
            (dim,) float32, unit length.
        rows
            (m,) row numbers.

        Returns
        -------
        (m,) float32 cosines; each depends on its row and the query alone.
        """
        step = max(1, CHUNK_BYTES // (8 * self.dim))
        wide = query.astype(np.float64)
        found = np.empty(rows.size, dtype=np.float32)
        for start in range(0, rows.size, step):
            block = self.rows(rows[start : start + step]).astype(np.float64)
            found[start : start + step] = np.einsum("ij,j->i", block, wide)
        return np.clip(found, -1.0, 1.0, out=found)

    def _check_rows(self, ids: np.ndarray) -> np.ndarray:
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        if ids.size and (ids.min() < 0 or ids.max() >= self.n):
            raise InputError(
                f"Row numbers {ids.min()} to {ids.max()} were asked for; this atlas has rows 0 to {self.n - 1}."
            )
        return ids

    def _open_random_reader(self) -> None:
        # A cold mapping reads ahead around every row it touches; single reads on an own handle fetch only what is asked.
        self._file = os.open(self.path, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)
        self._asks_cache = hasattr(os, "RWF_NOWAIT")
        self._pool = ThreadPoolExecutor(_PREAD_THREADS, thread_name_prefix="vector-read")

    def _read_scattered(self, ids: np.ndarray) -> np.ndarray:
        """Read rows one by one: at once what the system has in memory, by several threads what must come from the disk."""
        if self._pool is None or self._file is None:
            raise InputError("This vector store is closed. Open it again.")
        raw = np.empty((ids.size, self.dim), dtype=self._matrix.dtype)
        places = self._offset + raw.strides[0] * ids
        absent = [i for i, place in enumerate(places.tolist()) if not self._read_cached(raw[i], place)]

        def read(part: np.ndarray) -> bool:
            return all(os.preadv(file, [raw[i].data], int(places[i])) == raw.strides[0] for i in part.tolist())

        file = self._file
        if absent and not all(self._pool.map(read, np.array_split(absent, min(_PREAD_THREADS, len(absent))))):
            raise ArtifactError(f"{self.path} became shorter while it was read. Verify the release.", kind="corrupt")
        return raw

    def _read_cached(self, row: np.ndarray, place: int) -> bool:
        """Fill a row if the page cache has it; false if it must be waited for, or this system cannot tell."""
        if not self._asks_cache or self._file is None:
            return False
        try:
            return os.preadv(self._file, [row.data], place, os.RWF_NOWAIT) == row.nbytes
        except BlockingIOError:
            return False
        except OSError:  # a file system without such reads
            self._asks_cache = False
            return False


def write_vectors(path: Path, vectors: np.ndarray) -> None:
    """Write (n, dim) vectors as the float16 npy file that :class:`VectorStore` opens."""
    np.save(path, np.ascontiguousarray(vectors, dtype=np.float16), allow_pickle=False)


def _open_matrix(path: Path, *, mmap: bool) -> np.ndarray:
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist. Build or verify the release.", kind="missing")
    try:
        matrix: np.ndarray = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a complete npy file ({error}). Verify the release.", kind="corrupt"
        ) from error
    if matrix.ndim != 2 or matrix.dtype != np.float16 or not matrix.flags.c_contiguous or matrix.shape[1] == 0:
        raise ArtifactError(
            f"{path} holds {matrix.dtype} of shape {matrix.shape}; expected a float16 matrix, one row a sample.",
            kind="corrupt",
        )
    return matrix


def release_pages(mapped: np.ndarray) -> None:
    """Take the pages of a mapped file out of the process: they count as its memory, though the system could have them back.

    The system keeps them for the next reader where memory is not wanted otherwise. An array that is no map stays as it is.
    """
    mapping = getattr(mapped, "_mmap", None)
    if mapping is not None and hasattr(mapping, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
