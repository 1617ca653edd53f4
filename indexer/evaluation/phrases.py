"""How well phrases find samples: within study-blocked folds, against controls of the same study, and in other words.

In: scores of phrases, curated labels and rules. Out: results with intervals over studies. A study, not a sample, is the unit
of resampling: samples of one study share laboratory, protocol and often patient. Scores of different models are never pooled:
an AUROC is taken inside each fold, where one model scored everything, and the folds are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from indexer.evaluation.curated import CuratedSamples, Kind, PhraseRule
from indexer.evaluation.metrics import (
    Estimate,
    auc_of_draws,
    bootstrap,
    interval,
    macro,
    precision_at,
    roc_auc,
    stratified_auc,
)


@dataclass(frozen=True)
class PhraseResult:
    """Positives against all other samples, one model for all."""

    phrase: str
    n_positive: int
    n_studies: int  # that hold a positive
    auroc: Estimate
    precision_at_10: float


@dataclass(frozen=True)
class FoldedResult:
    """Positives against all other samples of the same fold, averaged over the folds that hold both.

    ``unseen`` says that every positive lies in one study: whichever model scored them was trained without the condition.
    """

    phrase: str
    kind: Kind
    n_positive: int
    n_studies: int
    n_folds: int
    unseen: bool
    auroc: Estimate


@dataclass(frozen=True)
class CaseControlResult:
    """Cases against controls, compared only within the same tissue (and series)."""

    phrase: str
    within: Literal["tissue", "series"]
    n_cases: int
    n_controls: int
    n_studies: int
    auroc: Estimate | None  # None: no stratum holds both


@dataclass(frozen=True)
class FirstPhrases:
    """Of the ``n`` samples that a phrase applies to: shares with such a phrase first, and among the first five."""

    n: int
    top_1: float
    top_5: float

    def __str__(self) -> str:
        """Write both shares, as tables show them."""
        return f"{self.top_1:.2f} / {self.top_5:.2f}"


@dataclass(frozen=True)
class WordingResult:
    """AUROC within folds under several wordings of one phrase, the phrase itself first."""

    phrase: str
    wordings: tuple[str, ...]
    aurocs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the wordings."""
        return float(np.mean(self.aurocs))

    @property
    def deviation(self) -> float:
        """Standard deviation over the wordings."""
        return float(np.std(self.aurocs, ddof=1))


def auc_in_folds(
    scores: np.ndarray, positive: np.ndarray, *, folds: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return ``(n_draws,)`` the mean over folds of the AUROC inside a fold; NaN if no fold holds both classes.

    Parameters
    ----------
    scores, positive, folds
        ``(n_samples,)``.
    counts
        ``(n_draws, n_samples)`` how often each sample counts; default one draw of every sample once.
    """
    weights = np.ones((1, len(scores))) if counts is None else counts.astype(np.float64)
    per_fold = [
        auc_of_draws(scores[mine], positive[mine], weights=weights[:, mine])
        for mine in (folds == fold for fold in np.unique(folds))
    ]
    return macro(np.stack(per_fold, axis=1))


def evaluate_in_folds(
    rule: PhraseRule, scores: np.ndarray, *, samples: CuratedSamples, folds: np.ndarray, counts: np.ndarray
) -> FoldedResult:
    """Score one phrase inside each fold; ``counts`` are draws of studies, ``(n_draws, n_samples)``."""
    positive = rule.positives(samples)
    value = float(auc_in_folds(scores, positive, folds=folds)[0])
    n_studies = len(np.unique(samples.studies[positive]))
    return FoldedResult(
        phrase=rule.phrase,
        kind=rule.kind,
        n_positive=int(positive.sum()),
        n_studies=n_studies,
        n_folds=len(np.unique(folds[positive])),
        unseen=n_studies == 1,
        auroc=Estimate(value, *interval(auc_in_folds(scores, positive, folds=folds, counts=counts))),
    )


def mean_in_folds(
    rules: Sequence[PhraseRule],
    scores: np.ndarray,
    *,
    samples: CuratedSamples,
    folds: np.ndarray,
    counts: np.ndarray,
) -> Estimate:
    """Return the mean over phrases of :func:`auc_in_folds`; a draw of studies is the same for all phrases.

    Parameters
    ----------
    scores
        ``(n_samples, n_rules)``.
    counts
        ``(n_draws, n_samples)`` draws of studies.
    """
    positives = [rule.positives(samples) for rule in rules]

    def mean(weights: np.ndarray | None) -> np.ndarray:
        found = [auc_in_folds(scores[:, i], mine, folds=folds, counts=weights) for i, mine in enumerate(positives)]
        return macro(np.stack(found, axis=1))

    return Estimate(float(mean(None)[0]), *interval(mean(counts)))


def first_phrases(rules: Sequence[PhraseRule], scores: np.ndarray, *, samples: CuratedSamples) -> FirstPhrases:
    """Return how often a phrase that applies to a sample is its best of ``rules``, or among its best five."""
    positives = np.stack([rule.positives(samples) for rule in rules], axis=1)
    labelled = positives.any(axis=1)
    order = np.argsort(-scores[labelled], axis=1, kind="stable")
    hits = np.take_along_axis(positives[labelled], order, axis=1)
    if not len(hits):
        return FirstPhrases(0, float("nan"), float("nan"))
    return FirstPhrases(int(labelled.sum()), float(hits[:, 0].mean()), float(hits[:, :5].any(axis=1).mean()))


def evaluate_wordings(
    rule: PhraseRule, wordings: Sequence[str], scores: np.ndarray, *, samples: CuratedSamples, folds: np.ndarray
) -> WordingResult:
    """Score one phrase under several wordings; ``scores`` is ``(n_samples, n_wordings)``."""
    positive = rule.positives(samples)
    aurocs = tuple(float(auc_in_folds(scores[:, i], positive, folds=folds)[0]) for i in range(len(wordings)))
    return WordingResult(rule.phrase, tuple(wordings), aurocs)


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


def contrast_auc(
    rule: PhraseRule, scores: np.ndarray, *, samples: CuratedSamples, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return ``(n_draws,)`` the AUROC of cases against controls over pairs of the same tissue and series; NaN without a pair.

    Equal to :func:`indexer.evaluation.metrics.stratified_auc` of each draw.
    """
    cases, used, strata = _contrast(rule, samples, within="series")
    weights = np.ones((1, len(scores))) if counts is None else counts.astype(np.float64)
    wins = pairs = np.zeros(len(weights))
    for stratum in np.unique(strata[used]):
        mine = used & (strata == stratum)
        part = weights[:, mine]
        n_pairs = (part * cases[mine]).sum(axis=1) * (part * ~cases[mine]).sum(axis=1)
        wins = wins + n_pairs * np.nan_to_num(auc_of_draws(scores[mine], cases[mine], weights=part))
        pairs = pairs + n_pairs
    return np.asarray(np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


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
    cases, used, strata = _contrast(rule, samples, within=within)
    controls = used & ~cases
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


def _contrast(
    rule: PhraseRule, samples: CuratedSamples, *, within: Literal["tissue", "series"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cases, cases and controls that share a stratum with the other kind, and the stratum of each sample."""
    tissues = np.char.lower(samples.tissues)
    strata = tissues if within == "tissue" else np.char.add(np.char.add(tissues, "\t"), samples.series)
    cases, controls = rule.positives(samples), rule.controls(samples)
    used = (cases | controls) & np.isin(strata, np.intersect1d(strata[cases], strata[controls]))
    return cases & used, used, strata
