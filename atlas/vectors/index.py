"""Nearest rows to a query: the protocol of every engine, and the exact twin that judges them.

All engines answer alike: ``min(k, n_allowed)`` hits, scores from :meth:`VectorStore.exact_scores`, descending, equal scores
in row order. Two engines can differ only in which rows they find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from atlas.errors import InputError
from atlas.vectors.store import CHUNK_BYTES, VectorStore

_SCORE_BLOCK_BYTES = 128 << 20
# Float32 matrix products of unit vectors are wrong by less than this; candidates this near the k-th are scored exactly.
_PRODUCT_ERROR = 1e-5


@dataclass(frozen=True)
class Neighbours:
    """The hits of each query.

    Attributes
    ----------
    rows
        (n_queries, k) int64 row numbers.
    scores
        (n_queries, k) float32 exact cosines, descending, ties in row order.
    """

    rows: np.ndarray
    scores: np.ndarray


class VectorIndex(Protocol):
    """An engine that finds the nearest rows of one atlas."""

    @property
    def n(self) -> int:
        """Number of rows."""
        ...

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        ...

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the ``min(k, n_allowed)`` nearest rows of each query.

        Parameters
        ----------
        queries
            (n_queries, dim) or (dim,) finite numbers; scaled to unit length here.
        k
            Number of hits, at least 1.
        allowed
            (n,) bool; rows that may be returned. Default: all.
        """
        ...


class StoreEngine:
    """What all engines over the vectors of a release share: their size."""

    store: VectorStore

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.store.n)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.store.dim)


class ExactIndex(StoreEngine):
    """Scans every allowed row; the oracle of the other engines and the engine of small or narrow questions."""

    def __init__(self, store: VectorStore) -> None:
        self.store = store

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the nearest rows by a scan; see :class:`VectorIndex`.

        Raises
        ------
        InputError
            If the queries are empty, not finite, of another dimension or of zero length, ``k`` < 1, or the mask does not fit.
        """
        unit = check_queries(queries, self.dim)
        rows = allowed_rows(allowed, self.n)
        n_hits = check_k(k, self.n if rows is None else rows.size)
        near = _Candidates(len(unit), n_hits)
        for found, scores in self._scored(unit, rows):
            near.offer(found, scores)
        return stack_hits(
            [rank_rows(self.store, query, mine, k=n_hits) for query, mine in zip(unit, near.rows(), strict=True)]
        )

    def _scored(self, unit: np.ndarray, rows: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (row numbers, (n_queries, m) float32 scores) over all allowed rows: each is read once, whatever is asked."""
        step = max(1, min(CHUNK_BYTES // (4 * self.dim), _SCORE_BLOCK_BYTES // (4 * len(unit))))
        n = self.n if rows is None else rows.size
        for start in range(0, n, step):
            stop = min(start + step, n)
            block = self.store.block(start, stop) if rows is None else self.store.rows(rows[start:stop])
            yield (np.arange(start, stop) if rows is None else rows[start:stop]), unit @ block.T


class _Candidates:
    """The rows of a stream of scores that may be among the best ``k`` of each query once scores are exact."""

    def __init__(self, n_queries: int, k: int) -> None:
        self._k = k
        self._least = np.full((n_queries, 1), -np.inf, dtype=np.float32)
        self._kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(n_queries)]

    def offer(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Take the (m,) rows with their (n_queries, m) scores."""
        for query in np.flatnonzero((scores >= self._least).any(axis=1)).tolist() if self._k else []:
            mine = scores[query] >= self._least[query]
            kept = self._kept[query]
            kept.append((rows[mine], scores[query, mine]))
            if sum(part.size for part, _ in kept) >= 2 * self._k:
                self._narrow(query)

    def rows(self) -> list[np.ndarray]:
        """Return each query's candidates."""
        return [np.concatenate([part for part, _ in kept]) if kept else np.empty(0, np.int64) for kept in self._kept]

    def _narrow(self, query: int) -> None:
        rows, scores = (np.concatenate(parts) for parts in zip(*self._kept[query], strict=True))
        least = np.partition(scores, scores.size - self._k)[scores.size - self._k] - 2 * _PRODUCT_ERROR
        self._least[query] = least
        self._kept[query] = [(rows[scores >= least], scores[scores >= least])]


def may_be_best(products: np.ndarray, k: int) -> np.ndarray:
    """Return which of more than ``k`` float32 products may belong to the best ``k`` once they are exact, (m,) bool."""
    kth = np.partition(products, products.size - k)[products.size - k]
    return np.asarray(products >= kth - 2 * _PRODUCT_ERROR)


def rank_rows(store: VectorStore, query: np.ndarray, rows: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Score candidate ``rows`` exactly and return the best ``k`` as (rows int64, scores float32)."""
    if (
        rows.size > k > 0
    ):  # exact sums cost several times what products cost: they are for those that may be among the best
        rows = rows[may_be_best(store.scores(query, rows), k)]
    scores = store.exact_scores(query, rows)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order].astype(np.int64), scores[order]


def stack_hits(found: list[tuple[np.ndarray, np.ndarray]]) -> Neighbours:
    """Join the hits of single queries, all of one length."""
    return Neighbours(np.stack([rows for rows, _ in found]), np.stack([scores for _, scores in found]))


def check_queries(queries: np.ndarray, dim: int) -> np.ndarray:
    """Return the queries as (n_queries, dim) float32 of unit length.

    Raises
    ------
    InputError
        If there is no query, or one is not finite, of another dimension, or has no direction.
    """
    given = np.atleast_2d(np.asarray(queries, dtype=np.float64))
    if given.ndim != 2 or given.shape[0] == 0 or given.size == 0:
        raise InputError(f"The question holds no vector (shape {np.shape(queries)}). Give at least one row.")
    if given.shape[1] != dim:
        raise InputError(
            f"The query has {given.shape[1]} dimensions and this atlas {dim}: it was embedded by another model. "
            "Embed it with the model of the release."
        )
    if not np.isfinite(given).all():
        raise InputError("The query vector holds NaN or infinite values. Check the expression it was made from.")
    length = np.linalg.norm(given, axis=1, keepdims=True)
    if not (length > 0).all():
        raise InputError("A query vector has length zero, so it points nowhere. Check the input it was made from.")
    unit: np.ndarray = (given / length).astype(np.float32)
    return unit


def check_k(k: int, n_available: int) -> int:
    """Return the number of hits to give: ``k``, or fewer where fewer rows are available.

    Raises
    ------
    InputError
        If ``k`` is below 1.
    """
    if k < 1:
        raise InputError(f"{k} hits were asked for. Ask for at least 1.")
    return min(int(k), n_available)


def allowed_rows(allowed: np.ndarray | None, n: int) -> np.ndarray | None:
    """Return the row numbers a mask allows, ascending; ``None`` where it allows all.

    Raises
    ------
    InputError
        If the mask is not (n,) bool.
    """
    if allowed is None:
        return None
    if allowed.shape != (n,) or allowed.dtype != np.bool_:
        raise InputError(f"The filter has shape {allowed.shape} and type {allowed.dtype}; expected ({n},) bool.")
    rows = np.flatnonzero(allowed)
    return None if rows.size == n else rows
