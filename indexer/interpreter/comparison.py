"""Who is right how often: every method on the same splits, several seeds, intervals by paired bootstrap.

In: labelled cells and methods. Out: the code that each method gives to each cell when it did not learn from it, for every
seed; all tables and figures are made of these. What is done is kept, so that hours of measuring survive a kill.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from atlas.errors import InputError
from indexer.evaluation.metrics import Estimate, confusion, draw_counts, interval
from indexer.kept import kept_array

N_FOLDS = 3
N_DRAWS = 2_000
MIN_DONORS = 4
"""Fewer tell nothing of how donors differ: then cells are drawn, and an interval is one over cells."""
Predict = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Rows to learn from, rows to judge, seed -> codes of the latter."""


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to judge."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What one method said.

    Attributes
    ----------
    predicted
        ``(n_seeds, n)`` int64 codes, -1 for a cell that was not judged.
    codes
        ``(n,)`` int64, the true ones.
    groups
        ``(n,)`` text, the donor of each cell, "" where none is known; ``None``: of none.
    """

    predicted: np.ndarray
    codes: np.ndarray
    groups: np.ndarray | None = None

    @property
    def n_labels(self) -> int:
        """Labels there are."""
        return int(max(self.codes.max(), self.predicted.max())) + 1

    def measure(self, name: str, *, counts: np.ndarray | None = None) -> float:
        """Return the mean over the seeds of ``accuracy``, ``precision``, ``recall`` or ``f1`` (the last three macro).

        Parameters
        ----------
        counts
            ``(n,)`` how often each cell counts; default once.
        """
        return float(
            np.mean([_measure(name, self.confusion(seed, counts=counts)) for seed in range(len(self.predicted))])
        )

    def confusion(self, seed: int, *, counts: np.ndarray | None = None) -> np.ndarray:
        """Return ``(n_labels, n_labels)`` counts of one seed, row = true label."""
        judged = self.predicted[seed] >= 0
        weights = None if counts is None else counts[judged]
        return confusion(self.predicted[seed][judged], self.codes[judged], n_labels=self.n_labels, counts=weights)


def folds(codes: np.ndarray, groups: np.ndarray, *, seed: int, n_folds: int = N_FOLDS) -> tuple[Split, ...]:
    """Deal cells to folds: whole donors where donors are named, else labels in equal shares.

    Raises
    ------
    InputError
        If there are fewer donors than folds, a cell has none while others have, or the rarest label has fewer cells than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    named = groups != ""
    most = int(np.bincount(codes)[np.unique(codes)].max())
    if most < n_folds:
        raise InputError(
            f"No label has {n_folds} cells, one for each fold. Ask for fewer folds (--folds).",
            details={"cells": most, "folds": n_folds},
        )
    if named.any():
        n_donors = len(np.unique(groups[named]))
        if not named.all():
            raise InputError(
                f"{int((~named).sum()):,} of {len(named):,} cells name no donor, and cannot be dealt with their donor's. "
                "Give every cell a donor, or leave --donor away.",
                details={"without": int((~named).sum())},
            )
        if n_donors < n_folds:
            raise InputError(
                f"{n_donors} donors are named: whole donors cannot be dealt to {n_folds} folds. Ask for fewer folds (--folds), "
                "or leave --donor away.",
                details={"donors": n_donors, "folds": n_folds},
            )
        dealt = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(codes, codes, groups)
    else:
        rarest = int(np.bincount(codes)[np.unique(codes)].min())
        if rarest < n_folds:
            raise InputError(
                f"The rarest label has {rarest} cells, fewer than {n_folds} folds. Ask for fewer folds (--folds).",
                details={"cells": rarest, "folds": n_folds},
            )
        dealt = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(codes, codes)
    return tuple(Split(train, test) for train, test in dealt)


def few(codes: np.ndarray, *, n_each: int, seed: int) -> tuple[Split, ...]:
    """Draw ``n_each`` cells of every label to learn from; all others are judged."""
    rng = np.random.default_rng(seed)
    train = np.concatenate([rng.permutation(np.flatnonzero(codes == code))[:n_each] for code in np.unique(codes)])
    return (Split(np.sort(train), np.setdiff1d(np.arange(len(codes)), train)),)


def run(
    predict: Predict,
    codes: np.ndarray,
    splits: Callable[[int], Sequence[Split]],
    *,
    seeds: Sequence[int],
    keep: Path | None = None,
    key: Mapping[str, object] | None = None,
    groups: np.ndarray | None = None,
) -> Outcome:
    """Let one method judge every cell, for every seed.

    Parameters
    ----------
    splits
        Seed -> splits, whose rows to judge do not overlap.
    keep, key
        Folder of what is done, and what the method and its data are; ``None``: nothing is kept.
    groups
        See :class:`Outcome`.
    """
    predicted = np.full((len(seeds), len(codes)), -1, dtype=np.int64)
    for place, seed in enumerate(seeds):
        for number, split in enumerate(splits(seed)):
            told = {**(key or {}), "seed": seed, "fold": number, "train": _digest(split.train), "codes": _digest(codes)}
            make = partial(predict, split.train, split.test, seed)
            predicted[place][split.test] = kept(keep if key else None, told, make, n_rows=len(split.test))
    return Outcome(predicted, codes, groups)


def estimate(outcome: Outcome, name: str, *, n_draws: int = N_DRAWS, seed: int = 0) -> Estimate:
    """Return a measure and its 95 % interval: donors drawn with replacement, and their cells; without donors, cells alone."""
    drawn = np.array([outcome.measure(name, counts=counts) for counts in _draws(outcome, n_draws, seed=seed)])
    return Estimate(outcome.measure(name), *interval(drawn))


def difference(one: Outcome, other: Outcome, name: str = "f1", *, n_draws: int = N_DRAWS, seed: int = 0) -> Estimate:
    """Return how much better ``one`` is, with the interval of a paired bootstrap: both on the same drawn cells.

    Raises
    ------
    ValueError
        If they judged other cells.
    """
    if not np.array_equal(one.codes, other.codes):
        raise ValueError("the two did not judge the same cells")
    draws = [
        one.measure(name, counts=counts) - other.measure(name, counts=counts)
        for counts in _draws(one, n_draws, seed=seed)
    ]
    return Estimate(one.measure(name) - other.measure(name), *interval(np.array(draws)))


def _measure(name: str, matrix: np.ndarray) -> float:
    """Return a measure; the macro ones are means over the labels that cells have, the same for every method."""
    hit = np.diag(matrix).astype(np.float64)
    true, taken = matrix.sum(axis=1), matrix.sum(axis=0)
    if name == "accuracy":
        return float(hit.sum() / max(matrix.sum(), 1))
    one = {"precision": hit / np.maximum(taken, 1), "recall": hit / np.maximum(true, 1)}
    each = one[name] if name in one else 2.0 * hit / np.maximum(true + taken, 1)
    return float(np.mean(each[true > 0]))


def _draws(outcome: Outcome, n_draws: int, *, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each cell counts. Cells of one donor are alike: where there are donors, they are drawn, and then cells."""
    n = len(outcome.codes)
    judged = (outcome.predicted >= 0).any(axis=0)
    donors = np.unique([] if outcome.groups is None else outcome.groups[judged])
    if len(donors) >= MIN_DONORS and outcome.groups is not None and "" not in donors:
        rows = np.flatnonzero(judged)
        for counts in draw_counts(outcome.groups[rows], seed=seed, n_draws=n_draws, redraw_members=True):
            yield np.bincount(rows, weights=counts, minlength=n).astype(np.int64)
        return
    rng = np.random.default_rng(seed)
    for _ in range(n_draws):
        yield np.bincount(rng.integers(n, size=n), minlength=n)


def kept(
    folder: Path | None, told: Mapping[str, object], make: Callable[[], np.ndarray], *, n_rows: int | None = None
) -> np.ndarray:
    """Return an array that is made once and kept, see :func:`indexer.kept.kept_array`.

    Parameters
    ----------
    folder
        Where; ``None``: it is made anew.
    told
        What it depends on, as JSON.
    n_rows
        Rows it must have; ``None``: any.

    Raises
    ------
    ResourceError
        If it cannot be kept.
    """
    if folder is None:
        return make()
    name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
    return kept_array(folder / f"{name}.npy", make, n_rows=n_rows)


def digest(*arrays: np.ndarray) -> str:
    """Return the sha256 of arrays, types and shapes included."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.int64).tobytes()).hexdigest()[:16]
