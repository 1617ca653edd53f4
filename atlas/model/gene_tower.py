"""Transcriptome towers: expression in, one vector a sample out.

``gene_text`` needs no training: a sample is the weighted mean of the text vectors of its genes' descriptions, each gene
weighted by how far above its usual level it stands. A row's vector depends on that row and the model alone, bit for bit:
rows are standardised one by one, and the weighted sum is taken over integers, where addition has no rounding and therefore
no order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np

from atlas.errors import ArtifactError, InputError
from atlas.expression.align import AlignedExpression
from atlas.expression.log import log_expression
from atlas.model.config import GeneTextConfig
from atlas.model.statistics import GeneStatistics, standardise
from atlas.vectors.gene_weights import GeneWeights

_WEIGHT_STEPS = 2.0**24  # integer weights; 2**24 steps * 127 * 4e6 genes would still be exact in float64
_ROWS_AT_ONCE = 128


class TranscriptomeTower(Protocol):
    """Embeds aligned expression."""

    @property
    def dim(self) -> int: ...  # noqa: D102

    def embed(self, aligned: AlignedExpression) -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, L2-normalised; a row depends on that row alone."""
        ...

    def embed_with_weights(self, aligned: AlignedExpression, *, top: int) -> tuple[np.ndarray, list[GeneWeights]]:
        """Return the vectors of ``embed``, bit for bit, and of each sample its ``top`` strongest genes."""
        ...


@dataclass(frozen=True)
class GeneTable:
    """Centred text vectors of the genes, int8 with one scale a gene.

    Attributes
    ----------
    codes, scales
        ``(n_genes, dim)`` int8 and ``(n_genes,)`` float32: gene vector = scale * codes.
    centre
        ``(dim,)`` float32, the mean gene text vector, already subtracted from the genes; text subtracts it too.
    removed
        ``(n_removed, dim)`` float32, orthonormal directions projected out of both sides.
    """

    codes: np.ndarray
    scales: np.ndarray
    centre: np.ndarray
    removed: np.ndarray

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of genes ``rows`` as ``(m, dim)`` float64, centred, not normalised."""
        return np.asarray(self.codes[rows].astype(np.float64) * self.scales[rows].astype(np.float64)[:, None])

    @classmethod
    def from_vectors(cls, vectors: np.ndarray, *, reference: np.ndarray, n_removed: int = 0) -> GeneTable:
        """Centre, project and quantise text vectors.

        Parameters
        ----------
        vectors
            ``(n_genes, dim)`` float32 text vectors.
        reference
            ``(n_genes,)`` bool, the genes whose mean is the centre and whose components are removed.
        n_removed
            Leading principal components of the reference genes to remove.
        """
        centre = vectors[reference].mean(axis=0, dtype=np.float64)
        centred = vectors - centre
        removed = np.zeros((0, vectors.shape[1]))
        if n_removed:
            removed = np.linalg.svd(centred[reference], full_matrices=False)[2][:n_removed]
            centred = centred - (centred @ removed.T) @ removed
        scales = np.abs(centred).max(axis=1) / 127.0
        codes = np.rint(centred / np.where(scales > 0, scales, 1.0)[:, None]).astype(np.int8)
        return cls(codes, scales.astype(np.float32), centre.astype(np.float32), removed.astype(np.float32))

    def centre_texts(self, vectors: np.ndarray) -> np.ndarray:
        """Move ``(n, dim)`` text vectors to the genes' origin and L2-normalise them, float32."""
        centred = vectors - self.centre
        centred = centred - (centred @ self.removed.T) @ self.removed
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        return np.asarray(centred / np.maximum(length, np.finfo(np.float32).tiny), dtype=np.float32)


class GeneTextTower:
    """Weighted mean of gene description vectors.

    Parameters
    ----------
    table, statistics
        Of the same genes in the same order.
    config
        The recipe.

    Notes
    -----
    With score z of a gene (its standardised expression minus the gene's mean, over its deviation), the weight is
    ``max(z, 0) ** power``, for the ``top_genes`` largest only if set; unmeasured genes and genes without statistics weigh
    nothing.

    Source: the training-free floor of GenePT-style models (expression-weighted gene text embeddings); scores instead of
    raw expression, centring and integer sums are ours.
    """

    def __init__(self, table: GeneTable, statistics: GeneStatistics, config: GeneTextConfig) -> None:
        self._table = table
        self._config = config
        self._mean = statistics.mean.astype(np.float64)
        self._deviation = np.maximum(statistics.deviation.astype(np.float64), config.deviation_floor)
        self._scales = table.scales.astype(np.float64)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._table.codes.shape[1])

    def embed(self, aligned: AlignedExpression) -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, L2-normalised.

        Raises
        ------
        InputError
            If a sample has no gene above its usual level: no or constant expression.
        """
        vectors = np.zeros((len(aligned.sample_ids), self.dim), dtype=np.float32)
        for block in self._blocks(aligned):
            vectors[block.rows.start : block.rows.stop] = _normalise_rows(block.sums)
        return vectors

    def embed_with_weights(self, aligned: AlignedExpression, *, top: int) -> tuple[np.ndarray, list[GeneWeights]]:
        """Return the vectors of :meth:`embed`, bit for bit, and of each sample its ``top`` strongest genes.

        A gene's strength is its pull: its weight times the length of its vector.

        Raises
        ------
        InputError
            As :meth:`embed`.
        """
        vectors = np.zeros((len(aligned.sample_ids), self.dim), dtype=np.float32)
        strongest: list[GeneWeights] = []
        for block in self._blocks(aligned):
            vectors[block.rows.start : block.rows.stop] = _normalise_rows(block.sums)
            strongest += [self._strongest(block, place, top=top) for place in range(len(block.rows))]
        return vectors, strongest

    def weights(self, aligned: AlignedExpression, row: int) -> np.ndarray:
        """Return the ``(n_genes,)`` float64 weight of each gene in one sample."""
        one = AlignedExpression(
            values=aligned.values[row : row + 1],
            measured=aligned.measured[row : row + 1],
            units=aligned.units[row : row + 1],
            sample_ids=aligned.sample_ids[row : row + 1],
            coverage=aligned.coverage,
        )
        scores = standardise(log_expression(one)[0], kind=self._config.standardisation)
        above = (scores - self._mean) / self._deviation
        weights = np.zeros(above.shape, dtype=np.float64)
        genes = np.flatnonzero(above > 0.0)  # NaN, the unmeasured, is not
        weights[genes] = np.minimum(above[genes], self._config.clip) ** self._config.power
        top = self._config.top_genes
        if top is not None and genes.size > top:
            weights[np.argsort(-weights, kind="stable")[top:]] = 0.0
        return weights

    def _blocks(self, aligned: AlignedExpression) -> Iterator[_Block]:
        """Yield the unnormalised sums, a bounded number of rows at once."""
        n = len(aligned.sample_ids)
        for start in range(0, n, _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, n))
            scaled = [self._integer_weights(aligned, row) for row in rows]
            weights = np.stack([whole for whole, _ in scaled])
            used = np.flatnonzero(weights.any(axis=0))
            sums = weights[:, used] @ self._table.codes[used].astype(np.float64)  # exact: integers far below 2**53
            yield _Block(rows, weights, np.array([step for _, step in scaled]), sums)

    def _integer_weights(self, aligned: AlignedExpression, row: int) -> tuple[np.ndarray, float]:
        """Return whole numbers proportional to weight times row scale, as float64, and what one of them stands for."""
        scaled = self.weights(aligned, row) * self._scales
        largest = scaled.max(initial=0.0)
        if not largest > 0.0:
            raise InputError(
                f"Sample {aligned.sample_ids[row]!r} has no gene above its usual level among the "
                f"{int(aligned.measured[row].sum())} measured ones: its expression is empty or constant. Leave it out.",
                details={"sample_id": aligned.sample_ids[row]},
            )
        return np.asarray(np.rint(scaled * (_WEIGHT_STEPS / largest))), float(largest / _WEIGHT_STEPS)

    def _strongest(self, block: _Block, place: int, *, top: int) -> GeneWeights:
        """Return the ``top`` genes of one row of a block by decreasing pull, the lower row first among equals."""
        genes = np.flatnonzero(block.weights[place])
        whole = block.weights[place, genes]
        pull = whole * self._code_lengths[genes]
        order = _largest(pull, top)
        length = max(float(np.sqrt(np.square(block.sums[place]).sum())), np.finfo(np.float64).tiny)
        return GeneWeights(
            genes=genes[order],
            weights=whole[order] / (self._scales[genes[order]] * length),
            norm=length * float(block.steps[place]),
            kept=float(pull[order].sum() / pull.sum()),
        )

    @cached_property
    def _code_lengths(self) -> np.ndarray:
        """``(n_genes,)`` float64 lengths of the genes' codes."""
        squares = np.einsum("ij,ij->i", self._table.codes, self._table.codes, dtype=np.float64)
        return np.asarray(np.sqrt(squares))


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


def missing_statistics(folder: str) -> ArtifactError:
    """Return the error of a model that cannot embed expression yet."""
    return ArtifactError(
        f"The model in {folder} has no gene statistics yet. "
        f"Run: geo-atlas model fit-statistics --model {folder} --counts FILE --out DIR",
        kind="missing",
        details={"path": folder},
    )


TRANSCRIPTOME_TOWERS: Mapping[str, Callable[[GeneTable, GeneStatistics, GeneTextConfig], TranscriptomeTower]] = (
    MappingProxyType({"gene_text": GeneTextTower})
)
