"""Nearest rows to a query: the protocol of every engine, and the exact twin that judges them.

All engines answer alike: ``min(k, n_allowed)`` hits, scores from :meth:`VectorStore.exact_scores`, descending, equal scores
in row order. Two engines can differ only in which rows they find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from atlas.errors import InputError
from atlas.vectors.store import VectorStore

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


class ExactIndex:
    """Scans every allowed row; the oracle of the other engines and the engine of small or narrow questions."""

    def __init__(self, store: VectorStore) -> None:
        self.store = store

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.store.n)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.store.dim)

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
        found = [
            self._best(query, scores, rows=rows, k=n_hits)
            for start in range(0, unit.shape[0], self._step(rows))
            for query, scores in self._scored(unit[start : start + self._step(rows)], rows)
        ]
        return stack_hits(found)

    def _step(self, rows: np.ndarray | None) -> int:
        return int(max(1, _SCORE_BLOCK_BYTES // (4 * max(1, self.n if rows is None else rows.size))))

    def _scored(self, unit: np.ndarray, rows: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(zip(unit, self.store.scores(unit, rows), strict=True))

    def _best(
        self, query: np.ndarray, scores: np.ndarray, *, rows: np.ndarray | None, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if 0 < k < scores.size:
            kth = np.partition(scores, scores.size - k)[scores.size - k]
            near = np.flatnonzero(scores >= kth - _PRODUCT_ERROR)
        else:
            near = np.arange(scores.size)
        return rank_rows(self.store, query, near if rows is None else rows[near], k=k)


def rank_rows(store: VectorStore, query: np.ndarray, rows: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Score candidate ``rows`` exactly and return the best ``k`` as (rows int64, scores float32)."""
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
