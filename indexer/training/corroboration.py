"""Entries of a memory are held against what other libraries say of the same name.

A library whose sets rarely agree with others of the same name tells less, and a set of few genes can borrow from its namesakes.
Nothing but names and gene sets enters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_AT_ONCE = 512
_NAMESAKE = 0.8  # cosine from which two names mean the same
_PRIOR = 10.0  # namesakes that a library is given beforehand, of average agreement
_LEAST = 0.02


def corroborate(
    keys: np.ndarray,
    values: np.ndarray,
    libraries: Sequence[str],
    *,
    borrowed: float,
    neighbours: int = 10,
    temperature: float = 0.05,
) -> np.ndarray:
    """Return the values, each library's weighed by its agreement with others, with a share of what these say.

    Parameters
    ----------
    keys
        ``(n, key dim)`` unit vectors of the names.
    values
        ``(n, dim)`` vectors of the sets.
    libraries
        Of each set; libraries that begin alike up to the first ``_`` are editions of one and do not count as others.
    borrowed
        Length, as a share of the mean length, of what is added from the nearest names of other libraries.
    neighbours, temperature
        How those are attended to.

    Returns
    -------
    ``(n, dim)`` float32 of the same mean length as ``values``.
    """
    editions = np.array([name.partition("_")[0] for name in libraries])
    if len(np.unique(editions)) < 2:
        return np.asarray(values, dtype=np.float32)
    others, nearest = _others(keys, _unit(values), editions, neighbours=neighbours, temperature=temperature)
    agreement = (others * _unit(values)).sum(axis=1)
    told = nearest > _NAMESAKE
    weighed = np.asarray(values * _trust(agreement, told, np.array(libraries))[:, None])
    mixed = weighed + borrowed * np.linalg.norm(weighed, axis=1).mean() * others
    return np.asarray(
        mixed * (np.linalg.norm(values, axis=1).mean() / np.linalg.norm(mixed, axis=1).mean()), dtype=np.float32
    )


def _others(
    keys: np.ndarray, values: np.ndarray, editions: np.ndarray, *, neighbours: int, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the nearest names of other editions say, ``(n, dim)`` unit vectors, and the cosine of the nearest."""
    said, nearest = np.zeros(values.shape), np.zeros(len(keys))
    for start in range(0, len(keys), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        near = keys[rows] @ keys.T
        near[editions[rows][:, None] == editions[None, :]] = -np.inf
        k = min(neighbours, near.shape[1])
        places = np.argpartition(-near, k - 1, axis=1)[:, :k]
        cosines = np.take_along_axis(near, places, axis=1)
        nearest[rows] = cosines.max(axis=1)
        shares = np.exp((cosines - nearest[rows][:, None]) / temperature)
        shares /= shares.sum(axis=1, keepdims=True)
        said[rows] = np.einsum("nk,nkd->nd", shares, values[places])
    return _unit(said), nearest


def _trust(agreement: np.ndarray, told: np.ndarray, libraries: np.ndarray) -> np.ndarray:
    """Return each entry's weight: the mean agreement of its library over that of all, held to it by a prior."""
    usual = float(agreement[told].mean()) if told.any() else 1.0
    weights = np.ones(len(agreement))
    for name in np.unique(libraries):
        mine = libraries == name
        weights[mine] = (agreement[mine & told].sum() + _PRIOR * usual) / ((mine & told).sum() + _PRIOR)
    return np.asarray(np.maximum(weights, _LEAST) / max(usual, _LEAST))


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
