"""The evaluation corpora: expression files with curated labels, embedded in one row order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.expression.source import open_source
from atlas.model.joint import JointModel
from indexer.evaluation.curated import CuratedSamples, read_curated

LEAKY = ("GTEx-average-recount2", "MADE:heme-16populations")  # also rows of other evaluation sets
FILES = ("counts.h5", "tpm.h5")


@dataclass(frozen=True)
class Corpus:
    """The files and their labels, one row order."""

    paths: tuple[Path, ...]
    samples: CuratedSamples

    @classmethod
    def open(cls, data: Path) -> Corpus:
        """Read the labels of ``corpora/counts.h5`` and ``corpora/tpm.h5`` below ``data``.

        Raises
        ------
        InputError
            If one of them is not there.
        """
        paths = tuple(data / "corpora" / name for name in FILES)
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise InputError(f"{missing[0]} is not there; phrases are measured on the corpora {' and '.join(FILES)}.")
        return cls(paths, read_curated(paths))

    def blocks(self, model: JointModel) -> Iterator[AlignedExpression]:
        """Yield the aligned expression of all samples in order."""
        for path in self.paths:
            with open_source(path) as source:
                aligner = GeneAligner(source.genes, source.symbols, genes=model.genes)
                for _, matrix in source.blocks():
                    yield aligner.align(matrix)

    def embed(self, model: JointModel) -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, rounded as a release stores them."""
        vectors = np.concatenate([model.embed_expression(aligned) for aligned in self.blocks(model)])
        return vectors.astype(np.float16).astype(np.float32)
