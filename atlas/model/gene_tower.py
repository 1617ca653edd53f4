"""The transcriptome tower ``gene_text``: a sample is the weighted sum of the vectors of its genes.

Each gene weighs by how far its expression stands from its usual level (``atlas.model.gene_scores``). A row's vector depends on
that row and the model alone, bit for bit: rows are weighed one by one, and the weighted sum is taken over integers, where
addition has no rounding and therefore no order. Because the vector is linear in the genes, leaving one out is a subtraction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InputError, NoSignalError
from atlas.expression.align import AlignedExpression
from atlas.model.config import GeneTextConfig
from atlas.model.gene_scores import GeneScorer, Panel
from atlas.model.gene_table import GeneTable
from atlas.model.statistics import GeneStatistics
from atlas.model.transcriptome import InputKind
from atlas.vectors.gene_weights import GeneWeights

if TYPE_CHECKING:
    from atlas.model.checkpoint import ModelParts

_WEIGHT_STEPS = 2.0**24  # integer weights; 2**24 steps * 127 * 4e6 genes would still be exact in float64
_ROWS_AT_ONCE = 128


class GeneTextTower:
    """Weighted sum of gene vectors.

    Parameters
    ----------
    table, statistics
        Of the same genes in the same order.
    config
        The recipe.
    medians
        See ``GeneScorer``; needed if the recipe has a part for cells.

    Notes
    -----
    With score z of a gene (its standardised expression minus the gene's mean, over its deviation), the weight is
    ``max(z, 0) ** power``, or ``sign(z) |z| ** power`` if the recipe is signed, for the ``top_genes`` strongest only if set;
    unmeasured genes and genes without statistics weigh nothing.

    Source: the training-free floor of GenePT-style models (expression-weighted gene embeddings); scores instead of raw
    expression, signs, centring and integer sums are ours.
    """

    def __init__(
        self, table: GeneTable, statistics: GeneStatistics, config: GeneTextConfig, *, medians: np.ndarray | None = None
    ) -> None:
        self._table = table
        self._min_genes = config.min_genes
        self._scorer = GeneScorer(config, statistics, medians=medians)
        self._last_target: _Target | None = None  # samples of one table share it

    @classmethod
    def read(cls, parts: ModelParts) -> GeneTextTower:
        """Return the tower of a model's parts, which have statistics."""
        config, statistics = parts.config.transcriptome, parts.statistics
        if not isinstance(config, GeneTextConfig) or statistics is None:
            raise TypeError("the parts are those of no fitted gene_text model")
        return cls(parts.table, statistics, config, medians=parts.tensors.get("cell_medians"))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._table.dim

    def gene_vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of genes ``rows`` as ``(m, dim)`` float64, not normalised."""
        return self._table.vectors(rows)

    def embed(self, aligned: AlignedExpression, *, kind: InputKind = "auto") -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, L2-normalised.

        Raises
        ------
        InputError
            If a sample shares too few genes with the model, or no gene of it stands out: no or constant expression.
        """
        vectors = np.zeros((len(aligned.sample_ids), self.dim), dtype=np.float32)
        for start, _, sums in self._blocks(aligned, kind=kind):
            vectors[start : start + len(sums)] = _normalise_rows(sums)
        return vectors

    def embed_with_weights(
        self, aligned: AlignedExpression, *, top: int, kind: InputKind = "auto"
    ) -> tuple[np.ndarray, list[GeneWeights]]:
        """Return the vectors of :meth:`embed`, bit for bit, and of each sample its ``top`` strongest genes.

        A gene's strength is its pull: the size of its weight times the length of its vector.

        Raises
        ------
        InputError
            As :meth:`embed`.
        """
        vectors = np.zeros((len(aligned.sample_ids), self.dim), dtype=np.float32)
        strongest: list[GeneWeights] = []
        for start, rows, sums in self._blocks(aligned, kind=kind):
            vectors[start : start + len(sums)] = _normalise_rows(sums)
            strongest += [self._strongest(row, one, top=top) for row, one in zip(rows, sums, strict=True)]
        return vectors, strongest

    def weights(self, aligned: AlignedExpression, row: int, *, kind: InputKind = "auto") -> np.ndarray:
        """Return the ``(n_genes,)`` float64 weight of each gene in one sample."""
        panel = self._scorer.panel(aligned.measured[row])
        weights = np.zeros(self._table.n_genes, dtype=np.float64)
        weights[panel.genes] = self._panel_weights(aligned, row, panel, kind=kind)
        return weights

    def _panel_weights(self, aligned: AlignedExpression, row: int, panel: Panel, *, kind: InputKind) -> np.ndarray:
        return self._scorer.weights(aligned.values[row][panel.genes], panel, unit=aligned.units[row], kind=kind)

    def _blocks(self, aligned: AlignedExpression, *, kind: InputKind) -> Iterator[tuple[int, list[_Row], np.ndarray]]:
        """Yield the first row, the rows and their unnormalised sums ``(m, dim)``, a bounded number of rows at once."""
        n = len(aligned.sample_ids)
        room = np.zeros((min(n, _ROWS_AT_ONCE), len(self._table.codes)), dtype=np.float64)
        for start in range(0, n, _ROWS_AT_ONCE):
            rows = [self._whole(aligned, row, kind=kind) for row in range(start, min(start + _ROWS_AT_ONCE, n))]
            weights = room[: len(rows)]
            weights.fill(0.0)
            for place, row in enumerate(rows):
                row.target.add(row.whole, to=weights[place])
            yield start, rows, self._table.sums(weights)

    def _whole(self, aligned: AlignedExpression, row: int, *, kind: InputKind) -> _Row:
        """Weigh one sample in whole numbers proportional to weight times row scale."""
        panel = self._scorer.panel(aligned.measured[row])
        target = self._target(panel)
        self._refuse_too_few(target.n_shared, aligned.sample_ids[row])
        scaled = self._panel_weights(aligned, row, panel, kind=kind) * target.scales
        largest = max(float(scaled.max(initial=0.0)), -float(scaled.min(initial=0.0)))
        if not largest > 0.0:
            raise NoSignalError(
                f"Sample {aligned.sample_ids[row]!r} has no gene above its usual level among the {panel.genes.size} measured "
                "ones: its expression is empty or constant. Leave it out.",
                details={"sample_id": aligned.sample_ids[row]},
            )
        return _Row(target, np.rint(scaled * (_WEIGHT_STEPS / largest)), largest / _WEIGHT_STEPS)

    def _target(self, panel: Panel) -> _Target:
        last = self._last_target
        if last is None or last.panel is not panel:
            last = self._last_target = _Target.of(panel, self._table)
        return last

    def _refuse_too_few(self, n: int, sample_id: str) -> None:
        if n < self._min_genes:
            raise InputError(
                f"Sample {sample_id!r} shares {n:,} measured genes with the model; it needs {self._min_genes:,}. "
                "Give a table of more genes, by Ensembl id or symbol, of the right organism.",
                details={"sample_id": sample_id, "n_shared": n, "min_genes": self._min_genes},
            )

    def _strongest(self, row: _Row, sums: np.ndarray, *, top: int) -> GeneWeights:
        """Return the ``top`` genes of one row by decreasing pull, the lower row first among equals."""
        used = np.flatnonzero(row.whole != 0)
        genes, whole = row.target.panel.genes[used], row.whole[used]
        pull = np.abs(whole) * self._table.code_lengths[genes]
        order = _largest(pull, top)
        length = max(float(np.sqrt(np.square(sums).sum())), np.finfo(np.float64).tiny)
        return GeneWeights(
            genes=genes[order],
            weights=whole[order] / (self._table.gene_scales[genes[order]] * length),
            norm=length * row.step,
            kept=float(pull[order].sum() / pull.sum()),
        )


@dataclass(frozen=True)
class _Target:
    """Where the weights of a panel's genes go in the gene table."""

    panel: Panel
    scales: np.ndarray  # of each gene's row; 0 for a gene without a vector
    rows: np.ndarray  # of the genes that have one
    there: np.ndarray | slice  # their places in the panel
    n_shared: int
    shared: bool  # whether several genes go to one row

    @classmethod
    def of(cls, panel: Panel, table: GeneTable) -> _Target:
        scales = table.gene_scales[panel.genes]
        rows = panel.genes if table.rows is None else table.rows[panel.genes]
        if rows.size and int(rows.min()) >= 0:
            there: np.ndarray | slice = slice(None)
        else:
            there = np.flatnonzero(rows >= 0)
        rows = rows[there]
        return cls(panel, scales, rows, there, int(np.count_nonzero(scales)), np.unique(rows).size < rows.size)

    def add(self, weights: np.ndarray, *, to: np.ndarray) -> None:
        """Add the weights of the panel's genes to those of the table's rows, in place."""
        if self.shared:
            to += np.bincount(self.rows, weights=weights[self.there], minlength=to.size)
        else:
            to[self.rows] = weights[self.there]


@dataclass(frozen=True)
class _Row:
    """One sample on its way: its genes' whole-number weights (times row scale), and what one of those stands for."""

    target: _Target
    whole: np.ndarray
    step: float


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    """Return the places of the ``n`` largest values, largest first, the lower place first among equals."""
    if values.size <= n:
        return np.argsort(-values, kind="stable")
    enough = np.flatnonzero(values >= np.partition(values, -n)[-n])  # sorting these few is far cheaper than sorting all
    return np.asarray(enough[np.argsort(-values[enough], kind="stable")[:n]])


def _normalise_rows(sums: np.ndarray) -> np.ndarray:
    """L2-normalise each row by itself, so that no row's bits depend on the block."""
    out = np.empty(sums.shape, dtype=np.float32)
    for i, row in enumerate(sums):
        out[i] = row / max(float(np.sqrt(np.square(row).sum())), np.finfo(np.float64).tiny)
    return out
