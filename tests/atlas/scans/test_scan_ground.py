"""Effects from moments against z-scores of every sample; sums, answers and intervals of the pass against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scan_fixtures import DIM, N_CLUSTERS, ToyAtlas, random_terms, toy_atlas

from atlas.scans import stream as stream_module
from atlas.scans.background import unit
from atlas.scans.ground import Ground, Members, first_series
from atlas.scans.stream import ANSWERS, SampleNull, SumNull, stream
from atlas.vectors.store import VectorStore, write_vectors


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyAtlas:
    return toy_atlas(tmp_path_factory.mktemp("toy"))


def z_scores(toy: ToyAtlas, terms: np.ndarray) -> np.ndarray:
    scores = toy.vectors @ terms.T.astype(np.float64)
    return (scores - scores.mean(axis=0)) / scores.std(axis=0)


def test_mean_z_of_clusters_is_exact_without_reading_samples(toy: ToyAtlas) -> None:
    terms = random_terms(9, seed=1)
    found = toy.ground.effects(terms)
    z = z_scores(toy, terms)
    expected = np.stack([z[toy.clusters == k].mean(axis=0) for k in range(N_CLUSTERS)], axis=1)
    np.testing.assert_allclose(found.effects, expected, atol=2e-4)
    np.testing.assert_allclose(found.mean, (toy.vectors @ terms.T).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.deviation, (toy.vectors @ terms.T).std(axis=0), rtol=1e-4)


def test_unscaled_means_are_needed(toy: ToyAtlas) -> None:
    """The mean of unit vectors is shorter than one; a cluster's direction alone would give another mean z."""
    assert (np.linalg.norm(toy.ground.centroids, axis=1) < 0.99).all()


def test_equal_samples_give_no_effect(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.npy", np.tile(random_terms(1, seed=0), (6, 1)))
    members = Members.of(np.array([0, 0, 0, 1, 1, 1]), np.arange(6))
    with VectorStore.open(tmp_path / "v.npy") as store:
        assert not Ground.measure(store, members).effects(random_terms(3, seed=1)).effects.any()


def test_members_are_counted(toy: ToyAtlas) -> None:
    members = toy.ground.members
    pairs = {(c, s) for c, s in zip(toy.clusters.tolist(), toy.studies.tolist(), strict=True)}
    assert members.pair_sizes.size == len(pairs)
    assert members.sizes.tolist() == np.bincount(toy.clusters).tolist()
    for k in range(N_CLUSTERS):
        assert members.n_studies[k] == np.unique(toy.studies[toy.clusters == k]).size
    assert members.descriptive.tolist() == [False, False, False, True]


def test_first_series_of_samples() -> None:
    series = pa.array([["B", "A"], ["A"], [], None, ["B"]], pa.list_(pa.string()))
    codes = first_series(series)
    assert codes[0] == codes[4] != codes[1]
    assert codes[2] == codes[3] not in (codes[0], codes[1])


def test_first_series_of_a_slice() -> None:
    series = pa.array([["A"], ["B", "A"], ["C"]], pa.list_(pa.string())).slice(1)
    assert first_series(series).tolist() == [0, 1]


@pytest.mark.parametrize("group", [1, 1_024])
def test_the_pass_is_what_loops_find(toy: ToyAtlas, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(stream_module, "terms_of_a_pass", lambda n_pairs: group)
    monkeypatch.setattr(stream_module, "_JACKKNIFE_BYTES", group)
    terms, background = random_terms(5, seed=1), random_terms(200, seed=2)
    measured, null, samples = toy.ground.effects(terms), toy.ground.effects(background), SampleNull.of(background)
    steps: list[int] = []
    found = stream(
        toy.store,
        toy.ground,
        terms,
        terms=measured,
        samples=samples,
        sums=SumNull.of(terms, measured, background=background, measured=null, samples=samples, seed=0),
        step=steps.append,
    )
    z = z_scores(toy, terms)
    np.testing.assert_allclose(found.sums, z.sum(axis=1), atol=2e-2)
    own = toy.vectors @ background.T
    answers = toy.vectors @ terms.T > (own.mean(axis=1) + ANSWERS * own.std(axis=1))[:, None]
    for k in range(N_CLUSTERS):
        inside = toy.clusters == k
        assert found.answering[:, k].tolist() == answers[inside].sum(axis=0).tolist()
        middle = (found.low[:, k] + found.high[:, k]) / 2
        if not toy.ground.members.descriptive[k]:
            np.testing.assert_allclose(middle, z[inside].mean(axis=0), atol=1e-3)
    assert np.isnan(found.low[:, 3]).all()
    assert sum(steps) == toy.store.n * len(terms)


def test_a_sum_is_placed_among_sums_of_as_many_random_terms(toy: ToyAtlas) -> None:
    terms, background = random_terms(6, seed=1), random_terms(300, seed=2)
    sums, percentiles = placed(toy, terms, background)
    z, own = z_scores(toy, background), z_scores(toy, terms).sum(axis=1)
    rng = np.random.default_rng(5)
    draws = np.stack([z[:, rng.integers(0, 300, 6)].sum(axis=1) for _ in range(2_000)], axis=1)
    expected = 100 * (draws < own[:, None]).mean(axis=1)
    assert np.abs(percentiles - expected).mean() < 2.5
    np.testing.assert_allclose(sums, own, atol=2e-2)


def test_no_background_is_no_error(toy: ToyAtlas) -> None:
    terms, none = random_terms(2, seed=1), np.empty((0, DIM), dtype=np.float32)
    assert np.isfinite(placed(toy, terms, none)[1]).all()


def test_axes_of_the_background_are_as_good_as_its_vectors(toy: ToyAtlas) -> None:
    """A background that varies in few directions is folded without loss: draws and thresholds equal the plain products."""
    terms = random_terms(6, seed=1)
    flat = unit(random_terms(300, seed=2)[:, :7] @ random_terms(7, seed=3) + random_terms(1, seed=4))
    samples = SampleNull.of(flat)
    assert samples.axes.shape == (DIM, 8)
    own = toy.vectors @ flat.T.astype(np.float64)
    vectors = toy.vectors.astype(np.float32)
    found = samples.thresholds(vectors @ samples.axes, vectors @ samples.mean)
    np.testing.assert_allclose(found, own.mean(axis=1) + ANSWERS * own.std(axis=1), atol=1e-5)
    measured = toy.ground.effects(flat)
    null = SumNull.of(terms, toy.ground.effects(terms), background=flat, measured=measured, samples=samples, seed=7)
    counts = np.random.default_rng(7).multinomial(6, np.full(300, 1 / 300), size=1_000)
    plain = (own / measured.deviation) @ counts.T
    own_sum = np.zeros(len(vectors), dtype=np.float32)
    folded = np.column_stack([vectors @ samples.axes, vectors @ samples.mean, own_sum, own_sum + 1]) @ null.draws
    plain = plain - counts @ (measured.mean / measured.deviation)
    np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-3)


def placed(toy: ToyAtlas, terms: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    samples, vectors = SampleNull.of(background), toy.vectors.astype(np.float32)
    null = SumNull.of(
        terms,
        toy.ground.effects(terms),
        background=background,
        measured=toy.ground.effects(background),
        samples=samples,
        seed=0,
    )
    return null.place(vectors @ null.weights, vectors @ samples.axes, vectors @ samples.mean)
