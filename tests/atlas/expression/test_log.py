from __future__ import annotations

import numpy as np
import pytest
from expression_files import wide_gene_map
from hypothesis import given
from hypothesis import strategies as st

from atlas.expression.align import AlignedExpression, align
from atlas.expression.log import log_expression
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit

N = 40
GENES = wide_gene_map(N)


def aligned(values: np.ndarray, unit: Unit, measured: np.ndarray | None = None) -> AlignedExpression:
    ids = tuple(f"s{i}" for i in range(len(values)))
    labels = tuple(f"G{i}" for i in range(N))
    return align(ExpressionMatrix(values.astype(np.float32), labels, ids, (unit,) * len(values), measured), GENES)


def counts(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(3, size=(n, N)).astype(np.float32)


def test_linear_units_equal_the_formula_written_out() -> None:
    values = counts(3)
    out = log_expression(aligned(values, Unit.COUNTS))
    expected = np.log1p(values / values.sum(axis=1, keepdims=True, dtype=np.float64) * 1e6)
    np.testing.assert_allclose(out[:, :N], expected, rtol=1e-6)
    assert np.isnan(out[:, N]).all()  # the mouse gene


@given(factor=st.floats(1e-3, 1e3))
def test_linear_units_do_not_depend_on_the_scale(factor: float) -> None:
    values = counts(2)
    seen = log_expression(aligned(values * np.float32(factor), Unit.TPM))
    np.testing.assert_allclose(seen, log_expression(aligned(values, Unit.COUNTS)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pseudo_count", [1.0, 0.5, 128.0])
@pytest.mark.parametrize("factor", [1.0, 180.0])
def test_log2_of_values_with_a_zero_gives_what_the_linear_values_give(pseudo_count: float, factor: float) -> None:
    values = counts(3)
    values[:, 0] = 0
    logs = np.log2(values.astype(np.float64) * factor + pseudo_count * factor)
    seen = log_expression(aligned(logs, Unit.LOG2))
    np.testing.assert_allclose(seen, log_expression(aligned(values, Unit.COUNTS)), rtol=2e-3, atol=2e-3)


def test_log2_large_values_do_not_overflow() -> None:
    values = np.linspace(0, 3000, N, dtype=np.float32)[None]
    assert np.isfinite(log_expression(aligned(values, Unit.LOG2))[0, :N]).all()


def test_unmeasured_is_nan_and_does_not_enter_the_total() -> None:
    values = counts(2)
    measured = np.ones((2, N), dtype=bool)
    measured[0, :10] = False
    out = log_expression(aligned(values, Unit.COUNTS, measured))
    assert np.isnan(out[0, :10]).all()
    total = values[0, 10:].sum()
    np.testing.assert_allclose(out[0, 10:N], np.log1p(values[0, 10:] / total * 1e6), rtol=1e-5)
    assert not np.isnan(out[1, :N]).any()


@pytest.mark.parametrize("unit", [Unit.COUNTS, Unit.LOG2])
def test_a_sample_without_expression_is_zero_not_nan(unit: Unit) -> None:
    out = log_expression(aligned(np.zeros((1, N)), unit))
    assert (out[0, :N] == 0).all()


@pytest.mark.parametrize("unit", [Unit.COUNTS, Unit.LOG2])
def test_a_row_depends_on_itself_alone_bit_for_bit(unit: Unit) -> None:
    values = counts(17, seed=3) + 0.3
    whole = log_expression(aligned(values, unit))
    alone = np.concatenate([log_expression(aligned(values[i : i + 1], unit)) for i in range(17)])
    backwards = log_expression(aligned(values[::-1], unit))[::-1]
    assert whole.tobytes() == alone.tobytes() == np.ascontiguousarray(backwards).tobytes()
