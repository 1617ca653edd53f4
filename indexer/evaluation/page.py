"""The page and the JSON file of an evaluation: every figure with n, pool, seed, interval and model."""

from __future__ import annotations

import json
from collections.abc import Sequence

from indexer.evaluation.integration_tables import INTEGRATION_NOTES, integration_table
from indexer.evaluation.labelled_sets import baseline_table, confusion_table, reached, set_json, set_table
from indexer.evaluation.measure import Measured
from indexer.evaluation.metrics import Estimate
from indexer.evaluation.phrase_tables import (
    PhraseTables,
    contrast_table,
    figure_table,
    phrase_json,
    phrase_table,
    wording_table,
)
from indexer.evaluation.retrieval_tables import retrieval_table
from indexer.evaluation.sets import PHRASE_BARS
from indexer.evaluation.tables import markdown, nested, number, plain, show


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
        BAR_NOTES,
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
        *phrase_sections(phrases),
        "## Retrieval",
        retrieval_table(measured.retrieval),
        "## Integration",
        "By the shipped model, whose statistics and texts hold these samples; vectors of different folds have no common space.",
        integration_table(measured.integration),
        INTEGRATION_NOTES,
    ]
    return "\n\n".join(sections) + "\n"


def phrase_sections(phrases: PhraseTables) -> list[str]:
    """Return the tables of phrases as markdown."""
    return [
        figure_table(phrases),
        PHRASE_NOTES,
        "### Tissues, cells and tumours",
        phrase_table(phrases, kinds=("tissue", "tumour")),
        "### Diseases against all samples (no bar: tissue makes them easy)",
        phrase_table(phrases, kinds=("disease",)),
        "### Diseases against controls of the same study",
        contrast_table(phrases),
        "Pairs of one tissue and series only. † one or two studies: the interval says nothing of others.",
        "### Wordings",
        wording_table(phrases),
    ]


BAR_NOTES = (
    "*Accuracy / top 5*: of a labelled set, the right label first and among five; of phrases, a phrase that applies to a sample "
    "first and among five: of tissues, cells and tumours, of all phrases, and of a case's diseases among the contrasts."
)
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
PHRASE_NOTES = (
    "*On captions*: phrases against what depositors wrote, by TF-IDF and by the text tower alone; no transcriptome is looked at. "
    "*markers*, *dictionary*: as above, libraries of any origin."
)


def bars_table(measured: Measured) -> str:
    """Markdown: each bar, the figure, and whether it is reached."""
    rows: list[Sequence[object]] = []
    figures = measured.phrases.figures["model"]
    for name, table in zip(PHRASE_BARS, ("located", "contrasts", "every"), strict=True):
        rows.append(_bar(name, getattr(figures, table), *PHRASE_BARS[name], str(figures.first[table])))
    rows += [_bar(*one) for one in reached(measured.sets)]
    return markdown(("measure", "figure [95 %]", "bar", "aim", "reached", "accuracy / top 5"), rows)


def _bar(name: str, figure: Estimate, bar: float | None, aim: float | None, accuracy: str) -> Sequence[object]:
    state = "aim" if figure.value >= (aim or 2) else "yes" if figure.value >= (bar or 2) else "no"
    return name, show(figure), number(bar, digits=2), number(aim, digits=2), state, accuracy


def report_json(measured: Measured) -> str:
    """Return all figures as JSON text."""
    whole = {
        "models": dict(measured.hashes),
        "seed": measured.request.seed,
        "n_draws": measured.request.n_draws,
        "zero_shot": {one.of.name: set_json(one) for one in measured.sets},
        "phrases": phrase_json(measured.phrases),
        "retrieval": nested(measured.retrieval),
        "integration": nested(measured.integration),
    }
    return json.dumps(plain(nested(whole)), ensure_ascii=False, allow_nan=False) + "\n"
