"""Every measurement of an evaluation: ``geo-atlas evaluate all``; the page is written by :mod:`indexer.evaluation.page`.

In: a folder of evaluation data (``evaluation/*.h5ad``, ``corpora/*.h5``), the model that ships, and the models that stand for it
where it has seen what it is measured on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from atlas.model.joint import JointModel
from indexer.evaluation.corpus import Corpus, study_folds
from indexer.evaluation.folds import folds_of_models, parts_of_models
from indexer.evaluation.integration import Integration
from indexer.evaluation.integration_tables import measure_integration
from indexer.evaluation.labelled_sets import Contenders, SetResult, measure_sets
from indexer.evaluation.phrase_tables import PhraseTables, measure_phrases
from indexer.evaluation.retrieval_tables import RetrievalTables, measure_retrieval
from indexer.evaluation.rivals import Rivals
from indexer.training.provenance import Related, evaluation_provenance, seen_by


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes
    ----------
    data
        Folder with ``evaluation/`` and ``corpora/``.
    model
        The model that ships.
    without
        The model by the same recipe that saw nothing of the origin of any labelled set; ``None``: the shipped one saw nothing.
    folds
        One model a fold of studies, trained without it; empty: the shipped model saw no sample.
    others
        Name -> model folder, for example training-free.
    markers
        Table of markers, ``None`` leaves that baseline away.
    gene_sets
        Folder of GMT files for the dictionary, ``None`` leaves that baseline away.
    """

    data: Path
    model: Path
    without: Path | None = None
    folds: tuple[Path, ...] = ()
    others: Mapping[str, Path] = field(default_factory=dict)
    markers: Path | None = None
    gene_sets: Path | None = None
    seed: int = 0
    n_draws: int = 1_000


@dataclass(frozen=True)
class Measured:
    """All figures."""

    request: Request
    hashes: Mapping[str, str]
    sets: tuple[SetResult, ...]
    phrases: PhraseTables
    retrieval: RetrievalTables
    integration: Mapping[str, Integration]


@dataclass(frozen=True)
class Bench:
    """Corpora, models and rivals of a request, opened once.

    Attributes
    ----------
    model
        The model that ships.
    scoring
        The models that score samples: one a fold, or the shipped one.
    fold_of
        ``(n_samples,)`` fold of each sample; with models of folds, the place of the model that scores it.
    """

    corpus: Corpus
    model: JointModel
    scoring: tuple[JointModel, ...]
    fold_of: np.ndarray
    rivals: Rivals

    @classmethod
    def open(cls, request: Request) -> Bench:
        """Load everything and embed the samples, reading the corpora once.

        Raises
        ------
        InputError, ArtifactError
            If data or a model cannot be used.
        """
        corpus, model = Corpus.open(request.data), JointModel.load(request.model)
        folds = tuple(JointModel.load(folder) for folder in request.folds)
        fold_of = folds_of_models(corpus.samples, folds) if folds else study_folds(corpus.samples.studies)
        rivals = Rivals.open(model, models=request.others, markers=request.markers, gene_sets=request.gene_sets)
        one = cls(corpus, model, folds or (model,), fold_of, rivals)
        corpus.embed_all(
            [*parts_of_models(one.scoring, fold_of), *((each, None) for each in (model, *rivals.models.values()))]
        )
        return one

    def phrases(self, request: Request) -> PhraseTables:
        """Measure phrases, each sample by the model that scores its study."""
        return measure_phrases(
            self.corpus,
            self.scoring,
            folds=self.fold_of,
            rivals=self.rivals,
            seed=request.seed,
            n_draws=request.n_draws,
        )

    def retrieval(self, request: Request) -> RetrievalTables:
        """Measure retrieval, in pools of the samples that one model scores."""
        return measure_retrieval(
            self.corpus,
            self.scoring,
            folds=self.fold_of,
            rivals=self.rivals,
            seed=request.seed,
            n_draws=request.n_draws,
        )


def measure_all(request: Request) -> Measured:
    """Measure everything.

    Raises
    ------
    InputError, ArtifactError
        If data or a model cannot be used.
    """
    bench = Bench.open(request)
    without = JointModel.load(request.without) if request.without else None
    series = set(bench.corpus.samples.series)
    who = Contenders(
        model=bench.model,
        without={} if without is None else dict.fromkeys(must_be_withheld(bench.model, series=series), without),
        rivals=bench.rivals,
        seen=lambda name: tuple(f"{one.name} ({one.relation})" for one in seen_of(bench.model, name, series=series)),
    )
    loaded = {"shipped": bench.model, **({"without": without} if without else {}), **bench.rivals.models}
    loaded |= {f"fold {place}": one for place, one in enumerate(bench.scoring) if request.folds}
    return Measured(
        request=request,
        hashes={name: one.hash for name, one in loaded.items()},
        sets=measure_sets(request.data, who, seed=request.seed, n_draws=request.n_draws),
        phrases=bench.phrases(request),
        retrieval=bench.retrieval(request),
        integration=measure_integration(bench.corpus, bench.model, bench.rivals, seed=request.seed),
    )


def seen_of(model: JointModel, evaluation_set: str, *, series: Collection[str]) -> tuple[Related, ...]:
    """Return what a model saw of a set's origin.

    Libraries are those of its memory of set names; series, those of the corpora unless its record of statistics excludes them.
    """
    memory = model.folder / "memory.parquet"
    libraries: set[str] = set()
    if memory.is_file():
        libraries = set(pq.read_table(memory, columns=["library"])["library"].to_pylist())
    fitted = model.config.statistics
    used = set() if fitted is None else set(series) - set(fitted.excluded_series)
    return seen_by(evaluation_set, libraries=libraries, series=used)


def must_be_withheld(model: JointModel, *, series: Collection[str]) -> tuple[str, ...]:
    """Return the sets of whose origin the model saw something that a headline figure must do without."""
    return tuple(
        name for name in evaluation_provenance() if any(one.withheld for one in seen_of(model, name, series=series))
    )
