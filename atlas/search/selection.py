"""A part of the map in words and numbers: its keywords, what it is made of, and the clusters most like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from atlas.errors import NotFoundError
from atlas.map_answers import NearCluster, SelectedShare, Selection
from atlas.opened.parts import Opened

MOST_AVERAGED = 4_096
"""Samples whose mean stands for a selection. The mean of so many lies within a cosine of .999 of the mean of all."""
N_SHARES = 12
N_NEAR = 8
_SEED = 0


def describe(opened: Opened, polygon: np.ndarray) -> Selection:
    """Return what the samples within an outline have in common.

    Raises
    ------
    NotFoundError
        If no sample lies within it.
    """
    rows = opened.map_table.inside(polygon)
    if not rows.size:
        raise NotFoundError("No sample lies within this outline. Draw it around some points.")
    samples = opened.samples
    drawn = drawn_rows(rows, most=MOST_AVERAGED)
    vector = opened.clusters.centroid(drawn)
    tissues, series = samples.categories("tissue"), samples.series
    of_all = np.bincount(samples.cluster)
    clusters = [str(one) for one in range(of_all.size)]
    return Selection(
        release=opened.release.name,
        n_samples=int(rows.size),
        n_averaged=int(drawn.size),
        keywords=opened.terms.keywords(vector),
        by_cluster=_shares(
            clusters,
            np.bincount(samples.cluster[rows], minlength=of_all.size),
            of_all,
            label=lambda name: samples.names.label(int(name)),
        ),
        by_tissue=_shares([one or "not stated" for one in tissues.values], tissues.counts(rows), tissues.counts()),
        by_series=_shares(series.values, series.counts(rows), series.counts(), label=samples.series_title),
        near_clusters=_near(opened, vector),
    )


def drawn_rows(rows: np.ndarray, *, most: int) -> np.ndarray:
    """Return the rows themselves, or, of more than ``most``, a draw of that many that is the same every time; ascending."""
    if rows.size <= most:
        return rows
    return np.sort(np.random.default_rng(_SEED).choice(rows, most, replace=False, shuffle=False))


def _shares(
    values: Sequence[str], counts: np.ndarray, of_all: np.ndarray, *, label: Callable[[str], str] = lambda _: ""
) -> tuple[SelectedShare, ...]:
    """Return the most frequent values; shares are of what is counted, so those of series may name a sample twice."""
    total, whole = max(int(counts.sum()), 1), max(int(of_all.sum()), 1)
    best = np.lexsort((np.arange(counts.size), -counts))[:N_SHARES]
    return tuple(
        SelectedShare(
            value=values[i],
            label=label(values[i]),
            n=int(counts[i]),
            share=round(int(counts[i]) / total, 4),
            share_of_atlas=round(int(of_all[i]) / whole, 6),
        )
        for i in best[counts[best] > 0].tolist()
    )


def _near(opened: Opened, vector: np.ndarray) -> tuple[NearCluster, ...]:
    similarities = opened.clusters.centres @ vector
    summaries = {one.cluster: one for one in opened.clusters.summaries}
    best = [i for i in np.argsort(-similarities, kind="stable").tolist() if i in summaries][:N_NEAR]
    return tuple(
        NearCluster(
            cluster=i,
            label=summaries[i].label,
            n_samples=summaries[i].n_samples,
            similarity=round(float(similarities[i]), 4),
            x=summaries[i].x,
            y=summaries[i].y,
        )
        for i in best
    )
