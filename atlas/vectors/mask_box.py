"""A mask of rows as conditions on stored columns, for engines that cannot take a mask itself.

The tightest box over the columns that holds every allowed row: for each column the values that allowed rows have. A box never
leaves out an allowed row, and may hold others; whoever asks by it checks what comes back against the mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MOST_VALUES = 2_000
"""A condition does not list more values of a column than this; it is left out instead, and the box is larger."""


@dataclass(frozen=True)
class Box:
    """Conditions that must all hold.

    Attributes
    ----------
    values
        By column, the values of which a row must have one, ascending; columns that narrow nothing are left out.
    n_rows
        Rows inside.
    """

    values: dict[str, np.ndarray]
    n_rows: int


def bounding_box(columns: Mapping[str, np.ndarray], allowed: np.ndarray, *, most_values: int = MOST_VALUES) -> Box:
    """Return the tightest box over ``columns`` that holds every allowed row.

    Parameters
    ----------
    columns
        By name, (n,) integers from 0.
    allowed
        (n,) bool.
    most_values
        Columns of which more values would have to be listed are left out.
    """
    inside = np.ones(allowed.size, dtype=bool)
    values: dict[str, np.ndarray] = {}
    for name, codes in columns.items():
        seen = np.zeros(int(codes.max(initial=-1)) + 1, dtype=bool)
        seen[codes[allowed]] = True
        listed = np.flatnonzero(seen)
        holds = seen[codes]
        if listed.size <= most_values and not holds.all():
            values[name] = listed
            inside &= holds
    return Box(values, int(np.count_nonzero(inside)))
