"""Tests of many hypotheses: add-one p-values, tails, false discovery rates, intervals over studies.

In: numbers. Out: numbers. Nothing here knows of terms or samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
"""q below it is a finding."""
N_SWEEPS = 1_000
"""Sweeps of random terms by which the share of false findings is measured."""


def add_one(counts: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """Return (1 + counts) / (1 + n): never zero, and valid whatever the null's shape.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.2.
    """
    return np.asarray((1.0 + counts) / (1.0 + np.asarray(n, dtype=np.float64)))


def gaussian_tail(values: np.ndarray, *, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return P(Z >= value) of a Gaussian; .5 where it has no deviation."""
    from scipy.special import ndtr

    spread = np.where(deviation > 0, deviation, np.inf)
    return np.asarray(ndtr((mean - values) / spread))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return q-values along the last axis, same shape; each row is a family of its own.

    Source: Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57, 289-300.
    """
    n = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    scaled = np.take_along_axis(p, order, axis=-1) * (n / np.arange(1, n + 1))
    lowest = np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    q = np.empty_like(lowest)
    np.put_along_axis(q, order, np.minimum(lowest, 1.0), axis=-1)
    return q


def selected_families(q_within: np.ndarray, *, n_selected: int) -> np.ndarray:
    """Return q-values inside selected families that keep the average share of false findings over the selected ones.

    Of m families, R were selected because they looked best; what is then found inside one must hold at level * R / m, so
    its q is multiplied by m / R.

    Parameters
    ----------
    q_within
        (m, k) q-values of each family on its own.
    n_selected
        R; none selected gives ones.

    Source: Benjamini and Bogomolov 2014, J. R. Stat. Soc. B 76, 297-318.
    """
    if n_selected == 0:
        return np.ones_like(q_within)
    return np.asarray(np.minimum(q_within * (q_within.shape[0] / n_selected), 1.0))


@dataclass(frozen=True)
class Uniformity:
    """How p-values of true nulls compare with the uniform distribution."""

    n: int
    ks_statistic: float
    ks_p_value: float
    below_05: float
    below_01: float
    below_001: float

    @classmethod
    def of(cls, p: np.ndarray) -> Uniformity:
        """Measure p-values, (n,); the p-value of the Kolmogorov-Smirnov statistic is that of large n."""
        from scipy.special import kolmogorov  # scipy.stats would do too, but takes seconds to import

        ordered, steps = np.sort(p), np.arange(p.size + 1) / max(p.size, 1)
        distance = max(np.max(steps[1:] - ordered, initial=0.0), np.max(ordered - steps[:-1], initial=0.0))
        shares = (float((p < level).mean()) if p.size else 0.0 for level in (0.05, 0.01, 0.001))
        return cls(p.size, float(distance), float(kolmogorov(np.sqrt(p.size) * distance)), *shares)


def share_of_false_sweeps(p: np.ndarray, *, n_terms: int, n_sweeps: int = N_SWEEPS, seed: int = 0) -> float:
    """Return the share of sweeps with ``n_terms`` random true nulls in which any q is below the level.

    Parameters
    ----------
    p
        (n,) p-values of true nulls; a sweep draws from them, without replacement where they suffice.
    """
    if p.size == 0:
        return 0.0
    rng = np.random.default_rng(seed)
    bounds = LEVEL * np.arange(1, n_terms + 1)
    found = 0
    for _ in range(n_sweeps):
        drawn = np.sort(rng.choice(p, n_terms, replace=n_terms > p.size))
        found += bool((drawn * n_terms < bounds).any())
    return found / n_sweeps


def jackknife(sums: np.ndarray, sizes: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of each group's mean when its studies, not its samples, are what was drawn.

    Each study of a group is left out in turn; the spread of the means that remain, and Student's t with one degree of freedom
    less than there are studies, give the interval. A group that one study dominates gets a wide one, as it should.

    Parameters
    ----------
    sums
        (n_terms, n_pairs) sum of the values of each (group, study), ordered by group.
    sizes
        (n_pairs,) number of values behind each sum.
    starts
        (n_groups,) first pair of each group.

    Returns
    -------
    (low, high), each (n_terms, n_groups) float64; NaN where a group has fewer than 3 studies.

    Source: Tukey's jackknife with blocks; Busing, Meijer and van der Leeden 1999, Statistics and Computing 9, 3-8.
    """
    from scipy.special import stdtrit

    n_studies = np.diff(np.append(starts, sizes.size))
    group = np.repeat(np.arange(starts.size), n_studies)
    total, size = np.add.reduceat(sums, starts, axis=1), np.add.reduceat(sizes, starts)
    rest = (size[group] - sizes).astype(np.float64)
    left = (total[:, group] - sums) / np.where(rest > 0, rest, np.nan)
    average = np.add.reduceat(left, starts, axis=1) / n_studies
    squares = np.add.reduceat((left - average[:, group]) ** 2, starts, axis=1)
    enough = n_studies >= 3
    width = np.full(starts.size, np.nan)
    width[enough] = stdtrit(n_studies[enough] - 1, 0.975)
    width = width * np.sqrt((n_studies - 1) / n_studies * squares)
    mean = total / size
    return mean - width, mean + width
