"""Figures as rows of tables and as JSON: every one with n, pool, seed, interval and the model it is of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from indexer.evaluation.metrics import Estimate
from indexer.evaluation.zero_shot import ZeroShot, ZeroShotReport


def show(estimate: Estimate | None) -> str:
    """Write an estimate and its interval; a dash for none."""
    if estimate is None or math.isnan(estimate.value):
        return "-"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def number(value: float | None, *, digits: int = 3) -> str:
    """Write a number; a dash for none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a markdown table; bars inside cells are escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: NaN as null, estimates as objects, numpy numbers as numbers."""
    if isinstance(value, Estimate):
        return {"value": plain(value.value), "low": plain(value.low), "high": plain(value.high)}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return value


def nested(value: Any) -> Any:
    """Return records as objects, however deep; estimates stay for :func:`plain`."""
    if isinstance(value, Estimate):
        return value
    if isinstance(value, Mapping):
        return {str(key): nested(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [nested(one) for one in value]
    return nested(vars(value)) if hasattr(value, "__dataclass_fields__") else value


def zero_shot_json(report: ZeroShotReport) -> dict[str, Any]:
    """Return the report as one object that holds ``roc_auc_macro``, ``accuracy``, ``f1_macro``, ``n`` and ``n_labels``."""
    asked, texts, reading = report.as_asked, report.scores.texts, report.scores.reading
    answer: dict[str, Any] = {
        **_figures(asked),
        "intervals": {name: getattr(asked, name) for name in ("roc_auc_macro", "accuracy", "top_5", "f1_macro")},
        "roc_auc_macro_of_cosines": report.by_cosine,
        "as_written": _figures(report.as_written),
        "set_centred": _figures(report.set_centred),
        "labels": [vars(one) for one in asked.labels],
        "confusion": asked.confusion,
        "n_without_label": report.n_without_label,
        "n_without_signal": report.n_without_signal,
        "repeated_row_ids": reading.repeated_ids,
        "templates": texts.templates,
        "tissue": texts.tissue,
        "by_tissue": [vars(one) for one in report.scores.row_texts.by_tissue],
        "source": reading.name,
        "scale": reading.scale,
        "organism": reading.coverage.organism,
        "n_genes_recognised": reading.coverage.n_recognised,
        "seed": report.seed,
        "model": report.scores.model_hash,
    }
    found = plain(answer)
    return dict(found)


def zero_shot_rows(
    report: ZeroShotReport, *, n_confused: int
) -> tuple[list[Sequence[object]], list[Sequence[object]], list[Sequence[object]]]:
    """Return rows of labels, of figures (cleaned, as written, set-centred) and of the largest confusions."""
    labels: list[Sequence[object]] = [
        (one.label, one.text, one.n, number(one.roc_auc), number(one.recall), number(one.precision), one.most_taken_for)
        for one in report.as_asked.labels
    ]
    three = (report.as_asked, report.as_written, report.set_centred)
    figures: list[Sequence[object]] = [
        (name, *(show(getattr(one, field)) for one in three))
        for name, field in (
            ("ROC-AUC, macro", "roc_auc_macro"),
            ("accuracy", "accuracy"),
            ("among the first 5", "top_5"),
            ("F1, macro", "f1_macro"),
        )
    ]
    figures += [
        ("ROC-AUC, macro, per type", *(number(one.type_roc_auc) for one in three)),
        ("accuracy, per type", *(number(one.type_accuracy) for one in three)),
    ]
    return labels, figures, list(confusions(report.as_asked)[:n_confused])


def confusions(result: ZeroShot) -> list[tuple[str, str, int]]:
    """Return ``(true label, taken for, rows)`` of all confusions, the largest first."""
    names = [one.label for one in result.labels]
    found = [
        (names[i], names[j], int(result.confusion[i, j]))
        for i in range(len(names))
        for j in range(len(names))
        if i != j and result.confusion[i, j]
    ]
    return sorted(found, key=lambda row: (-row[2], row[0], row[1]))


def _figures(one: ZeroShot) -> dict[str, Any]:
    return {
        "roc_auc_macro": one.roc_auc_macro.value,
        "accuracy": one.accuracy.value,
        "top_5": one.top_5.value,
        "f1_macro": one.f1_macro.value,
        "type_roc_auc_macro": one.type_roc_auc,
        "type_accuracy": one.type_accuracy,
        "n": one.n,
        "n_labels": one.n_labels,
    }
