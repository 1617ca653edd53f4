"""How much each gene of one sample weighs: from expression values to signed weights, one row at a time.

In: one sample's values, which genes were measured, the unit. Out: ``(n_genes,)`` float64 weights, 0 for genes that say
nothing. Nothing but the row and the model enters, so a row's weights are the same bits in any company.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.expression.align import AlignedExpression
from atlas.expression.log import linear_values, log_row
from atlas.model.config import CellRecipe, GeneTextConfig
from atlas.model.statistics import GeneStatistics, standardise
from atlas.model.transcriptome import InputKind


@dataclass(frozen=True)
class GeneScorer:
    """Weighs the genes of samples.

    Attributes
    ----------
    config
        The recipe.
    statistics
        Each gene's usual level and spread in bulk.
    medians
        ``(n_genes,)`` float32, each gene's median among the cells that express it (share of a cell x 10,000), 0 where unknown;
        ``None`` if the recipe has no part for cells.
    """

    config: GeneTextConfig
    statistics: GeneStatistics
    medians: np.ndarray | None = None

    def weights(self, aligned: AlignedExpression, row: int, *, kind: InputKind = "auto") -> np.ndarray:
        """Return the ``(n_genes,)`` float64 weights of one sample."""
        measured = np.flatnonzero(aligned.measured[row])
        values = aligned.values[row][measured]
        unit = aligned.units[row]
        recipe = self.config.cells
        if recipe is not None and kind != "bulk":
            linear = linear_values(values, unit=unit)
            if kind == "cells" or looks_like_a_cell(linear, recipe=recipe):
                return self._of_cell(linear, measured, recipe=recipe)
        return self._of_bulk(log_row(values, unit=unit), measured)

    def _of_bulk(self, log_values: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Distance from the gene's usual level in its usual spread."""
        config = self.config
        usual, spread = self.statistics.mean[measured], self.statistics.deviation[measured]
        scores = standardise(log_values, kind=config.standardisation) - usual.astype(np.float64)
        scores /= np.maximum(spread.astype(np.float64), config.deviation_floor)  # an unknown gene's spread is infinite
        sizes = _sized(scores, signed=config.signed, power=config.power, clip=config.clip)
        weights = np.zeros(len(self.statistics.mean), dtype=np.float64)
        weights[measured] = sizes
        top = config.top_genes
        if top is not None and np.count_nonzero(weights) > top:
            weights[np.argsort(-np.abs(weights), kind="stable")[top:]] = 0.0
        return weights

    def _of_cell(self, linear: np.ndarray, measured: np.ndarray, *, recipe: CellRecipe) -> np.ndarray:
        """Log share of the cell over the gene's median, standardised within the cell; what is not seen shares one value."""
        weights = np.zeros(len(self.statistics.mean), dtype=np.float64)
        medians = self._medians
        known = medians[measured] > 0.0
        total = float(linear.sum())
        genes, values = measured[known], linear[known]
        seen = np.flatnonzero(values)
        if total <= 0.0 or seen.size == 0:
            return weights
        scale = 1.0 if recipe.target_sum is None else recipe.target_sum / total
        logs = np.log1p(values[seen] * scale / medians[genes[seen]])
        mean = float(logs.sum()) / genes.size
        off = logs - mean
        spread = float(np.sqrt((float((off * off).sum()) + (genes.size - seen.size) * mean * mean) / genes.size))
        if spread <= 0.0:
            return weights
        scores = np.append(off / spread, -mean / spread)  # the last is that of every gene not seen
        sizes = _sized(scores, signed=recipe.signed, power=recipe.power, clip=recipe.clip)
        weights[genes] = sizes[-1]
        weights[genes[seen]] = sizes[:-1]
        return weights

    @property
    def _medians(self) -> np.ndarray:
        if self.medians is None:
            raise TypeError("a recipe for cells comes with medians")
        return self.medians


def looks_like_a_cell(linear: np.ndarray, *, recipe: CellRecipe) -> bool:
    """Whether one sample's measured values (linear, any scale) are those of a single cell: most genes are not seen."""
    return bool(np.count_nonzero(linear) < recipe.detected_below * linear.size)


def _sized(scores: np.ndarray, *, signed: bool, power: float, clip: float) -> np.ndarray:
    """Return clipped scores to a power, with their sign or only where positive; 0 where unknown (NaN)."""
    kept = np.clip(np.nan_to_num(scores, nan=0.0, posinf=clip, neginf=-clip), -clip if signed else 0.0, clip)
    return np.asarray(kept if power == 1.0 else np.sign(kept) * np.abs(kept) ** power)
