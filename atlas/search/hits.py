"""Rows and scores as the hits that answers show, and hits rolled up by series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from atlas.accessions import record_url
from atlas.answers import Hit, SeriesHit
from atlas.opened.samples import SampleTable


def make_hits(
    samples: SampleTable,
    rows: np.ndarray,
    *,
    scores: np.ndarray,
    percentiles: np.ndarray | None,
    lexical: Mapping[int, int] | None = None,
    first_rank: int = 1,
) -> tuple[Hit, ...]:
    """Return the hits of some rows in their order.

    Parameters
    ----------
    rows, scores
        (m,) row numbers and cosines.
    percentiles
        (m,) in [0, 100]; ``None`` where no null distribution describes the question.
    lexical
        Rank by row in the word search.
    first_rank
        Rank of the first row; later pages of a list begin higher.
    """
    ranks = {} if lexical is None else lexical
    places = [None] * rows.size if percentiles is None else np.round(percentiles, 3).tolist()
    rounded = np.round(scores.astype(np.float64), 6).tolist()
    shown = zip(rows.tolist(), samples.records(rows), rounded, places, strict=True)
    return tuple(
        Hit(rank=rank, sample=sample, score=score, percentile=percentile, lexical_rank=ranks.get(row))
        for rank, (row, sample, score, percentile) in enumerate(shown, start=first_rank)
    )


def roll_up(samples: SampleTable, hits: Sequence[Hit]) -> tuple[SeriesHit, ...]:
    """Group hits by series, in the order of each series' best hit."""
    grouped: dict[str, list[Hit]] = {}
    for hit in hits:
        for series in hit.sample.series:
            grouped.setdefault(series, []).append(hit)
    return tuple(
        SeriesHit(
            series=series,
            title=samples.series_title(series),
            url=record_url(series),
            n_hits=len(group),
            n_samples=samples.series_sizes.get(series, len(group)),
            best_rank=group[0].rank,
            best_score=group[0].score,
        )
        for series, group in grouped.items()
    )
