"""Augmentation keeps what it should keep: proportions, masks, and independence of rows."""

from __future__ import annotations

import numpy as np
import pytest
from expression_files import wide_gene_map

from atlas.errors import ConfigError
from atlas.expression.align import AlignedExpression, align
from atlas.expression.log import log_expression
from atlas.expression.matrix import build_matrix
from atlas.expression.units import Unit
from indexer.training.augmentation import Augmentation, augment, thin

N = 600
GENES = wide_gene_map(N)


def samples(n: int = 4) -> AlignedExpression:
    values = np.random.default_rng(0).lognormal(4, 1.5, size=(n, N - 100)).astype(int)
    return align(
        build_matrix(values, genes=[f"G{i}" for i in range(N - 100)], sample_ids=[f"s{i}" for i in range(n)]), GENES
    )


def generators(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, i)) for i in range(n)]


def test_augment_nothing_changes_nothing() -> None:
    given = samples()
    out = augment(given, Augmentation(), rngs=generators(4))
    np.testing.assert_array_equal(out.values, given.values)
    np.testing.assert_array_equal(out.measured, given.measured)
    assert out.units == given.units


def test_augment_left_out_genes_are_unmeasured_not_zero_and_at_least_200_stay() -> None:
    given = samples(40)
    out = augment(given, Augmentation(p_genes=1.0, min_genes=0.0), rngs=generators(40))
    assert (out.measured <= given.measured).all()
    n_kept = out.measured.sum(axis=1)
    assert n_kept.min() >= 200
    assert n_kept.min() < 300
    assert n_kept.max() > 400
    np.testing.assert_array_equal(out.values[out.measured], given.values[out.measured])
    assert not out.values[~out.measured].any()
    assert given.measured.sum() == 40 * (N - 100)


def test_augment_depth_thins_to_the_depth_asked_for() -> None:
    out = augment(samples(30), Augmentation(p_depth=1.0, min_depth=2e4, max_depth=2e4), rngs=generators(30))
    totals = out.values.sum(axis=1)
    assert abs(totals.mean() - 2e4) < 200
    assert (out.values == np.round(out.values)).all()
    assert set(out.units) == {Unit.COUNTS}


def test_augment_cells_are_sparse_as_cells_are() -> None:
    given = samples(30)
    out = augment(given, Augmentation(p_cell=1.0), rngs=generators(30))
    totals = out.values.sum(axis=1)
    assert totals.min() >= 400
    assert totals.max() <= 21_000
    assert (out.values[:, : N - 100] == 0).mean() > 0.2
    assert (given.values[:, : N - 100] == 0).mean() < 0.05


def test_augment_other_units_say_nearly_the_same_on_the_log_scale() -> None:
    given = samples(30)
    out = augment(given, Augmentation(p_unit=1.0), rngs=generators(30))
    assert {Unit.TPM, Unit.NORMALISED, Unit.LOG2} == set(out.units)
    before, after = log_expression(given), log_expression(out)
    for row, unit in enumerate(out.units):
        known = ~np.isnan(before[row])
        difference = np.abs(before[row, known] - after[row, known])
        assert difference.max() < (0.5 if unit is Unit.LOG2 else 1e-3)


def test_augment_rows_are_their_own_whatever_the_batch() -> None:
    given = samples(5)
    plan = Augmentation(p_genes=0.5, p_depth=0.5, p_cell=0.3, p_unit=0.5)
    together = augment(given, plan, rngs=generators(5))
    for row in range(5):
        one = AlignedExpression(given.values[[row]], given.measured[[row]], (given.units[row],), ("s",), given.coverage)
        alone = augment(one, plan, rngs=[generators(5)[row]])
        np.testing.assert_array_equal(alone.values[0], together.values[row])
        np.testing.assert_array_equal(alone.measured[0], together.measured[row])


def test_thin_keeps_proportions_and_survives_nothing() -> None:
    linear = np.array([0.0, 1.0, 3.0])
    drawn = np.stack([thin(linear, depth=1000, rng=rng) for rng in generators(400)])
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 250, 750], rtol=0.02)
    assert not thin(np.zeros(3), depth=10, rng=generators(1)[0]).any()


@pytest.mark.parametrize(
    "bad", [{"p_genes": 1.5}, {"p_cell": -0.1}, {"min_genes": 2.0}, {"min_depth": 0.0}, {"min_depth": 1e9}]
)
def test_augmentation_out_of_range_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Augmentation(**bad)
