"""From a file of cells to what is read of each: its strongest genes, how strong they are, the domain model's vector.

In: rows of a file, an AnnData object or a matrix. Out: one :class:`CellGenes`, a few hundred numbers a cell, however many
genes the source has. A cell depends on itself alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.cells.rows import CellRows
from atlas.cells.scoring import Reading, organism_of
from atlas.errors import ArtifactError, InputError, NoSignalError
from atlas.expression.align import AlignedExpression, Coverage, GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.log import linear_values
from atlas.interpreter.config import GeneTokens
from atlas.model.joint import JointModel

_PER_CELL = 1e4
"""Counts are read as if every cell had this many."""
_MOST_DESCRIBED = 0.5  # of the genes; with fewer a person is told what is left to read
_LEAST = 1e-30  # of a cell's sum


@dataclass(frozen=True)
class CellGenes:
    """What is read of some cells.

    Attributes
    ----------
    row_ids
        One a cell, in the order of the source.
    genes
        ``(n, top_k)`` int32 rows of the interpreter's genes, strongest first, -1 where a cell has fewer.
    strengths
        ``(n, top_k)`` float32 of mean square 1 over a cell's genes; 0 where there is none.
    domain
        ``(n, dim)`` float32, L2-normalised; zeros for a cell without signal; ``None``: no domain model.
    organisms
        ``human`` or ``mouse``, one a cell.
    """

    row_ids: tuple[str, ...]
    genes: np.ndarray
    strengths: np.ndarray
    domain: np.ndarray | None
    organisms: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.genes)

    @property
    def has_genes(self) -> np.ndarray:
        """``(n,)`` bool, whether any gene of a cell can be read."""
        return np.asarray(self.genes[:, 0] >= 0)

    def take(self, rows: np.ndarray) -> CellGenes:
        """Return some of the cells, by number."""
        domain = None if self.domain is None else self.domain[rows]
        ids = tuple(self.row_ids[row] for row in rows)
        return CellGenes(
            ids, self.genes[rows], self.strengths[rows], domain, tuple(self.organisms[row] for row in rows)
        )


@dataclass(frozen=True)
class GeneReader:
    """Reads the genes of cells.

    Attributes
    ----------
    genes
        The interpreter's.
    has_vector
        ``(n_genes,)`` bool: a gene without a vector is never read.
    config
        How many genes, in which order.
    domain
        The joint model of the domain token and of the order ``above_usual``; of the same genes. ``None``: neither.
    token
        Whether the model's vector is wanted.
    """

    genes: GeneMap
    has_vector: np.ndarray
    config: GeneTokens
    domain: JointModel | None = None
    token: bool = False

    def __post_init__(self) -> None:
        """Refuse an order that the model cannot tell."""
        if self.config.order != "above_usual" and not self.token:
            return
        if self.domain is None:
            raise InputError(
                "The order above_usual and the domain token need a joint model; give one, or order by expression."
            )
        if self.domain.genes.ensembl_ids != self.genes.ensembl_ids:
            raise ArtifactError(
                "The joint model's genes are not those the interpreter reads. Use the model it was trained with.",
                kind="incompatible",
            )
        if self.config.order == "above_usual" and not self.domain.explains_by_genes:
            raise ArtifactError(
                "The joint model's transcriptome tower weighs no genes, so it cannot say which stand above their usual level. "
                "Order genes by expression (genes.order=expression), or use a model with the tower gene_text.",
                kind="incompatible",
            )

    def read(self, rows: CellRows, *, organism: str | None = None) -> tuple[CellGenes, Reading]:
        """Return what is read of every row, and how the source was understood.

        Parameters
        ----------
        organism
            ``human`` or ``mouse``; ``None``: the one whose genes the names are.

        Raises
        ------
        InputError
            If no gene of the source is known to the interpreter.
        """
        chosen = organism or organism_of(rows, self.genes)
        aligner = GeneAligner(rows.genes, rows.symbols, genes=self.genes, organism=chosen)
        try:
            cells = joined([self.read_aligned(aligner.align(matrix)) for matrix in rows.matrices()])
        except InputError as error:
            raise InputError(f"{rows.name}: {error.message}", details=error.details) from error
        coverage: Coverage = aligner.coverage
        return cells, Reading(rows.name, rows.scale, coverage, len(rows.row_ids), ())

    def few_described(self, cells: CellGenes) -> tuple[str, ...]:
        """Return a sentence where cells are read by few genes because few have a vector."""
        n_read = (cells.genes[cells.has_genes] >= 0).sum(axis=1)
        if self.has_vector.mean() >= _MOST_DESCRIBED or not n_read.size or np.median(n_read) >= self.config.top_k:
            return ()
        return (
            f"{int(self.has_vector.sum()):,} of {len(self.has_vector):,} genes have a description; half of the cells are read "
            f"by {int(np.median(n_read))} genes or fewer, of {self.config.top_k} that could be.",
        )

    def read_aligned(self, aligned: AlignedExpression) -> CellGenes:
        """Return what is read of aligned cells."""
        shape = (len(aligned.sample_ids), self.config.top_k)
        genes, strengths = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
        domain = None
        if self.domain is not None and (self.token or self.config.order == "above_usual"):
            domain = np.zeros((shape[0], self.domain.dim), np.float32)
        for row, (vector, found, weights) in enumerate(self._strongest(aligned)):
            genes[row, : len(found)], strengths[row, : len(found)] = found, weights
            if domain is not None and vector is not None:
                domain[row] = vector
        organisms = (aligned.coverage.organism,) * shape[0]
        return CellGenes(aligned.sample_ids, genes, strengths, domain if self.token else None, organisms)

    def _strongest(self, aligned: AlignedExpression) -> Iterator[tuple[np.ndarray | None, np.ndarray, np.ndarray]]:
        """Yield the domain vector of each cell, its strongest genes and their strengths."""
        try:
            yield from self._of_block(aligned)
        except NoSignalError:
            if len(aligned.sample_ids) == 1:  # nothing of it can be read, which is told later
                yield None, np.zeros(0, np.int32), np.zeros(0, np.float32)
                return
            for row in range(len(aligned.sample_ids)):
                yield from self._strongest(_row(aligned, row))

    def _of_block(self, aligned: AlignedExpression) -> list[tuple[np.ndarray | None, np.ndarray, np.ndarray]]:
        k, n = self.config.top_k, len(aligned.sample_ids)
        if self.config.order == "above_usual" and self.domain is not None:
            most = len(self.has_vector)
            for top in (2 * k, most) if self.has_vector.mean() >= _MOST_DESCRIBED else (most,):
                vectors, weighed = self.domain.embed_with_weights(aligned, top=top)
                kept = [self.has_vector[one.genes] for one in weighed]
                if all(len(one) < top or one.sum() >= k for one in kept):
                    break  # no cell needs genes further down
            return [
                (vectors[i], one.genes[kept[i]][:k], _sized(np.abs(one.weights[kept[i]][:k])))
                for i, one in enumerate(weighed)
            ]
        embedded: Sequence[np.ndarray | None] = [None] * n
        if self.token and self.domain is not None:
            embedded = list(self.domain.embed_expression(aligned))
        return [(vector, *self._by_expression(_row(aligned, row))) for row, vector in enumerate(embedded)]

    def _by_expression(self, one: AlignedExpression) -> tuple[np.ndarray, np.ndarray]:
        linear = linear_values(one.values[0], unit=one.units[0])
        linear[~(one.measured[0] & self.has_vector)] = 0.0
        order = np.argsort(-linear, kind="stable")[: self.config.top_k]
        order = order[linear[order] > 0.0]
        return order, _sized(np.log1p(linear[order] / max(float(linear.sum()), _LEAST) * _PER_CELL))


def explain_unread(cells: CellGenes) -> str | None:
    """Return a sentence on cells of which nothing can be read, or ``None``."""
    silent = np.flatnonzero(~cells.has_genes)
    if not silent.size:
        return None
    shown = ", ".join(json.dumps(cells.row_ids[row]) for row in silent[:5])
    return f"{silent.size:,} of {len(cells):,} cells express no gene that can be read (for example {shown})."


def _sized(strengths: np.ndarray) -> np.ndarray:
    """Bring the strengths of one cell's genes to a mean square of 1."""
    size = float(np.sqrt(np.square(strengths, dtype=np.float64).mean())) if strengths.size else 0.0
    return np.asarray(strengths / max(size, np.finfo(np.float32).tiny), dtype=np.float32)


def _row(aligned: AlignedExpression, row: int) -> AlignedExpression:
    part = slice(row, row + 1)
    return AlignedExpression(
        aligned.values[part], aligned.measured[part], aligned.units[part], aligned.sample_ids[part], aligned.coverage
    )


def joined(parts: Sequence[CellGenes]) -> CellGenes:
    """Put the cells of several blocks or sources together, in order."""
    domains = [part.domain for part in parts if part.domain is not None]
    return CellGenes(
        tuple(name for part in parts for name in part.row_ids),
        np.concatenate([part.genes for part in parts]),
        np.concatenate([part.strengths for part in parts]),
        np.concatenate(domains) if domains else None,
        tuple(name for part in parts for name in part.organisms),
    )
