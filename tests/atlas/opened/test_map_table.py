"""The map's columns against the plain values they stand for, and what lies within a line against a walk around every point."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from atlas.errors import InputError, NotFoundError
from atlas.opened.categories import Categories
from atlas.opened.map_table import FINEST, MOST_TISSUES, OTHER, MapTable


def table(
    x: np.ndarray, y: np.ndarray, *, tissues: list[str | None] | None = None, dates: list[str | None] | None = None
) -> MapTable:
    n = len(x)
    return MapTable(
        x,
        y,
        cluster=np.arange(n) % 300,
        tissue=Categories.of(pa.chunked_array([pa.array(tissues or [""] * n, pa.string())])),
        date=pa.chunked_array([pa.array(dates or [None] * n, pa.string())]),
    )


def winds(polygon: np.ndarray, x: float, y: float) -> bool:
    """Even-odd rule, one point and one edge at a time."""
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


@pytest.mark.parametrize("seed", range(6))
def test_inside_is_what_a_walk_around_every_point_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 400)).astype(np.float32)
    y[::7] = np.round(y[::7])  # some on the height of corners
    made = table(x, y)
    for n_corners in (3, 4, 9, 60):
        polygon = rng.normal(size=(n_corners, 2))
        polygon[::2, 1] = np.round(polygon[::2, 1])
        wanted = [row for row in range(400) if winds(polygon, float(x[row]), float(y[row]))]
        assert made.inside(polygon).tolist() == wanted


def test_box_and_line_that_goes_round_the_other_way_hold_the_same() -> None:
    x, y = np.array([0.0, 1.0, 5.0]), np.array([0.0, 1.0, 5.0])
    box = np.array([[-1, -1], [2, -1], [2, 2], [-1, 2]], dtype=float)
    assert table(x, y).inside(box).tolist() == [0, 1]
    assert table(x, y).inside(box[::-1]).tolist() == [0, 1]
    made = table(x, y)
    assert made.inside(box) is made.inside(box.astype(np.float32)), "a reader pages through one selection"
    assert made.inside(box + 4).tolist() == [2]


@pytest.mark.parametrize("polygon", [[[0, 0], [1, 1]], [[0, 0], [1, 1], [np.nan, 0]], [[0, 0, 0]] * 3])
def test_what_is_no_outline_is_refused(polygon: list[list[float]]) -> None:
    with pytest.raises(InputError):
        table(np.zeros(2), np.zeros(2)).inside(np.array(polygon, dtype=float))


def test_positions_come_back_within_half_a_step() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1_000)).astype(np.float32) * 9
    made = table(x, y)
    codes = made.column("position")
    assert codes.dtype == np.dtype("<u2")
    assert codes.shape == (1_000, 2)
    for axis, (low, high), values in ((0, made.x_range, x), (1, made.y_range, y)):
        back = low + codes[:, axis] / FINEST * (high - low)
        assert np.abs(back - values).max() <= 0.51 * (high - low) / FINEST


def test_columns_are_as_small_as_their_codes_allow_and_told() -> None:
    made = table(np.arange(301.0), np.zeros(301))
    told = {one.name: one for one in made.columns}
    assert {name: one.dtype for name, one in told.items()} == {
        "position": "<u2",
        "cluster": "<u2",
        "tissue": "|u1",
        "date": "<u2",
    }
    assert {name: one.n_bytes for name, one in told.items()} == {
        "position": 1_204,
        "cluster": 602,
        "tissue": 301,
        "date": 602,
    }
    assert told["position"].width == 2
    assert made.column("cluster").tolist() == [row % 300 for row in range(301)]
    with pytest.raises(NotFoundError):
        made.column("colour")


def test_tissues_are_numbered_by_frequency_and_rare_ones_share_a_number() -> None:
    tissues: list[str | None] = [None, "heart", "liver", "heart"]
    made = table(np.zeros(4), np.zeros(4), tissues=tissues)
    assert made.column("tissue").tolist() == [0, 1, 2, 1]
    told = next(one for one in made.columns if one.name == "tissue")
    assert (told.values, told.counts) == (("", "heart", "liver"), (1, 2, 1))
    many = ["common", *(f"t{i}" for i in range(MOST_TISSUES + 9)), "common"]
    told = next(
        one for one in table(np.zeros(len(many)), np.zeros(len(many)), tissues=list(many)).columns if one.counts
    )
    assert told.values[:2] == ("", "common")
    assert (told.values[-1], told.counts[-1]) == (OTHER, 10)
    assert sum(told.counts) == len(many)


def test_dates_are_months_and_what_is_no_date_is_nought() -> None:
    dates: list[str | None] = ["1900-01", "2020-12-31", "", None, "soon", "2020-13", "20x0-01", "1899-12"]
    made = table(np.zeros(8), np.zeros(8), dates=dates)
    assert made.column("date").tolist() == [1, 120 * 12 + 12, 0, 0, 0, 0, 0, 0]
    assert made.n_dated == 2


def test_map_of_nothing_has_columns() -> None:
    made = table(np.zeros(0), np.zeros(0))
    assert [one.n_bytes for one in made.columns] == [0, 0, 0, 0]
    assert made.inside(np.array([[0, 0], [1, 0], [0, 1.0]])).tolist() == []
