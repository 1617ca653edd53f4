"""The zero-shot tables of an evaluation: every labelled set, the model, and what it is held against."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.cells.rows import CellRows, open_rows
from atlas.cells.scoring import PAPER_LOGIT_SCALE, softmax, take_rows
from atlas.errors import InputError
from atlas.expression.align import GeneAligner
from atlas.model.joint import JointModel
from indexer.evaluation.baselines import LabelSet
from indexer.evaluation.metrics import Estimate
from indexer.evaluation.rivals import Rivals
from indexer.evaluation.sets import SETS, EvaluationSet
from indexer.evaluation.tables import confusions, markdown, number, show, zero_shot_json
from indexer.evaluation.zero_shot import ZeroShot, ZeroShotReport, evaluate_file, summarise
from indexer.training.provenance import withheld_from

logger = logging.getLogger(__name__)
_CONFUSED = 3
_MOST_ROWS = {"text only": 60}  # of baselines; a row as a text of its genes is slow to embed
_MANY_ROWS = 300  # of other baselines
_FEW_DRAWS = 200  # of baselines


@dataclass(frozen=True)
class SetResult:
    """One set under every scorer.

    Attributes
    ----------
    headline
        The model of the bar: trained without what the set's sources gave, where such a model was passed.
    whole
        The model that ships; the same report where no other was passed.
    seen
        Libraries and series of the set's origin that the shipped model saw.
    models
        Other models by name.
    baselines
        Scores without a joint model by name.
    """

    of: EvaluationSet
    headline: ZeroShotReport
    whole: ZeroShotReport
    seen: tuple[str, ...]
    models: Mapping[str, ZeroShotReport]
    baselines: Mapping[str, ZeroShot]


@dataclass(frozen=True)
class Contenders:
    """Who is measured.

    Attributes
    ----------
    model
        The model that ships.
    without
        Set -> model trained without the set's sources.
    rivals
        What it stands beside.
    seen
        Set -> names of libraries and series of its origin that ``model`` saw.
    """

    model: JointModel
    without: Mapping[str, JointModel]
    rivals: Rivals
    seen: Callable[[str], tuple[str, ...]]


def measure_sets(data: Path, who: Contenders, *, seed: int, n_draws: int) -> tuple[SetResult, ...]:
    """Measure every set that lies in ``data/evaluation``.

    Raises
    ------
    InputError
        If none does.
    """
    found = []
    for one in SETS:
        path = data / "evaluation" / f"{one.name}.h5ad"
        if path.is_file():
            logger.info("zero-shot: %s", one.name)
            found.append(measure_set(one, path, who, seed=seed, n_draws=n_draws))
    if not found:
        raise InputError(f"{data / 'evaluation'} holds none of the evaluation sets, for example {SETS[0].name}.h5ad.")
    return tuple(found)


def measure_set(one: EvaluationSet, path: Path, who: Contenders, *, seed: int, n_draws: int) -> SetResult:
    """Measure one set under every scorer."""

    def report(model: JointModel) -> ZeroShotReport:
        return evaluate_file(path, label=one.label, model=model, seed=seed, n_draws=n_draws)

    whole = report(who.model)
    return SetResult(
        of=one,
        headline=report(who.without[one.name]) if one.name in who.without else whole,
        whole=whole,
        seen=who.seen(one.name),
        models={name: report(model) for name, model in who.rivals.models.items()},
        baselines=score_baselines(path, whole, label=one.label, who=who, seed=seed, n_draws=n_draws),
    )


def score_baselines(
    path: Path, report: ZeroShotReport, *, label: str, who: Contenders, seed: int, n_draws: int
) -> dict[str, ZeroShot]:
    """Score the rows of a file by every baseline, with the labels of ``report`` and the texts it read for each row."""
    texts = report.scores.texts
    with open_rows(path) as rows:
        codes = np.array([-1 if one is None else texts.labels.index(one) for one in rows.labels(label)])
        used = (codes >= 0) & report.scores.has_signal
        shares = _baseline_shares(rows, report, who=who, used=used, seed=seed, leave_out=withheld_from(path.stem)[0])
    few_draws, found = min(n_draws, _FEW_DRAWS), {}
    for name, of_rows in shares.items():
        mine = ~np.isnan(of_rows[:, 0])
        found[name] = summarise(
            of_rows[mine], codes[mine], labels=texts.labels, texts=texts.texts, seed=seed, n_draws=few_draws
        )
    return found


def _baseline_shares(
    rows: CellRows,
    report: ZeroShotReport,
    *,
    who: Contenders,
    used: np.ndarray,
    seed: int,
    leave_out: Collection[str],
) -> dict[str, np.ndarray]:
    """Return name -> ``(n_rows, n_labels)`` shares; NaN in rows that a baseline is not measured on."""
    scores, genes = report.scores, who.model.genes
    organism = scores.reading.coverage.organism
    scales = {"text only": PAPER_LOGIT_SCALE, "dictionary": scores.logit_scale}  # scores of others are no cosines
    aligner = GeneAligner(rows.genes, rows.symbols, genes=genes, organism=organism)
    shares: dict[str, np.ndarray] = {}
    start = 0
    for matrix in rows.matrices():
        aligned = aligner.align(matrix)
        for places, texts in scores.row_texts.groups(start, matrix.n_samples):
            asked = LabelSet(texts.labels, texts.texts, genes, organism)
            for name, score in who.rivals.scorers(asked, leave_out=leave_out).items():
                chosen = _some(used, n=_MOST_ROWS.get(name, _MANY_ROWS), seed=seed)
                wanted = np.isin(np.arange(matrix.n_samples), places) & chosen[start : start + matrix.n_samples]
                of_rows = shares.setdefault(name, np.full((len(used), len(texts.labels)), np.nan))
                if wanted.any():
                    found = softmax(score(take_rows(aligned, wanted)), logit_scale=scales.get(name, 1.0))
                    of_rows[start + np.flatnonzero(wanted)] = found
        start += matrix.n_samples
    return shares


def _some(used: np.ndarray, *, n: int, seed: int) -> np.ndarray:
    """Return a mask of at most ``n`` of the rows in ``used``, at random."""
    rows = np.flatnonzero(used)
    kept = np.random.default_rng(seed).choice(rows, size=min(n, len(rows)), replace=False)
    mask = np.zeros(len(used), dtype=bool)
    mask[kept] = True
    return mask


def set_table(results: Sequence[SetResult]) -> str:
    """Markdown: the model on each set."""
    columns = (
        "set", "n", "labels", "ROC-AUC, macro [95 %]", "bar", "accuracy [95 %]", "top 5", "F1, macro",
        "ROC-AUC per type", "labels as written", "by cosine", "set-centred: ROC-AUC / accuracy", "seen",
    )  # fmt: skip
    return markdown(columns, (_set_row(one) for one in results))


def _set_row(one: SetResult) -> tuple[object, ...]:
    asked, report = one.headline.as_asked, one.headline
    seen = ", ".join(one.seen) or "-"
    if report is not one.whole:
        seen = f"not by this model; shipped one: {show(one.whole.as_asked.roc_auc_macro)}, which saw {seen}"
    return (
        one.of.title, asked.n, asked.n_labels, show(asked.roc_auc_macro), number(one.of.bar, digits=2),
        show(asked.accuracy), number(asked.top_5.value), number(asked.f1_macro.value), number(asked.type_roc_auc),
        number(report.as_written.roc_auc_macro.value), number(report.by_cosine),
        f"{number(report.set_centred.roc_auc_macro.value)} / {number(report.set_centred.accuracy.value)}", seen,
    )  # fmt: skip


def baseline_table(results: Sequence[SetResult]) -> str:
    """Markdown: macro ROC-AUC, accuracy and top 5 of the model and of what it is held against."""
    models = list(results[0].models) if results else []
    baselines = list(results[0].baselines) if results else []
    rows = []
    for one in results:
        n = one.headline.as_asked.n_labels
        cells = [_short(one.headline.as_asked), *(_short(one.models[name].as_asked) for name in models)]
        cells += [_short(one.baselines[name]) for name in baselines]
        rows.append((one.of.title, *cells, f"0.500, {1 / n:.2f}, {min(1.0, 5 / n):.2f}"))
    return markdown(("set", "model", *models, *baselines, "chance"), rows)


def confusion_table(results: Sequence[SetResult]) -> str:
    """Markdown: what was taken for what most often, and the labels found worst."""
    rows = []
    for one in results:
        asked = one.headline.as_asked
        pairs = "; ".join(f"{true} as {taken} ({n})" for true, taken, n in confusions(asked)[:_CONFUSED])
        worst = sorted((part for part in asked.labels if part.n), key=lambda part: part.roc_auc)[:_CONFUSED]
        rows.append((one.of.title, pairs or "-", "; ".join(f"{part.label} {part.roc_auc:.2f}" for part in worst)))
    return markdown(("set", "largest confusions (rows)", "lowest ROC-AUC"), rows)


def set_json(one: SetResult) -> dict[str, Any]:
    """Return one set's figures for the JSON report; of confusions those that occur."""
    return {
        "headline": {**_without_matrix(one.headline), "confusions": confusions(one.headline.as_asked)},
        "shipped": _without_matrix(one.whole),
        "seen": list(one.seen),
        "models": {name: _without_matrix(report) for name, report in one.models.items()},
        "baselines": {
            name: {
                "roc_auc_macro": part.roc_auc_macro.value,
                "accuracy": part.accuracy.value,
                "top_5": part.top_5.value,
                "n": part.n,
            }
            for name, part in one.baselines.items()
        },
    }


def _without_matrix(report: ZeroShotReport) -> dict[str, Any]:
    return {name: value for name, value in zero_shot_json(report).items() if name != "confusion"}


def reached(results: Sequence[SetResult]) -> list[tuple[str, Estimate, float | None, float | None, str]]:
    """Return ``(measure, figure, bar, aim, accuracy and top 5)`` of the sets that have a bar."""
    return [
        (
            f"{one.of.title} ({one.headline.as_asked.n_labels})",
            one.headline.as_asked.roc_auc_macro,
            one.of.bar,
            one.of.aim,
            f"{number(one.headline.as_asked.accuracy.value, digits=2)} / {number(one.headline.as_asked.top_5.value, digits=2)}",
        )
        for one in results
        if one.of.bar is not None
    ]


def _short(one: ZeroShot) -> str:
    return f"{one.roc_auc_macro.value:.3f}, {one.accuracy.value:.2f}, {one.top_5.value:.2f}"
