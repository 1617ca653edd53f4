"""Zero-shot labels: how well texts of labels find the rows that carry them.

In: scores of rows and labels, and the true label of each row. Out: :class:`ZeroShot` with intervals over rows. Source of the
protocol: CellWhisperer (Schaefer et al. 2025), zero-shot cell type prediction: one-vs-rest ROC-AUC averaged over labels, softmax
over the texts, per cell and per type (mean cosines of the rows of a type, which are those of its mean unit vector where its
rows are of one tissue). Ours: intervals, labels shown before and after cleaning, and the same figures with every label's mean
over the set taken off, which looks at other rows and is named so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.cells.row_texts import row_texts
from atlas.cells.rows import open_rows
from atlas.cells.scoring import CellScores, score_texts, softmax
from atlas.errors import InputError
from atlas.expression.units import Unit
from atlas.model.joint import JointModel
from atlas.model.transcriptome import InputKind
from indexer.evaluation.metrics import (
    Estimate,
    confusion,
    interval,
    macro,
    macro_f1,
    one_vs_rest,
    row_draws,
    top_k_hits,
)

N_DRAWS = 1_000
MANY_ROWS = 20_000  # above it, intervals are narrow and a tenth of the draws is enough


@dataclass(frozen=True)
class LabelResult:
    """One label: how many rows carry it, and how it is found."""

    label: str
    text: str
    n: int
    roc_auc: float
    recall: float
    precision: float
    most_taken_for: str  # the label that most of its wrong rows got, "" if none is wrong


@dataclass(frozen=True)
class ZeroShot:
    """Figures of one set of scores.

    Attributes
    ----------
    n, n_labels
        Rows and labels measured.
    roc_auc_macro, accuracy, top_5, f1_macro
        Per row, with 95 % intervals over rows.
    type_roc_auc, type_accuracy
        Of the mean row of each label.
    labels
        One a label.
    confusion
        ``(n_labels, n_labels)`` counts, row = true.
    """

    n: int
    n_labels: int
    roc_auc_macro: Estimate
    accuracy: Estimate
    top_5: Estimate
    f1_macro: Estimate
    type_roc_auc: float
    type_accuracy: float
    labels: tuple[LabelResult, ...]
    confusion: np.ndarray


@dataclass(frozen=True)
class ZeroShotReport:
    """A file measured.

    Attributes
    ----------
    as_asked
        Softmax over the texts, labels cleaned unless asked otherwise.
    as_written
        The same with the labels as they stand in the file.
    by_cosine
        Macro ROC-AUC of the plain cosines.
    set_centred
        With each label's mean over the set taken off: looks at other rows.
    scores
        What ``as_asked`` measures.
    n_without_label, n_without_signal
        Rows left out.
    seed
        Of the bootstrap.
    """

    as_asked: ZeroShot
    as_written: ZeroShot
    by_cosine: float
    set_centred: ZeroShot
    scores: CellScores
    n_without_label: int
    n_without_signal: int
    seed: int


def evaluate_file(
    data: object,
    *,
    label: str,
    model: JointModel,
    templates: Sequence[str] = (),
    tissue: str | None = None,
    as_written: bool = False,
    input: InputKind = "auto",
    layer: str | None = None,
    unit: Unit | None = None,
    organism: str | None = None,
    seed: int = 0,
    n_draws: int = N_DRAWS,
) -> ZeroShotReport:
    """Measure zero-shot labelling on a labelled file.

    Parameters
    ----------
    label
        Column of ``obs`` with the true labels; rows without one are left out and counted.
    tissue
        Where the cells are from; ``None``: what ``obs`` says of each row; ``""``: nothing.
    data, layer, unit, templates, as_written, input, organism
        See :func:`atlas.cells.scoring.score`.

    Raises
    ------
    InputError
        If fewer than two labels are left.
    """
    with open_rows(data, layer=layer, unit=unit) as rows:
        truth = rows.labels(label)
        names = _two_or_more(truth, column=label, where=rows.name)
        texts = [
            row_texts(rows, names, templates=templates, tissue=tissue, as_written=plain) for plain in (as_written, True)
        ]
        asked, plain = score_texts(rows, texts, model=model, input=input, organism=organism)
    codes = np.array([-1 if name is None else names.index(name) for name in truth])
    used = (codes >= 0) & asked.has_signal
    _refuse_one_label(codes[used], where=rows.name)

    def measured(scores: CellScores, cosines: np.ndarray) -> ZeroShot:
        shares, of_types = (
            softmax(part, logit_scale=scores.logit_scale)
            for part in (cosines[used], type_means(cosines[used], codes[used]))
        )
        return summarise(
            shares, codes[used], labels=names, texts=scores.texts.texts, of_types=of_types, seed=seed, n_draws=n_draws
        )

    result = measured(asked, asked.cosines)
    return ZeroShotReport(
        as_asked=result,
        as_written=result if _same(plain.cosines, asked.cosines) else measured(plain, plain.cosines),
        by_cosine=float(macro(one_vs_rest(asked.cosines[used], codes[used]))[0]),
        set_centred=measured(asked, asked.cosines - asked.cosines[used].mean(axis=0)),
        scores=asked,
        n_without_label=int((codes < 0).sum()),
        n_without_signal=int(((codes >= 0) & ~asked.has_signal).sum()),
        seed=seed,
    )


def summarise(
    scores: np.ndarray,
    codes: np.ndarray,
    *,
    labels: Sequence[str],
    texts: Sequence[str] | None = None,
    of_types: np.ndarray | None = None,
    seed: int = 0,
    n_draws: int = N_DRAWS,
) -> ZeroShot:
    """Measure scores of any origin.

    Parameters
    ----------
    scores
        ``(n_rows, n_labels)``, larger = more likely.
    codes
        ``(n_rows,)`` column of each row's true label.
    of_types
        Scores of the mean row of each label that occurs, in the order of codes; ``None``: the mean of its rows' scores.
    """
    n, n_labels = scores.shape
    predicted = np.argmax(scores, axis=1)
    aucs = one_vs_rest(scores, codes)[0]
    matrix = confusion(predicted, codes, n_labels=n_labels)
    in_5 = top_k_hits(scores, codes, k=5)
    drawn: list[tuple[np.ndarray, list[float], list[float], np.ndarray]] = []
    for counts in row_draws(n, seed=seed, n_draws=n_draws if n <= MANY_ROWS else max(1, n_draws // 10)):
        matrices = [confusion(predicted, codes, n_labels=n_labels, counts=one) for one in counts]
        drawn.append(
            (
                macro(one_vs_rest(scores, codes, counts=counts)),
                [float(np.trace(one)) / n for one in matrices],
                [macro_f1(one) for one in matrices],
                counts @ in_5 / n,
            )
        )
    low_high = [interval(np.concatenate([np.asarray(part[i]) for part in drawn])) for i in range(4)]
    values = (float(macro(aucs)), float(np.trace(matrix)) / n, macro_f1(matrix), float(in_5.mean()))
    auc, accuracy, f1, top_5 = (Estimate(value, *limits) for value, limits in zip(values, low_high, strict=True))
    there = np.unique(codes)
    if of_types is None:
        of_types = type_means(scores, codes)
    return ZeroShot(
        n=n,
        n_labels=n_labels,
        roc_auc_macro=auc,
        accuracy=accuracy,
        top_5=top_5,
        f1_macro=f1,
        type_roc_auc=float(macro(one_vs_rest(of_types, there))[0]),
        type_accuracy=float(top_k_hits(of_types, there, k=1).mean()),
        labels=_label_results(aucs, matrix, labels=labels, texts=labels if texts is None else texts),
        confusion=matrix,
    )


def type_means(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the mean scores of the rows of each code that occurs; for cosines, those of the mean unit vector."""
    return np.stack([scores[codes == code].mean(axis=0) for code in np.unique(codes)])


def _label_results(
    aucs: np.ndarray, matrix: np.ndarray, *, labels: Sequence[str], texts: Sequence[str]
) -> tuple[LabelResult, ...]:
    found = []
    for i, (label, text) in enumerate(zip(labels, texts, strict=True)):
        wrong = np.where(np.arange(len(labels)) == i, 0, matrix[i])
        found.append(
            LabelResult(
                label=label,
                text=text,
                n=int(matrix[i].sum()),
                roc_auc=float(aucs[i]),
                recall=_ratio(matrix[i, i], matrix[i].sum()),
                precision=_ratio(matrix[i, i], matrix[:, i].sum()),
                most_taken_for=labels[int(wrong.argmax())] if wrong.any() else "",
            )
        )
    return tuple(found)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def _refuse_one_label(codes: np.ndarray, *, where: str) -> None:
    if len(np.unique(codes)) < 2:
        raise InputError(
            f"{len(codes):,} rows of {where} have a label and can be embedded, of fewer than two labels; zero-shot labelling is "
            "measured between two labels or more.",
            details={"n_rows": len(codes)},
        )


def _two_or_more(truth: Sequence[str | None], *, column: str, where: str) -> tuple[str, ...]:
    names = tuple(sorted({name for name in truth if name is not None}))
    if len(names) < 2:
        seen = f"only the label {names[0]!r}" if names else "no label"
        raise InputError(
            f"obs/{column} of {where} holds {seen}; zero-shot labelling is measured between two labels or more.",
            details={"labels": list(names)},
        )
    return names
