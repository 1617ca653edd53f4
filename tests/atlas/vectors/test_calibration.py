"""Calibration: percentiles against plain counting, abstention, tiny atlases, damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from vector_cases import stored, study_vectors

from atlas.errors import ArtifactError, InputError
from atlas.model.quantised import Int8Rows
from atlas.vectors.calibration import DEPTH, N_TERMS, Calibration, calibrate, random_pairs, subjects, unit_rows
from atlas.vectors.index import ExactIndex
from atlas.vectors.store import VectorStore


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def raw_of(vectors: np.ndarray) -> np.ndarray:
    """What the text tower would have given: another space, one dimension more."""
    return np.hstack([vectors[:, ::-1], np.full((len(vectors), 1), 0.1, np.float32)])


@pytest.fixture
def atlas(tmp_path: Path) -> tuple[VectorStore, np.ndarray, np.ndarray]:
    """300 samples in the first 12 of 24 dimensions; off-topic phrases in the others; terms near the samples."""
    rng = np.random.default_rng(1)
    samples = np.hstack([study_vectors(300, 12), 0.05 * rng.normal(size=(300, 12))])
    phrases = np.hstack([0.05 * rng.normal(size=(80, 12)), rng.normal(size=(80, 12))])
    terms = np.hstack([study_vectors(60, 12, seed=3), 0.05 * rng.normal(size=(60, 12))])
    return stored(tmp_path, unit(samples)), unit(phrases), unit(terms)


def ask(calibration: Calibration, vector: np.ndarray, index: ExactIndex) -> bool:
    return calibration.no_match(vector, raw=raw_of(vector[None, :])[0], index=index)


def _calibrate(atlas: tuple[VectorStore, np.ndarray, np.ndarray]) -> Calibration:
    store, phrases, terms = atlas
    pairs, across = random_pairs([[f"GSE{row // 20}"] for row in range(store.n)], n_pairs=500)
    return calibrate(
        store,
        ExactIndex(store),
        phrases=phrases,
        raw_phrases=raw_of(phrases),
        vocabulary=Int8Rows.from_vectors(raw_of(terms)),
        pairs=pairs,
        pairs_across_series=across,
    )


def test_text_percentile_is_the_share_of_phrases_with_a_weaker_best_answer(
    atlas: tuple[VectorStore, np.ndarray, np.ndarray],
) -> None:
    store, phrases, _ = atlas
    calibration = _calibrate(atlas)
    master = np.load(store.path).astype(np.float64)
    cosines = phrases.astype(np.float64) @ master.T
    mean, deviation = cosines.mean(axis=0), cosines.std(axis=0)
    strongest = []
    for row in cosines:
        top = np.argsort(-row)[:DEPTH]
        strongest.append(max((row[top] - mean[top]) / deviation[top]))
    near = subjects(raw_of(phrases), unit_rows(raw_of(atlas[2])))
    strongest = np.array(strongest) + (near - near.mean()) / near.std()
    hit, score, phrase = 17, 0.02, phrases[3]
    answer = (score - mean[hit]) / deviation[hit] + (near[3] - near.mean()) / near.std()
    expected = 100 * np.mean(strongest < answer)
    raw = raw_of(phrase[None, :])[0]
    found = calibration.percentile(np.array([score]), kind="text", rows=np.array([hit]), raw=raw)
    assert found[0] == pytest.approx(expected, abs=100 / 80)
    with pytest.raises(InputError, match="rows"):
        calibration.percentile(np.array([score]), kind="text")


def test_sample_percentile_is_the_share_of_lower_pairs(atlas: tuple[VectorStore, np.ndarray, np.ndarray]) -> None:
    store, _, _ = atlas
    calibration = _calibrate(atlas)
    pairs, _ = random_pairs([[f"GSE{row // 20}"] for row in range(store.n)], n_pairs=500)
    cosines = (store.rows(pairs[:, 0]) * store.rows(pairs[:, 1])).sum(axis=1)
    for score in (-1.0, 0.0, 0.3, 0.9, 1.0):
        expected = 100 * np.mean(cosines < score)
        assert calibration.percentile(np.array([score]), kind="sample")[0] == pytest.approx(expected, abs=0.5)


def test_off_topic_phrases_match_nothing_and_topical_ones_do(atlas: tuple[VectorStore, np.ndarray, np.ndarray]) -> None:
    store, _, terms = atlas
    calibration = _calibrate(atlas)
    index = ExactIndex(store)
    rng = np.random.default_rng(9)
    off = unit(np.hstack([0.05 * rng.normal(size=(40, 12)), rng.normal(size=(40, 12))]))
    assert np.mean([ask(calibration, phrase, index) for phrase in off]) > 0.9
    assert not any(ask(calibration, store.rows(np.array([row]))[0], index) for row in (0, 150, 299))
    assert not any(ask(calibration, term, index) for term in terms[:10])


def test_a_subject_is_the_mean_cosine_with_the_nearest_terms() -> None:
    rng = np.random.default_rng(3)
    phrases, terms = rng.normal(size=(5, 7)), rng.normal(size=(20, 7))
    for phrase, found in zip(phrases, subjects(phrases, unit_rows(terms)), strict=True):
        cosines = [phrase @ term / np.linalg.norm(phrase) / np.linalg.norm(term) for term in terms]
        assert found == pytest.approx(np.mean(sorted(cosines)[-N_TERMS:]), abs=1e-6)


def test_a_phrase_that_the_head_takes_for_biology_is_known_by_what_the_text_tower_says(
    atlas: tuple[VectorStore, np.ndarray, np.ndarray],
) -> None:
    """A memory of gene sets answers nonsense with the sets that are least unlike it."""
    store, phrases, _ = atlas
    calibration, index = _calibrate(atlas), ExactIndex(store)
    sample = store.rows(np.array([150]))[0]
    assert not ask(calibration, sample, index)
    assert calibration.no_match(sample, raw=raw_of(phrases[:1])[0], index=index)


def test_without_vocabulary_the_answer_alone_decides(atlas: tuple[VectorStore, np.ndarray, np.ndarray]) -> None:
    store, phrases, _ = atlas
    calibration = _calibrate((store, phrases, np.empty((0, 24), np.float32)))
    assert calibration.table.subjects == []
    assert not ask(calibration, store.rows(np.array([5]))[0], ExactIndex(store))


def test_saving_twice_writes_the_same_bytes_and_loads_equal(
    atlas: tuple[VectorStore, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    calibration = _calibrate(atlas)
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        _calibrate(atlas).save(folder)
        written.append([(folder / file).read_bytes() for file in ("calibration.json", "calibration.npz")])
    assert written[0] == written[1]
    read = Calibration.load(tmp_path / "a" / "calibration.json")
    assert read.table == calibration.table
    assert np.array_equal(read.mean, calibration.mean)
    np.testing.assert_array_equal(read.vocabulary.codes, calibration.vocabulary.codes)
    with pytest.raises(ArtifactError, match="does not exist"):
        Calibration.load(tmp_path / "nowhere" / "calibration.json")
    text = (tmp_path / "a" / "calibration.json").read_text()
    (tmp_path / "a" / "calibration.json").write_text(json.dumps({**json.loads(text), "schema_version": 1}))
    with pytest.raises(ArtifactError, match="no calibration"):
        Calibration.load(tmp_path / "a" / "calibration.json")


def test_pairs_cross_series_where_they_can() -> None:
    pairs, across = random_pairs([["A"], ["A", "B"], ["B"], ["C"]], n_pairs=300)
    assert across
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(0, 2), (0, 3), (1, 3), (2, 3)}
    pairs, across = random_pairs([["A"]] * 3, n_pairs=50)
    assert (len(pairs), across) == (50, False)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert random_pairs([["A"]])[0].shape == (0, 2)


@pytest.mark.parametrize("n", [1, 2, 20])
def test_tiny_atlases_are_calibrated(n: int, tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(n, 8))
    pairs, across = random_pairs([["A"]] * n, n_pairs=100)
    calibration = calibrate(
        store,
        ExactIndex(store),
        phrases=study_vectors(30, 8, seed=2),
        raw_phrases=raw_of(study_vectors(30, 8, seed=2)),
        vocabulary=Int8Rows.from_vectors(raw_of(study_vectors(3, 8, seed=4))),
        pairs=pairs,
        pairs_across_series=across,
    )
    assert 0 <= calibration.percentile(np.array([0.5]), kind="sample")[0] <= 100
    assert isinstance(ask(calibration, study_vectors(1, 8)[0], ExactIndex(store)), bool)
