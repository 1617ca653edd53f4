"""The table of growth: exponents of known curves, releases of other dimensions beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.growth import SEARCH, Measured, plot, slope, table


def _release(n: int, *, dim: int = 8) -> Measured:
    return Measured(n, dim, {"linear": n / 10, "steady": 3.0, SEARCH: n**0.5}, peak_gb=1.5)


def test_slope_is_the_exponent_of_a_power() -> None:
    assert slope([10, 100, 1_000], [2 * n**1.5 for n in (10, 100, 1_000)]) == pytest.approx(1.5)
    assert slope([10], [1.0]) is None
    assert slope([10, 20], [0.0, 1.0]) is None


def test_table_has_a_column_a_release_and_the_exponent_of_like_ones() -> None:
    lines = table([_release(100), _release(10_000), _release(1_000_000, dim=2)]).splitlines()
    assert lines[0] == "| seconds | 100 x 8 | 10,000 x 8 | 1,000,000 x 2 | exponent |"
    assert "| linear | 10.0 | 1000.0 | 100000.0 | 1.00 |" in lines
    assert f"| {SEARCH} | 10.0 | 100.0 | 1000.0 | 0.50 |" in lines


def test_plot_is_written(tmp_path: Path) -> None:
    plot([_release(100), _release(1_000)], tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_text(encoding="utf-8").count("search, p50 ms") == 1
