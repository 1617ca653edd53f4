"""Clusters of the neighbour graph by the Leiden algorithm.

In: :class:`NeighbourGraph`. Out: one cluster number a row, 0 for the largest, ties by the smallest row.

Source: Traag, Waltman and van Eck, "From Louvain to Leiden", 2019; modularity with a resolution as in Reichardt and
Bornholdt, 2006. The graph is the union of the directed neighbour lists, undirected, without weights by default: cosines of
one model lie in a narrow band, so as weights they say almost nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from atlas.errors import ConfigError
from atlas.landscape.neighbours import NeighbourGraph

Engine = Literal["igraph", "leidenalg"]


@dataclass(frozen=True)
class CommunityParameters:
    """How to cluster.

    Attributes
    ----------
    engine
        ``igraph`` (its C core, fast) or ``leidenalg`` (``RBConfigurationVertexPartition``).
    resolution
        Larger gives more and smaller clusters.
    seed
        Seed of the algorithm.
    n_iterations
        Passes; further passes improve little.
    """

    engine: Engine = "igraph"
    resolution: float = 1.0
    seed: int = 0
    n_iterations: int = 10

    def check(self) -> None:
        """Raise ``ConfigError`` if the engine is unknown or the resolution not positive."""
        if self.engine not in _ENGINES:
            raise ConfigError(f"There is no clustering engine {self.engine!r}. Choose one of: {', '.join(_ENGINES)}.")
        if not self.resolution > 0:
            raise ConfigError(f"The resolution is {self.resolution}; expected a number above 0.")


def find_communities(graph: NeighbourGraph, parameters: CommunityParameters | None = None) -> np.ndarray:
    """Return the cluster of every row, (n,) int32.

    Raises
    ------
    ConfigError
        If the engine is unknown or the resolution not positive.
    """
    return communities_of_edges(graph.n, graph.edges, parameters or CommunityParameters())


def communities_of_edges(n: int, edges: np.ndarray, parameters: CommunityParameters) -> np.ndarray:
    """Return the cluster of every row of an undirected graph, (n,) int32, numbered by size.

    Parameters
    ----------
    edges
        (n_edges, 2) int64, each pair once.

    Raises
    ------
    ConfigError
        If the engine is unknown or the resolution not positive.
    """
    import igraph

    parameters.check()
    return number_by_size(_ENGINES[parameters.engine](igraph.Graph(n=n, edges=edges), parameters))


def modularity(graph: NeighbourGraph, clusters: np.ndarray) -> float:
    """Return the modularity of a clustering at resolution 1; 0 for a graph without edges."""
    n_edges, n_clusters = len(graph.edges), int(clusters.max()) + 1
    if not n_edges:
        return 0.0
    ends = clusters[graph.edges]
    inside = np.bincount(ends[ends[:, 0] == ends[:, 1], 0], minlength=n_clusters) / n_edges
    degrees = np.bincount(ends.ravel(), minlength=n_clusters) / (2 * n_edges)
    return float((inside - degrees**2).sum())


def number_by_size(membership: np.ndarray) -> np.ndarray:
    """Renumber clusters: 0 the largest, ties by smallest row; (n,) int32."""
    _, first, inverse, sizes = np.unique(membership, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(sizes.size, dtype=np.int32)
    rank[np.lexsort((first, -sizes))] = np.arange(sizes.size, dtype=np.int32)
    return rank[inverse]


def _igraph(network: Any, parameters: CommunityParameters) -> np.ndarray:
    import igraph

    igraph.set_random_number_generator(random.Random(parameters.seed))  # noqa: S311 - clustering, not cryptography
    try:
        found = network.community_leiden(
            objective_function="modularity",
            resolution=parameters.resolution,
            n_iterations=parameters.n_iterations,
        )
    finally:
        igraph.set_random_number_generator(random)
    return np.asarray(found.membership, dtype=np.int64)


def _leidenalg(network: Any, parameters: CommunityParameters) -> np.ndarray:
    import leidenalg

    found = leidenalg.find_partition(
        network,
        leidenalg.RBConfigurationVertexPartition,
        resolution_parameter=parameters.resolution,
        seed=parameters.seed,
        n_iterations=parameters.n_iterations,
    )
    return np.asarray(found.membership, dtype=np.int64)


_ENGINES: dict[str, Any] = {"igraph": _igraph, "leidenalg": _leidenalg}
