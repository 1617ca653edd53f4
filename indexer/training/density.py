"""Sample weights by density: a sample in a crowd counts less than one that stands alone.

In: vectors of samples. Out: one weight a sample, mean 1. Two ways to the local radius: that of densMAP, exact, for up to
20,000 samples; and the distance to the nearest of a drawn reference, for any number, in blocks of bounded memory.
Source: CellWhisperer (Schaefer et al. 2025) weighs samples by ``exp(radius)`` plus a tenth of its mean, cut at the 99.9th
percentile and divided by the mean; the radius is densMAP's (Narayan et al. 2021). Ours needs no layout, for the radius is
settled before it.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from atlas.expression.log import log_expression
from atlas.landscape.layout import keep_compiled
from indexer.training.sources.source import PairSource, Rows

_EPSILON = 1e-8  # densMAP's own
_BLOCK_ROWS = 1_024
_FEWEST_REFERENCE = 5
EXACT_UP_TO = 20_000
"""Samples up to which :func:`radii` takes densMAP's own radius."""

Vectors = npt.NDArray[np.floating]
Values = npt.NDArray[np.float64]


def density_weights(radius: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return ``(n,)`` float32 weights of mean 1 from log radii ``(n,)``."""
    spread = np.exp(np.asarray(radius, dtype=np.float64))
    raised = spread + spread.mean() / 10
    cut = np.clip(raised, 0.0, np.quantile(raised, 0.999))
    return np.asarray(cut / cut.mean(), dtype=np.float32)


def radii(vectors: Vectors, *, n_neighbors: int = 30, seed: int = 0) -> Values:
    """Return ``(n,)`` log local radii: densMAP's for up to 20,000 samples, else :func:`neighbour_radii`.

    Raises
    ------
    InputError
        If there are fewer than three samples, or a value is not finite.
    """
    if len(vectors) <= EXACT_UP_TO:
        return densmap_radii(vectors, n_neighbors=n_neighbors, seed=seed)
    return neighbour_radii(vectors, n_neighbors=n_neighbors, seed=seed)


def densmap_radii(vectors: Vectors, *, n_neighbors: int = 30, seed: int = 0) -> Values:
    """Return densMAP's radius: the log of the mean squared distance to the neighbours, by membership in UMAP's graph."""
    from sklearn.neighbors import NearestNeighbors

    _check(vectors)
    k = min(n_neighbors, len(vectors) - 1)
    state = np.random.RandomState(seed)
    vectors = np.asarray(vectors, dtype=np.float32)
    # exact: the approximate search that UMAP would begin takes longer to compile than these distances take
    away, nearest = NearestNeighbors(n_neighbors=k - 1, algorithm="brute").fit(vectors).kneighbors()
    own = np.arange(len(vectors))[:, None]  # UMAP counts a sample as its own first neighbour
    nearest, away = np.hstack([own, nearest]), np.hstack([np.zeros_like(own), away]).astype(np.float32)
    with warnings.catch_warnings():
        # numba and umap warn about their own compilation and optional parts; none of it is for our users
        warnings.simplefilter("ignore")
        from umap.umap_ import fuzzy_simplicial_set

        keep_compiled()
        graph, _, _, distances = fuzzy_simplicial_set(
            vectors, k, state, "euclidean", knn_indices=nearest, knn_dists=away, return_dists=True
        )
    membership = graph.tocsr()
    squared = distances.tocsr().astype(np.float64).power(2)
    total = np.asarray(membership.sum(axis=1)).ravel()
    spread = np.asarray(membership.multiply(squared).sum(axis=1)).ravel()
    return np.asarray(np.log(_EPSILON + spread / np.maximum(total, _EPSILON)), dtype=np.float64)


def neighbour_radii(vectors: Vectors, *, n_neighbors: int = 30, reference: int = 20_000, seed: int = 0) -> Values:
    """Return the log of the mean squared distance to the nearest samples of a drawn reference.

    With a reference of a share f of all samples, ``f * n_neighbors`` of them (five at least) span the ball that holds
    ``n_neighbors`` of all. Brute force, ``n * reference`` distances, 1,024 rows at a time; ``vectors`` may be a memory map.
    """
    _check(vectors)
    n = len(vectors)
    drawn = np.sort(np.random.default_rng(seed).choice(n, size=min(reference, n), replace=False))
    base = np.asarray(vectors[drawn], dtype=np.float32)
    base_square = (base.astype(np.float64) ** 2).sum(axis=1)
    k = min(max(_FEWEST_REFERENCE, round(n_neighbors * drawn.size / n)), drawn.size - 1)
    out = np.empty(n, dtype=np.float64)
    for start in range(0, n, _BLOCK_ROWS):
        block = np.asarray(vectors[start : start + _BLOCK_ROWS], dtype=np.float32)
        squared = (block.astype(np.float64) ** 2).sum(axis=1)[:, None] + base_square - 2.0 * (block @ base.T)
        own = np.flatnonzero((drawn >= start) & (drawn < start + len(block)))
        squared[drawn[own] - start, own] = np.inf  # a sample is no neighbour of itself
        nearest = np.partition(squared, k - 1, axis=1)[:, :k]
        out[start : start + len(block)] = np.log(_EPSILON + np.maximum(nearest, 0.0).mean(axis=1))
    return out


def item_weights(source: PairSource, rows: Rows, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return ``(n_items,)`` weights of a source of samples by the density of expression among ``rows``, for ``source.weigh``.

    Items beyond ``rows`` weigh 1: nothing of them is read, for they may be held out.
    """
    weights = np.ones(len(source), dtype=np.float32)
    wanted = np.asarray(rows, dtype=np.int64)
    weights[wanted] = density_weights(radii(expression_vectors(source, wanted, seed=seed), seed=seed))
    return weights


def expression_vectors(
    source: PairSource, rows: Rows, *, dim: int = 64, n_fitted: int = 2_000, seed: int = 0
) -> Vectors:
    """Return ``(len(rows), dim)`` float32 principal components of log expression.

    The axes are those of ``n_fitted`` drawn among ``rows``; a gene that an item did not measure counts with its mean. Items
    are read in blocks.
    """
    wanted = np.asarray(rows, dtype=np.int64)
    places = np.random.default_rng(seed).choice(len(wanted), size=min(n_fitted, len(wanted)), replace=False)
    drawn = wanted[np.sort(places)]
    fitted = np.concatenate(
        [log_expression(source.expression(drawn[i : i + _BLOCK_ROWS])) for i in range(0, drawn.size, _BLOCK_ROWS)]
    )
    known = ~np.isnan(fitted)
    mean = np.divide(
        np.nansum(fitted, axis=0), known.sum(axis=0), out=np.zeros(fitted.shape[1]), where=known.any(axis=0)
    )
    centred = np.where(known, fitted - mean, 0.0).astype(np.float32)
    gram = centred @ centred.T  # fewer items than genes
    values, left = np.linalg.eigh(gram.astype(np.float64))
    kept = [i for i in np.argsort(-values)[:dim] if values[i] > 1e-6 * values[-1]]
    axes = (centred.T @ left[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    out = np.zeros((len(wanted), len(kept)), dtype=np.float32)
    for start in range(0, len(wanted), _BLOCK_ROWS):
        logs = log_expression(source.expression(wanted[start : start + _BLOCK_ROWS]))
        out[start : start + len(logs)] = np.where(np.isnan(logs), 0.0, logs - mean).astype(np.float32) @ axes
    return out


def _check(vectors: Vectors) -> None:
    if vectors.ndim != 2 or len(vectors) < 3:
        raise InputError(f"Density needs at least three samples; seen vectors of shape {vectors.shape}.")
    for start in range(0, len(vectors), 65_536):
        if not np.isfinite(vectors[start : start + 65_536]).all():
            raise InputError("A vector holds a value that is not finite; density cannot be taken.")
