"""The map: two coordinates a sample, laid out by UMAP on the atlas' own neighbour graph, started from its principal axes.

In: vectors and :class:`NeighbourGraph`. Out: (n, 2) float32. Seeded and single-threaded below ``parallel_above`` rows, so the
same graph gives the same map on one machine; above it threads race and the result says that it is not deterministic.

Source: McInnes, Healy and Melville, "UMAP", 2018, as implemented by umap-learn.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from atlas.landscape.neighbours import NeighbourGraph
from atlas.vectors.moments import Moments
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

_INIT_EXTENT = 10.0
_INIT_NOISE = 1e-4


@dataclass(frozen=True)
class LayoutParameters:
    """How to draw the map.

    Attributes
    ----------
    min_dist, spread
        UMAP's: how tightly points may lie, and the scale of the whole.
    n_epochs
        Optimisation passes; ``None``: 500 up to 10,000 samples, else 200.
    seed
        Seed of the optimisation.
    parallel_above
        From this many samples on the optimisation runs in parallel, unseeded.
    umap_from
        Smaller atlases are drawn by their two principal axes: UMAP has nothing to unfold there.
    """

    min_dist: float = 0.1
    spread: float = 1.0
    n_epochs: int | None = None
    seed: int = 0
    parallel_above: int = 100_000
    umap_from: int = 30


@dataclass(frozen=True)
class Layout:
    """Coordinates (n, 2) float32, how they were made, and whether the same input gives them again."""

    xy: np.ndarray
    method: str
    deterministic: bool


def lay_out(store: VectorStore, graph: NeighbourGraph, parameters: LayoutParameters | None = None) -> Layout:
    """Return the map of an atlas of any size, one sample included."""
    chosen = parameters or LayoutParameters()
    start = principal_plane(store)
    if store.n < chosen.umap_from:
        return Layout(start, "pca", deterministic=True)
    parallel = store.n >= chosen.parallel_above
    with warnings.catch_warnings():
        # numba and umap warn about their own compilation, parallelism and optional parts; none of it is for our users
        warnings.simplefilter("ignore")
        xy = _umap(graph, start, chosen, parallel=parallel)
    return Layout(xy, "umap", deterministic=not parallel)


def principal_plane(store: VectorStore) -> np.ndarray:
    """Return the samples' first two principal components, (n, 2) float32, scaled to at most 10; signs are fixed.

    The axes are those of ``Moments.of``: of all samples, or of many drawn from a large atlas.
    """
    moments = Moments.of(store)
    _, axes = np.linalg.eigh(moments.covariance)
    plane = axes[:, ::-1][:, :2]
    plane = plane * np.where(plane[np.abs(plane).argmax(axis=0), np.arange(plane.shape[1])] < 0, -1.0, 1.0)
    xy = np.zeros((store.n, 2))
    for first, block in rows_in_order(store):
        xy[first : first + block.shape[0], : plane.shape[1]] = block @ plane.astype(np.float32) - moments.mean @ plane
    extent = float(np.abs(xy).max())
    scaled: np.ndarray = (xy * (_INIT_EXTENT / extent if extent > 0 else 1.0)).astype(np.float32)
    return scaled


def keep_compiled() -> None:
    """Let what numba compiles for UMAP's graph and layout be kept on disk: the next process saves ten seconds of compiling.

    Where nothing can be written each process compiles anew, as it does without.
    """
    from umap import layouts, umap_

    named = ("smooth_knn_dist", "compute_membership_strengths", "_nb_optimize_layout_euclidean_single_epoch")
    compiled = (getattr(module, name, None) for module in (umap_, layouts) for name in named)
    with suppress(RuntimeError):  # numba found no folder to write to
        for function in compiled:
            if function is not None:  # names of UMAP's own, which another version may not have
                function.enable_caching()


def _umap(graph: NeighbourGraph, start: np.ndarray, parameters: LayoutParameters, *, parallel: bool) -> np.ndarray:
    from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding

    keep_compiled()
    random_state = np.random.RandomState(parameters.seed)
    # equal samples must not start at one point: UMAP divides by the extent of the start
    start = start + random_state.normal(scale=_INIT_NOISE, size=start.shape).astype(np.float32)
    own = np.arange(graph.n, dtype=np.int32)[:, None]
    indices = np.hstack([own, graph.indices])
    distances = np.hstack([np.zeros_like(own, np.float32), np.clip(1.0 - graph.similarities, 0.0, 2.0)])
    connections, _, _ = fuzzy_simplicial_set(
        start, graph.k + 1, random_state, "cosine", knn_indices=indices, knn_dists=distances.astype(np.float32)
    )
    a, b = find_ab_params(parameters.spread, parameters.min_dist)
    xy, _ = simplicial_set_embedding(
        data=start,
        graph=connections,
        n_components=2,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=parameters.n_epochs or (500 if graph.n <= 10_000 else 200),
        init=start,
        random_state=random_state,
        metric="cosine",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
        parallel=parallel,
    )
    return np.ascontiguousarray(xy, dtype=np.float32)
