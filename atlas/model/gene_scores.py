"""How much each gene of one sample weighs: from expression values to signed weights, one row at a time.

In: one sample's values of the genes measured, and their unit. Out: one float64 weight a gene, 0 for genes that say nothing.
Nothing but the row and the model enters, so a row's weights are the same bits in any company.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.expression.log import linear_values, log_row
from atlas.expression.units import Unit
from atlas.model.config import CellRecipe, GeneTextConfig
from atlas.model.statistics import GeneStatistics, normal_scores, standardise
from atlas.model.transcriptome import InputKind


@dataclass(frozen=True)
class Panel:
    """The measured genes of a sample, and what the model knows of each; samples of one table share it.

    Attributes
    ----------
    genes
        ``(m,)`` rows of the model's genes.
    usual, spread
        ``(m,)`` float64, what is subtracted from a bulk score and what it is divided by; infinite where nothing is known.
    medians
        ``(k,)`` float64 medians of the genes known among cells.
    known
        ``(k,)`` places, within ``genes``, of those genes.
    """

    genes: np.ndarray
    usual: np.ndarray
    spread: np.ndarray
    medians: np.ndarray
    known: np.ndarray


class GeneScorer:
    """Weighs the genes of samples.

    Parameters
    ----------
    config
        The recipe.
    statistics
        Each gene's usual level and spread in bulk.
    medians
        ``(n_genes,)`` each gene's median among the cells that express it (share of a cell x ``target_sum``), 0 where unknown;
        needed if the recipe has a part for cells.
    """

    def __init__(
        self, config: GeneTextConfig, statistics: GeneStatistics, *, medians: np.ndarray | None = None
    ) -> None:
        if config.cells is not None and medians is None:
            raise TypeError("a recipe for cells comes with medians")
        self._config = config
        self._usual = statistics.mean.astype(np.float64)
        spread = np.maximum(statistics.deviation.astype(np.float64), config.deviation_floor)
        self._spread = spread if config.by_deviation else np.where(np.isinf(spread), np.inf, 1.0)
        self._medians = np.zeros(len(spread)) if medians is None else medians.astype(np.float64)
        self._last: tuple[np.ndarray, Panel] | None = None

    def panel(self, measured: np.ndarray) -> Panel:
        """Return the panel of one sample's mask ``(n_genes,)``; that of the last sample again if the mask is the same."""
        last = self._last
        if last is not None and np.array_equal(last[0], measured):
            return last[1]
        genes = np.flatnonzero(measured)
        known = np.flatnonzero(self._medians[genes] > 0.0)
        panel = Panel(genes, self._usual_among(genes), self._spread[genes], self._medians[genes[known]], known)
        self._last = (np.array(measured), panel)
        return panel

    def _usual_among(self, genes: np.ndarray) -> np.ndarray:
        """Return the usual levels of ``genes`` when these are all that was measured."""
        factor = self._config.usual_in_panel
        usual: np.ndarray = self._usual[genes]
        if factor is not None:
            # Scores are ranks among the measured genes; in a panel of active genes these are other ranks than among all.
            known = np.flatnonzero(np.isfinite(self._spread[genes]))
            if known.size:
                usual[known] = normal_scores(usual[known]) * factor
        return usual

    def weights(self, values: np.ndarray, panel: Panel, *, unit: Unit, kind: InputKind = "auto") -> np.ndarray:
        """Return the ``(m,)`` float64 weights of the panel's genes in one sample.

        Parameters
        ----------
        values
            ``(m,)`` float32 of the panel's genes, in ``unit``.
        kind
            Whether the sample is bulk or a cell; ``auto`` lets the values tell.
        """
        cells = self._config.cells
        if cells is not None and kind != "bulk":
            linear = linear_values(values, unit=unit)
            if kind == "cells" or looks_like_a_cell(linear, recipe=cells):
                return _of_cell(linear, panel, recipe=cells)
        return self._of_bulk(log_row(values, unit=unit), panel)

    def _of_bulk(self, log_values: np.ndarray, panel: Panel) -> np.ndarray:
        """Distance from the gene's usual level, in its usual spread if the recipe says so."""
        config = self._config
        scores = standardise(log_values, kind=config.standardisation)
        shown = np.flatnonzero(log_values > 0.0) if config.detected_only else slice(None)
        weights = np.zeros(scores.size, dtype=np.float64)
        weights[shown] = _sized(
            (scores[shown] - panel.usual[shown]) / panel.spread[shown],
            signed=config.signed,
            power=config.power,
            clip=config.clip,
        )
        top = config.top_genes
        if top is not None and np.count_nonzero(weights) > top:
            weights[np.argsort(-np.abs(weights), kind="stable")[top:]] = 0.0
        return weights


def _of_cell(linear: np.ndarray, panel: Panel, *, recipe: CellRecipe) -> np.ndarray:
    """Log share of the cell over the gene's median, standardised within the cell; genes not seen share one value."""
    weights = np.zeros(linear.size, dtype=np.float64)
    total, values = float(linear.sum()), linear[panel.known]
    seen = np.flatnonzero(values != 0)
    if total <= 0.0 or seen.size == 0:
        return weights
    scale = 1.0 if recipe.target_sum is None else recipe.target_sum / total
    logs = np.log1p(values[seen] * scale / panel.medians[seen])
    n, mean = values.size, float(logs.sum()) / values.size
    off = logs - mean
    spread = float(np.sqrt((float((off * off).sum()) + (n - seen.size) * mean * mean) / n))
    if spread <= 0.0:
        return weights
    scores = np.append(off / spread, -mean / spread)  # the last is that of every gene not seen
    sizes = _sized(scores, signed=recipe.signed, power=recipe.power, clip=recipe.clip)
    weights[panel.known] = sizes[-1]
    weights[panel.known[seen]] = sizes[:-1]
    return weights


def looks_like_a_cell(linear: np.ndarray, *, recipe: CellRecipe) -> bool:
    """Whether one sample's measured values (linear, any scale) are those of a single cell: most genes are not seen."""
    return bool(np.count_nonzero(linear) < recipe.detected_below * linear.size)


def _sized(scores: np.ndarray, *, signed: bool, power: float, clip: float) -> np.ndarray:
    """Return clipped scores to a power, with their sign or only where positive; 0 where unknown (NaN)."""
    scores[np.isnan(scores)] = 0.0
    kept: np.ndarray = np.clip(scores, -clip if signed else 0.0, clip)
    if power != 1.0:
        some = np.flatnonzero(kept != 0)  # powers are slow, and most genes of a row weigh nothing
        kept[some] = np.copysign(np.abs(kept[some]) ** power, kept[some])
    return kept
