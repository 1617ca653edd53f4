"""Reciprocal rank fusion of ranked lists (Cormack, Clarke and Buettcher, 2009)."""

from __future__ import annotations

from collections.abc import Sequence

RRF_CONSTANT = 60
"""The constant of the paper; it damps the weight of the very first ranks."""


def reciprocal_rank_fusion(lists: Sequence[Sequence[int]], *, k: int) -> list[int]:
    """Return the ``k`` rows with the largest sum of 1 / (60 + rank), ties by row.

    Parameters
    ----------
    lists
        Rows in rank order, best first; a row may be missing from a list.
    """
    scores: dict[int, float] = {}
    for ranked in lists:
        for rank, row in enumerate(ranked, start=1):
            scores[row] = scores.get(row, 0.0) + 1.0 / (RRF_CONSTANT + rank)
    return sorted(scores, key=lambda row: (-scores[row], row))[:k]
