"""The evaluation corpora: expression files with curated labels, embedded in one row order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.expression.source import open_source
from atlas.model.joint import JointModel
from indexer.evaluation.curated import CuratedSamples, read_curated
from indexer.training.sources.captions import caption_variants

LEAKY = ("GTEx-average-recount2", "MADE:heme-16populations")  # also rows of other evaluation sets
FILES = ("counts.h5", "tpm.h5")
N_FOLDS = 5


def study_folds(studies: np.ndarray, *, n_folds: int = N_FOLDS, seed: int = 0) -> np.ndarray:
    """Return ``(n,)`` int64 the fold of each sample: whole studies, dealt out in random order."""
    names, member = np.unique(studies, return_inverse=True)
    fold_of = np.empty(len(names), dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % n_folds
    return np.asarray(fold_of[member])


@dataclass(frozen=True)
class Corpus:
    """The files and their labels, one row order."""

    paths: tuple[Path, ...]
    samples: CuratedSamples
    _kept: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)  # by model hash

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

    def captions(self) -> list[str]:
        """Return what each sample says of itself, "" where it says nothing; curated labels are not part of it."""
        said: list[str] = []
        for path in self.paths:
            with open_source(path) as source:
                series = source.series_table()
                titles = dict(zip(series["series_id"].to_pylist(), series["title"].to_pylist(), strict=True))
                records = source.sample_table().to_pylist()
            for one in records:
                study = next((titles.get(name, "") for name in one["series_ids"] or ()), "")
                variants = caption_variants(
                    one["title"], one["source_name"], characteristics=one["characteristics"], series_title=study
                )
                said.append(variants[0] if variants else "")
        return said

    def embed(self, model: JointModel) -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, rounded as a release stores them; kept for the next call."""
        return self.embed_all([model])[0]

    def embed_all(self, models: Sequence[JointModel]) -> list[np.ndarray]:
        """Return the vectors of :meth:`embed` of several models; the files are read once."""
        new = {model.hash: model for model in models if model.hash not in self._kept or not model.hash}
        parts: dict[str, list[np.ndarray]] = {key: [] for key in new}
        for path in self.paths if new else ():
            with open_source(path) as source:
                aligners = {
                    key: GeneAligner(source.genes, source.symbols, genes=model.genes) for key, model in new.items()
                }
                for _, matrix in source.blocks():
                    for key, model in new.items():
                        parts[key].append(model.embed_expression(aligners[key].align(matrix)))
        self._kept.update(
            {key: np.concatenate(part).astype(np.float16).astype(np.float32) for key, part in parts.items()}
        )
        return [self._kept[model.hash] for model in models]
