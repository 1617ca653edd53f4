"""The transcriptome tower ``gene_text``: a sample is the weighted sum of the vectors of its genes.

Each gene weighs by how far its expression stands from its usual level (``atlas.model.gene_scores``). A row's vector depends on
that row and the model alone, bit for bit: rows are weighed one by one, and the weighted sum is taken over integers, where
addition has no rounding and therefore no order. Because the vector is linear in the genes, leaving one out is a subtraction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression
from atlas.model.config import GeneTextConfig
from atlas.model.gene_scores import GeneScorer
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
        self._scorer = GeneScorer(config, statistics, None if medians is None else medians.astype(np.float64))

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
        for block in self._blocks(aligned, kind=kind):
            vectors[block.rows.start : block.rows.stop] = _normalise_rows(block.sums)
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
        for block in self._blocks(aligned, kind=kind):
            vectors[block.rows.start : block.rows.stop] = _normalise_rows(block.sums)
            strongest += [self._strongest(block, place, top=top) for place in range(len(block.rows))]
        return vectors, strongest

    def weights(self, aligned: AlignedExpression, row: int, *, kind: InputKind = "auto") -> np.ndarray:
        """Return the ``(n_genes,)`` float64 weight of each gene in one sample."""
        return self._scorer.weights(aligned, row, kind=kind)

    def _blocks(self, aligned: AlignedExpression, *, kind: InputKind) -> Iterator[_Block]:
        """Yield the unnormalised sums, a bounded number of rows at once."""
        n = len(aligned.sample_ids)
        for start in range(0, n, _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, n))
            scaled = [self._integer_weights(aligned, row, kind=kind) for row in rows]
            weights = np.stack([whole for whole, _ in scaled])
            yield _Block(rows, weights, np.array([step for _, step in scaled]), self._table.sums(weights))

    def _integer_weights(self, aligned: AlignedExpression, row: int, *, kind: InputKind) -> tuple[np.ndarray, float]:
        """Return whole numbers proportional to weight times row scale, as float64, and what one of them stands for."""
        self._refuse_too_few(aligned, row)
        scaled = self.weights(aligned, row, kind=kind) * self._table.gene_scales
        largest = float(np.abs(scaled).max(initial=0.0))
        if not largest > 0.0:
            raise InputError(
                f"Sample {aligned.sample_ids[row]!r} has no gene above its usual level among the "
                f"{int(aligned.measured[row].sum())} measured ones: its expression is empty or constant. Leave it out.",
                details={"sample_id": aligned.sample_ids[row]},
            )
        return np.asarray(np.rint(scaled * (_WEIGHT_STEPS / largest))), float(largest / _WEIGHT_STEPS)

    def _refuse_too_few(self, aligned: AlignedExpression, row: int) -> None:
        if self._min_genes <= 1:
            return
        n = int(np.count_nonzero(aligned.measured[row] & self._has_vector))
        if n < self._min_genes:
            raise InputError(
                f"Sample {aligned.sample_ids[row]!r} shares {n:,} measured genes with the model; it needs {self._min_genes:,}. "
                "Give a table of more genes, by Ensembl id or symbol, of the right organism.",
                details={"sample_id": aligned.sample_ids[row], "n_shared": n, "min_genes": self._min_genes},
            )

    @cached_property
    def _has_vector(self) -> np.ndarray:
        return np.asarray(self._table.gene_scales > 0.0)

    def _strongest(self, block: _Block, place: int, *, top: int) -> GeneWeights:
        """Return the ``top`` genes of one row of a block by decreasing pull, the lower row first among equals."""
        genes = np.flatnonzero(block.weights[place])
        whole = block.weights[place, genes]
        pull = np.abs(whole) * self._table.code_lengths[genes]
        order = _largest(pull, top)
        length = max(float(np.sqrt(np.square(block.sums[place]).sum())), np.finfo(np.float64).tiny)
        return GeneWeights(
            genes=genes[order],
            weights=whole[order] / (self._table.gene_scales[genes[order]] * length),
            norm=length * float(block.steps[place]),
            kept=float(pull[order].sum() / pull.sum()),
        )


@dataclass(frozen=True)
class _Block:
    """Some rows on their way: whole-number weights ``(m, n_genes)``, the step of each row, sums ``(m, dim)``."""

    rows: range
    weights: np.ndarray
    steps: np.ndarray
    sums: np.ndarray


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
