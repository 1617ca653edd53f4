"""How well phrases find samples: AUROC and precision against the corpora's curated labels, with intervals over studies.

This is the only place that reads ``curated_*``. In: expression files with curated labels, a table of label rules, scores.
Out: :class:`PhraseResult` and :class:`CaseControlResult`. A study, not a sample, is the unit of resampling: samples of one
study share laboratory, protocol and often patient.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from atlas.errors import InputError
from indexer.fit_statistics import study_of

_RULE_COLUMNS = ["phrase", "kind", "tissue", "condition", "control"]


@dataclass(frozen=True)
class CuratedSamples:
    """Labels of samples, one entry a sample in the order of the files; all arrays hold strings."""

    sample_ids: np.ndarray
    tissues: np.ndarray
    conditions: np.ndarray
    series: np.ndarray
    studies: np.ndarray

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True)
class PhraseRule:
    """Which samples a phrase should find.

    Attributes
    ----------
    phrase
        What is asked.
    kind
        ``tissue`` or ``disease``; only diseases have cases and controls.
    tissue, condition
        Case-insensitive patterns searched in the curated fields; ``None`` asks nothing of that field.
    control
        Pattern of the conditions that count as controls of a disease.
    """

    phrase: str
    kind: Literal["tissue", "disease"]
    tissue: re.Pattern[str] | None
    condition: re.Pattern[str] | None
    control: re.Pattern[str] | None

    def positives(self, samples: CuratedSamples) -> np.ndarray:
        """Return ``(n_samples,)`` bool."""
        found: np.ndarray = _matches(self.tissue, samples.tissues) & _matches(self.condition, samples.conditions)
        return found

    def controls(self, samples: CuratedSamples) -> np.ndarray:
        """Return ``(n_samples,)`` bool; nobody for a tissue."""
        if self.control is None:
            return np.zeros(len(samples), dtype=bool)
        found: np.ndarray = _matches(self.control, samples.conditions) & ~self.positives(samples)
        return found


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PhraseResult:
    """Positives against all other samples."""

    phrase: str
    n_positive: int
    n_studies: int  # that hold a positive
    auroc: Estimate
    precision_at_10: float


@dataclass(frozen=True)
class CaseControlResult:
    """Cases against controls, compared only within the same tissue (and series)."""

    phrase: str
    within: Literal["tissue", "series"]
    n_cases: int
    n_controls: int
    n_studies: int
    auroc: Estimate | None  # None: no stratum holds both


def read_curated(paths: Sequence[Path]) -> CuratedSamples:
    """Read the curated labels of HDF5 files, in order."""
    columns: dict[str, list[str]] = {
        name: [] for name in ("geo_accession", "curated_tissue", "curated_condition", "series_id")
    }
    for path in paths:
        with h5py.File(path) as file:
            for name, values in columns.items():
                if f"meta/samples/{name}" not in file:
                    raise InputError(f"{path} has no field meta/samples/{name}; it cannot serve as an evaluation set.")
                values += file[f"meta/samples/{name}"].asstr()[:].tolist()
    series = [ids.split(",")[0].strip() for ids in columns["series_id"]]
    return CuratedSamples(
        np.array(columns["geo_accession"]),
        np.array(columns["curated_tissue"]),
        np.array(columns["curated_condition"]),
        np.array(series),
        np.array([study_of(name) for name in series]),
    )


def read_phrase_rules(path: Path) -> tuple[PhraseRule, ...]:
    """Read the table of rules.

    Raises
    ------
    InputError
        If a column is missing, a pattern is none, or a kind is unknown.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        if reader.fieldnames != _RULE_COLUMNS:
            raise InputError(f"{path} has the columns {reader.fieldnames}, expected {_RULE_COLUMNS}.")
        return tuple(_rule(row, path) for row in reader)


def roc_auc(scores: np.ndarray, positive: np.ndarray, *, counts: np.ndarray | None = None) -> float:
    """Return the chance that a positive scores above a negative, ties counting half.

    Parameters
    ----------
    scores, positive
        ``(n,)`` numbers and bool.
    counts
        How often each sample counts (a bootstrap draw); default once.

    Returns
    -------
    float
        NaN if a class is empty.
    """
    weights = np.ones(len(scores)) if counts is None else counts.astype(np.float64)
    _, place = np.unique(scores, return_inverse=True)
    n_places = int(place.max()) + 1 if len(place) else 0
    hit = np.bincount(place, weights=weights * positive, minlength=n_places)
    miss = np.bincount(place, weights=weights * ~positive, minlength=n_places)
    pairs = hit.sum() * miss.sum()
    if pairs == 0:
        return float("nan")
    return float((hit * (np.cumsum(miss) - miss / 2.0)).sum() / pairs)


def precision_at(scores: np.ndarray, positive: np.ndarray, *, k: int = 10) -> float:
    """Return the share of positives among the ``k`` best scores; ties go to the smaller row."""
    return float(positive[np.argsort(-scores, kind="stable")[:k]].mean())


def stratified_auc(
    scores: np.ndarray, positive: np.ndarray, *, strata: np.ndarray, counts: np.ndarray | None = None
) -> float:
    """Return the AUROC over pairs of the same stratum alone, each pair weighing the same; NaN without a pair."""
    weights = np.ones(len(scores)) if counts is None else counts.astype(np.float64)
    total = pairs = 0.0
    for stratum in np.unique(strata):
        mine = (strata == stratum) & (weights > 0)
        n_pairs = float((weights[mine] * positive[mine]).sum() * (weights[mine] * ~positive[mine]).sum())
        if n_pairs:
            total += n_pairs * roc_auc(scores[mine], positive[mine], counts=weights[mine])
            pairs += n_pairs
    return total / pairs if pairs else float("nan")


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    *,
    groups: np.ndarray,
    seed: int,
    n_draws: int = 1_000,
    redraw_members: bool = False,
) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of a statistic when whole groups are drawn with replacement.

    Parameters
    ----------
    statistic
        Takes ``(n,)`` integers, how often each sample counts; draws for which it is NaN are left out.
    groups
        ``(n,)`` label of each sample's group.
    redraw_members
        Draw the samples of every drawn group again with replacement: with few groups, the interval of groups alone
        would be far too narrow.
    """
    names, member = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(member == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(n_draws):
        drawn = rng.integers(len(names), size=len(names))
        rows = [rng.choice(members[i], size=len(members[i])) if redraw_members else members[i] for i in drawn]
        value = statistic(np.bincount(np.concatenate(rows), minlength=len(groups)))
        if not np.isnan(value):
            values.append(value)
    low, high = np.percentile(values, [2.5, 97.5]) if values else (float("nan"), float("nan"))
    return float(low), float(high)


def evaluate_phrase(
    rule: PhraseRule, scores: np.ndarray, *, samples: CuratedSamples, seed: int = 0, n_draws: int = 1_000
) -> PhraseResult:
    """Score one phrase against all samples; the interval resamples studies."""
    positive = rule.positives(samples)
    low, high = bootstrap(
        lambda counts: roc_auc(scores, positive, counts=counts), groups=samples.studies, seed=seed, n_draws=n_draws
    )
    return PhraseResult(
        phrase=rule.phrase,
        n_positive=int(positive.sum()),
        n_studies=len(np.unique(samples.studies[positive])),
        auroc=Estimate(roc_auc(scores, positive), low, high),
        precision_at_10=precision_at(scores, positive),
    )


def evaluate_case_control(
    rule: PhraseRule,
    scores: np.ndarray,
    *,
    samples: CuratedSamples,
    within: Literal["tissue", "series"],
    seed: int = 0,
    n_draws: int = 1_000,
) -> CaseControlResult:
    """Score one disease within tissues (or within tissue and series), strata with cases and controls only.

    The interval resamples studies and, within them, samples.
    """
    tissues = np.char.lower(samples.tissues)
    strata = tissues if within == "tissue" else np.char.add(np.char.add(tissues, "\t"), samples.series)
    cases, controls = rule.positives(samples), rule.controls(samples)
    used = (cases | controls) & np.isin(strata, np.intersect1d(strata[cases], strata[controls]))
    cases, controls = cases & used, controls & used
    result = CaseControlResult(
        rule.phrase, within, int(cases.sum()), int(controls.sum()), len(np.unique(samples.studies[used])), None
    )
    if not used.any():
        return result
    mine, is_case, strata = scores[used], cases[used], strata[used]
    low, high = bootstrap(
        lambda counts: stratified_auc(mine, is_case, strata=strata, counts=counts),
        groups=samples.studies[used],
        seed=seed,
        n_draws=n_draws,
        redraw_members=True,
    )
    estimate = Estimate(stratified_auc(mine, is_case, strata=strata), low, high)
    return replace(result, auroc=estimate)


def _matches(pattern: re.Pattern[str] | None, values: np.ndarray) -> np.ndarray:
    if pattern is None:
        return np.ones(len(values), dtype=bool)
    names, inverse = np.unique(values, return_inverse=True)
    return np.array([bool(pattern.search(name)) for name in names], dtype=bool)[inverse]


def _rule(row: dict[str, str], path: Path) -> PhraseRule:
    kind = row["kind"]
    if kind not in ("tissue", "disease"):
        raise InputError(f"{path}: the kind of {row['phrase']!r} is {kind!r}, expected tissue or disease.")
    patterns: dict[str, re.Pattern[str] | None] = {}
    for name in ("tissue", "condition", "control"):
        try:
            patterns[name] = re.compile(row[name], re.IGNORECASE) if row[name] else None
        except re.error as error:
            raise InputError(f"{path}: {row[name]!r} of {row['phrase']!r} is no pattern: {error}.") from error
    if patterns["tissue"] is None and patterns["condition"] is None:
        raise InputError(f"{path}: {row['phrase']!r} has neither a tissue nor a condition pattern.")
    return PhraseRule(
        row["phrase"], "disease" if kind == "disease" else "tissue",
        patterns["tissue"], patterns["condition"], patterns["control"],
    )  # fmt: skip
