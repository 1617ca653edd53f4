"""Columns of few distinct values as numbers: each value once, and of each sample the number of its value.

Counting, filtering and listing then work on (n,) int32 arrays, whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.answers import Share


@dataclass(frozen=True)
class Categories:
    """One value a sample.

    Attributes
    ----------
    values
        (n_values,) distinct values, in the order of their first sample; null counts as empty.
    codes
        (n,) int32, the number of each sample's value.
    """

    values: tuple[str, ...]
    codes: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Categories:
        """Return a column of strings as numbered values."""
        encoded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.unify_dictionaries().combine_chunks()
        return cls(
            tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        )

    @cached_property
    def spelled(self) -> dict[str, str]:
        """Each value by its case-folded form; the first wins."""
        return {value.casefold(): value for value in reversed(self.values)}

    def counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return how many samples carry each value, (n_values,) int64.

        Parameters
        ----------
        rows
            (n,) bool mask or (m,) row numbers; default: all samples.
        """
        codes = self.codes if rows is None else self.codes[rows]
        return np.bincount(codes, minlength=len(self.values))


@dataclass(frozen=True)
class Memberships:
    """Any number of values a sample, such as its series.

    Attributes
    ----------
    values
        (n_values,) distinct values, in the order of their first sample.
    codes
        (m,) int32, the numbers of all samples' values, sample by sample; a value repeated in one sample stands once.
    offsets
        (n + 1,) int64; sample i has ``codes[offsets[i] : offsets[i + 1]]``.
    """

    values: tuple[str, ...]
    codes: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Memberships:
        """Return a column of lists of strings as numbered values."""
        flat = Categories.of(pa.chunked_array([pc.list_flatten(column).combine_chunks()], pa.string()))
        owners = pc.list_parent_indices(column).to_numpy().astype(np.int64)
        order, n_values = np.arange(owners.size), max(len(flat.values), 1)
        _, first = np.unique(owners * n_values + flat.codes, return_index=True)
        kept = order[np.sort(first)]
        lengths = np.bincount(owners[kept], minlength=len(column))
        return cls(flat.values, flat.codes[kept], np.concatenate([[0], np.cumsum(lengths)]))

    @cached_property
    def owners(self) -> np.ndarray:
        """(m,) int32, the row each entry of ``codes`` belongs to."""
        return np.repeat(np.arange(self.offsets.size - 1, dtype=np.int32), np.diff(self.offsets))

    @cached_property
    def number(self) -> dict[str, int]:
        """The number of each value."""
        return {value: i for i, value in enumerate(self.values)}

    def codes_of(self, row: int) -> np.ndarray:
        """Return the numbers of one sample's values."""
        return self.codes[self.offsets[row] : self.offsets[row + 1]]

    def rows_of(self, value: str) -> np.ndarray:
        """Return the rows that carry a value, (n_rows,) int64, ascending; empty if none does."""
        code = self.number.get(value)
        if code is None:
            return np.empty(0, dtype=np.int64)
        order, starts = self._by_value
        rows: np.ndarray = order[starts[code] : starts[code + 1]].astype(np.int64)
        return rows

    def counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return how many samples carry each value, (n_values,) int64; ``rows`` as in :meth:`Categories.counts`."""
        codes = self.codes
        if rows is not None:
            mask = rows
            if rows.dtype != np.bool_:
                mask = np.zeros(self.offsets.size - 1, dtype=bool)
                mask[rows] = True
            codes = codes[mask[self.owners]]
        return np.bincount(codes, minlength=len(self.values))

    @cached_property
    def _by_value(self) -> tuple[np.ndarray, np.ndarray]:
        """Owners sorted by value, and where each value begins."""
        order = self.owners[np.argsort(self.codes, kind="stable")]
        counts = np.bincount(self.codes, minlength=len(self.values))
        return order, np.concatenate([[0], np.cumsum(counts)])


def most_frequent(values: Sequence[str], counts: np.ndarray, *, limit: int) -> list[tuple[str, int]]:
    """Return the values that occur most often with their counts, ties by value; empty and absent ones are left out."""
    counts = counts.copy()
    counts[[i for i, value in enumerate(values) if not value]] = 0
    present = np.flatnonzero(counts)
    if present.size > limit:  # sort no more than can be listed: there may be as many values as samples
        least = np.partition(counts[present], present.size - limit)[present.size - limit]
        present = present[counts[present] >= least]
    named = [(values[i], int(counts[i])) for i in present.tolist()]
    return sorted(named, key=lambda pair: (-pair[1], pair[0]))[:limit]


def shares(pairs: Sequence[tuple[str, int]], total: int) -> tuple[Share, ...]:
    """Return counted values with their share of ``total`` samples."""
    return tuple(Share(value, n, round(n / max(total, 1), 4)) for value, n in pairs)
