"""All samples as a sorted list, page by page: sort, filter, offset."""

from __future__ import annotations

from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.catalog.filters import fold
from atlas.errors import InputError
from atlas.opened.samples import SampleTable

SORTS = ("row", "accession", "title", "tissue", "series", "cluster", "n_genes_detected")
"""What a list can be sorted by; ``-`` in front turns it round."""


class Listing:
    """Sorted orders of the samples of one release; each is made once, on first use, and kept as (n,) int32."""

    def __init__(self, samples: SampleTable) -> None:
        self._samples = samples
        self._orders: dict[str, np.ndarray] = {}
        self._making = Lock()

    def page(self, sort: str, *, allowed: np.ndarray | None, offset: int, limit: int) -> tuple[np.ndarray, int]:
        """Return the rows of one page, (m,) int64, and how many samples pass in all.

        Parameters
        ----------
        sort
            One of ``SORTS``, with ``-`` in front for descending; samples that are equal come in row order either way, and
            those without a value come last.
        allowed
            (n,) bool; default: all.
        offset, limit
            Samples left out before the page, and most samples on it.

        Raises
        ------
        InputError
            If there is no such order, or ``offset`` or ``limit`` is negative.
        """
        if sort.removeprefix("-") not in SORTS or sort.startswith("--"):
            raise InputError(
                f"Samples cannot be sorted by {sort[:40]!r}; expected one of {', '.join(SORTS)}, with - for descending.",
                details={"seen": sort[:40], "expected": list(SORTS)},
            )
        if offset < 0 or limit < 0:
            raise InputError(f"A page begins at {offset} and holds {limit} samples; expected no negative number.")
        order = self._order(sort)
        if allowed is not None:
            order = order[allowed[order]]
        return order[offset : offset + limit].astype(np.int64), int(order.size)

    def _order(self, sort: str) -> np.ndarray:
        with self._making:
            if sort not in self._orders:
                self._orders[sort] = self._sorted(sort.removeprefix("-"), descending=sort.startswith("-"))
            return self._orders[sort]

    def _sorted(self, key: str, *, descending: bool) -> np.ndarray:
        n = len(self._samples)
        if key == "row":
            rows = np.arange(n, dtype=np.int32)
            return rows[::-1] if descending else rows
        if key == "cluster":
            ranks, missing = self._samples.cluster.astype(np.int64), np.zeros(n, dtype=bool)
        elif key == "n_genes_detected":
            column = self._samples.table[key]
            ranks = pc.fill_null(column, 0).to_numpy().astype(np.int64)
            missing = column.is_null().to_numpy()
        else:
            ranks, missing = _text_ranks(self._texts(key))
        return np.lexsort((-ranks if descending else ranks, missing)).astype(np.int32)

    def _texts(self, key: str) -> pa.Array:
        table = self._samples.table
        if key == "series":
            return pc.binary_join(pc.fill_null(table["series_ids"].combine_chunks(), []), ",")
        return table["sample_id" if key == "accession" else key].combine_chunks()


def _text_ranks(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each text among the distinct folded texts in order, and which texts are empty."""
    encoded = pc.fill_null(texts, "").dictionary_encode()
    folded = fold(encoded.dictionary).dictionary_encode()
    place = np.empty(len(folded.dictionary), dtype=np.int64)
    place[pc.sort_indices(folded.dictionary).to_numpy()] = np.arange(len(folded.dictionary))
    ranks = place[folded.indices.to_numpy()][encoded.indices.to_numpy()]
    empty = pc.equal(folded.dictionary, "").to_numpy(zero_copy_only=False)
    return ranks, empty[folded.indices.to_numpy()][encoded.indices.to_numpy()]
