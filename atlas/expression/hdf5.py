"""Careful access to HDF5 files that strangers wrote: typed errors, no links out of the file, no unbounded strings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, BinaryIO, Self

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.errors import InputError, TooLargeError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_STRING_BLOCK = 16_384
# What h5py raises on a damaged or unexpected file, by its own documentation and by trying.
_H5PY_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError, AttributeError, OverflowError)


class Hdf5Samples:
    """What the readers of HDF5 files share: an open file with samples, closed at the end of a ``with``."""

    _file: h5py.File
    sample_ids: tuple[str, ...]

    @property
    def n_samples(self) -> int:
        """Number of samples in the file."""
        return len(self.sample_ids)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever h5py raises while ``name`` is read into one ``InputError``."""
    try:
        yield
    except _H5PY_ERRORS as error:
        raise InputError(
            f"{name} cannot be read: {_reason(error)}. The file is damaged or incomplete; fetch or write it again.",
            details={"file": name},
        ) from error


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def open_hdf5(source: str | BinaryIO, *, name: str) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises
    ------
    InputError
        If it is no HDF5 file, or is cut short.
    """
    try:
        return h5py.File(source, "r")
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist.", details={"file": name}) from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read by this user.", details={"file": name}) from error
    except _H5PY_ERRORS as error:
        reason = _reason(error)
        if "truncated" in reason:
            what = f"{name} is a truncated HDF5 file ({reason}). Fetch it again and compare its size or checksum."
        else:
            what = f"{name} is not a readable HDF5 file ({reason}). Expected an ARCHS4 .h5 or an .h5ad file."
        raise InputError(what, details={"file": name}) from error


def find(parent: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return the object at ``path`` below ``parent``; ``None`` if it is not there.

    Raises
    ------
    InputError
        If the path may lead out of this file: a soft or external link, external storage or a virtual data set.
    """
    node: Any = parent
    for part in path.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path!r} is a link ({type(link).__name__}); only data inside the file itself is read.")
        node = node[part]
    if isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
        raise InputError(f"{path!r} keeps its values in another file; only data inside the file itself is read.")
    return node


def dataset(parent: h5py.Group, *paths: str) -> h5py.Dataset | None:
    """Return the first of ``paths`` that is a data set, ``None`` if none is."""
    for path in paths:
        node = find(parent, path)
        if isinstance(node, h5py.Dataset):
            return node
    return None


def group(parent: h5py.Group, path: str) -> h5py.Group | None:
    """Return the group at ``path``, ``None`` if there is none."""
    node = find(parent, path)
    return node if isinstance(node, h5py.Group) else None


def read_strings(data: h5py.Dataset, *, max_bytes: int | None = None, file_bytes: int = 0) -> pa.ChunkedArray:
    """Read a one-dimensional data set of text (or numbers) as strings, in blocks.

    Parameters
    ----------
    max_bytes
        Most bytes the texts may take together. One stored text can stand in for many, so blocks are kept small enough that even
        a block of texts as long as the whole file fits.
    file_bytes
        Size of the file; needed with ``max_bytes``.

    Raises
    ------
    TooLargeError
        If the texts take more than ``max_bytes``.
    """
    if data.ndim != 1:
        raise ValueError(f"{data.name} has {data.ndim} dimensions, expected 1")
    block = _STRING_BLOCK
    if max_bytes is not None:
        block = max(1, min(block, max_bytes // max(file_bytes, 1)))
    chunks, total = [], 0
    for start in range(0, data.shape[0], block):
        texts = [_text(value) for value in data[start : start + block].tolist()]
        total += sum(map(len, texts))
        if max_bytes is not None and total > max_bytes:
            raise TooLargeError(f"The texts of {data.name} take more than {max_bytes:,} bytes.")
        chunks.append(pa.array(texts, type=pa.string()))
    return pa.chunked_array(chunks, type=pa.string())


def read_strings_at(data: h5py.Dataset, *, rows: npt.NDArray[np.int64]) -> list[str]:
    """Read the texts at increasing ``rows`` of a one-dimensional data set, a bounded number of texts at a time."""
    if data.ndim != 1:
        raise ValueError(f"{data.name} has {data.ndim} dimensions, expected 1")
    found: list[str] = []
    for start in range(0, data.shape[0], _STRING_BLOCK):
        low, high = np.searchsorted(rows, [start, start + _STRING_BLOCK])
        if low < high:
            texts = data[int(rows[low]) : int(rows[high - 1]) + 1]
            found += [_text(value) for value in texts[rows[low:high] - rows[low]].tolist()]
    return found


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").rstrip("\0")
    return "" if value is None else str(value)


def read_floats(data: h5py.Dataset) -> npt.NDArray[np.float64]:
    """Read a one-dimensional numeric data set."""
    if data.ndim != 1:
        raise ValueError(f"{data.name} has {data.ndim} dimensions, expected 1")
    return np.asarray(data[:], dtype=np.float64)
