"""The matrix of an AnnData file, dense or sparse, read as dense blocks of rows."""

from __future__ import annotations

from typing import Protocol

import h5py
import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from atlas.expression import hdf5

_STRIP_VALUES = 4 << 20  # stored values of a csc matrix held at once
_CSC_WIDENING = 8  # a csc matrix is read in full for each block, so its blocks are larger


class BlockMatrix(Protocol):
    """A (n_samples, n_genes) matrix on disk."""

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and genes."""

    def block_rows(self, wanted: int) -> int:
        """Rows a block should have so that reading is neither wasteful nor large."""

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return rows ``start`` to ``stop``, (stop - start, n_genes) float32, C-contiguous."""


def open_matrix(node: h5py.Group | h5py.Dataset | None, *, name: str) -> BlockMatrix:
    """Return the matrix stored at ``node``.

    Raises
    ------
    InputError
        If it is no matrix of numbers, or its parts contradict each other.
    """
    if isinstance(node, h5py.Dataset):
        return _Dense(node, name=name)
    if not isinstance(node, h5py.Group):
        raise InputError(f"{name} is not there.")
    kind = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if kind.startswith("csr"):
        return _Rows(node, name=name)
    if kind.startswith("csc"):
        return _Columns(node, name=name)
    raise InputError(f"{name} is stored as {kind!r}; expected a dense array, csr_matrix or csc_matrix.")


class _Dense:
    def __init__(self, data: h5py.Dataset, *, name: str) -> None:
        _expect_numbers(data, name=name)
        if data.ndim != 2:
            raise InputError(f"{name} has {data.ndim} dimensions, expected 2 (samples x genes).")
        self._data = data
        self.shape = (int(data.shape[0]), int(data.shape[1]))

    def block_rows(self, wanted: int) -> int:
        """Whole chunks, where they fit."""
        chunk = self._data.chunks[0] if self._data.chunks else 1
        return int(wanted // chunk * chunk) if chunk <= wanted else wanted

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(self._data[start:stop], dtype=np.float32)


class _Sparse:
    """Parts of a compressed sparse matrix, checked; ``_major`` is the axis that ``indptr`` walks along."""

    _major = 0

    def __init__(self, group: h5py.Group, *, name: str) -> None:
        values, indices, pointers = (hdf5.dataset(group, part) for part in ("data", "indices", "indptr"))
        stated = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
        if values is None or indices is None or pointers is None or stated is None or np.size(stated) != 2:
            raise InputError(f"{name} is an incomplete sparse matrix: expected data, indices, indptr and a shape.")
        if not values.ndim == indices.ndim == pointers.ndim == 1:
            raise InputError(f"{name}: data, indices and indptr of a sparse matrix have one dimension each.")
        self._name = name
        self._values, self._indices = values, indices
        _expect_numbers(self._values, name=name)
        self.shape = (int(stated[0]), int(stated[1]))
        if min(self.shape) < 0 or pointers.shape[0] != self.shape[self._major] + 1:
            raise InputError(
                f"{name}: indptr has {pointers.shape[0]:,} entries, which does not fit the shape {self.shape}."
            )
        self._pointers = np.asarray(pointers[:], dtype=np.int64)
        n = int(self._values.shape[0])
        grows = bool((np.diff(self._pointers) >= 0).all())
        if self._indices.shape[0] != n or self._pointers[0] != 0 or self._pointers[-1] != n or not grows:
            raise InputError(f"{name}: data, indices and indptr of the sparse matrix contradict each other.")

    def _stored(
        self, start: int, stop: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Major index (from 0), minor index and value of what is stored from ``start`` to ``stop`` of the major axis."""
        low, high = self._pointers[start], self._pointers[stop]
        minor = np.asarray(self._indices[low:high], dtype=np.int64)
        if minor.size and (minor.min() < 0 or minor.max() >= self.shape[1 - self._major]):
            raise InputError(f"{self._name}: the sparse matrix points outside its shape {self.shape}.")
        major = np.repeat(np.arange(stop - start), np.diff(self._pointers[start : stop + 1]))
        return major, minor, np.asarray(self._values[low:high], dtype=np.float32)


class _Rows(_Sparse):
    """csr: samples are the major axis."""

    def block_rows(self, wanted: int) -> int:
        """Any number of rows reads alike."""
        return wanted

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        row, column, values = self._stored(start, stop)
        return _dense(row, column, values, shape=(stop - start, self.shape[1]))


class _Columns(_Sparse):
    """csc: genes are the major axis, so every block walks over the whole matrix, strip by strip."""

    _major = 1

    def block_rows(self, wanted: int) -> int:
        """Fewer, larger blocks."""
        return wanted * _CSC_WIDENING

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        out = np.zeros((stop - start, self.shape[1]), dtype=np.float32)
        first = 0
        while first < self.shape[1]:
            reach = np.searchsorted(self._pointers, self._pointers[first] + _STRIP_VALUES, side="right") - 1
            last = min(self.shape[1], max(first + 1, int(reach)))
            column, row, values = self._stored(first, last)
            here = (row >= start) & (row < stop)
            shape = (stop - start, last - first)
            out[:, first:last] = _dense(row[here] - start, column[here], values[here], shape=shape)
            first = last
        return out


def _dense(
    row: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    *,
    shape: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Dense matrix of the entries; entries given twice are summed, as sparse matrices define it."""
    flat = row * shape[1] + column
    out = np.zeros(shape[0] * shape[1], dtype=np.float32)
    np.add.at(out, flat, values)
    return out.reshape(shape)


def _expect_numbers(data: h5py.Dataset, *, name: str) -> None:
    if data.dtype.kind not in "iufb":
        raise InputError(f"{name} holds {data.dtype}, expected numbers.")
