"""Words that texts share: TF-IDF vectors, the lexical baseline wherever samples or sets are described in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WordVectors:
    """Weights of the words of some texts; rare words weigh more.

    Attributes
    ----------
    places, weights
        Word -> column, and the weight of each column.
    """

    places: Mapping[str, int]
    weights: np.ndarray

    @classmethod
    def fit(cls, texts: Sequence[str]) -> WordVectors:
        """Weigh the words of ``texts`` by log((1 + n) / (1 + texts that hold the word)) + 1."""
        n_holding: dict[str, int] = {}
        for text in texts:
            for word in dict.fromkeys(words(text)):
                n_holding[word] = n_holding.get(word, 0) + 1
        places = {word: place for place, word in enumerate(n_holding)}
        return cls(places, np.log((1 + len(texts)) / (1 + np.array(list(n_holding.values()), dtype=np.float64))) + 1)

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n, n_words)`` float64 unit vectors; zero for a text without a known word."""
        found = np.zeros((len(texts), len(self.places)))
        for row, text in enumerate(texts):
            for word in words(text):
                if word in self.places:
                    found[row, self.places[word]] += 1.0
        found *= self.weights
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


def shared_words(queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Return ``(n_queries, n_texts)`` TF-IDF cosines, words weighed as ``texts`` use them."""
    vectors = WordVectors.fit(texts)
    return np.asarray(vectors.of(queries) @ vectors.of(texts).T)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, a plural s taken off."""
    kept = "".join(char if char.isalnum() else " " for char in text.lower()).split()
    return [word.removesuffix("s") if len(word) > 3 else word for word in kept]
