"""Every table of an evaluation in one page and one JSON file: ``geo-atlas evaluate all``.

In: a folder of evaluation data (``evaluation/*.h5ad``, ``corpora/*.h5``), the model that ships, and the models that stand for it
where it has seen what it is measured on. Out: markdown and JSON; every figure with n, pool, seed, interval and model.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import InputError
from atlas.model.joint import JointModel
from atlas.model.text_tower import MiniLmTower
from indexer.evaluation.baselines import read_markers
from indexer.evaluation.corpus import Corpus, study_folds
from indexer.evaluation.dictionary import Dictionary
from indexer.evaluation.folds import folds_of_models
from indexer.evaluation.integration import Integration, evaluate_integration
from indexer.evaluation.labelled_sets import (
    Contenders,
    SetResult,
    baseline_table,
    confusion_table,
    measure_sets,
    reached,
    set_json,
    set_table,
)
from indexer.evaluation.metrics import Estimate
from indexer.evaluation.phrase_tables import (
    PhraseTables,
    contrast_table,
    figure_table,
    measure_phrases,
    phrase_json,
    phrase_table,
    wording_table,
)
from indexer.evaluation.retrieval import CUTOFFS, Retrieval, chance, deduplicate, evaluate_retrieval
from indexer.evaluation.sets import PHRASE_BARS
from indexer.evaluation.tables import markdown, number, plain, show
from indexer.training.provenance import Related, evaluation_provenance, seen_by

logger = logging.getLogger(__name__)


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
        Name -> model folder: training-free, dictionary.
    markers
        Table of markers, ``None`` leaves that baseline away.
    gene_sets
        Folder of GMT files for the dictionary, ``None`` leaves that baseline away.
    """

    data: Path
    model: Path
    without: Path | None = None
    folds: tuple[Path, ...] = ()
    others: Mapping[str, Path] | None = None
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
    retrieval: Mapping[str, Retrieval]
    integration: Integration


def measure_all(request: Request) -> Measured:
    """Measure everything.

    Raises
    ------
    InputError, ArtifactError
        If data or a model cannot be used.
    """
    model = JointModel.load(request.model)
    without = JointModel.load(request.without) if request.without else None
    folds = [JointModel.load(folder) for folder in request.folds]
    others = {name: JointModel.load(folder) for name, folder in (request.others or {}).items()}
    markers = read_markers(request.markers) if request.markers else {}
    embed = text_alone()
    dictionary = Dictionary(request.gene_sets, model, embed) if request.gene_sets else None
    corpus = Corpus.open(request.data)
    fold_of = folds_of_models(corpus.samples, folds) if folds else study_folds(corpus.samples.studies)
    numbers = np.unique(fold_of) if folds else ()
    corpus.embed_all(
        [(one, None) for one in (model, *others.values())]
        + [(one, fold_of == fold) for fold, one in zip(numbers, folds, strict=False)]
    )
    series = set(corpus.samples.series)
    who = Contenders(
        model=model,
        without={} if without is None else dict.fromkeys(must_be_withheld(model, series=series), without),
        others=others,
        markers=markers,
        embed=embed,
        dictionary=dictionary,
        seen=lambda name: tuple(f"{one.name} ({one.relation})" for one in seen_of(model, name, series=series)),
    )
    sets = measure_sets(request.data, who, seed=request.seed, n_draws=request.n_draws)
    phrases = measure_phrases(
        corpus, folds or [model], folds=fold_of, others=others, markers=markers, embed=embed,
        dictionary=dictionary, seed=request.seed, n_draws=request.n_draws,
    )  # fmt: skip
    vectors = fold_vectors(corpus, folds or [model], folds=fold_of)
    retrieval = measure_retrieval(corpus, folds or [model], vectors, folds=fold_of, embed=embed, seed=request.seed)
    integration = measure_integration(corpus, corpus.embed(model), seed=request.seed)
    loaded = {"shipped": model, **({"without": without} if without else {}), **others}
    loaded |= {f"fold {i}": one for i, one in enumerate(folds)}
    return Measured(request, {name: one.hash for name, one in loaded.items()}, sets, phrases, retrieval, integration)


def text_alone() -> Any:
    """Return the packaged text tower as a function of texts, each distinct text embedded once."""
    tower = MiniLmTower()

    @cache
    def one(text: str) -> np.ndarray:
        vector: np.ndarray = tower.embed([text])[0]
        return vector

    def embed(texts: Sequence[str]) -> np.ndarray:
        new = list(dict.fromkeys(texts))
        vectors = dict(zip(new, tower.embed(new), strict=True)) if len(new) > 1 else {text: one(text) for text in new}
        return np.stack([vectors[text] for text in texts])

    return embed


def seen_of(model: JointModel, evaluation_set: str, *, series: Collection[str]) -> tuple[Related, ...]:
    """Return what a model saw of a set's origin.

    Libraries are those of its memory of set names; series, those of the corpora unless its record of statistics excludes them.
    """
    memory = model.folder / "memory.parquet"
    libraries: set[str] = set()
    if memory.is_file():
        import pyarrow.parquet as pq

        libraries = set(pq.read_table(memory, columns=["library"])["library"].to_pylist())
    fitted = model.config.statistics
    used = set() if fitted is None else set(series) - set(fitted.excluded_series)
    return seen_by(evaluation_set, libraries=libraries, series=used)


def must_be_withheld(model: JointModel, *, series: Collection[str]) -> tuple[str, ...]:
    """Return the sets of whose origin the model saw something that a headline figure must do without."""
    return tuple(
        name for name in evaluation_provenance() if any(one.withheld for one in seen_of(model, name, series=series))
    )


def fold_vectors(corpus: Corpus, models: Sequence[JointModel], *, folds: np.ndarray) -> np.ndarray:
    """Return ``(n_samples, dim)``, each sample's by the model of its fold; only models of one dimension are comparable so."""
    if len(models) == 1:
        return corpus.embed(models[0])
    found: np.ndarray = np.zeros((len(folds), models[0].dim), dtype=np.float32)
    for fold, model in zip(np.unique(folds), models, strict=True):
        found[folds == fold] = corpus.embed(model, wanted=folds == fold)[folds == fold]
    return found


def measure_retrieval(
    corpus: Corpus, models: Sequence[JointModel], vectors: np.ndarray, *, folds: np.ndarray, embed: Any, seed: int
) -> dict[str, Retrieval]:
    """Measure retrieval over all studies by one model, or within each fold by its own; the text tower alone beside it."""
    captions = np.array(corpus.captions())
    parts = (
        [np.arange(len(folds))] if len(models) == 1 else [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    )
    found: dict[str, Retrieval] = {}
    for number_, (model, rows) in enumerate(zip(models, parts, strict=True)):
        said = rows[captions[rows] != ""]
        raw = embed(captions[said].tolist())
        kept = deduplicate(raw, seed=seed)
        chosen = said[kept]
        name = "all studies" if len(models) == 1 else f"fold {number_}"
        texts = model.embed_texts(captions[chosen].tolist())
        found[name] = evaluate_retrieval(vectors[chosen], texts, studies=corpus.samples.studies[chosen], seed=seed)
    return found


def measure_integration(corpus: Corpus, vectors: np.ndarray, *, seed: int) -> Integration:
    """Score how tissues keep together and series mix, over samples whose tissue occurs in two series or more."""
    tissues = np.char.lower(corpus.samples.tissues)
    shared = [
        name for name in np.unique(tissues) if name and len(np.unique(corpus.samples.series[tissues == name])) > 1
    ]
    used = np.isin(tissues, shared)
    if not used.any():
        raise InputError("No curated tissue occurs in two series; integration cannot be measured.")
    return evaluate_integration(vectors[used], labels=tissues[used], batches=corpus.samples.series[used], seed=seed)


def page(measured: Measured, *, command: str) -> str:
    """Return all tables as markdown."""
    request, phrases = measured.request, measured.phrases
    hashes = ", ".join(f"{name} `{value[:12]}`" for name, value in measured.hashes.items())
    scored = (
        "each sample by the model of its fold, trained without its study"
        if request.folds
        else "every fold by the shipped model; what it saw is named"
    )
    sections = [
        f"Written by `{command}`; seed {request.seed}, {request.n_draws} bootstrap draws; models: {hashes}.",
        "## Bars",
        bars_table(measured),
        "## Zero-shot labels",
        set_table(measured.sets),
        SET_NOTES,
        "### Beside baselines: ROC-AUC, accuracy, top 5",
        baseline_table(measured.sets),
        BASELINE_NOTES,
        "### Confusions",
        confusion_table(measured.sets),
        "## Phrases on bulk samples",
        f"{phrases.n_samples:,} samples of {phrases.n_studies} studies in {phrases.n_folds} folds of whole studies; {scored}.",
        figure_table(phrases),
        "### Tissues, cells and tumours",
        phrase_table(phrases, kinds=("tissue", "tumour")),
        "### Diseases against all samples (no bar: tissue makes them easy)",
        phrase_table(phrases, kinds=("disease",)),
        "### Diseases against controls of the same study",
        contrast_table(phrases),
        "Pairs of one tissue and series only. † one or two studies: the interval says nothing of others.",
        "### Wordings",
        wording_table(phrases),
        "## Retrieval",
        retrieval_table(measured.retrieval),
        "## Integration",
        integration_table(measured.integration),
    ]
    return "\n\n".join(sections) + "\n"


SET_NOTES = (
    "Shares are a softmax over the texts of all labels of a set; each row is scored alone. *Labels as written* and *by cosine* "
    "are the same without cleaning of labels and without the softmax. *Set-centred* takes each text's mean over the set off: it "
    "looks at other rows and is no figure of a single row. Intervals are over rows."
)
BASELINE_NOTES = (
    "On at most 300 rows of a set, at random. *lexical*: the genes that a label names. *text only*: a row as the list of its 20 "
    "strongest genes, compared by the text tower alone, on 60 rows. *markers*: mean standing of the markers of the cell type "
    "nearest in name. *dictionary*: gene sets of cells and tissues as they are, the mean of the ten nearest in name, without the "
    "libraries of the set's own origin."
)


def bars_table(measured: Measured) -> str:
    """Markdown: each bar, the figure, and whether it is reached."""
    rows: list[Sequence[object]] = []
    figures = measured.phrases.figures["model"]
    pairs = f"{figures.top_1:.2f} / {figures.top_5:.2f}"
    for name, figure in zip(PHRASE_BARS, (figures.located, figures.contrasts, figures.every), strict=True):
        rows.append(_bar(name, figure, *PHRASE_BARS[name], pairs))
    rows += [_bar(*one) for one in reached(measured.sets)]
    return markdown(("measure", "figure [95 %]", "bar", "aim", "reached", "accuracy / top 5"), rows)


def _bar(name: str, figure: Estimate, bar: float | None, aim: float | None, accuracy: str) -> Sequence[object]:
    state = "aim" if figure.value >= (aim or 2) else "yes" if figure.value >= (bar or 2) else "no"
    return name, show(figure), number(bar, digits=2), number(aim, digits=2), state, accuracy


def retrieval_table(found: Mapping[str, Retrieval]) -> str:
    """Markdown: recall in both directions with the size of the pool, and chance."""
    rows: list[Sequence[object]] = []
    for name, one in found.items():
        for direction, part in (
            ("text to transcriptome", one.text_to_transcriptome),
            ("transcriptome to text", one.transcriptome_to_text),
        ):
            recalls = (show(part.recall[k]) for k in CUTOFFS)
            rows.append((name, direction, one.n, one.n_studies, *recalls, show(part.roc_auc)))
        guessed = chance(one.n)
        rows.append((name, "chance", one.n, "", *(number(guessed[k]) for k in CUTOFFS), "0.500"))
    columns = ("samples", "direction", "pool", "studies", *(f"R@{k} [95 %]" for k in CUTOFFS), "ROC-AUC [95 %]")
    return markdown(columns, rows)


def integration_table(one: Integration) -> str:
    """Markdown: scores of scIB and the mixing of batches."""
    rows = [(f"biology: {name}", number(value)) for name, value in one.biology.items()]
    rows += [(f"batch: {name}", number(value)) for name, value in one.batch.items()]
    rows += [
        ("**biology, mean**", number(one.mean_biology)),
        ("**batch, mean**", number(one.mean_batch)),
        ("**total (.6 biology, .4 batch)**", number(one.total)),
        ("same label among the 10 nearest", number(one.same_label)),
        ("same batch among the 10 nearest", number(one.same_batch)),
        ("same batch among 10 random rows", number(one.random_same_batch)),
    ]
    return f"{one.n:,} rows, {one.n_labels} labels, {one.n_batches} batches.\n\n" + markdown(("score", "value"), rows)


def report_json(measured: Measured) -> str:
    """Return all figures as JSON text."""
    whole = {
        "models": dict(measured.hashes),
        "seed": measured.request.seed,
        "n_draws": measured.request.n_draws,
        "zero_shot": {one.of.name: set_json(one) for one in measured.sets},
        "phrases": phrase_json(measured.phrases),
        "retrieval": {name: nested(one) for name, one in measured.retrieval.items()},
        "integration": nested(measured.integration),
    }
    return json.dumps(plain(nested(whole)), ensure_ascii=False, allow_nan=False) + "\n"


def nested(value: Any) -> Any:
    """Return records as objects, however deep; estimates stay for :func:`plain`."""
    if isinstance(value, Estimate):
        return value
    if isinstance(value, Mapping):
        return {str(key): nested(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [nested(one) for one in value]
    return nested(vars(value)) if hasattr(value, "__dataclass_fields__") else value
