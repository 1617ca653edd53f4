"""Axes, lists, rough ranks and row codes against plain oracles."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from vector_cases import stored, study_vectors

import atlas.vectors.store as store_module
from atlas.errors import ArtifactError
from atlas.vectors.axes import Axes
from atlas.vectors.faiss_index import IndexParameters
from atlas.vectors.index import ExactIndex, rank_rows
from atlas.vectors.inverted_lists import InvertedLists, build_lists
from atlas.vectors.row_codes import RowCodes, write_row_codes
from atlas.vectors.scored_rows import rank_rough
from atlas.vectors.store import VectorStore


@pytest.fixture
def store(tmp_path: Path) -> VectorStore:
    return stored(tmp_path, study_vectors(2_000, 96))


def test_axes_are_orthonormal_and_hold_the_strongest_first(store: VectorStore) -> None:
    axes = Axes.measure(store, seed=0)
    np.testing.assert_allclose(axes.directions @ axes.directions.T, np.eye(96), atol=1e-5)
    strength = ((store.block(0, store.n) @ axes.directions.T) ** 2).mean(axis=0)
    assert (np.diff(strength) <= 1e-6).all()


def test_width_is_the_first_at_which_shortlists_hold_the_hits(store: VectorStore) -> None:
    axes = Axes.measure(store, seed=0)
    queries = store.rows(np.arange(0, 2_000, 100))
    truth = ExactIndex(store).search(queries, 30)
    width = axes.width(store, queries, truth, shortlist=60, wanted=0.99)
    rows = store.block(0, store.n)
    held = []
    for end in (64, 96):
        part = axes.directions[:end]
        scores = (queries @ part.T) @ (rows @ part.T).T
        shortlists = np.argsort(-scores, axis=1)[:, :60]
        held.append(np.mean([np.isin(hits, near).mean() for hits, near in zip(truth.rows, shortlists, strict=True)]))
    assert width == (64 if held[0] >= 0.99 else 96)
    assert axes.width(store, queries, truth, shortlist=30, wanted=1.1) == 96  # never reached: all dimensions


@pytest.fixture
def lists(store: VectorStore) -> InvertedLists:
    return build_lists(store, Axes.measure(store, seed=0), width=64, seed=0)


def test_every_row_stands_in_one_list(lists: InvertedLists, store: VectorStore) -> None:
    assert lists.sizes.sum() == store.n
    np.testing.assert_array_equal(np.bincount(lists.list_of, minlength=lists.n_lists), lists.sizes)


def test_a_scan_returns_allowed_rows_best_first_near_their_true_scores(
    lists: InvertedLists, store: VectorStore
) -> None:
    query = store.rows(np.array([17]))[0]
    allowed = np.arange(store.n) % 3 == 0
    rows, rough = lists.scan(query, n_best=200, n_lists=lists.n_lists, allowed=allowed)
    assert allowed[rows].all()
    assert len(set(rows.tolist())) == 200
    assert (np.diff(rough) <= 0).all()
    exact = store.scores(query)
    assert np.abs(exact[rows] - rough).max() < 0.1
    best = np.flatnonzero(allowed)[np.argsort(-exact[allowed])[:20]]
    assert np.isin(best, rows).mean() >= 0.95


def test_lists_without_an_allowed_row_are_passed_over(lists: InvertedLists, store: VectorStore) -> None:
    query = store.rows(np.array([0]))[0]
    farthest = lists.list_of == np.argmin(lists.centroids @ (lists.rotation @ query))
    rows, _ = lists.scan(query, n_best=10, n_lists=1, allowed=farthest)
    assert rows.size == min(10, int(farthest.sum()))
    assert farthest[rows].all()


def test_a_deeper_question_opens_more_lists() -> None:
    parameters = IndexParameters("lists", 10_000, 8, 8, 256, 16, 400, 1_000, 100)
    assert parameters.opened(10, 1.0) == 16
    assert parameters.opened(100, 1.0) == 16
    assert parameters.opened(10, 0.01) == parameters.opened(1_000, 1.0) == 29
    assert parameters.opened(10_000, 1e-9) == 256


@pytest.mark.parametrize("error", [0.0, 0.05])
def test_ranking_by_rough_scores_equals_ranking_all(store: VectorStore, error: float) -> None:
    rng = np.random.default_rng(0)
    for number in (3, 700):
        query = store.rows(np.array([number]))[0] / np.linalg.norm(store.rows(np.array([number]))[0])
        rough = store.scores(query) + 0.2 + error * rng.normal(size=store.n).astype(np.float32)
        order = np.argsort(-rough)
        for k in (1, 10, 300):
            expected = rank_rows(store, query, np.arange(store.n), k=k)
            found = rank_rough(store, query, order, rough[order], k=k)
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


def test_good_rough_scores_spare_reading(store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    query = study_vectors(1, 96, seed=4)[0]
    rough = store.scores(query)
    order = np.argsort(-rough)
    read = []
    rows = VectorStore.rows
    monkeypatch.setattr(VectorStore, "rows", lambda self, ids: read.append(len(ids)) or rows(self, ids))
    rank_rough(store, query, order, rough[order], k=10)
    assert sum(read) < 300


@pytest.mark.parametrize("width", [64, 96])
def test_row_codes_score_all_rows_nearly(store: VectorStore, width: int, tmp_path: Path) -> None:
    axes = _axes(store, width)
    write_row_codes(store, tmp_path, axes=axes)
    codes = RowCodes(tmp_path)
    assert codes.shape == (2_000, 96)
    rows = store.block(0, store.n)
    along = rows @ axes.T
    rest = (rows - along @ axes).mean(axis=0)
    for query in study_vectors(3, 96, seed=7):
        found = codes.scores(query)
        assert found.dtype == np.float32
        expected = along @ (axes @ query) + rest @ query  # what the axes leave out enters by its mean
        bound = np.abs(along).max(axis=1) / 254 * np.abs(axes @ query).sum()
        assert (np.abs(found - expected) <= bound + 1e-4).all()
        assert np.abs(found - expected).max() < 0.004
        if width == 96:
            np.testing.assert_allclose(expected, store.scores(query), atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 999, 2_000])
def test_row_codes_are_scored_part_by_part(
    store: VectorStore, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_row_codes(store, tmp_path, axes=_axes(store, 64))
    query = study_vectors(1, 96, seed=7)[0]
    whole = RowCodes(tmp_path).scores(query)
    monkeypatch.setattr("atlas.vectors.row_codes._ROWS_AT_ONCE", at_once)
    np.testing.assert_array_equal(RowCodes(tmp_path).scores(query), whole)


def _axes(store: VectorStore, width: int) -> np.ndarray:
    return build_lists(store, Axes.measure(store, seed=0), width=width, seed=0).rotation


def test_damaged_row_codes_are_refused(store: VectorStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        RowCodes(tmp_path)
    write_row_codes(store, tmp_path, axes=_axes(store, 64))
    np.save(tmp_path / "scales.npy", np.ones(3, np.float32), allow_pickle=False)
    with pytest.raises(ArtifactError, match="a scale each"):
        RowCodes(tmp_path)


@pytest.mark.parametrize("answer", ["cached", "absent", "unsupported"])
def test_scattered_rows_are_the_same_however_they_are_read(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PREAD_MIN_FILE_BYTES", 0)
    real, asked = os.preadv, []

    def preadv(file: int, buffers: list[memoryview], place: int, flags: int = 0) -> int:
        asked.append(flags)
        if flags and answer != "cached":
            raise BlockingIOError if answer == "absent" else OSError(errno.EOPNOTSUPP, "no such reads")
        return real(file, buffers, place)

    vectors = study_vectors(300, 16).astype(np.float16)
    with stored(tmp_path, vectors) as opened:
        monkeypatch.setattr(os, "preadv", preadv)
        ids = np.array([299, 0, 17, 17, 4])
        np.testing.assert_array_equal(opened.rows(ids), vectors[ids].astype(np.float32))
        first = len(asked)
        opened.rows(ids)
    assert first == {"cached": 5, "absent": 10, "unsupported": 6}[answer]
    assert len(asked) - first == {"cached": 5, "absent": 10, "unsupported": 5}[answer]
