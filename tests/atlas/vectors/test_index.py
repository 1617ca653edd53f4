"""Engines against a brute-force loop: filters, ties, sizes, bad questions; and the recall bar that guards a release."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from milvus_collections import moved_index
from vector_cases import brute_force, stored, study_vectors

import atlas.vectors.index_build as building
from atlas.errors import ArtifactError, ConfigError, InputError
from atlas.vectors.faiss_index import FaissIndex, open_index, read_parameters
from atlas.vectors.index import ExactIndex, Neighbours, VectorIndex
from atlas.vectors.index_build import IndexPlan, build_index
from atlas.vectors.recall import draw_queries, measure_recall
from atlas.vectors.store import VectorStore
from atlas.vectors.torch_index import TorchIndex

FLAT = IndexPlan(n_queries=100, threads=1)
LISTS = IndexPlan(n_queries=100, threads=1, flat_below=0, exact_below=30)


def _engine(name: str, store: VectorStore, folder: Path) -> VectorIndex:
    if name == "exact":
        return ExactIndex(store)
    if name == "torch":
        return TorchIndex(store, device="cpu")
    if name.startswith("milvus"):
        return moved_index(store, kind=name.removeprefix("milvus-"))
    folder.mkdir(exist_ok=True)
    build_index(store, folder, plan={"flat": FLAT, "lists": LISTS}[name])
    index = open_index(folder, store, threads=1)
    assert isinstance(index, FaissIndex)
    if name == "lists":  # with every list opened and every row re-ranked it must be exact
        index.parameters = replace(index.parameters, n_opened=index.parameters.n_lists, shortlist=store.n)
    return index


@pytest.fixture(params=["exact", "flat", "lists", "torch", "milvus-FLAT", "milvus-IVF_SQ8"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], VectorIndex]:
    return lambda vectors: _engine(request.param, stored(tmp_path, vectors), tmp_path / "index")


def test_search_equals_brute_force_with_and_without_filter(make: Callable[[np.ndarray], VectorIndex]) -> None:
    index = make(study_vectors(400, 16))
    store: VectorStore = index.store  # type: ignore[attr-defined]
    queries = np.concatenate([study_vectors(4, 16, seed=3), store.rows(np.array([7, 390]))])
    wide = np.random.default_rng(0).random(400) < 0.5
    narrow = np.zeros(400, bool)
    narrow[[1, 77, 300]] = True
    for allowed in (None, wide, narrow):
        found = index.search(queries, 10, allowed=allowed)
        assert found.rows.dtype == np.int64
        assert found.scores.dtype == np.float32
        for query, rows in zip(queries, found.rows, strict=True):
            assert rows.tolist() == brute_force(store, query, 10, allowed)


def test_search_gives_every_allowed_row_where_k_is_larger(make: Callable[[np.ndarray], VectorIndex]) -> None:
    index = make(study_vectors(300, 8))
    allowed = np.arange(300) % 2 == 0
    found = index.search(study_vectors(2, 8, seed=1), 10_000, allowed=allowed)
    assert found.rows.shape == (2, 150)
    assert set(found.rows[0].tolist()) == set(np.flatnonzero(allowed).tolist())
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert index.search(study_vectors(1, 8), 10_000).rows.shape == (1, 300)
    assert index.search(study_vectors(1, 8), 5, allowed=np.zeros(300, bool)).rows.shape == (1, 0)


def test_equal_scores_come_in_row_order(make: Callable[[np.ndarray], VectorIndex]) -> None:
    vectors = np.tile(study_vectors(4, 8), (60, 1))  # every row 60 times
    found = make(vectors).search(vectors[2], 50)
    assert found.rows[0].tolist() == list(range(2, 2 + 50 * 4, 4))
    assert len(set(found.scores[0].tolist())) == 1


def test_a_row_scores_the_same_in_any_batch_and_under_any_filter(make: Callable[[np.ndarray], VectorIndex]) -> None:
    index = make(study_vectors(500, 24))
    queries = study_vectors(7, 24, seed=5)
    together = index.search(queries, 20)
    allowed = np.ones(500, bool)
    allowed[together.rows[3][1]] = False
    alone = index.search(queries[3], 19, allowed=allowed)
    keep = together.rows[3] != together.rows[3][1]
    assert alone.rows[0].tolist() == together.rows[3][keep].tolist()
    assert alone.scores[0].tobytes() == together.scores[3][keep].tobytes()


@pytest.mark.parametrize("n", [1, 2, 20])
def test_tiny_atlases_answer(n: int, make: Callable[[np.ndarray], VectorIndex]) -> None:
    vectors = study_vectors(n, 6)
    found = make(vectors).search(vectors[n - 1], 15)
    assert found.rows.shape == (1, min(n, 15))
    assert found.rows[0][0] == n - 1


def test_bad_questions_are_refused(make: Callable[[np.ndarray], VectorIndex]) -> None:
    index = make(study_vectors(30, 8))
    good = study_vectors(1, 8)
    bad = [
        np.empty((0, 8)),
        np.ones((1, 9)),
        np.full((1, 8), np.nan),
        np.full((1, 8), np.inf),
        np.zeros((1, 8)),
        np.empty(0),
    ]
    for queries in bad:
        with pytest.raises(InputError):
            index.search(queries, 5)
    for k in (0, -1):
        with pytest.raises(InputError, match="at least 1"):
            index.search(good, k)
    for mask in (np.ones(29, bool), np.ones(30, int)):
        with pytest.raises(InputError, match="filter"):
            index.search(good, 5, allowed=mask)


def test_correlated_filter_finds_rows_of_lists_that_would_not_be_probed(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(3_000, 16))
    (tmp_path / "index").mkdir()
    build_index(store, tmp_path / "index", plan=IndexPlan(n_queries=50, flat_below=0, exact_below=10, threads=1))
    index = open_index(tmp_path / "index", store)
    query = store.rows(np.array([0]))[0]
    far = store.scores(query) < np.median(store.scores(query))
    found = index.search(query, 10, allowed=far)
    assert found.rows.tolist() == ExactIndex(store).search(query, 10, allowed=far).rows.tolist()


def test_building_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(2_000, 16))
    for plan in (FLAT, LISTS):
        written = []
        for name in ("a", "b"):
            folder = tmp_path / f"{plan.flat_below}{name}"
            folder.mkdir()
            build_index(store, folder, plan=plan, text_queries=study_vectors(60, 16, seed=9))
            written.append([(folder / file).read_bytes() for file in sorted(path.name for path in folder.iterdir())])
        assert written[0] == written[1]


def test_large_atlas_takes_inverted_lists_and_records_its_recall(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(3_000, 32))
    chosen = build_index(store, tmp_path, plan=LISTS, text_queries=study_vectors(80, 32, seed=4))
    assert chosen.kind == "lists"
    assert chosen.n_queries == {"rows": 50, "phrases": 50}
    depths = {f"{kind}@{k}" for kind in ("rows", "phrases") for k in (10, 100, 1_000)}
    filtered = {f"{kind}@10 of {share} %" for kind in ("rows", "phrases") for share in (1, 50)}
    assert set(chosen.recall) == depths | filtered
    assert min(chosen.recall[f"{kind}@{k}"] for kind in ("rows", "phrases") for k in (10, 100)) >= 0.995
    assert chosen.lowest_recall >= 0.98
    assert chosen == read_parameters(tmp_path)


def test_an_index_below_the_bar_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(tmp_path, study_vectors(2_000, 16))
    shuffled = stored(_folder(tmp_path, "other"), study_vectors(2_000, 16, seed=8))
    good = building._flat
    monkeypatch.setattr(building, "_flat", lambda _: good(shuffled))  # an index of other vectors finds other rows
    with pytest.raises(ArtifactError, match="recall") as caught:
        build_index(store, _folder(tmp_path, "index"), plan=FLAT)
    assert caught.value.details["recall"]["rows@10"] < 0.9
    assert list((tmp_path / "index").iterdir()) == []


def test_recall_counts_missed_hits(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(400, 8))
    queries = draw_queries(store, None, n=20, seed=0)
    truth = ExactIndex(store).search(queries.vectors, 100)

    class HalfBlind(ExactIndex):
        def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Neighbours:
            return super().search(queries, k, allowed=np.arange(self.n) % 2 == 0)

    measured = measure_recall(HalfBlind(store), queries, truth)
    expected = np.mean([(row % 2 == 0).mean() for row in truth.rows])
    assert measured["rows@100"] == pytest.approx(expected, abs=0.02)
    assert measure_recall(ExactIndex(store), queries, truth) == {"rows@10": 1.0, "rows@100": 1.0}


def test_opening_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(100, 8))
    folder = _folder(tmp_path, "index")
    with pytest.raises(ArtifactError, match=r"index\.json does not exist"):
        open_index(folder, store)
    build_index(store, folder, plan=FLAT)
    other = stored(_folder(tmp_path, "other"), study_vectors(101, 8))
    with pytest.raises(ArtifactError, match="not of one build"):
        open_index(folder, other)
    (folder / "index.faiss").write_bytes((folder / "index.faiss").read_bytes()[:50])
    with pytest.raises(ArtifactError, match="FAISS"):
        open_index(folder, store)
    (folder / "index.faiss").unlink()
    with pytest.raises(ArtifactError, match="does not exist"):
        open_index(folder, store)
    parameters = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**parameters, "schema": 99}))
    with pytest.raises(ArtifactError, match="schema 99"):
        open_index(folder, store)
    (folder / "index.json").write_text("{")
    with pytest.raises(ArtifactError, match="not a list of index parameters"):
        open_index(folder, store)


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(20, 8))
    with pytest.raises(ConfigError, match=r"cannot use the device 'nowhere:7'.*search_engine = faiss"):
        TorchIndex(store, device="nowhere:7")


def test_near_ties_of_half_precision_are_told_apart(tmp_path: Path) -> None:
    """Rows that half-precision products cannot tell apart are ordered by their exact scores."""
    base = study_vectors(1, 64)[0]
    noise = np.random.default_rng(0).normal(size=(500, 64)) * 2e-3
    store = stored(tmp_path, base + noise)
    found = TorchIndex(store, device="cpu").search(base, 20)
    expected = ExactIndex(store).search(base, 20)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
