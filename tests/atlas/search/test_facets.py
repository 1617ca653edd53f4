"""Facets and sorted pages against counting and sorting one sample at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import sample_table

from atlas.answers import FacetCounts
from atlas.catalog.filters import SampleFilter
from atlas.errors import InputError
from atlas.opened.listing import SORTS, Listing
from atlas.opened.samples import SampleTable
from atlas.search.facets import FACETS, count_facets

RNG = np.random.default_rng(3)
ROWS: list[dict[str, Any]] = [
    {
        "sample_id": f"GSM{RNG.integers(0, 1000):04d}-{i}",
        "series_ids": [f"GSE{n}" for n in RNG.integers(0, 6, RNG.integers(0, 3))],
        "title": str(RNG.choice(["Heart b", "heart A", "", "Zebra", "éclair"])),
        "tissue": str(RNG.choice(["heart", "left heart", "blood", "Liver", ""])),
        "source_name": str(RNG.choice(["heart", "blood", ""])),
        "organism": str(RNG.choice(["Homo sapiens", "Mus musculus"])),
        "unit": str(RNG.choice(["counts", "tpm"])),
        "molecule": str(RNG.choice(["total RNA", "polyA RNA", ""])),
        "id_kind": str(RNG.choice(["GSM", "run"])),
        "cluster": int(RNG.integers(0, 5)),
        "n_genes_detected": int(RNG.integers(0, 20)),
    }
    for i in range(150)
]


SAMPLES = sample_table(ROWS, titles={"GSE0": ""})


@pytest.fixture
def samples() -> SampleTable:
    return SAMPLES


def passes(row: dict[str, Any], chosen: SampleFilter) -> bool:
    words = [*row["tissue"].lower().split(), "|", *row["source_name"].lower().split()]
    return (
        (not chosen.tissue or any(one in words for one in chosen.tissue))
        and (not chosen.series or bool(set(chosen.series) & set(row["series_ids"])))
        and (not chosen.organism or row["organism"].lower() in [one.lower() for one in chosen.organism])
        and all(
            not getattr(chosen, f) or row[f] in getattr(chosen, f) for f in ("unit", "molecule", "id_kind", "cluster")
        )
        and not (chosen.exclude and any(chosen.exclude in row[f].lower() for f in ("title", "source_name")))
    )


def counted(samples: SampleTable, chosen: SampleFilter, limit: int = 50) -> FacetCounts:
    def allowed(one: SampleFilter) -> np.ndarray | None:
        if one.is_empty:
            return None
        return one.mask(samples.table, series_titles=samples.series_titles, clusters=samples.cluster)

    return count_facets(samples, release="r", filters=chosen, allowed=allowed, limit=limit)


def counted_by_hand(chosen: SampleFilter, facet: str) -> list[tuple[str, int]]:
    others = replace(chosen, **{facet: ()})
    values: Counter[str] = Counter()
    for row in ROWS:
        if passes(row, others):
            values.update(set(row["series_ids"]) if facet == "series" else [str(row[facet])])
    values.pop("", None)
    order = int if facet == "cluster" else str
    return sorted(values.items(), key=lambda pair: (-pair[1], order(pair[0])))


filters = st.builds(
    SampleFilter,
    tissue=st.lists(st.sampled_from(["heart", "blood", "kidney"]), max_size=2).map(tuple),
    series=st.lists(st.sampled_from(["GSE1", "GSE4", "GSE9"]), max_size=2).map(tuple),
    organism=st.lists(st.sampled_from(["homo sapiens", "Mus musculus"]), max_size=1).map(tuple),
    exclude=st.sampled_from([None, "zebra", "éclair"]),
    cluster=st.lists(st.integers(0, 6), max_size=2).map(tuple),
    unit=st.lists(st.sampled_from(["counts", "Counts"]), max_size=1).map(tuple),
    molecule=st.lists(st.sampled_from(["total RNA", ""]), max_size=2).map(tuple),
    id_kind=st.lists(st.sampled_from(["run", "TCGA"]), max_size=1).map(tuple),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(chosen=filters)
def test_facets_are_what_counting_sample_by_sample_gives(chosen: SampleFilter) -> None:
    found = counted(SAMPLES, chosen)
    assert found.n_samples == sum(passes(row, chosen) for row in ROWS)
    for facet in FACETS:
        assert [(one.value, one.n) for one in getattr(found, facet)] == counted_by_hand(chosen, facet), facet


def test_limit_keeps_the_most_frequent_and_ties_go_by_value(samples: SampleTable) -> None:
    whole = counted(samples, SampleFilter())
    for limit in (1, 2, 3):
        cut = counted(samples, SampleFilter(), limit=limit)
        assert all(getattr(cut, facet) == getattr(whole, facet)[:limit] for facet in FACETS)
    tied = sample_table([{"tissue": one} for one in ("b", "a", "c", "b", "a", "c", "d")])
    assert [one.value for one in counted(tied, SampleFilter(), limit=2).tissue] == ["a", "b"]
    with pytest.raises(InputError, match="limit is 0"):
        counted(samples, SampleFilter(), limit=0)


def test_facets_name_clusters_and_series(samples: SampleTable) -> None:
    found = counted(samples, SampleFilter())
    assert {one.label for one in found.cluster} == {f"label {n}" for n in range(5)}
    assert {one.value: one.label for one in found.series} == {
        "GSE0": None, **{f"GSE{n}": f"title of GSE{n}" for n in range(1, 6)}
    }  # fmt: skip


def test_no_sample_has_no_facets() -> None:
    found = counted(sample_table([{}, {}]), SampleFilter(tissue=("heart",)))
    assert (found.n_samples, found.tissue, found.series, found.cluster) == (0, (), (), ())


def value_of(row: dict[str, Any], key: str) -> Any:
    if key == "series":
        return ",".join(row["series_ids"]).lower()
    value = row["sample_id" if key == "accession" else key]
    return value.lower() if isinstance(value, str) else value


@pytest.mark.parametrize("sort", [*SORTS, *(f"-{one}" for one in SORTS)])
def test_pages_join_to_the_sorted_list(samples: SampleTable, sort: str) -> None:
    key, allowed = sort.removeprefix("-"), np.array([row["unit"] == "counts" for row in ROWS])
    rows = np.flatnonzero(allowed).tolist()
    if key == "row":
        expected = rows[::-1] if sort.startswith("-") else rows
    else:
        filled = [row for row in rows if value_of(ROWS[row], key) != ""]
        filled.sort(key=lambda row: value_of(ROWS[row], key), reverse=False)
        if sort.startswith("-"):  # equal ones keep the order of rows
            values = sorted({value_of(ROWS[row], key) for row in filled}, reverse=True)
            filled = [row for value in values for row in filled if value_of(ROWS[row], key) == value]
        expected = filled + [row for row in rows if value_of(ROWS[row], key) == ""]
    listing = Listing(samples)
    pages = [listing.page(sort, allowed=allowed, offset=start, limit=7) for start in range(0, len(rows) + 7, 7)]
    assert [row for page, _ in pages for row in page.tolist()] == expected
    assert {n_total for _, n_total in pages} == {len(rows)}


@pytest.mark.parametrize("sort", ["", "-", "--row", "rows", "title; DROP"])
def test_unknown_order_is_refused(samples: SampleTable, sort: str) -> None:
    with pytest.raises(InputError, match="cannot be sorted"):
        Listing(samples).page(sort, allowed=None, offset=0, limit=1)


def test_page_far_behind_the_end_is_empty(samples: SampleTable) -> None:
    rows, n_total = Listing(samples).page("title", allowed=None, offset=10**12, limit=5)
    assert (rows.size, n_total) == (0, 150)
    with pytest.raises(InputError):
        Listing(samples).page("title", allowed=None, offset=-1, limit=5)
