"""The map of an open release as columns of small numbers, and which samples lie within a line drawn on it.

Positions are two uint16 a sample: a 65,536th of the map's width is finer than any screen, and a quarter of the bytes of JSON's
digits. Everything is made once, on first use, and kept: about 12 bytes a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import InputError, NotFoundError
from atlas.map_answers import MapColumn
from atlas.opened.categories import Categories

if TYPE_CHECKING:
    from atlas.opened.samples import SampleTable

FINEST = 65_535
"""Largest number of a quantised column."""
MOST_TISSUES = 254
"""Tissues with a code of their own, the most frequent ones; the rest share one, so that a code is one byte."""
OTHER = "other"
_SELECTIONS_KEPT = 8
COLUMNS = ("position", "cluster", "tissue", "date")


class MapTable:
    """Where every sample lies and what it can be coloured by.

    Parameters
    ----------
    x, y
        (n,) float positions.
    cluster
        (n,) cluster numbers.
    tissue
        The tissue of each sample, empty where none is stated.
    date
        Dates of deposition, ``YYYY-MM`` or ``YYYY-MM-DD``; null or empty where none is known.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, *, cluster: np.ndarray, tissue: Categories, date: pa.ChunkedArray
    ) -> None:
        self._x, self._y, self._cluster, self._tissue, self._date = x, y, cluster, tissue, date
        self.x_range, self.y_range = _range(x), _range(y)

    @classmethod
    def of(cls, samples: SampleTable) -> MapTable:
        """Return the map of a table of samples."""
        return cls(
            samples.x,
            samples.y,
            cluster=samples.cluster,
            tissue=samples.categories("tissue"),
            date=samples.table["date"],
        )

    @property
    def n_dated(self) -> int:
        """How many samples have a date."""
        return int(np.count_nonzero(self._made["date"]))

    def column(self, name: str) -> np.ndarray:
        """Return one of ``COLUMNS``, little-endian and read-only: (n, 2) for positions, else (n,).

        Raises
        ------
        NotFoundError
            If there is no such column.
        """
        if name not in self._made:
            raise NotFoundError(
                f"The map has no column {name[:40]!r}; there are {', '.join(COLUMNS)}.",
                details={"seen": name[:40], "expected": list(COLUMNS)},
            )
        return self._made[name]

    @cached_property
    def columns(self) -> tuple[MapColumn, ...]:
        """What each column is."""
        values, counts = self._tissues[1:]
        named = {"tissue": (tuple(values), tuple(int(n) for n in counts))}
        return tuple(
            MapColumn(name, array.dtype.str, array.size // max(len(array), 1) or 1, array.nbytes, *named.get(name, ()))
            for name, array in self._made.items()
        )

    def inside(self, polygon: np.ndarray) -> np.ndarray:
        """Return the rows within a closed line, (m,) int64, ascending, by the even-odd rule.

        Every edge is asked only about samples in its own band of y, which lie together in the order of y: the work is about
        (samples) x (edges at one height), not (samples) x (edges).

        Parameters
        ----------
        polygon
            (n_corners, 2) float, three or more.
        """
        if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3 or not np.isfinite(polygon).all():
            raise InputError("An outline needs three or more corners, each two finite numbers.")
        return self._inside(np.ascontiguousarray(polygon, dtype=np.float64).tobytes())

    @cached_property
    def _inside(self) -> Callable[[bytes], np.ndarray]:
        """Rows within a line given as its corners' bytes; a reader pages through one selection."""
        return lru_cache(_SELECTIONS_KEPT)(self._within)

    def _within(self, corners: bytes) -> np.ndarray:
        polygon = np.frombuffer(corners).reshape(-1, 2)
        order, xs, ys = self._by_height
        odd = np.zeros(len(xs), dtype=bool)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            low, high = np.searchsorted(ys, [min(y0, y1), max(y0, y1)])  # y in [low, high): a corner counts once
            if low < high:
                band = slice(low, high)
                odd[band] ^= xs[band] < x0 + (ys[band] - y0) * ((x1 - x0) / (y1 - y0))
        rows: np.ndarray = np.sort(order[odd])
        rows.flags.writeable = False
        return rows

    @cached_property
    def _made(self) -> dict[str, np.ndarray]:
        position = np.column_stack([quantise(self._x, *self.x_range), quantise(self._y, *self.y_range)])
        made = {
            "position": position,
            "cluster": _smallest(self._cluster),
            "tissue": self._tissues[0],
            "date": _months(self._date),
        }
        for array in made.values():
            array.flags.writeable = False
        return made

    @cached_property
    def _tissues(self) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Codes of the tissues (0: not stated, then by frequency, the last: all others), their names and counts."""
        counts = self._tissue.counts()
        names = self._tissue.values
        stated = [i for i in np.argsort(-counts, kind="stable").tolist() if names[i] and counts[i]]
        kept = stated[:MOST_TISSUES]
        recoded = np.full(max(len(names), 1), len(kept) + 1, dtype=np.uint8)
        recoded[[i for i, name in enumerate(names) if not name]] = 0
        recoded[kept] = np.arange(1, len(kept) + 1)
        codes = recoded[self._tissue.codes]
        values = ["", *(names[i] for i in kept), *([OTHER] if len(stated) > len(kept) else [])]
        return codes, values, np.bincount(codes, minlength=len(values))

    @cached_property
    def _by_height(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows from low to high, and their x and y in that order."""
        order = np.argsort(self._y, kind="stable")
        return order, self._x[order].astype(np.float64), self._y[order].astype(np.float64)


def quantise(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values as uint16, 0 at ``low`` and 65,535 at ``high``; what is beyond, or no number, goes to the nearer end."""
    scaled = (values.astype(np.float64) - low) * (FINEST / ((high - low) or 1.0))
    return np.rint(np.clip(np.nan_to_num(scaled), 0, FINEST)).astype("<u2")


def _range(values: np.ndarray) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _smallest(codes: np.ndarray) -> np.ndarray:
    """Return codes in the smallest unsigned type that holds them."""
    most = int(codes.max(initial=0))
    dtype = next(one for one in ("|u1", "<u2", "<u4") if most <= np.iinfo(one).max)
    return codes.astype(dtype)


def _months(dates: pa.ChunkedArray) -> np.ndarray:
    """Return months since December 1899, (n,) uint16; 0 where a text is no date of 1900 or later."""
    encoded = pc.fill_null(dates.cast(pa.string()), "").combine_chunks().dictionary_encode()
    months = np.zeros(max(len(encoded.dictionary), 1), dtype="<u2")
    for i, text in enumerate(encoded.dictionary.to_pylist()):
        year, month = text[:4], text[5:7]
        if year.isdecimal() and month.isdecimal() and 1900 <= int(year) <= 2199 and 1 <= int(month) <= 12:
            months[i] = (int(year) - 1900) * 12 + int(month)
    found: np.ndarray = months[encoded.indices.to_numpy(zero_copy_only=False)]
    return found
