"""All samples scored at once, nearly: their strongest axes at eight bits each, for the colours of a map.

In: a store, and the axes its index searches along. Out: ``axes.npy``, (width, dim) float32; ``rows.npy``, (n, width) int8, and
``scales.npy``, (n,) float32: along the axes row i is about ``rows[i] * scales[i]``; ``rest.npy``, (dim,) float32, the mean of
what the axes leave out. A query is split into a coarse and a fine int8 part: whole numbers are what processors multiply many at
a time.
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

_MOST = 127
_ROWS_AT_ONCE = 16_384  # whose products stay in a core's cache
_COLUMNS = 8  # of the product; two are used, fewer are multiplied no faster


class RowCodes:
    """Codes of an atlas, mapped from their files.

    Raises
    ------
    ArtifactError
        If a file is missing or damaged, or they do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._rows = np.load(folder / "rows.npy", mmap_mode="c", allow_pickle=False)
            self._scales, self._axes, self._rest = (
                np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("scales", "axes", "rest")
            )
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The row codes in {folder} cannot be read: {error}", kind="corrupt") from error
        shapes = (self._rows.shape[:1], self._rows.shape[1:], self._axes.shape[1:])
        if self._rows.dtype != np.int8 or shapes != (self._scales.shape, self._axes.shape[:1], self._rest.shape):
            raise ArtifactError(
                f"The row codes in {folder} are not int8 rows, a scale each, along the axes.", kind="corrupt"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and dimensions of a query."""
        return int(self._rows.shape[0]), int(self._rest.size)

    def scores(self, query: np.ndarray) -> np.ndarray:
        """Return about every row's inner product with a (dim,) float32 unit query, (n,) float32; all cores take part."""
        import torch

        turned = self._axes @ query
        coarse = float(np.abs(turned).max()) / _MOST or 1.0
        fine = coarse / (2 * _MOST)
        high = np.rint(turned / coarse)
        columns = np.zeros((turned.size, _COLUMNS), dtype=np.int8)
        columns[:, 0], columns[:, 1] = high, np.rint((turned - high * coarse) / fine)
        asked, rest = torch.from_numpy(columns), np.float32(self._rest @ query)
        rows = _tensor(self._rows)
        found = np.empty(self._scales.size, dtype=np.float32)

        def score(start: int) -> None:
            part = slice(start, start + _ROWS_AT_ONCE)
            product: Any = torch._int_mm(rows[part], asked)
            sums = product[:, 0].float() * coarse + product[:, 1].float() * fine
            found[part] = sums.numpy() * self._scales[part] + rest

        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="row-codes") as pool:
            list(pool.map(score, range(0, found.size, _ROWS_AT_ONCE)))
        return found


def write_row_codes(store: VectorStore, folder: Path, *, axes: np.ndarray) -> None:
    """Write the files of a store, block by block; plain writes, so that a full disk is an error and not a signal.

    Parameters
    ----------
    axes
        (width, dim) float32, orthonormal rows, turned so that none is much stronger than the others.
    """
    scales = np.empty(store.n, dtype=np.float32)
    total = np.zeros(store.dim)
    with (folder / "rows.npy").open("wb") as stream:
        header = {"descr": "|i1", "fortran_order": False, "shape": (store.n, len(axes))}
        np.lib.format.write_array_header_1_0(stream, header)
        for start, block in rows_in_order(store):
            turned = block @ axes.T
            scale = np.maximum(np.abs(turned).max(axis=1) / _MOST, np.finfo(np.float32).tiny)
            scales[start : start + len(block)] = scale
            stream.write(np.rint(turned / scale[:, None]).astype(np.int8).data)
            total += block.sum(axis=0, dtype=np.float64)
    mean = (total / store.n).astype(np.float32)
    for name, array in {"scales": scales, "axes": axes, "rest": mean - (axes @ mean) @ axes}.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _tensor(rows: np.ndarray) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a memory map is a plain array to read
        return torch.from_numpy(np.asarray(rows))
