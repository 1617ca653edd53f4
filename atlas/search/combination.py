"""Weighted combinations of phrases and samples as one query vector.

Phrases and samples lie in different cones of the space: a phrase's cosines with all samples are small and close together, a
sample's are large and wide apart, so raw vectors would let the samples decide alone. Each part is therefore standardised over
the atlas first. The wish is to rank samples x by the sum over parts of

    w_j * (t_j - mu).x / sqrt(t_j' S t_j)

with mean mu and covariance S of the atlas' vectors. Up to a constant that no ranking sees, this is v.x with
v = sum_j w_j t_j / sqrt(t_j' S t_j): again one vector, which the index searches like any other. A phrase alone keeps its own
vector, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.errors import InputError
from atlas.vectors.moments import Moments

_NOTHING_LEFT = 1e-5
"""Parts cancel out when less than this share of their summed lengths is left: float32 vectors hold no more."""
_NO_SPREAD = 1e-9


def strengths(vectors: Sequence[np.ndarray], weights: Sequence[float], *, moments: Moments) -> np.ndarray:
    """Return the factor w_j / sqrt(t_j' S t_j) of each part, (n_parts,) float64.

    Where a part's cosines do not differ over the atlas (an atlas of one sample), its weight alone counts.
    """
    spreads = np.array([moments.deviation(vector) for vector in vectors])
    return np.asarray(weights, dtype=np.float64) / np.where(spreads > _NO_SPREAD, spreads, 1.0)


def combine(vectors: Sequence[np.ndarray], factors: np.ndarray) -> np.ndarray:
    """Return the unit vector that ranks by the weighted sum, (dim,) float32.

    Parameters
    ----------
    vectors
        (dim,) float32 unit vectors of the parts.
    factors
        (n_parts,) as :func:`strengths` gives them.

    Raises
    ------
    InputError
        If the parts cancel out.
    """
    if len(vectors) == 1:
        return vectors[0] if factors[0] > 0 else -vectors[0]
    total = factors @ np.stack(vectors).astype(np.float64)
    length = float(np.linalg.norm(total))
    if length <= _NOTHING_LEFT * float(np.abs(factors).sum()):
        raise InputError("The parts of the question cancel out: nothing is left to search for. Change a weight.")
    return (total / length).astype(np.float32)
