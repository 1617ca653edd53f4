"""Spectra of synthetic vectors: how their variance falls over the principal axes.

The participation ratio of eigenvalues summing to one is ``1 / sum(eigenvalue ** 2)``: about how many axes carry the variance.
"""

from __future__ import annotations

import numpy as np

from atlas.resources import resource_path
from atlas.vectors.store import VectorStore

SHIPPED = "shipped"
SPECTRA = (SHIPPED, "20", "80", "500")
"""The spectrum of the packaged samples' vectors, or a long-tailed one by its participation ratio."""


def participation_ratio(eigenvalues: np.ndarray) -> float:
    """Return the participation ratio of eigenvalues of any sum."""
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def spectrum(name: str, dim: int) -> np.ndarray:
    """Return ``(dim,)`` eigenvalues, descending, summing to one."""
    return _shipped(dim) if name == SHIPPED else power_law(float(name), dim)


def power_law(ratio: float, dim: int) -> np.ndarray:
    """Return eigenvalues ``rank ** -a`` over all axes, with ``a`` such that their participation ratio is ``ratio``.

    Raises
    ------
    ValueError
        If so few axes cannot have it.
    """
    if not 1 < ratio < dim:
        raise ValueError(f"{dim} axes cannot have a participation ratio of {ratio:g}; give one between 1 and {dim}")
    ranks = np.arange(1, dim + 1, dtype=np.float64)
    low, high = 0.0, 8.0  # the ratio falls from dim to about 1 between these exponents
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if participation_ratio(ranks**-middle) > ratio else (low, middle)
    values = ranks**-low
    return np.asarray(values / values.sum())


def packaged_moments() -> tuple[float, np.ndarray]:
    """Return the squared length of the packaged samples' mean vector, and the eigenvalues of their covariance, descending."""
    with VectorStore.open(resource_path("starter") / "vectors.npy") as store:
        rows = store.block(0, store.n).astype(np.float64)
    mean = rows.mean(axis=0)
    return float(mean @ mean), np.linalg.eigvalsh(np.cov(rows, rowvar=False))[::-1]


def _shipped(dim: int) -> np.ndarray:
    eigenvalues = np.clip(packaged_moments()[1], 0.0, None)
    values = np.zeros(dim)
    values[: min(dim, eigenvalues.size)] = eigenvalues[:dim]
    return values / values.sum()
