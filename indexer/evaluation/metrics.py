"""Measures and their 95 % intervals: AUROC, accuracy, F1, confusion, recall of a pair; each with a plain oracle in the tests.

A bootstrap draw is a vector of counts, how often each row counts; every measure that takes ``counts`` counts rows so, which
equals copying them. Seeds are explicit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.integer]
_DRAWN_AT_ONCE = 4_000_000  # numbers of a chunk of bootstrap draws


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile interval."""

    value: float
    low: float
    high: float


def roc_auc(scores: Floats, positive: Bools, *, counts: np.ndarray | None = None) -> float:
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
    return float(auc_of_draws(scores, positive, weights=weights[None])[0])


def one_vs_rest(scores: Floats, codes: Codes, *, counts: np.ndarray | None = None) -> np.ndarray:
    """Return each label's AUROC of its own rows against all others.

    Parameters
    ----------
    scores
        ``(n_rows, n_labels)``.
    codes
        ``(n_rows,)`` column of each row's true label.
    counts
        ``(n_draws, n_rows)`` how often each row counts; default one draw of every row once.

    Returns
    -------
    np.ndarray
        ``(n_draws, n_labels)`` float64; NaN where a draw lacks positives or negatives.
    """
    weights = np.ones((1, len(codes))) if counts is None else counts.astype(np.float64)
    columns = [auc_of_draws(scores[:, j], codes == j, weights=weights) for j in range(scores.shape[1])]
    return np.stack(columns, axis=1)


def macro(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    n = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0))


def top_k_hits(scores: Floats, codes: Codes, *, k: int) -> Bools:
    """Return ``(n_rows,)`` bool, whether fewer than ``k`` labels score as high as or, left of it, equal to the true one."""
    own = scores[np.arange(len(codes)), codes][:, None]
    before = np.arange(scores.shape[1])[None, :] < codes[:, None]
    ahead: np.ndarray = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return np.asarray(ahead < k)


def confusion(predicted: Codes, codes: Codes, *, n_labels: int, counts: np.ndarray | None = None) -> np.ndarray:
    """Return ``(n_labels, n_labels)`` counts, row = true label, column = predicted one."""
    weights = None if counts is None else counts.astype(np.float64)
    flat = np.bincount(codes * n_labels + predicted, weights=weights, minlength=n_labels * n_labels)
    return flat.reshape(n_labels, n_labels)


def macro_f1(matrix: np.ndarray) -> float:
    """Return the mean F1 of a confusion matrix over the labels that are true or predicted at least once."""
    hit = np.diag(matrix).astype(np.float64)
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(np.mean(2.0 * hit[both > 0] / both[both > 0])) if (both > 0).any() else float("nan")


def precision_at(scores: Floats, positive: Bools, *, k: int = 10) -> float:
    """Return the share of positives among the ``k`` best scores; ties go to the smaller row."""
    return float(positive[np.argsort(-scores, kind="stable")[:k]].mean())


def stratified_auc(scores: Floats, positive: Bools, *, strata: np.ndarray, counts: np.ndarray | None = None) -> float:
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
    draws = draw_counts(groups, seed=seed, n_draws=n_draws, redraw_members=redraw_members)
    return interval(np.array([statistic(counts) for counts in draws]))


def draw_counts(groups: np.ndarray, *, seed: int, n_draws: int, redraw_members: bool = False) -> np.ndarray:
    """Return ``(n_draws, n)`` int64, how often each row counts when whole groups are drawn; see :func:`bootstrap`."""
    names, member = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(member == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    counts = np.zeros((n_draws, len(groups)), dtype=np.int64)
    for draw in range(n_draws):
        drawn = rng.integers(len(names), size=len(names))
        rows = [rng.choice(members[i], size=len(members[i])) if redraw_members else members[i] for i in drawn]
        counts[draw] = np.bincount(np.concatenate(rows), minlength=len(groups))
    return counts


def row_draws(n: int, *, seed: int, n_draws: int) -> Iterator[np.ndarray]:
    """Yield ``(some draws, n)`` int64 until there are ``n_draws``: rows drawn with replacement, memory bounded."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // max(1, n))
    for start in range(0, n_draws, at_once):
        some = min(at_once, n_draws - start)
        yield np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(some)])


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of ``(n_draws,)`` values, NaN left out; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def auc_of_draws(scores: Floats, positive: Bools, *, weights: np.ndarray) -> np.ndarray:
    """Return the AUROC of every draw, ``(n_draws,)``, NaN where a class is empty; one sort serves all.

    Parameters
    ----------
    scores, positive
        ``(n,)`` numbers and bool.
    weights
        ``(n_draws, n)`` how often each row counts.
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    hit = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    miss = np.add.reduceat((weights * ~positive)[:, order], starts, axis=1)
    pairs = hit.sum(axis=1) * miss.sum(axis=1)
    wins = (hit * (np.cumsum(miss, axis=1) - miss / 2.0)).sum(axis=1)
    return np.asarray(np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))
