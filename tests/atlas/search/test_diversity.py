"""Spread hits against choosing them one by one with plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sample_tables import sample_table

from atlas.errors import InputError
from atlas.opened.categories import Memberships
from atlas.search.diversity import Ranked, Ranker, Spread, spread_hits
from atlas.vectors.store import VectorStore, write_vectors

N, DIM = 2_500, 16


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> VectorStore:
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(12, DIM))
    vectors = groups[rng.integers(0, 12, N)] + 0.5 * rng.normal(size=(N, DIM))
    path = tmp_path_factory.mktemp("spread") / "vectors.npy"
    write_vectors(path, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return VectorStore.open(path)


@pytest.fixture(scope="module")
def series() -> Memberships:
    rng = np.random.default_rng(1)
    sizes = np.minimum(rng.zipf(1.5, N), 40)
    rows = [{"series_ids": [f"GSE{n}"] if n % 7 else [f"GSE{n}", "GSE1"]} for n in sizes]
    return sample_table([*rows[:-1], {"series_ids": []}]).series


def ranker(store: VectorStore) -> Ranker:
    scores = store.scores(store.rows(np.array([3]))[0] + 0.1)
    order = np.lexsort((np.arange(N), -scores))
    return lambda depth: Ranked(order[:depth], scores[order[:depth]])


def at_most(rows: list[int], series: Memberships, n: int, k: int) -> list[int]:
    taken: dict[int, int] = {}
    kept: list[int] = []
    for row in rows:
        own = series.codes_of(row).tolist()
        if len(kept) < k and all(taken.get(one, 0) < n for one in own):
            kept.append(row)
            taken |= {one: taken.get(one, 0) + 1 for one in own}
    return kept


@pytest.mark.parametrize("per_series", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 10, 30, 300])
def test_each_series_has_at_most_so_many_hits(store: VectorStore, series: Memberships, per_series: int, k: int) -> None:
    rank = ranker(store)
    found = spread_hits(rank, k=k, spread=Spread(per_series), series=series, store=store)
    assert found.tolist() == at_most(rank(N).rows.tolist(), series, per_series, k)


def test_nothing_asked_changes_nothing(store: VectorStore, series: Memberships) -> None:
    rank = ranker(store)
    assert spread_hits(rank, k=9, spread=Spread(), series=series, store=store).tolist() == rank(9).rows.tolist()


def marginal(ranked: Ranked, vectors: np.ndarray, *, k: int, diversity: float) -> list[int]:
    """The definition, written with loops."""
    relevance = (ranked.relevance - ranked.relevance[-1]) / (ranked.relevance[0] - ranked.relevance[-1])
    cosines = vectors @ vectors.T
    likeness = np.maximum((cosines - cosines[0].min()) / (1 - cosines[0].min()), 0)
    chosen = [0]
    while len(chosen) < k:
        gains = {
            i: (1 - diversity) * relevance[i] - diversity * max(likeness[i, j] for j in chosen)
            for i in range(len(relevance))
            if i not in chosen
        }
        chosen.append(max(gains, key=lambda i: (gains[i], -i)))
    return ranked.rows[chosen].tolist()


@pytest.mark.parametrize("diversity", [0.2, 0.5, 1.0])
def test_hits_maximise_marginal_relevance(store: VectorStore, series: Memberships, diversity: float) -> None:
    rank = ranker(store)
    ranked = rank(200)
    expected = marginal(ranked, store.rows(ranked.rows).astype(np.float64), k=12, diversity=diversity)
    found = spread_hits(rank, k=12, spread=Spread(diversity=diversity), series=series, store=store)
    assert found.tolist() == expected
    assert found[0] == rank(1).rows[0]


def test_hits_grow_unlike_with_diversity(store: VectorStore, series: Memberships) -> None:
    likeness = []
    for diversity in (0.0, 0.5, 1.0):
        rows = spread_hits(ranker(store), k=10, spread=Spread(diversity=diversity), series=series, store=store)
        vectors = store.rows(rows)
        likeness.append(float((vectors @ vectors.T).mean()))
    assert likeness[0] > likeness[1] > likeness[2]


def test_both_together_keep_the_bound_and_fill_up_from_deeper_ranks(store: VectorStore, series: Memberships) -> None:
    found = spread_hits(ranker(store), k=60, spread=Spread(3, 0.4), series=series, store=store).tolist()
    assert len(set(found)) == len(found)
    assert at_most(found, series, 3, 60) == found
    assert len(found) == len(at_most(ranker(store)(N).rows.tolist(), series, 3, 60))


def test_ranking_without_rows_or_spread_of_scores(store: VectorStore, series: Memberships) -> None:
    empty = Ranked(np.empty(0, np.int64), np.empty(0))
    spread = Spread(1, 0.5)
    assert spread_hits(lambda depth: empty, k=5, spread=spread, series=series, store=store).size == 0
    equal = Ranked(np.array([4, 9]), np.array([0.5, 0.5]))
    found = spread_hits(lambda depth: equal, k=5, spread=Spread(diversity=0.5), series=series, store=store)
    assert found.tolist() == [4, 9]


@pytest.mark.parametrize(
    ("spread", "k"),
    [
        (Spread(0), 1), (Spread(-1), 1), (Spread(diversity=1.1), 1), (Spread(diversity=-0.1), 1),
        (Spread(diversity=float("nan")), 1), (Spread(diversity=0.1), 1_001),
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(spread: Spread, k: int) -> None:
    with pytest.raises(InputError):
        spread.check(k)
