"""Accessions in alphabetical order: where one stands, and which are written like one that is not there.

A search costs twenty steps, and near spellings a probe of a few hundred strings, whatever the number of accessions: a mistyped
one must not cost the others their answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.accessions import near_matches
from atlas.texts import valid_utf8

_BESIDE = 100
_LONGEST = 40  # accessions are shorter; what is longer is a sentence and has no near spelling
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:"


class AccessionIndex:
    """Looks accessions up regardless of case.

    Parameters
    ----------
    names
        (n,) accessions; the place of one here is its row.
    """

    def __init__(self, names: pa.Array | pa.ChunkedArray | Sequence[str]) -> None:
        column = pa.array(names, pa.large_string()) if isinstance(names, Sequence) else names.cast(pa.large_string())
        self._names = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        upper = pc.utf8_upper(self._names)
        order = pc.sort_indices(upper)
        self._upper = upper.take(order)
        self._row = order.to_numpy().astype(np.int32)

    def find(self, accession: str) -> int | None:
        """Return the row of an accession, or ``None``; one spelled just so goes before one that differs in case."""
        accession = valid_utf8(accession)
        wanted = pc.utf8_upper(pa.scalar(accession)).as_py()
        place, same = self._first_at_least(wanted), []
        while place < len(self._upper) and self._upper[place].as_py() == wanted:
            same.append(int(self._row[place]))
            place += 1
        exact = (row for row in same if self._names[row].as_py() == accession)
        return next(exact, same[0] if same else None)

    def near(self, accession: str) -> tuple[str, ...]:
        """Return the accessions most like one, see :func:`~atlas.accessions.near_matches`, of those that can be.

        These are all that one mistake makes of it (a letter wrong, left out, too many, or two exchanged), and those that stand
        beside it in the alphabet.
        """
        wanted = pc.utf8_upper(pa.scalar(valid_utf8(accession.strip()))).as_py()
        if not 0 < len(wanted) <= _LONGEST:
            return ()
        place = self._first_at_least(wanted)
        beside = np.arange(max(0, place - _BESIDE), min(place + _BESIDE, len(self._upper)))
        spelled = pa.array(sorted(set(_one_mistake(wanted))), pa.large_string())
        mistaken = np.flatnonzero(pc.is_in(self._upper, value_set=spelled).to_numpy(zero_copy_only=False))
        rows = self._row[np.union1d(beside, mistaken)]
        return near_matches(accession, self._names.take(pa.array(rows)).to_pylist())

    def _first_at_least(self, wanted: str) -> int:
        """Return the first place whose accession is not below ``wanted``."""
        low, high = 0, len(self._upper)
        key = wanted.encode("utf-8")
        while low < high:
            middle = (low + high) // 2
            if self._upper[middle].as_py().encode("utf-8") < key:
                low = middle + 1
            else:
                high = middle
        return low


def _one_mistake(text: str) -> Iterator[str]:
    """Yield every text that one mistake could have turned into this one."""
    for i in range(len(text) + 1):
        before, after = text[:i], text[i:]
        yield before + after[1:]
        yield before + after[1:2] + after[:1] + after[2:]
        for letter in _LETTERS:
            yield before + letter + after
            yield before + letter + after[1:]
