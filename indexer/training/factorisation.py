"""A truncated singular value decomposition in the metric of samples: what is kept are scores on samples, not entries.

In: a sparse matrix (terms x genes) and weights of samples. Out: :class:`Factors`, with
``samples @ matrix.T ~ (samples @ genes) @ terms.T``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_OVERSAMPLED = 20
_PASSES = 2


@dataclass(frozen=True)
class Metric:
    """L = ``ridge * I + directions @ diag(gains) @ directions.T``, the root of the samples' second moment plus a ridge.

    Attributes
    ----------
    directions
        ``(n_genes, k)`` float32, orthonormal.
    gains
        ``(k,)`` float32, what a direction has beyond the ridge.
    ridge
        Root of the ridge.
    """

    directions: np.ndarray
    gains: np.ndarray
    ridge: float

    @classmethod
    def of(cls, weights: np.ndarray, shares: np.ndarray, *, n_components: int, ridge: float) -> Metric:
        """Measure it.

        Parameters
        ----------
        weights
            ``(n_samples, n_genes)``.
        shares
            ``(n_samples,)`` share of each sample, adding up to 1.
        n_components
            Leading directions that are told apart; their second moment is scaled to trace 1.
        ridge
            Trace of the ridge, spread over all genes alike.
        """
        rooted = np.asarray(weights * np.sqrt(shares)[:, None], dtype=np.float32)
        n = min(n_components, *rooted.shape)
        _, singular, directions = truncated_svd(
            lambda x: rooted @ x, lambda x: rooted.T @ x, n_columns=rooted.shape[1], dim=n, seed=0
        )
        moment = singular**2 / np.sum(singular**2)
        root = float(np.sqrt(ridge / rooted.shape[1]))
        return cls(directions, (np.sqrt(moment + root**2) - root).astype(np.float32), root)

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows @ L`` of dense ``(n, n_genes)`` rows; L is symmetric."""
        return np.asarray(self.ridge * rows + ((rows @ self.directions) * self.gains) @ self.directions.T)

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return ``L**-1 @ columns`` of ``(n_genes, n)`` columns."""
        change = 1.0 / (self.ridge + self.gains) - 1.0 / self.ridge
        return np.asarray(columns / self.ridge + self.directions @ (change[:, None] * (self.directions.T @ columns)))


@dataclass(frozen=True)
class Factors:
    """Genes and terms in the same coordinates.

    Attributes
    ----------
    genes, terms
        ``(n_genes, dim)`` and ``(n_terms, dim)`` float32.
    """

    genes: np.ndarray
    terms: np.ndarray
    _metric: Metric
    _right: np.ndarray
    _scale: np.ndarray

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Return the ``(n, dim)`` coordinates of further ``(n, n_genes)`` terms, as if they had been in the matrix."""
        return np.asarray((self._metric.apply(rows) @ self._right) / self._scale, dtype=np.float32)


def factorise(matrix: Any, metric: Metric, *, dim: int, power: float = 1.0, seed: int = 0) -> Factors:
    """Factorise a sparse ``(n_terms, n_genes)`` matrix.

    Parameters
    ----------
    dim
        Coordinates kept.
    power
        How much of the singular values the genes take, 0 to 1; the terms take the rest. Cosines depend on it, scores do not.
    seed
        Of the random start.
    """
    crossed = matrix @ metric.directions

    def forward(columns: np.ndarray) -> np.ndarray:
        return np.asarray(
            metric.ridge * (matrix @ columns) + (crossed * metric.gains) @ (metric.directions.T @ columns)
        )

    def backward(columns: np.ndarray) -> np.ndarray:
        within = (crossed * metric.gains).T @ columns
        return np.asarray(metric.ridge * (matrix.T @ columns) + metric.directions @ within)

    left, singular, right = truncated_svd(
        forward, backward, n_columns=matrix.shape[1], dim=min(dim, *matrix.shape), seed=seed
    )
    scale = singular**power
    return Factors(
        genes=(metric.solve(right) * scale).astype(np.float32),
        terms=(left * singular ** (1.0 - power)).astype(np.float32),
        _metric=metric,
        _right=right,
        _scale=scale,
    )


def truncated_svd(
    forward: Callable[[np.ndarray], np.ndarray],
    backward: Callable[[np.ndarray], np.ndarray],
    *,
    n_columns: int,
    dim: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``(left, singular values, right)`` of the ``dim`` largest singular values of a matrix that only multiplies.

    Parameters
    ----------
    forward, backward
        The matrix, and its transpose, times dense columns.
    n_columns
        Columns of the matrix.

    Notes
    -----
    Source: Halko, Martinsson and Tropp 2011, algorithm 4.4 with two passes.
    """
    start = np.random.default_rng(seed).standard_normal((n_columns, dim + _OVERSAMPLED)).astype(np.float32)
    basis = np.linalg.qr(forward(start))[0]
    for _ in range(_PASSES):
        basis = np.linalg.qr(forward(np.linalg.qr(backward(basis))[0]))[0]
    right, singular, mixing = np.linalg.svd(backward(basis), full_matrices=False)
    signs = np.where(right[np.abs(right).argmax(axis=0), np.arange(right.shape[1])] < 0, -1.0, 1.0)
    right, left = right * signs, (basis @ mixing.T) * signs
    return (
        np.asarray(left[:, :dim], dtype=np.float32),
        np.asarray(singular[:dim], dtype=np.float32),
        np.asarray(right[:, :dim], dtype=np.float32),
    )
