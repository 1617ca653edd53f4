"""Tables that say where data come from and under which licence: tab-separated files, written by people."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from atlas.errors import InputError


def read_table(path: Path, *, columns: Collection[str], what: str) -> list[dict[str, str]]:
    """Return the rows of a table; ``what`` names it in the error.

    Raises
    ------
    InputError
        If it cannot be read, is empty, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The table of {what} {path} cannot be read: {error}.") from error
    if not rows or not set(columns) <= set(rows[0]):
        raise InputError(f"{path} must be a TSV with the columns {', '.join(sorted(columns))}, and not be empty.")
    return rows
