"""How often each value of each facet occurs among the samples that pass: counted on numbered values, without a database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from atlas.answers import FacetCounts, FacetValue
from atlas.catalog.filters import SampleFilter
from atlas.errors import InputError
from atlas.opened.categories import most_frequent
from atlas.opened.samples import SampleTable

FACETS = ("tissue", "organism", "series", "cluster", "unit", "molecule", "id_kind")
MAX_VALUES = 10_000
"""Most values listed of one facet."""


def count_facets(
    samples: SampleTable,
    *,
    release: str,
    filters: SampleFilter,
    allowed: Callable[[SampleFilter], np.ndarray | None],
    limit: int,
) -> FacetCounts:
    """Return the ``limit`` most frequent values of each facet, ties by value; empty values are not listed.

    Parameters
    ----------
    filters
        Of each facet its own condition is left aside, so that its other values can be chosen as well.
    allowed
        Gives the (n,) bool mask of a filter, or ``None`` where every sample passes.

    Raises
    ------
    InputError
        If ``limit`` is not 1 to 10,000.
    """
    if not 1 <= limit <= MAX_VALUES:
        raise InputError(f"limit is {limit}; expected 1 to {MAX_VALUES}.", details={"seen": limit})
    passing = allowed(filters)
    found: dict[str, tuple[FacetValue, ...]] = {}
    for facet in FACETS:
        mask = allowed(replace(filters, **_without(facet))) if getattr(filters, facet) else passing
        found[facet] = _values(samples, facet, mask=mask, limit=limit)
    n_samples = len(samples) if passing is None else int(passing.sum())
    return FacetCounts(release=release, n_samples=n_samples, **found)


def _without(facet: str) -> dict[str, Any]:
    return {facet: ()}


def _values(samples: SampleTable, facet: str, *, mask: np.ndarray | None, limit: int) -> tuple[FacetValue, ...]:
    if facet == "cluster":
        clusters = samples.cluster if mask is None else samples.cluster[mask]
        counts = np.bincount(clusters) if clusters.size else np.zeros(0, dtype=np.int64)
        top = sorted(np.flatnonzero(counts).tolist(), key=lambda one: (-counts[one], one))[:limit]
        return tuple(FacetValue(str(one), int(counts[one]), samples.names.label(one)) for one in top)
    if facet == "series":
        found = most_frequent(samples.series.values, samples.series.counts(mask), limit=limit)
        return tuple(FacetValue(value, n, samples.series_title(value) or None) for value, n in found)
    column = samples.categories(facet)
    return tuple(FacetValue(value, n) for value, n in most_frequent(column.values, column.counts(mask), limit=limit))
