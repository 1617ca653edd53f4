"""From rough scores to exact ones.

The rows that look best are read; they show how wrong rough scores are, and of the others only those are read that can still win.
"""

from __future__ import annotations

import numpy as np

from atlas.vectors.index import may_be_best, rank_rows
from atlas.vectors.store import VectorStore

_FIRST = 64
_ERRORS = 3.0  # standard deviations of the rough scores' error that a row is given the benefit of
_TINY = 1e-5


def rank_rough(
    store: VectorStore, query: np.ndarray, rows: np.ndarray, rough: np.ndarray, *, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best ``k`` of the candidates as (rows int64, exact scores float32).

    The first ``2 k`` rows are read; of the others, those whose rough score, corrected by the mean error seen and three of its
    deviations, reaches the k-th score found. A question for ten hits so reads tens of rows, not the whole shortlist.

    Parameters
    ----------
    rows, rough
        Candidates, at least ``k``, best rough score first.
    """
    first = max(_FIRST, 2 * k)
    if rows.size > first:
        scores = store.scores(query, rows[:first])
        errors = scores - rough[:first]
        kth = np.partition(scores, first - k)[first - k]
        reach = kth - float(errors.mean()) - _ERRORS * float(errors.std()) - _TINY
        rest = rows[first : int(np.searchsorted(-rough, -reach, side="right"))]
        scores = np.concatenate([scores, store.scores(query, rest)])
        rows = rows[: scores.size][may_be_best(scores, k)]
    return rank_rows(store, query, rows, k=k)
