"""A selection on a real small release against what its samples say one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from atlas.atlas import Atlas
from atlas.errors import NotFoundError
from atlas.search import selection
from atlas.settings import Settings


@pytest.fixture(scope="module")
def atlas(tiny_settings: Settings) -> Iterator[Atlas]:
    opened = Atlas.open(tiny_settings)
    yield opened
    opened.close()


def around(atlas: Atlas, cluster: int) -> np.ndarray:
    samples = atlas.opened.samples
    rows = samples.members(cluster)
    x, y = samples.x[rows].astype(float), samples.y[rows].astype(float)
    left, right, low, high = x.min() - 1e-3, x.max() + 1e-3, y.min() - 1e-3, y.max() + 1e-3
    return np.array([[left, low], [right, low], [right, high], [left, high]])


def test_selection_tells_what_its_samples_tell(atlas: Atlas) -> None:
    found = atlas.select(around(atlas, 0))
    rows = atlas.opened.map_table.inside(around(atlas, 0))
    records = atlas.opened.samples.records(rows)
    assert found.n_samples == found.n_averaged == len(records)
    assert {one.value: one.n for one in found.by_tissue} == Counter(one.tissue or "not stated" for one in records)
    assert {one.value: one.n for one in found.by_series} == Counter(name for one in records for name in one.series)
    assert {one.value: one.n for one in found.by_cluster} == Counter(str(one.cluster) for one in records)
    assert found.by_cluster[0].share_of_atlas == pytest.approx(len(atlas.opened.samples.members(0)) / 64, abs=1e-6)
    assert found.keywords == atlas.keywords([one.accession for one in records])
    assert found.near_clusters[0].cluster == 0
    assert found.near_clusters[0].similarity == pytest.approx(1.0, abs=0.02)


def test_samples_of_a_selection_come_in_pages(atlas: Atlas) -> None:
    rows = atlas.opened.map_table.inside(around(atlas, 1)).tolist()
    first, n_first = atlas.selected_samples(around(atlas, 1), limit=3)
    rest, n_rest = atlas.selected_samples(around(atlas, 1), offset=3, limit=1_000)
    assert n_first == n_rest == len(rows)
    assert [one.accession for one in (*first, *rest)] == [atlas.sample_at(row).accession for row in rows]


def test_empty_selection_and_row_that_is_not_there_are_said_so(atlas: Atlas) -> None:
    with pytest.raises(NotFoundError, match="No sample"):
        atlas.select(np.array([[1e6, 1e6], [1e6 + 1, 1e6], [1e6, 1e6 + 1]]))
    with pytest.raises(NotFoundError, match="rows 0 to 63"):
        atlas.sample_at(64)


def test_large_selection_is_drawn_the_same_every_time() -> None:
    rows = np.arange(0, 30_000, 3)
    drawn = selection.drawn_rows(rows, most=100)
    assert drawn.tolist() == selection.drawn_rows(rows, most=100).tolist()
    assert len(set(drawn.tolist())) == 100
    assert set(drawn.tolist()) <= set(rows.tolist())
    assert selection.drawn_rows(rows[:100], most=100) is not drawn


def test_scores_of_the_map_are_those_of_the_vectors(atlas: Atlas) -> None:
    plain = atlas.opened.store.block(0, 64) @ atlas.embed_texts(["heart"])[0]
    assert atlas.map_scores("heart") == pytest.approx(plain, abs=1e-6)
    whole = atlas.map("heart").score
    assert whole == pytest.approx(plain.tolist(), abs=1e-5)
    few = atlas.map("heart", most=5)
    assert few.accession == [atlas.sample_at(row).accession for row in (0, 15, 31, 47, 63)]
    assert few.score == [whole[row] for row in (0, 15, 31, 47, 63)]  # type: ignore[index]
