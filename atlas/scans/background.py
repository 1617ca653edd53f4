"""The background: terms of other vocabularies, against which a swept term must stand out.

In: the packaged vocabularies, the model. Out: ``scans/background.parquet`` (text, libraries) and ``scans/background.npy``
(n, dim) float16. Of texts that say nearly the same, one is kept: gene ontologies repeat an idea as "regulation of", "positive
regulation of" and "negative regulation of" it, and an idea must count once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.model.text_cache import embed_terms
from atlas.scans import SCAN_TEMPLATES
from atlas.vocabulary import packaged_vocabularies, read_terms, readable_term

if TYPE_CHECKING:
    from atlas.model.joint import JointModel

SAME_IDEA = 0.9
"""Of background texts with at least this cosine, one is kept: with the packaged model some 5,500 of 9,601."""
_BLOCK = 512
_TABLE, _VECTORS = "background.parquet", "background.npy"


@dataclass(frozen=True)
class Background:
    """Distinct background texts.

    Attributes
    ----------
    texts
        As embedded.
    libraries
        Of each text, the vocabularies that name it.
    vectors
        (n, dim) float32, unit rows.
    """

    texts: tuple[str, ...]
    libraries: tuple[tuple[str, ...], ...]
    vectors: np.ndarray

    @classmethod
    def embed(
        cls,
        model: JointModel,
        *,
        caches: Sequence[Path],
        cut: float = SAME_IDEA,
        progress: Callable[[int], None] | None = None,
    ) -> Background:
        """Embed the packaged vocabularies under the scan templates, and keep distinct ideas.

        Parameters
        ----------
        model
            Its text tower embeds.
        caches
            Folders of terms embedded before.
        cut
            Of texts with at least this cosine one is kept; above 1 all are.
        progress
            Told the number of texts embedded since the last call.
        """
        named: dict[str, set[str]] = {}
        for library, path in packaged_vocabularies().items():
            for term in read_terms(path).terms:
                named.setdefault(readable_term(term), set()).add(library)
        texts = sorted(named)
        vectors = unit(embed_terms(model, texts, templates=SCAN_TEMPLATES, caches=caches, progress=progress))
        kept = distinct_ideas(vectors, cut=cut)
        return cls(
            tuple(texts[row] for row in kept), tuple(tuple(sorted(named[texts[row]])) for row in kept), vectors[kept]
        )

    @classmethod
    def load(cls, folder: Path) -> Background:
        """Read what ``save`` wrote."""
        table = pq.read_table(folder / _TABLE)
        vectors = unit(np.load(folder / _VECTORS, allow_pickle=False))
        if len(vectors) != table.num_rows:
            raise ArtifactError("The background's texts and vectors do not belong together.", kind="corrupt")
        return cls(tuple(table["text"].to_pylist()), tuple(map(tuple, table["libraries"].to_pylist())), vectors)

    def save(self, folder: Path) -> None:
        """Write it into the folder of a release's scans."""
        libraries = pa.array(self.libraries, pa.list_(pa.string()))
        pq.write_table(pa.table({"text": pa.array(self.texts, pa.string()), "libraries": libraries}), folder / _TABLE)
        np.save(folder / _VECTORS, self.vectors.astype(np.float16), allow_pickle=False)

    def without(self, vocabulary: str | None) -> np.ndarray:
        """Return the vectors of the texts that some other vocabulary names too, (n, dim) float32."""
        kept = [row for row, names in enumerate(self.libraries) if any(name != vocabulary for name in names)]
        return self.vectors[kept]


def is_saved(folder: Path) -> bool:
    """Return whether a folder holds a background."""
    return (folder / _TABLE).is_file()


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return rows of float32, scaled to unit length again after float16."""
    wide = vectors.astype(np.float32)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float32).tiny))


def distinct_ideas(vectors: np.ndarray, *, cut: float = SAME_IDEA, seed: int = 0) -> np.ndarray:
    """Return rows of which no two have a cosine of ``cut`` or more, ascending; the order of preference is drawn by seed.

    Every row left out is at least that near to one that is kept.
    """
    order = np.random.default_rng(seed).permutation(vectors.shape[0])
    kept: list[int] = []
    for start in range(0, order.size, _BLOCK):
        block = order[start : start + _BLOCK]
        near = np.zeros(block.size, dtype=bool)
        if kept:
            near = (vectors[block] @ vectors[kept].T >= cut).any(axis=1)
        alike = vectors[block] @ vectors[block].T >= cut
        for place in range(block.size):
            if not near[place]:
                kept.append(int(block[place]))
                near |= alike[place]
    return np.sort(np.asarray(kept, dtype=np.int64))
