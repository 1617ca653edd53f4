"""The k-nearest-neighbour graph of an atlas: ``neighbours.npz`` with indices (n, k) int32 and similarities (n, k) float32.

A row lists its nearest other rows by cosine, descending, ties in row order; never itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.index import VectorIndex, check_queries
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

_BATCH = 1_024
_PRODUCT_ERROR = 1e-5  # float32 products of unit rows are wrong by less


@dataclass(frozen=True)
class NeighbourGraph:
    """Nearest rows of each row.

    Attributes
    ----------
    indices
        (n, k) int32.
    similarities
        (n, k) float32 cosines, descending.
    """

    indices: np.ndarray
    similarities: np.ndarray

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.indices.shape[0])

    @property
    def k(self) -> int:
        """Neighbours of each row."""
        return int(self.indices.shape[1])

    @cached_property
    def edges(self) -> np.ndarray:
        """Each pair of rows of which either lists the other, once: (n_edges, 2) int64, smaller row first."""
        source = np.repeat(np.arange(self.n, dtype=np.int64), self.k)
        target = self.indices.astype(np.int64).ravel()
        pairs = np.sort(np.minimum(source, target) * self.n + np.maximum(source, target))
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # what np.unique finds in forty times the time
        return np.column_stack([pairs // max(self.n, 1), pairs % max(self.n, 1)])

    def save(self, path: Path) -> None:
        """Write as npz; the same graph gives the same bytes."""
        np.savez(path, indices=self.indices, similarities=self.similarities)

    @classmethod
    def load(cls, path: Path) -> NeighbourGraph:
        """Read and check.

        Raises
        ------
        ArtifactError
            If the file is missing, unreadable, or no neighbour graph.
        """
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                graph = cls(arrays["indices"], arrays["similarities"])
        except FileNotFoundError as error:
            raise ArtifactError(f"{path} does not exist. Verify the release.", kind="missing") from error
        except (ValueError, KeyError, OSError, BadZipFile) as error:
            raise ArtifactError(f"{path} is no neighbour graph ({error}).", kind="corrupt") from error
        graph.check(path)
        return graph

    def check(self, path: Path) -> None:
        """Raise ``ArtifactError`` unless shapes, types, order and bounds are as promised."""
        same = self.indices.shape == self.similarities.shape and self.indices.ndim == 2
        if not same or self.indices.dtype != np.int32 or self.similarities.dtype != np.float32:
            raise ArtifactError(f"{path}: indices and similarities are no (n, k) int32 and float32.", kind="corrupt")
        own = np.arange(self.n, dtype=np.int32)[:, None]
        outside = (self.indices < 0) | (self.indices >= self.n) | (self.indices == own)
        if outside.any() or not np.isfinite(self.similarities).all() or (np.diff(self.similarities, axis=1) > 0).any():
            raise ArtifactError(f"{path}: rows outside the atlas, or similarities out of order.", kind="corrupt")


def build_graph(
    index: VectorIndex, store: VectorStore, *, k: int = 15, advance: Callable[[int], None] | None = None
) -> NeighbourGraph:
    """Ask an engine for the neighbours of every row.

    Parameters
    ----------
    index
        :class:`ExactIndex` for exact neighbours; any other engine for large atlases.
    k
        Neighbours of each row; fewer where the atlas has fewer other rows.
    advance
        Called with the number of rows done since the last call.
    """
    width = min(k, store.n - 1)
    indices = np.empty((store.n, width), dtype=np.int32)
    similarities = np.empty((store.n, width), dtype=np.float32)
    for start in range(0, store.n if width else 0, _BATCH):
        rows = np.arange(start, min(start + _BATCH, store.n))
        indices[rows], similarities[rows] = neighbours_of(index, store, rows, k=width)
        if advance is not None:
            advance(rows.size)
    return NeighbourGraph(indices, similarities)


def neighbours_of(index: VectorIndex, store: VectorStore, rows: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ((m, k) int32 rows, (m, k) float32 cosines) nearest to each of ``rows``, without the row itself."""
    found = index.search(store.rows(rows), k + 1)
    other = found.rows != rows[:, None]
    # Among more than k rows with equal vectors a row may not find itself: then its last hit is the one too many.
    other[other.all(axis=1), -1] = False
    return found.rows[other].reshape(-1, k).astype(np.int32), found.scores[other].reshape(-1, k)


def graph_recall(graph: NeighbourGraph, store: VectorStore, *, n: int = 1_000, seed: int = 0) -> float:
    """Return the share of true neighbours in the graph, over ``n`` sampled rows; ties with the last count as found.

    The true ones are found in one pass over all rows.
    """
    if graph.k == 0:
        return 1.0
    rows = np.sort(np.random.default_rng(seed).choice(graph.n, min(n, graph.n), replace=False))
    queries = check_queries(store.rows(rows), store.dim)
    best = np.full((rows.size, graph.k), -np.inf, dtype=np.float32)
    for start, block in rows_in_order(store):
        scores = queries @ block.T
        here = np.flatnonzero((rows >= start) & (rows < start + block.shape[0]))
        scores[here, rows[here] - start] = -np.inf
        kept = min(graph.k, scores.shape[1])
        nearest = np.partition(scores, scores.shape[1] - kept, axis=1)[:, scores.shape[1] - kept :]
        best = np.partition(np.hstack([best, nearest]), kept, axis=1)[:, kept:]
    return float((graph.similarities[rows] >= best.min(axis=1, keepdims=True) - _PRODUCT_ERROR).mean())
