"""The vocabulary terms that fit one vector best; the same answer as ``match_keywords`` gives a build, made for questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.answers import Keyword
from atlas.landscape.keywords import TOP_TERMS, rows_by_library, standardise
from atlas.release import Release
from atlas.vocabulary import readable_term


class TermTable:
    """All terms of a release with their vectors.

    In: ``terms.parquet``, ``term_vectors.npy``.
    """

    def __init__(self, release: Release) -> None:
        table = release.table("terms.parquet", columns=["library", "term"]).to_pydict()
        self._terms: Sequence[str] = table["term"]
        self._libraries = rows_by_library(table["library"], [readable_term(term) for term in table["term"]])
        loaded = np.load(release.checked("term_vectors.npy"), mmap_mode="r", allow_pickle=False)
        self._vectors: np.ndarray = loaded.astype(np.float32)

    def keywords(self, vector: np.ndarray, *, top: int = TOP_TERMS) -> tuple[Keyword, ...]:
        """Return up to ``top`` terms with positive cosine of every library, by z over all terms.

        Parameters
        ----------
        vector
            (dim,) float32 unit vector.
        """
        scores = self._vectors @ vector.astype(np.float32)
        z = standardise(scores)
        found = []
        for library, rows in self._libraries.items():
            best = rows[np.argsort(-scores[rows], kind="stable")][:top]  # equal scores keep the order of the file
            found += [
                Keyword(library, self._terms[row], round(float(scores[row]), 6), round(float(z[row]), 4))
                for row in best[scores[best] > 0].tolist()
            ]
        return tuple(sorted(found, key=lambda keyword: -keyword.z))
