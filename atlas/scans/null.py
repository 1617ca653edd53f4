"""The null of a sweep: how background terms behave that have nothing to do with the term under test.

A term is compared with background terms of other meaning (cosine below .6) that are as loud as it is (nearest in mean and
deviation of similarity). Leaving a term's relatives out of its null is right, but it makes every member of an extreme family
look alone, and a sweep finds one of them too often. So a term's p-value is a second count: how many background terms, each
tested against a null of its own in the same way, come out as far or further. ``Null.calibration`` measures it on held-out
terms; the p-values of single clusters keep the first count, which is honest as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from atlas.answers import ScanCalibration
from atlas.scans.ground import Ground, TermEffects
from atlas.scans.testing import (
    LEVEL,
    N_SWEEPS,
    Uniformity,
    add_one,
    benjamini_hochberg,
    gaussian_tail,
    share_of_false_sweeps,
)

NULL_TERMS = 5_000
"""Background terms each term is compared with, if there are as many."""
MAX_COSINE = 0.6
"""Background terms with this cosine to the term under test, or more, are no null for it."""
N_FOLDS = 10
_BLOCK = 256
_UPPER = 0.99


@dataclass(frozen=True)
class Counts:
    """Raw tests of m terms against their own nulls.

    Attributes
    ----------
    n
        (m,) background terms compared with.
    p, gaussian
        (m,) of the term's statistic: add-one count, and the tail of a Gaussian fitted to the null.
    cell_p, cell_gaussian
        (m, n_clusters) of the mean z of each cluster.
    """

    n: np.ndarray
    p: np.ndarray
    gaussian: np.ndarray
    cell_p: np.ndarray
    cell_gaussian: np.ndarray

    @property
    def keys(self) -> np.ndarray:
        """Order of the terms: by count, and by Gaussian tail where counts are equal, (m,)."""
        return self.p + self.gaussian / (1.0 + self.n)


@dataclass(frozen=True)
class Tests:
    """Tests of m terms: ``statistic``, ``n``, ``p``, ``gaussian`` (m,); ``cell_p``, ``cell_gaussian`` (m, n_clusters)."""

    statistic: np.ndarray
    n: np.ndarray
    p: np.ndarray
    gaussian: np.ndarray
    cell_p: np.ndarray
    cell_gaussian: np.ndarray


class Null:
    """The null of one sweep.

    Parameters
    ----------
    background
        (n, dim) float32 unit rows, terms of other vocabularies.
    ground
        The moments of the atlas.
    size
        Background terms each term is compared with.

    Notes
    -----
    The statistic of a term is the largest of its clusters' mean z, each measured from the background's median in that cluster in
    units of the way from there to its upper percentile: clusters answer with distributions of different width and skew.
    """

    def __init__(
        self, background: np.ndarray, ground: Ground, *, size: int = NULL_TERMS, max_cosine: float = MAX_COSINE
    ) -> None:
        self.vectors = background
        self.measured = ground.effects(background)
        self._size, self._max_cosine = size, max_cosine
        effects = self.measured.effects
        self._middle = np.median(effects, axis=0)
        spread = np.quantile(effects, _UPPER, axis=0) - self._middle
        self._spread = np.where(spread > 0, spread, np.inf)
        self.statistics = self.statistic(effects)
        self._sorted_effects = np.sort(effects, axis=0)
        self._loudness = _Loudness.of(self.measured)

    def statistic(self, effects: np.ndarray) -> np.ndarray:
        """Return the statistic of terms from their mean z by cluster, (m,)."""
        return np.asarray(((effects - self._middle) / self._spread).max(axis=1))

    @property
    def first_counts(self) -> np.ndarray:
        """Raw p of the background's own terms, (n,): what p-values would be without the second count."""
        return self._own.p

    def test(self, vectors: np.ndarray, measured: TermEffects, *, step: Callable[[int], None] | None = None) -> Tests:
        """Test terms that are not of the background.

        Parameters
        ----------
        vectors
            (m, dim) float32 unit rows.
        measured
            How they meet the atlas.
        step
            Called with the number of terms done since the last call; what it raises ends the work.
        """
        raw = self._count(vectors, measured, step=step)
        own = self._own
        return Tests(
            statistic=self.statistic(measured.effects),
            n=raw.n,
            p=_rank(raw.keys, np.sort(own.keys)),
            gaussian=raw.gaussian,
            cell_p=raw.cell_p,
            cell_gaussian=raw.cell_gaussian,
        )

    def calibration(self, *, n_terms: int, n_sweeps: int = N_SWEEPS, seed: int = 0) -> ScanCalibration:
        """Measure, on background terms, how honest the p-values of a sweep of ``n_terms`` are.

        Each tenth of the background is tested against the p-values of the other nine.
        """
        keys = self._own.keys
        p = np.empty(keys.size)
        folds = np.array_split(np.random.default_rng(seed).permutation(keys.size), N_FOLDS)
        for number, fold in enumerate(folds):
            others = np.concatenate([one for place, one in enumerate(folds) if place != number])
            p[fold] = _rank(keys[fold], np.sort(keys[others]))
        cell_q = benjamini_hochberg(self._own.cell_p)
        uniform = Uniformity.of(p)
        return ScanCalibration(
            n_held_out=uniform.n,
            ks_statistic=uniform.ks_statistic,
            ks_p_value=uniform.ks_p_value,
            share_below_05=uniform.below_05,
            share_below_01=uniform.below_01,
            share_below_001=uniform.below_001,
            n_null_sweeps=n_sweeps,
            share_of_null_sweeps=share_of_false_sweeps(p, n_terms=n_terms, n_sweeps=n_sweeps, seed=seed),
            share_of_null_terms=float((cell_q < LEVEL).any(axis=1).mean()),
        )

    @cached_property
    def _own(self) -> Counts:
        """The background's own raw tests, each term without itself and its relatives."""
        return self._count(self.vectors, self.measured)

    def _count(
        self, vectors: np.ndarray, measured: TermEffects, *, step: Callable[[int], None] | None = None
    ) -> Counts:
        parts = []
        for start in range(0, vectors.shape[0], _BLOCK):
            part = slice(start, start + _BLOCK)
            terms = TermEffects(measured.mean[part], measured.deviation[part], measured.effects[part])
            parts.append(self._count_block(terms, self._chosen(vectors[part], terms)))
            if step is not None:
                step(terms.mean.size)
        return Counts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _chosen(self, vectors: np.ndarray, terms: TermEffects) -> np.ndarray:
        """Return which background terms are the null of each term, (m, n) bool."""
        allowed: np.ndarray = vectors @ self.vectors.T < self._max_cosine
        if self._size >= self.vectors.shape[0]:
            return allowed
        distance = self._loudness.distances(terms)
        distance[~allowed] = np.inf
        nearest = np.argpartition(distance, self._size - 1, axis=1)[:, : self._size]
        chosen = np.zeros_like(allowed)
        np.put_along_axis(chosen, nearest, True, axis=1)
        return np.asarray(chosen & allowed)

    def _count_block(self, terms: TermEffects, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
        n = chosen.sum(axis=1)
        values = self.statistic(terms.effects)
        above = ((self.statistics[None, :] >= values[:, None]) & chosen).sum(axis=1)
        weights = chosen.astype(np.float64)
        gaussian = gaussian_tail(values, **_fitted(weights, self.statistics[:, None], squeeze=True))
        cell_gaussian = gaussian_tail(terms.effects, **_fitted(weights, self.measured.effects))
        cells = add_one(self._cells_above(terms.effects, chosen), n[:, None])
        return n, add_one(above, n), gaussian, cells, cell_gaussian

    def _cells_above(self, effects: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return how many chosen background terms have at least a term's mean z in each cluster, (m, n_clusters).

        Counted over all background terms by bisection, less those of the few that were not chosen.
        """
        n = self._sorted_effects.shape[0]
        columns = zip(self._sorted_effects.T, effects.T, strict=True)
        above = n - np.stack([np.searchsorted(null, value, side="left") for null, value in columns], axis=1)
        for row, others in enumerate(_left_out(chosen)):
            above[row] -= (self.measured.effects[others] >= effects[row]).sum(axis=0)
        return np.asarray(above)


@dataclass(frozen=True)
class _Loudness:
    """Mean and log deviation of similarity of the background terms, each in its own standard deviations."""

    centre: np.ndarray
    scale: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, measured: TermEffects) -> _Loudness:
        raw = _loudness(measured)
        scale = raw.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        return cls(raw.mean(axis=0), scale, (raw - raw.mean(axis=0)) / scale)

    def distances(self, measured: TermEffects) -> np.ndarray:
        """Return squared distances (m, n)."""
        places = (_loudness(measured) - self.centre) / self.scale
        return np.asarray(sum((places[:, [axis]] - self.places[:, axis]) ** 2 for axis in range(2)))


def _loudness(measured: TermEffects) -> np.ndarray:
    return np.column_stack([measured.mean, np.log(np.maximum(measured.deviation, 1e-9))])


def _left_out(chosen: np.ndarray) -> Iterator[np.ndarray]:
    for row in chosen:
        yield np.flatnonzero(~row)


def _fitted(weights: np.ndarray, values: np.ndarray, *, squeeze: bool = False) -> dict[str, np.ndarray]:
    """Return mean and deviation of the chosen values of each term; zeros where none is chosen."""
    n = np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
    mean = weights @ values / n
    deviation = np.sqrt(np.maximum(weights @ values**2 / n - mean**2, 0.0))
    return {"mean": mean[:, 0], "deviation": deviation[:, 0]} if squeeze else {"mean": mean, "deviation": deviation}


def _rank(keys: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the add-one share of the sorted reference that is at most each key."""
    return add_one(np.searchsorted(reference, keys, side="right"), reference.size)
