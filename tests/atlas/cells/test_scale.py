"""Scales told from values, and values brought back to what was counted."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.cells.scale import declared_scale, seen_scale
from atlas.errors import InputError
from atlas.expression.units import Unit

COUNTS = np.random.default_rng(0).poisson(3.0, (30, 50)).astype(np.float32)
SHARES = COUNTS / COUNTS.sum(axis=1, keepdims=True) * 10_000
IDS = tuple(map(str, range(30)))


def test_whole_numbers_are_counts() -> None:
    scale = seen_scale(COUNTS)
    assert (scale.kind, scale.unit) == ("counts", Unit.COUNTS)
    assert scale.linear(COUNTS, row_ids=IDS) is COUNTS


def test_fractions_above_any_logarithm_are_linear() -> None:
    assert seen_scale(SHARES.astype(np.float32)).unit is Unit.NORMALISED


@pytest.mark.parametrize(("base", "given"), [(np.e, None), (2.0, None), (10.0, 10.0)])
def test_logarithms_are_undone(base: float, given: float | None) -> None:
    logs = (np.log1p(SHARES) / np.log(base)).astype(np.float32)
    scale = seen_scale(logs, base=given)
    assert (scale.kind, scale.base) == ("log", pytest.approx(base))
    assert scale.linear(logs, row_ids=IDS) == pytest.approx(SHARES, rel=1e-4, abs=1e-2)
    assert scale.unit is Unit.NORMALISED


def test_logarithm_without_a_common_total_is_natural() -> None:
    logs = np.log2(1 + COUNTS * np.linspace(0.3, 2.0, 30)[:, None]).astype(np.float32)
    assert seen_scale(logs).base == pytest.approx(np.e)


@pytest.mark.parametrize("value", [-1.5, np.nan, np.inf])
def test_scaled_or_missing_values_are_refused(value: float) -> None:
    values = np.log1p(COUNTS)
    values[3, 4] = value
    with pytest.raises(InputError, match="--layer counts"):
        seen_scale(values)
    with pytest.raises(InputError, match="row '3'"):
        seen_scale(COUNTS).linear(values, row_ids=IDS)


def test_declared_unit_is_not_looked_at() -> None:
    assert declared_scale(Unit.LOG2).unit is Unit.LOG2
    assert declared_scale(Unit.TPM).unit is Unit.NORMALISED
    assert declared_scale(Unit.COUNTS).unit is Unit.COUNTS
    with pytest.raises(InputError):
        declared_scale(Unit.TPM).linear(-COUNTS - 1, row_ids=IDS)
    assert (declared_scale(Unit.LOG2).linear(-COUNTS, row_ids=IDS) == -COUNTS).all()


def test_a_value_that_is_missing_is_not_called_centred() -> None:
    with pytest.raises(InputError, match=r"not finite \(nan\) in row '0'") as refused:
        seen_scale(COUNTS).linear(np.full((1, 2), np.nan, np.float32), row_ids=IDS)
    assert "centred" not in refused.value.message
    assert "rows out" in refused.value.message
