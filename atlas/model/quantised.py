"""Vectors as int8 codes with one scale a row: an eighth of float64 on disk, within half a step of the largest component."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LARGEST = 127.0


@dataclass(frozen=True)
class Int8Rows:
    """Row i is ``scales[i] * codes[i]``.

    Attributes
    ----------
    codes, scales
        ``(n, dim)`` int8 and ``(n,)`` float32, not negative.
    """

    codes: np.ndarray
    scales: np.ndarray

    @classmethod
    def from_vectors(cls, vectors: np.ndarray) -> Int8Rows:
        """Round ``(n, dim)`` vectors; a row of zeros keeps the scale 0."""
        scales = np.abs(vectors).max(axis=1, initial=0.0) / _LARGEST
        codes = np.rint(vectors / np.where(scales > 0, scales, 1.0)[:, None]).astype(np.int8)
        return cls(codes, scales.astype(np.float32))

    def __len__(self) -> int:
        return len(self.codes)

    def vectors(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return ``rows``, all by default, as ``(m, dim)`` float64."""
        return np.asarray(self.codes[rows].astype(np.float64) * self.scales[rows].astype(np.float64)[:, None])
