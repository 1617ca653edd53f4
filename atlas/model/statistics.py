"""How high a gene stands in a sample, and how high it usually stands.

:func:`standardise` turns one sample's log expression into unit-free scores: counts, TPM, FPKM and logged values with any
floor become comparable because only the sample's own measured genes are looked at. :class:`StatisticsFitter` then gathers
each gene's mean and deviation over a corpus in which every study counts equally, however many samples it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

Standardisation = Literal["rank", "z"]


@dataclass(frozen=True)
class GeneStatistics:
    """Per gene of the model, in table order.

    Attributes
    ----------
    mean, deviation
        ``(n_genes,)`` float32, in units of the standardisation; a deviation of ``inf`` marks a gene nothing is known of,
        which therefore never weighs.
    n_studies
        ``(n_genes,)`` int32, studies that measured the gene.
    """

    mean: np.ndarray
    deviation: np.ndarray
    n_studies: np.ndarray

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> GeneStatistics | None:
        """Return the statistics stored in ``tensors``, ``None`` if there are none."""
        if "statistics_mean" not in tensors:
            return None
        return cls(*(tensors[f"statistics_{name}"] for name in ("mean", "deviation", "n_studies")))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors of the model file."""
        return {f"statistics_{name}": getattr(self, name) for name in ("mean", "deviation", "n_studies")}


def standardise(log_values: np.ndarray, *, kind: Standardisation) -> np.ndarray:
    """Return one sample's scores, float64, NaN where the gene was not measured.

    Parameters
    ----------
    log_values
        ``(n_genes,)`` log expression of one sample, NaN where unmeasured.
    kind
        - ``rank``: normal quantile of the mid-rank among the measured genes; any increasing change of scale, a floor or a
          log leaves it unchanged; ties share their mean rank.
        - ``z``: distance from the sample's mean in its standard deviations.
    """
    scores = np.full(log_values.shape, np.nan, dtype=np.float64)
    measured = np.flatnonzero(~np.isnan(log_values))
    values = log_values[measured]
    if values.size == 0 or values.min() == values.max():
        return scores
    if kind == "rank":
        scores[measured] = normal_scores(values)
    else:
        wide = values.astype(np.float64)
        scores[measured] = (wide - wide.mean()) / wide.std()
    return scores


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Return the normal quantiles of ``(n,)`` values' mid-ranks, ``(n,)`` float64; ties share theirs."""
    above = np.flatnonzero(values > values.min())  # the lowest value, zero, is that of most genes of a cell
    n_lowest = values.size - above.size
    kept = values[above]
    order = np.argsort(kept)  # equal values share their mean rank, so their order does not matter
    ordered = kept[order]
    first = np.flatnonzero(np.concatenate([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]]))
    counts = np.diff(first, append=kept.size)
    twice_rank = 2 * (n_lowest + first) + counts + 1  # ranks from 1
    quantiles = _quantiles(values.size)
    scores = np.full(values.size, quantiles[n_lowest - 1], dtype=np.float64)
    scores[above[order]] = np.repeat(quantiles[twice_rank - 2], counts)
    return scores


@lru_cache(maxsize=4)
def _quantiles(n: int) -> np.ndarray:
    """Return the normal quantiles of the ranks 1, 1.5, ... n among n values."""
    from scipy.special import ndtri

    found: np.ndarray = ndtri((np.arange(2, 2 * n + 1) / 2.0 - 0.5) / n)
    found.flags.writeable = False
    return found


@dataclass
class _Moments:
    """Running sums of one study."""

    n: np.ndarray
    total: np.ndarray
    squares: np.ndarray


@dataclass
class StatisticsFitter:
    """Gathers moments sample by sample; memory is three numbers a gene and study.

    Parameters
    ----------
    n_genes
        Length of every row.
    """

    n_genes: int
    n_samples: int = 0
    _studies: dict[str, _Moments] = field(default_factory=dict)

    def add(self, scores: np.ndarray, *, study: str) -> None:
        """Count one sample's standardised scores (``(n_genes,)``, NaN unmeasured) for its study."""
        moments = self._studies.setdefault(study, _Moments(*(np.zeros(self.n_genes) for _ in range(3))))
        known = ~np.isnan(scores)
        values = np.where(known, scores, 0.0)
        moments.n += known
        moments.total += values
        moments.squares += values * values
        self.n_samples += 1

    @property
    def n_studies(self) -> int:
        """Studies seen so far."""
        return len(self._studies)

    def finish(self, *, shrinkage_studies: float, fallback: Mapping[int, int] | None = None) -> GeneStatistics:
        """Return means and deviations with every study counting equally.

        Parameters
        ----------
        shrinkage_studies
            A gene's variance is averaged with the median variance as if that had been seen in this many studies.
        fallback
            Gene row to the row whose statistics it borrows (a mouse gene its human ortholog's) where no study measured it.
        """
        n_studies = np.zeros(self.n_genes)
        first, second = np.zeros(self.n_genes), np.zeros(self.n_genes)
        for name in sorted(self._studies):  # a fixed order, whatever the files' order
            moments = self._studies[name]
            weight = np.where(moments.n > 0, 1.0 / np.maximum(moments.n, 1), 0.0)
            n_studies += moments.n > 0
            first += moments.total * weight
            second += moments.squares * weight
        seen = n_studies > 0
        mean = np.divide(first, n_studies, out=np.zeros(self.n_genes), where=seen)
        variance = np.divide(second, n_studies, out=np.zeros(self.n_genes), where=seen) - mean**2
        variance = np.maximum(variance, 0.0)
        typical = float(np.median(variance[seen])) if seen.any() else 0.0
        variance = (n_studies * variance + shrinkage_studies * typical) / np.maximum(
            n_studies + shrinkage_studies, 1e-12
        )
        deviation = np.where(seen, np.sqrt(variance), np.inf)
        for row, other in (fallback or {}).items():
            if not seen[row] and seen[other]:
                mean[row], deviation[row] = mean[other], deviation[other]
        return GeneStatistics(mean.astype(np.float32), deviation.astype(np.float32), n_studies.astype(np.int32))
