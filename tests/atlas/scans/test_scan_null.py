"""The null: counts against plain loops, honest p-values for true nulls, power where there is something to find."""

from __future__ import annotations

import numpy as np
import pytest
from scan_fixtures import DIM, ToyAtlas, random_terms, toy_atlas

from atlas.errors import AtlasError
from atlas.scans.background import distinct_ideas, unit
from atlas.scans.null import MAX_COSINE, Null
from atlas.scans.sweep import sweep
from atlas.scans.testing import benjamini_hochberg, share_of_false_sweeps


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyAtlas:
    return toy_atlas(tmp_path_factory.mktemp("toy"))


def test_counts_are_those_of_loops(toy: ToyAtlas) -> None:
    background, terms = random_terms(300, seed=1), random_terms(20, seed=2)
    null = Null(background, toy.ground, size=120, max_cosine=0.3)
    measured, all_measured = toy.ground.effects(terms), toy.ground.effects(background)
    found = null._count(terms, measured)
    places = np.column_stack([all_measured.mean, np.log(all_measured.deviation)])
    scale = places.std(axis=0)
    for row, term in enumerate(terms):
        allowed = np.flatnonzero(background @ term < 0.3)
        own = np.array([measured.mean[row], np.log(measured.deviation[row])])
        distance = (((places[allowed] - own) / scale) ** 2).sum(axis=1)
        chosen = allowed[np.argsort(distance)[:120]]
        assert found.n[row] == 120
        for k in range(measured.effects.shape[1]):
            above = (all_measured.effects[chosen, k] >= measured.effects[row, k]).sum()
            assert found.cell_p[row, k] == pytest.approx((1 + above) / 121)
        values, value = null.statistics[chosen], null.statistic(measured.effects[[row]])[0]
        assert found.p[row] == pytest.approx((1 + (values >= value).sum()) / 121)


def test_fewer_background_terms_than_wanted_are_all_used(toy: ToyAtlas) -> None:
    background, terms = random_terms(50, seed=1), random_terms(3, seed=2)
    tests = Null(background, toy.ground, max_cosine=2.0).test(terms, toy.ground.effects(terms))
    assert tests.n.tolist() == [50, 50, 50]
    assert (tests.p >= 1 / 51).all()


def test_a_terms_relatives_are_no_null_for_it(toy: ToyAtlas) -> None:
    rng = np.random.default_rng(0)
    term = random_terms(1, seed=3)
    relatives = unit(term + 0.05 * rng.standard_normal((40, DIM)))
    null = Null(np.vstack([random_terms(200, seed=4), relatives]), toy.ground)
    others = (random_terms(200, seed=4) @ term[0] < MAX_COSINE).sum()
    assert (relatives @ term[0] >= MAX_COSINE).all()
    assert null.test(term, toy.ground.effects(term)).n.tolist() == [others]


def test_a_family_of_extreme_terms_is_no_finding_for_each_of_its_members(toy: ToyAtlas) -> None:
    """Its relatives are missing in each member's null alone, so the first count makes twelve findings of one family."""
    rng = np.random.default_rng(7)
    others = unit(random_terms(3_000, seed=5) * np.where(np.arange(DIM) < 4, 0.3, 1.0))  # little of the clusters' axes
    family = unit(np.eye(DIM)[[1] * 12] + 0.02 * rng.standard_normal((12, DIM)))
    null = Null(np.vstack([others, family]), toy.ground)
    naive = share_of_false_sweeps(null.first_counts, n_terms=30)
    calibration = null.calibration(n_terms=30)
    assert naive > 0.08
    assert calibration.share_of_null_sweeps <= 0.06
    assert calibration.n_held_out == 3_012
    assert calibration.ks_p_value > 0.01


def test_a_term_along_a_cluster_is_found_there(toy: ToyAtlas) -> None:
    axis = np.eye(DIM, dtype=np.float32)[[1]]
    terms = np.vstack([axis, random_terms(10, seed=8)])
    scan = sweep(toy.store, toy.ground, terms, background=random_terms(1_500, seed=9))
    assert scan.measured.effects[0].argmax() == 1
    assert scan.q[0] < 0.05
    assert scan.q_cells[0, 1] < 0.05
    assert (scan.q_cells[0] >= scan.q_within[0] - 1e-12).all()
    assert np.isnan(scan.q_cells[~scan.selected]).all()
    assert scan.streamed.low[0, 1] > 0


def test_sweeps_of_random_terms_seldom_find_anything(toy: ToyAtlas) -> None:
    background = random_terms(1_500, seed=9)
    null = Null(background, toy.ground)
    hits = 0
    for seed in range(60):
        terms = random_terms(20, seed=100 + seed)
        hits += bool((benjamini_hochberg(null.test(terms, toy.ground.effects(terms)).p) < 0.05).any())
    assert hits <= 9  # P(more) < .003 at a true share of .05


def test_clusters_of_random_terms_are_found_at_the_level(toy: ToyAtlas) -> None:
    null = Null(random_terms(1_500, seed=9), toy.ground)
    assert null.calibration(n_terms=10).share_of_null_terms == pytest.approx(0.05, abs=0.03)


def test_distinct_ideas_leaves_one_of_each_family() -> None:
    rng = np.random.default_rng(0)
    centres = unit(np.eye(DIM)[:6])
    vectors = unit(np.repeat(centres, 300, axis=0) + 0.02 * rng.standard_normal((1_800, DIM)))
    kept = distinct_ideas(vectors)
    assert sorted(np.unique(kept // 300)) == list(range(6))
    assert len(kept) == 6
    near = vectors @ vectors[kept].T
    assert (near.max(axis=1) >= 0.85).all()


def test_progress_ends_at_one_and_its_error_ends_the_work(toy: ToyAtlas) -> None:
    shares: list[float] = []
    terms, background = random_terms(4, seed=1), random_terms(100, seed=2)
    sweep(toy.store, toy.ground, terms, background=background, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)

    def stop(share: float) -> None:
        raise AtlasError("stop")

    with pytest.raises(AtlasError, match="stop"):
        sweep(toy.store, toy.ground, terms, background=background, progress=stop)


def test_a_cut_above_one_keeps_every_text() -> None:
    vectors = unit(np.repeat(np.eye(DIM)[:3], 4, axis=0))
    assert distinct_ideas(vectors, cut=2.0).tolist() == list(range(12))
    assert len(distinct_ideas(vectors, cut=0.85)) == 3
