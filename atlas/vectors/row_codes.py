"""All samples scored at once, nearly: eight bits a dimension, for the colours of a map.

In: a store. Out: ``rows.npy``, (n, dim) int8, and ``scales.npy``, (n,) float32: row i is about ``rows[i] * scales[i]``. A query
is split into a coarse and a fine int8 part, so that what is lost is the rows' rounding alone: half the bytes of the master, and
whole numbers that processors multiply many at a time.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

ROWS_FILE = "rows.npy"
SCALES_FILE = "scales.npy"
_MOST = 127
_COLUMNS = 8  # of the product; two are used, fewer are multiplied no faster


class RowCodes:
    """Codes of an atlas, mapped from their files.

    Raises
    ------
    ArtifactError
        If a file is missing, damaged, or the two differ in rows.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._rows = np.load(folder / ROWS_FILE, mmap_mode="c", allow_pickle=False)
            self._scales = np.load(folder / SCALES_FILE, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The row codes in {folder} cannot be read: {error}", kind="corrupt") from error
        if self._rows.dtype != np.int8 or self._rows.ndim != 2 or self._scales.shape != self._rows.shape[:1]:
            raise ArtifactError(f"The row codes in {folder} are not int8 rows with a scale each.", kind="corrupt")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of dimensions."""
        return int(self._rows.shape[0]), int(self._rows.shape[1])

    def scores(self, query: np.ndarray) -> np.ndarray:
        """Return every row's inner product with a (dim,) unit query, (n,) float32.

        It is off by half a row's scale times the sum of the query's sizes at most; in some hundred dimensions by about .001.
        """
        import torch

        coarse = float(np.abs(query).max()) / _MOST or 1.0
        fine = coarse / (2 * _MOST)
        high = np.rint(query / coarse)
        columns = np.zeros((query.size, _COLUMNS), dtype=np.int8)
        columns[:, 0], columns[:, 1] = high, np.rint((query - high * coarse) / fine)
        product: Any = torch._int_mm(_tensor(self._rows), torch.from_numpy(columns))
        sums = product[:, 0].float() * coarse + product[:, 1].float() * fine
        return np.asarray(sums.numpy() * self._scales)


def write_row_codes(store: VectorStore, folder: Path) -> None:
    """Write both files of a store, block by block; plain writes, so that a full disk is an error and not a signal."""
    scales = np.empty(store.n, dtype=np.float32)
    with (folder / ROWS_FILE).open("wb") as stream:
        header = {"descr": "|i1", "fortran_order": False, "shape": (store.n, store.dim)}
        np.lib.format.write_array_header_1_0(stream, header)
        for start, block in rows_in_order(store):
            scale = np.abs(block).max(axis=1) / _MOST
            scales[start : start + len(block)] = scale
            stream.write(np.rint(block / scale[:, None]).astype(np.int8).data)
    np.save(folder / SCALES_FILE, scales, allow_pickle=False)


def _tensor(rows: np.ndarray) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a memory map is a plain array to read
        return torch.from_numpy(np.asarray(rows))
