"""Scales told from the values of a row alone, and values brought back to what was counted."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.cells.scale import RowScale, Scale, fractional_scale
from atlas.errors import InputError
from atlas.expression.units import Unit

COUNTS = np.random.default_rng(0).poisson(3.0, (30, 50)).astype(np.float32)
SHARES = (COUNTS / COUNTS.sum(axis=1, keepdims=True) * 10_000).astype(np.float32)
UNEVEN = (COUNTS * np.linspace(5.3, 6.7, 30)[:, None] ** 2).astype(np.float32)
IDS = tuple(map(str, range(30)))


def logs(values: np.ndarray, base: float = np.e) -> np.ndarray:
    return (np.log1p(values.astype(np.float64)) / np.log(base)).astype(np.float32)


def kinds(values: np.ndarray, scale: Scale | None = None) -> set[tuple[str, float]]:
    return {
        (one.kind, round(one.base, 3)) for one in (scale or Scale()).read(values, row_ids=IDS[: len(values)]).scales
    }


def test_whole_numbers_are_counts() -> None:
    read = Scale().read(COUNTS, row_ids=IDS)
    assert {scale.unit for scale in read.scales} == {Unit.COUNTS}
    assert read.values is COUNTS
    assert read.measured is None


def test_fractions_above_any_logarithm_are_linear() -> None:
    assert {one.unit for one in Scale().read(SHARES, row_ids=IDS).scales} == {Unit.NORMALISED}
    assert {kind for kind, _ in kinds(SHARES)} == {"linear"}


@pytest.mark.parametrize(("base", "given"), [(np.e, None), (2.0, None), (10.0, 10.0), (2.0, 2.0)])
def test_logarithms_are_undone(base: float, given: float | None) -> None:
    values = logs(SHARES, base)
    before = values.copy()
    read = Scale(base=given).read(values, row_ids=IDS)
    assert kinds(values, Scale(base=given)) == {("log", round(base, 3))}
    assert read.values == pytest.approx(SHARES, rel=1e-4, abs=1e-2)
    assert (values == before).all()  # those of the object that a person holds


def test_logarithm_without_a_usual_total_is_natural() -> None:
    assert kinds(logs(UNEVEN, 2.0)) == {("log", 2.718)}


def test_counts_of_shallow_rows_over_a_size_factor_are_linear_though_they_are_small() -> None:
    shallow = np.random.default_rng(1).poisson(0.5, (30, 200)).astype(np.float32)
    assert kinds(shallow / np.float32(1.37)) == {("linear", 2.718)}
    assert kinds(logs(shallow / np.float32(1.37))) == {("log", 2.718)}


def test_a_profile_of_small_means_is_linear_and_its_logarithm_is_not() -> None:
    means = np.random.default_rng(2).lognormal(-3.0, 1.6, (30, 2_000)).astype(np.float32)
    means[:, 0] = 14.0  # below any ceiling, and far above the others
    assert kinds(means) == {("linear", 2.718)}
    assert kinds(logs(means)) == {("log", 2.718)}


def test_no_logarithm_is_higher_than_what_a_library_holds() -> None:
    flat = np.random.default_rng(3).uniform(1.0, 22.0, (30, 500)).astype(np.float32)
    flat[:, 0] = 22.0
    assert kinds(flat) == {("linear", 2.718)}  # e**22 reads of one gene
    assert kinds(flat, Scale(base=2.0)) == {("log", 2.0)}


def test_logarithms_that_were_rounded_are_no_counts_over_a_size_factor() -> None:
    rounded = np.round(logs(UNEVEN), 1)
    rounded[:, 0] = 0.1  # all are multiples of the smallest
    assert kinds(rounded) == {("log", 2.718)}


@pytest.mark.parametrize("make", [lambda: COUNTS, lambda: SHARES, lambda: logs(SHARES), lambda: logs(SHARES, 2.0)])
def test_a_row_is_read_alike_alone_and_among_rows_of_any_scale(make: object) -> None:
    """Rows of four scales in one file, as several studies put together are."""
    mine = make()  # type: ignore[operator]
    mixed = np.concatenate([COUNTS[:5], mine, logs(SHARES)[:5], SHARES[:5], logs(UNEVEN, 2.0)[:5]])
    whole = Scale().read(mixed, row_ids=tuple(map(str, range(50))))
    for row in (0, 7, 29):
        alone = Scale().read(mine[row : row + 1], row_ids=("x",))
        assert (alone.values[0] == whole.values[5 + row]).all()
        assert alone.scales[0] == whole.scales[5 + row]


@pytest.mark.parametrize("unit", [None, Unit.COUNTS, Unit.TPM])
def test_negative_values_are_refused_with_their_row(unit: Unit | None) -> None:
    values = logs(COUNTS)
    values[3, 4] = -1.5
    with pytest.raises(InputError, match=r"-1.5.* in row '3'.*--layer counts"):
        Scale(unit).read(values, row_ids=IDS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("unit", [None, Unit.COUNTS, Unit.LOG2])
def test_a_value_that_is_not_finite_was_not_measured(value: float, unit: Unit | None) -> None:
    values = COUNTS.copy()
    values[3, 4] = value
    read = Scale(unit).read(values, row_ids=IDS)
    assert read.measured is not None
    assert np.argwhere(~read.measured).tolist() == [[3, 4]]
    assert read.values[3, 4] == 0
    assert (np.delete(read.values, 3, axis=0) == np.delete(COUNTS, 3, axis=0)).all()
    assert read.scales[3] == read.scales[2]  # what is there shows the scale


def test_declared_unit_is_not_looked_at() -> None:
    for unit, expected in ((Unit.LOG2, Unit.LOG2), (Unit.TPM, Unit.NORMALISED), (Unit.COUNTS, Unit.COUNTS)):
        read = Scale(unit, base=2.0).read(logs(SHARES), row_ids=IDS)
        assert {one.unit for one in read.scales} == {expected}
        assert (read.values == logs(SHARES)).all()
    assert (Scale(Unit.LOG2).read(-COUNTS, row_ids=IDS).values == -COUNTS).all()


def test_scale_is_said_in_words() -> None:
    assert Scale().read_head(COUNTS, row_ids=IDS) == "counts (as the values of each row show)"
    assert Scale(Unit.TPM).read_head(COUNTS, row_ids=IDS) == "linear (as declared)"
    mixed = np.concatenate([COUNTS[:2], logs(SHARES, 2.0)[:2]])
    said = Scale().read_head(mixed, row_ids=IDS)
    assert said.startswith("counts or log(1 + value), base 2 (")
    assert said.endswith("undone before embedding")


def test_fractional_scale_of_one_value_is_settled() -> None:
    assert fractional_scale(np.array([0.5])) == RowScale("linear")
