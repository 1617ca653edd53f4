"""Mean and covariance of an atlas' vectors: how far the cosines of any query spread over all samples, without a scan.

In and out: ``moments.npz`` of a release, float32 arrays ``mean`` and ``covariance``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.store import VectorStore

MOMENTS_FILE = "moments.npz"

MAX_ROWS = 65_536
"""Rows the moments are taken from: every row of a smaller atlas, else this many drawn by seed (deviations err by < 0.5 %)."""
_BLOCK = 4_096


@dataclass(frozen=True)
class Moments:
    """First and second moments.

    Attributes
    ----------
    mean
        (dim,) float64.
    covariance
        (dim, dim) float64.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, store: VectorStore, *, max_rows: int = MAX_ROWS, seed: int = 0) -> Moments:
        """Measure them on the rows of a store, block by block."""
        rows = np.arange(store.n)
        if store.n > max_rows:
            rows = np.sort(np.random.default_rng(seed).choice(store.n, max_rows, replace=False))
        total, products = np.zeros(store.dim), np.zeros((store.dim, store.dim))
        for start in range(0, rows.size, _BLOCK):
            block = store.rows(rows[start : start + _BLOCK])
            total += block.sum(axis=0, dtype=np.float64)
            products += (block.T @ block).astype(np.float64)
        mean = total / max(rows.size, 1)
        return cls(mean, products / max(rows.size, 1) - np.outer(mean, mean))

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Read ``moments.npz``.

        Raises
        ------
        ArtifactError
            If it is missing or unreadable, or its arrays do not fit together.
        """
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                mean, covariance = (arrays[name].astype(np.float64) for name in ("mean", "covariance"))
        except FileNotFoundError as error:
            raise ArtifactError(f"{path} does not exist. Verify the release.", kind="missing") from error
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise ArtifactError(f"{path} holds no moments ({error}). Verify the release.", kind="corrupt") from error
        if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
            raise ArtifactError(
                f"{path} holds a mean of shape {mean.shape} and a covariance of shape {covariance.shape}.",
                kind="corrupt",
            )
        return cls(mean, covariance)

    def save(self, path: Path) -> None:
        """Write ``moments.npz``; equal moments give equal bytes."""
        np.savez(path, mean=self.mean.astype(np.float32), covariance=self.covariance.astype(np.float32))

    def deviation(self, query: np.ndarray) -> float:
        """Return the standard deviation of a query's inner products with all samples, sqrt(q' S q)."""
        wide = query.astype(np.float64)
        return float(np.sqrt(max(wide @ self.covariance @ wide, 0.0)))


def sums_by(block: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (distinct keys, sum of the rows of each in float32), for keys of the rows of a block."""
    from scipy.sparse import csr_array  # adds rows at the speed of memory; numpy's own ways are twenty times slower

    places, inverse = np.unique(keys, return_inverse=True)
    ones = np.ones(inverse.size, dtype=np.float32)
    members = csr_array((ones, (inverse, np.arange(inverse.size))), shape=(places.size, inverse.size))
    return places, members @ block
