"""Principal axes of an atlas, and how many of them a shortlist needs.

In: a store. Out: orthonormal axes of the second moment of its rows: without centring, inner products stay inner products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.vectors.index import Neighbours
from atlas.vectors.store import VectorStore

SAMPLE_ROWS = 65_536
"""Rows that axes, lists and codes are learned from, if there are as many."""


@dataclass(frozen=True)
class Axes:
    """Axes and the rows they were measured on.

    Attributes
    ----------
    directions
        (dim, dim) float32, orthonormal rows, strongest first.
    sample
        (m, dim) float32 rows of the atlas.
    n
        Number of rows of the atlas.
    """

    directions: np.ndarray
    sample: np.ndarray
    n: int

    @classmethod
    def measure(cls, store: VectorStore, *, seed: int) -> Axes:
        """Measure the axes of a store on ``SAMPLE_ROWS`` of its rows."""
        sample = store.rows(sample_rows(store.n, seed=seed))
        moment = (sample.T @ sample).astype(np.float64)
        _, axes = np.linalg.eigh(moment)
        return cls(np.ascontiguousarray(axes[:, ::-1].T, dtype=np.float32), sample, int(store.n))

    def width(
        self, store: VectorStore, queries: np.ndarray, truth: Neighbours, *, shortlist: int, wanted: float
    ) -> int:
        """Return the fewest axes, a multiple of 64, on which shortlists hold the true hits.

        A hit is held if no more than ``shortlist`` rows score higher on these axes alone; how many do is counted on the
        sample, where others of the hit's study are as frequent as in the atlas.

        Parameters
        ----------
        queries
            (m, dim) float32 unit rows.
        truth
            Their exact hits, best first.
        wanted
            Least share of the hits, at 10 and at the full depth, that shortlists must hold.
        """
        dim = int(self.directions.shape[0])
        ends: list[int] = [*range(64, dim, 64), dim]
        asked, sample = queries @ self.directions.T, self.sample @ self.directions.T
        hits = store.rows(truth.rows.ravel()).reshape(*truth.rows.shape, dim) @ self.directions.T
        limit = shortlist * len(sample) / self.n
        others = np.zeros((len(queries), len(sample)), dtype=np.float32)
        own = np.zeros(truth.rows.shape, dtype=np.float32)
        for start, end in zip([0, *ends], ends, strict=False):
            part = slice(start, end)
            others += asked[:, part] @ sample[:, part].T
            own += np.einsum("qd,qkd->qk", asked[:, part], hits[:, :, part])
            ordered = np.sort(others, axis=1)
            above = [
                row.size - np.searchsorted(row, scores, side="right") for row, scores in zip(ordered, own, strict=True)
            ]
            held = np.stack(above) <= limit
            if min(held[:, :10].mean(), held.mean()) >= wanted:
                return end
        return dim


def sample_rows(n: int, *, seed: int) -> np.ndarray:
    """Return up to ``SAMPLE_ROWS`` row numbers drawn by seed, ascending."""
    if n <= SAMPLE_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, SAMPLE_ROWS, replace=False))
