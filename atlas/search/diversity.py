"""Hits spread over studies and over the space, instead of twenty near copies of one.

``per_series`` keeps at most so many hits of each series, going deeper down the ranking until enough are found. ``diversity``
trades relevance against likeness to the hits already chosen. Both keep the first rank as it is.

Source: maximal marginal relevance after Carbonell and Goldstein (1998). Both sides are scaled over the candidates, for samples
of one tissue all have cosines near 1 with each other and nearly the same cosine with a phrase: relevance from the last candidate
(0) to the first (1), likeness from the candidate least like the first hit (0) to the same vector (1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from atlas.errors import InputError
from atlas.opened.categories import Memberships
from atlas.vectors.store import VectorStore

MAX_DIVERSE_K = 1_000
"""Most hits that can be chosen by likeness to one another: each choice looks at all candidates again."""
_CANDIDATES = 200
_FIRST_RANKS = 100
_DEEPEN = 8
_MIN_WIDTH = 1e-6


@dataclass(frozen=True)
class Spread:
    """How hits are spread.

    Attributes
    ----------
    per_series
        Most hits of one series; a sample of several series counts in each. ``None``: any number.
    diversity
        0 ranks by relevance alone, 1 by unlikeness to the hits above alone.
    """

    per_series: int | None = None
    diversity: float = 0.0

    def check(self, k: int) -> Spread:
        """Return itself, or raise ``InputError`` where a value is out of bounds."""
        if self.per_series is not None and self.per_series < 1:
            raise InputError(f"per_series is {self.per_series}; expected 1 or more.", details={"seen": self.per_series})
        if not (math.isfinite(self.diversity) and 0 <= self.diversity <= 1):
            raise InputError(f"diversity is {self.diversity}; expected 0 to 1.", details={"seen": str(self.diversity)})
        if self.diversity > 0 and k > MAX_DIVERSE_K:
            raise InputError(
                f"k is {k}; with diversity at most {MAX_DIVERSE_K} hits are chosen. Ask for fewer, or use per_series alone.",
                details={"seen": k, "maximum": MAX_DIVERSE_K},
            )
        return self


@dataclass(frozen=True)
class Ranked:
    """The beginning of a ranking: (m,) int64 rows, best first, and (m,) relevance that never rises."""

    rows: np.ndarray
    relevance: np.ndarray


Ranker = Callable[[int], Ranked]
"""Gives the first ``depth`` rows of a ranking, fewer only where it ends."""


def spread_hits(rank: Ranker, *, k: int, spread: Spread, series: Memberships, store: VectorStore) -> np.ndarray:
    """Return up to ``k`` rows of a ranking, spread as asked, (m,) int64.

    Fewer than ``k`` are returned only if the whole ranking holds no more that ``per_series`` lets pass.
    """
    if spread.per_series is None and not spread.diversity:
        return rank(k).rows
    # where order stays relevance's own, a deeper ranking only goes on; the first ranks are had at the price of any search
    depth = max(10 * k, _CANDIDATES) if spread.diversity else max(k, _FIRST_RANKS)
    ranked = rank(depth)
    room = _Room(series, spread.per_series)
    chosen = _marginal(ranked, room, k=k, diversity=spread.diversity, store=store) if spread.diversity else []
    while True:
        seen = set(chosen)
        for row in ranked.rows.tolist():
            if len(chosen) == k:
                break
            if row not in seen and room.take(row):
                chosen.append(row)
        if len(chosen) == k or ranked.rows.size < depth:
            return np.array(chosen, dtype=np.int64)
        depth *= _DEEPEN
        ranked = rank(depth)


class _Room:
    """How many more hits each series may have."""

    def __init__(self, series: Memberships, per_series: int | None) -> None:
        self._series = series
        self._per_series = per_series
        self._taken = np.zeros(len(series.values), dtype=np.int64)

    def fits(self, row: int) -> bool:
        return self._per_series is None or not (self._taken[self._series.codes_of(row)] >= self._per_series).any()

    def take(self, row: int) -> bool:
        """Count a row in if it fits."""
        if not self.fits(row):
            return False
        self._taken[self._series.codes_of(row)] += 1
        return True


def _marginal(ranked: Ranked, room: _Room, *, k: int, diversity: float, store: VectorStore) -> list[int]:
    """Choose from the candidates one by one: relevant, and unlike what was chosen before."""
    relevance = ranked.relevance.astype(np.float64)
    if not relevance.size:
        return []
    width = float(relevance[0] - relevance[-1])
    relevance = (relevance - relevance[-1]) / width if width > 0 else np.ones(relevance.size)
    vectors = store.rows(ranked.rows)
    lowest = float((vectors @ vectors[0]).min())
    nearest = np.zeros(relevance.size)
    open_ = np.ones(relevance.size, dtype=bool)
    chosen: list[int] = []
    best = 0  # the first rank stays
    while len(chosen) < k:
        open_[best] = False
        if room.take(int(ranked.rows[best])):
            chosen.append(int(ranked.rows[best]))
            likeness = (vectors @ vectors[best] - lowest) / max(1.0 - lowest, _MIN_WIDTH)
            nearest = np.maximum(nearest, likeness)
        if not open_.any():
            break
        gain = (1.0 - diversity) * relevance - diversity * nearest
        best = int(np.argmax(np.where(open_, gain, -np.inf)))
    return chosen
