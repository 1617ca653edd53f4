"""Which of many texts contain a text: an index of the words between blanks, for questions that would else read every text.

In: distinct texts. Out: flags, the same as looking through each text, in a few milliseconds. A text without a blank lies
within words, so only the distinct words are looked through; of several words the longest finds candidates, which are then
read.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FEW_WORDS = 4_096  # whose places are put together one by one


class TextIndex:
    """Finds texts by what they contain.

    Parameters
    ----------
    texts
        Distinct, without null. Memory is about that of the texts; making it takes a second for 40 MB of text.
    """

    def __init__(self, texts: pa.Array) -> None:
        words = pc.split_pattern(texts, " ")
        lengths = pc.list_value_length(words).to_numpy(zero_copy_only=False)
        encoded = words.flatten().dictionary_encode()
        codes = encoded.indices.to_numpy()
        self._texts = texts
        self._words = encoded.dictionary
        of_text = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
        self._places = of_text[np.argsort(codes, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(self._words)))])

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._texts)

    def contains(self, wanted: str) -> np.ndarray:
        """Return which texts contain ``wanted``, (n,) bool."""
        pieces = wanted.split(" ")
        longest = max(pieces, key=len)
        if not longest:  # blanks alone
            return _flags(pc.match_substring(self._texts, wanted))
        found = self._with_word(_flags(pc.match_substring(self._words, longest)))
        if len(pieces) > 1:
            rows = np.flatnonzero(found)
            found[rows] = _flags(pc.match_substring(self._texts.take(pa.array(rows)), wanted))
        return found

    def _with_word(self, chosen: np.ndarray) -> np.ndarray:
        """Return which texts have any of the chosen words."""
        flags = np.zeros(len(self._texts), dtype=bool)
        words = np.flatnonzero(chosen)
        if words.size <= _FEW_WORDS:
            for word in words:
                flags[self._places[self._starts[word] : self._starts[word + 1]]] = True
        else:
            flags[self._places[np.repeat(chosen, np.diff(self._starts))]] = True
        return flags


def _flags(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)
