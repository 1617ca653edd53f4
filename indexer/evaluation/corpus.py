"""The evaluation corpora: expression files with curated labels, embedded in one row order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from atlas.cells.scoring import take_rows
from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.expression.source import open_source
from atlas.model.joint import JointModel
from indexer.evaluation.curated import CuratedSamples, read_curated
from indexer.training.sources.captions import caption_variants

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
    _kept: dict[tuple[str, bytes], np.ndarray] = field(
        default_factory=dict, repr=False, compare=False
    )  # by model and samples

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

    def captions(self) -> list[tuple[str, ...]]:
        """Return the wordings of what each sample says of itself; none where it says nothing, curated labels never."""
        said: list[tuple[str, ...]] = []
        for path in self.paths:
            with open_source(path) as source:
                series = source.series_table()
                titles = dict(zip(series["series_id"].to_pylist(), series["title"].to_pylist(), strict=True))
                records = source.sample_table().to_pylist()
            for one in records:
                study = next((titles.get(name, "") for name in one["series_ids"] or ()), "")
                said.append(
                    caption_variants(
                        one["title"], one["source_name"], characteristics=one["characteristics"], series_title=study
                    )
                )
        return said

    def embed(self, model: JointModel, *, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, rounded as a release stores them; kept for the next call.

        Parameters
        ----------
        wanted
            ``(n_samples,)`` bool, the samples to embed; the rows of others are NaN. Default: all.
        """
        return self.embed_all([(model, wanted)])[0]

    def embed_all(self, asked: Sequence[tuple[JointModel, np.ndarray | None]]) -> list[np.ndarray]:
        """Return the vectors of :meth:`embed` of several models; the files are read once."""
        keys = [
            (model.hash, b"" if wanted is None or wanted.all() else np.packbits(wanted).tobytes())
            for model, wanted in asked
        ]
        new = {
            key: (model, np.ones(len(self), dtype=bool) if wanted is None else wanted)
            for key, (model, wanted) in zip(keys, asked, strict=True)
            if key not in self._kept or not model.hash
        }
        for key, (model, _) in new.items():
            self._kept[key] = np.full((len(self), model.dim), np.nan, dtype=np.float32)
        start = 0
        for path in self.paths if new else ():
            with open_source(path) as source:
                aligners = {
                    key: GeneAligner(source.genes, source.symbols, genes=model.genes) for key, (model, _) in new.items()
                }
                for _, matrix in source.blocks():
                    here = np.arange(start, start + matrix.n_samples)
                    start += matrix.n_samples
                    for key, (model, wanted) in new.items():
                        mine = wanted[here]
                        if mine.any():
                            vectors = model.embed_expression(take_rows(aligners[key].align(matrix), mine))
                            self._kept[key][here[mine]] = vectors.astype(np.float16)
        return [self._kept[key] for key in keys]

    def __len__(self) -> int:
        return len(self.samples)
