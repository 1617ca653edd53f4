"""Tests of many hypotheses against plain loops and known results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, kstest, norm
from scipy.stats import t as student

from atlas.scans.testing import (
    Uniformity,
    add_one,
    benjamini_hochberg,
    gaussian_tail,
    jackknife,
    selected_families,
    share_of_false_sweeps,
)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40))
def test_q_values_are_those_of_scipy(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(np.array(p)), false_discovery_control(p), atol=1e-12)


def test_each_row_is_a_family_of_its_own() -> None:
    p = np.random.default_rng(0).random((5, 7))
    assert np.array_equal(benjamini_hochberg(p), np.stack([benjamini_hochberg(row) for row in p]))


def test_a_p_value_is_never_zero() -> None:
    assert add_one(np.array([0, 4, 9]), 9).tolist() == [0.1, 0.5, 1.0]


def test_a_family_pays_for_its_choice() -> None:
    q = np.full((10, 3), 0.01)
    assert selected_families(q, n_selected=2)[0, 0] == pytest.approx(0.05)
    assert selected_families(q, n_selected=10)[0, 0] == pytest.approx(0.01)
    assert (selected_families(q, n_selected=0) == 1.0).all()


def test_benjamini_bogomolov_is_their_procedure() -> None:
    """q below the level after the factor is the same as BH inside the family at level * R / m."""
    rng = np.random.default_rng(1)
    p = rng.random((8, 6)) ** 3
    adjusted = selected_families(benjamini_hochberg(p), n_selected=3)
    plain = benjamini_hochberg(p) <= 0.05 * 3 / 8
    assert np.array_equal(adjusted <= 0.05, plain)


def test_tail_of_a_gaussian() -> None:
    values = np.array([0.0, 2.0, -1.0])
    found = gaussian_tail(values, mean=np.array([0.0, 1.0, 0.0]), deviation=np.array([1.0, 2.0, 0.0]))
    np.testing.assert_allclose(found, [0.5, norm.sf(0.5), 0.5])


def test_sweeps_of_uniform_p_values_find_at_the_level() -> None:
    p = (np.arange(20_000) + 0.5) / 20_000
    assert share_of_false_sweeps(p, n_terms=50, n_sweeps=2_000) == pytest.approx(0.05, abs=0.015)


def test_sweeps_of_too_small_p_values_are_noticed() -> None:
    p = np.random.default_rng(0).random(5_000)
    p[:25] = 1e-5
    assert share_of_false_sweeps(p, n_terms=100) > 0.3
    assert share_of_false_sweeps(np.empty(0), n_terms=3) == 0.0


def test_uniformity_measures_what_it_says() -> None:
    p = np.random.default_rng(0).random(4_000)
    flat, skewed = Uniformity.of(p), Uniformity.of(p**2)
    assert flat.ks_p_value > 0.01 > skewed.ks_p_value
    assert skewed.below_05 == pytest.approx(np.sqrt(0.05), abs=0.03)
    assert flat.n == 4_000
    expected = kstest(p, "uniform")
    assert flat.ks_statistic == pytest.approx(expected.statistic)
    assert flat.ks_p_value == pytest.approx(expected.pvalue, abs=0.02)


def test_jackknife_is_leaving_each_study_out() -> None:
    rng = np.random.default_rng(2)
    sizes = np.array([3, 5, 2, 4, 6, 1, 7, 2])
    starts = np.array([0, 4, 6])  # groups of 4, 2 and 2 studies
    sums = rng.standard_normal((3, 8)) * sizes
    low, high = jackknife(sums, sizes, starts)
    for row in range(3):
        means = [np.delete(sums[row, :4], i).sum() / np.delete(sizes[:4], i).sum() for i in range(4)]
        error = np.sqrt(3 / 4 * sum((mean - np.mean(means)) ** 2 for mean in means))
        centre = sums[row, :4].sum() / sizes[:4].sum()
        assert low[row, 0] == pytest.approx(centre - student.ppf(0.975, 3) * error)
        assert high[row, 0] == pytest.approx(centre + student.ppf(0.975, 3) * error)
    assert np.isnan(low[:, 1:]).all()
    assert np.isnan(high[:, 1:]).all()


def test_an_interval_covers_the_truth_when_studies_differ() -> None:
    rng = np.random.default_rng(3)
    n_studies, covered = 6, 0
    for _ in range(400):
        sizes = rng.integers(5, 30, n_studies)
        effects = rng.standard_normal(n_studies)  # the truth is 0; studies scatter around it
        low, high = jackknife((effects * sizes)[None], sizes, np.array([0]))
        covered += bool(low[0, 0] <= 0.0 <= high[0, 0])
    assert covered / 400 > 0.9
