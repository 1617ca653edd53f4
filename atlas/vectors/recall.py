"""How often an engine finds what the exact twin finds: queries to ask, and the share of hits recovered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.vectors.index import Neighbours, VectorIndex
from atlas.vectors.store import VectorStore

_TIE = 1e-6  # a hit this near the k-th score is as good as the k-th


@dataclass(frozen=True)
class RecallQueries:
    """Queries of one or two kinds, in this order: rows of the atlas, then phrases.

    Attributes
    ----------
    vectors
        (n_rows + n_phrases, dim) float32.
    """

    vectors: np.ndarray
    n_rows: int
    n_phrases: int

    @property
    def counts(self) -> dict[str, int]:
        """Number of queries of each kind that occurs."""
        return {kind: part.stop - part.start for kind, part in self.parts.items()}

    @property
    def parts(self) -> dict[str, slice]:
        """Where the queries of each kind stand."""
        parts = {"rows": slice(0, self.n_rows), "phrases": slice(self.n_rows, self.n_rows + self.n_phrases)}
        return {kind: part for kind, part in parts.items() if part.stop > part.start}

    def some(self, n: int) -> RecallQueries:
        """Return about ``n`` of the queries, spread evenly over both kinds."""
        picked = np.arange(0, len(self.vectors), max(1, len(self.vectors) // n))
        n_rows = int((picked < self.n_rows).sum())
        return RecallQueries(self.vectors[picked], n_rows, picked.size - n_rows)


def draw_queries(store: VectorStore, phrases: np.ndarray | None, *, n: int, seed: int) -> RecallQueries:
    """Draw ``n`` queries: rows of the atlas, half of them phrases where ``phrases`` (m, dim) are given.

    An atlas of fewer rows gives each row once.
    """
    rng = np.random.default_rng(seed)
    texts = np.empty((0, store.dim), np.float32) if phrases is None else phrases.astype(np.float32)
    n_phrases = min(n // 2, texts.shape[0])
    n_rows = min(n - n_phrases, store.n)
    rows = np.sort(rng.choice(store.n, n_rows, replace=False))
    picked = np.sort(rng.choice(texts.shape[0], n_phrases, replace=False))
    return RecallQueries(np.concatenate([store.rows(rows), texts[picked]]), n_rows, n_phrases)


def measure_recall(
    index: VectorIndex,
    queries: RecallQueries,
    truth: Neighbours,
    *,
    depths: tuple[int, ...] = (10, 100),
    allowed: np.ndarray | None = None,
) -> dict[str, float]:
    """Return the mean recall of each kind of query at each depth, e.g. ``{"rows@10": 1.0, "phrases@10": 0.998}``.

    A returned row whose score ties with the last exact hit counts as found.

    Parameters
    ----------
    truth
        Answer of the exact twin to the same queries, ``max(depths)`` hits deep where there are so many rows.
    allowed
        (n,) bool, the filter of the question. Each depth is a question of its own, as it is for those who ask.
    """
    recall = {}
    for depth in depths:
        k = min(depth, truth.scores.shape[1])
        if k == 0:
            continue
        found = index.search(queries.vectors, k, allowed=allowed)
        recovered = found.scores[:, :k] >= truth.scores[:, k - 1 : k] - _TIE
        for kind, part in queries.parts.items():
            recall[f"{kind}@{depth}"] = float(recovered[part].mean())
    return recall
