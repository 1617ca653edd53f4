"""Dates of deposition become the kind that sorts; whatever is no date becomes nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from atlas.expression.dates import iso_date, iso_dates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Oct 31 2013", "2013-10-31"),
        ("Jan 1 2020", "2020-01-01"),
        ("October 2013", "2013-10"),
        ("2013-10-31", "2013-10-31"),
        ("2013-10", "2013-10"),
        ("2013-10-31T12:00:00Z", "2013-10-31"),
        ("Foo 31 2013", ""),
        ("Oct 32 2013", ""),
        ("2013-13", ""),
        ("", ""),
        ("NA", ""),
    ],
)
def test_a_date_as_sources_write_it_becomes_one_that_sorts(text: str, expected: str) -> None:
    assert iso_date(text) == expected


def test_a_column_of_dates_keeps_its_order_and_its_gaps() -> None:
    column = pa.chunked_array([["Oct 31 2013", None, "x"], ["Oct 31 2013"]], pa.string())

    assert iso_dates(column).to_pylist() == ["2013-10-31", "", "", "2013-10-31"]
