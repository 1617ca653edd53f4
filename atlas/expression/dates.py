"""Dates of deposition as GEO writes them ("Oct 31 2013"), turned into the kind that sorts ("2013-10-31")."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_WORDED = re.compile(r"([A-Za-z]{3})[a-z]*\.?(?: +(\d{1,2}),?)? +(\d{4})")
_NUMBERED = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?(?:[T ].*)?")


def iso_date(text: str) -> str:
    """Return a date as ``YYYY-MM-DD``, or ``YYYY-MM`` where no day is stated; empty for anything else.

    Months are read in English whatever the locale, as GEO writes them.
    """
    text = text.strip()
    if worded := _WORDED.fullmatch(text):
        month, day, year = _MONTHS.get(worded[1].lower(), 0), worded[2], int(worded[3])
    elif numbered := _NUMBERED.fullmatch(text):
        month, day, year = int(numbered[2]), numbered[3], int(numbered[1])
    else:
        return ""
    if not 1 <= month <= 12 or year < 1900 or (day is not None and not 1 <= int(day) <= 31):
        return ""
    return f"{year:04d}-{month:02d}" + ("" if day is None else f"-{int(day):02d}")


def iso_dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of dates as :func:`iso_date` writes them; each distinct text is read once."""
    distinct = column.unique()
    known = pa.array([iso_date(text or "") for text in distinct.to_pylist()], pa.string())
    return known.take(pc.index_in(column, value_set=distinct))
