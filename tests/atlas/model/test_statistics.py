"""Standardised expression and the statistics over studies, against plain computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from atlas.model.statistics import Standardisation, StatisticsFitter, standardise

NAN = np.nan


def test_standardise_rank_equals_normal_quantiles_of_mid_ranks() -> None:
    values = np.array([0.0, 0.0, 3.0, NAN, 1.0, 7.0, 7.0])
    measured = ~np.isnan(values)
    expected = norm.ppf((rankdata(values[measured]) - 0.5) / measured.sum())
    scores = standardise(values, kind="rank")
    np.testing.assert_allclose(scores[measured], expected)
    assert np.isnan(scores[3])


@pytest.mark.parametrize("change", [np.exp, lambda x: 5.0 * x + 7.0, lambda x: x**3], ids=["exp", "affine", "cube"])
def test_standardise_rank_ignores_the_scale(change: object) -> None:
    values = np.random.default_rng(0).gamma(1.0, size=200)
    assert callable(change)
    np.testing.assert_array_equal(standardise(values, kind="rank"), standardise(change(values), kind="rank"))


def test_standardise_z_has_mean_zero_and_deviation_one_over_the_measured_genes() -> None:
    values = np.array([1.0, 2.0, 6.0, NAN])
    scores = standardise(values, kind="z")[:3]
    assert scores.mean() == pytest.approx(0.0)
    assert scores.std() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["rank", "z"])
@pytest.mark.parametrize("values", [[NAN, NAN], [2.0, 2.0], []], ids=["unmeasured", "constant", "empty"])
def test_standardise_without_variation_says_nothing(kind: Standardisation, values: list[float]) -> None:
    assert np.isnan(standardise(np.array(values), kind=kind)).all()


def test_finish_counts_every_study_once() -> None:
    rng = np.random.default_rng(0)
    studies = {"large": rng.normal(2.0, 1.0, size=(50, 3)), "small": rng.normal(-1.0, 0.5, size=(2, 3))}
    fitter = StatisticsFitter(3)
    for name, rows in studies.items():
        for row in rows:
            fitter.add(row, study=name)
    statistics = fitter.finish(shrinkage_studies=0.0)
    mean = np.mean([rows.mean(axis=0) for rows in studies.values()], axis=0)
    variance = np.mean([((rows - mean) ** 2).mean(axis=0) for rows in studies.values()], axis=0)
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(statistics.deviation, np.sqrt(variance), rtol=1e-5)
    assert statistics.n_studies.tolist() == [2, 2, 2]
    assert (fitter.n_samples, fitter.n_studies) == (52, 2)


def test_finish_leaves_unmeasured_values_out() -> None:
    fitter = StatisticsFitter(2)
    fitter.add(np.array([1.0, NAN]), study="a")
    fitter.add(np.array([3.0, 5.0]), study="b")
    statistics = fitter.finish(shrinkage_studies=0.0)
    assert statistics.mean.tolist() == [2.0, 5.0]
    assert statistics.n_studies.tolist() == [2, 1]


def test_finish_marks_a_gene_nobody_measured_and_lends_it_its_orthologs_statistics() -> None:
    fitter = StatisticsFitter(3)
    fitter.add(np.array([1.0, NAN, NAN]), study="a")
    fitter.add(np.array([2.0, NAN, NAN]), study="b")
    statistics = fitter.finish(shrinkage_studies=0.0, fallback={2: 0})
    assert statistics.deviation[1] == np.inf
    assert statistics.mean[2] == statistics.mean[0]
    assert statistics.deviation[2] == statistics.deviation[0]
    assert statistics.n_studies.tolist() == [2, 0, 0]


def test_finish_shrinks_rarely_measured_genes_more() -> None:
    rng = np.random.default_rng(1)
    fitter = StatisticsFitter(20)
    for study in range(30):
        for _ in range(4):
            row = rng.normal(0.0, 1.0, size=20)
            row[0] *= 0.01 if study == 0 else NAN  # one study only, and hardly any variation in it
            fitter.add(row, study=str(study))
    loose, shrunk = fitter.finish(shrinkage_studies=0.0), fitter.finish(shrinkage_studies=2.0)
    assert loose.deviation[0] < 0.05
    assert 0.7 < shrunk.deviation[0] < 1.0
    assert abs(shrunk.deviation[1] - loose.deviation[1]) < 0.1


def test_finish_does_not_depend_on_the_order_of_studies() -> None:
    rows = [(name, np.random.default_rng(i).normal(size=5)) for i, name in enumerate("abcabc")]
    forward, backward = StatisticsFitter(5), StatisticsFitter(5)
    for name, row in rows:
        forward.add(row, study=name)
    for name, row in sorted(rows, key=lambda pair: pair[0], reverse=True):
        backward.add(row, study=name)
    np.testing.assert_array_equal(
        forward.finish(shrinkage_studies=2.0).deviation, backward.finish(shrinkage_studies=2.0).deviation
    )
