"""Bring a source's genes into the model's gene order: duplicates summed, missing genes masked, coverage reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from atlas.expression.genes import GeneMap, refuse_other_organism, strip_version
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit

_N_EXAMPLES = 5
_MAX_LABEL_CHARS = 256


@dataclass(frozen=True)
class Coverage:
    """How much of a source the model recognises.

    Attributes
    ----------
    n_given, n_recognised
        Gene columns of the source, and those of them that the model knows.
    n_model_genes, n_covered
        Genes of the organism in the model, and those of them that the source has.
    n_duplicates
        Recognised columns beyond the first of a gene; they were summed.
    identifier
        What the gene names are.
    unrecognised_examples
        A few names that no gene of the model has.
    """

    n_given: int
    n_recognised: int
    n_model_genes: int
    n_covered: int
    n_duplicates: int
    identifier: Literal["ensembl", "symbol", "mixed"]
    organism: str
    unrecognised_examples: tuple[str, ...]


@dataclass(frozen=True)
class AlignedExpression:
    """Expression in the model's gene order.

    Attributes
    ----------
    values
        (n_samples, n_model_genes) float32 in each row's unit; 0 where not measured.
    measured
        (n_samples, n_model_genes) bool, possibly a read-only broadcast view.
    units, sample_ids
        One a row.
    coverage
        Report on the source's genes.
    """

    values: npt.NDArray[np.float32]
    measured: npt.NDArray[np.bool_]
    units: tuple[Unit, ...]
    sample_ids: tuple[str, ...]
    coverage: Coverage


class GeneAligner:
    """Aligns any number of blocks of one source; gene names are looked up once.

    Parameters
    ----------
    labels, symbols
        The source's gene names, as in ``ExpressionMatrix``.
    genes
        The model's genes.
    organism
        The organism of the atlas.

    Raises
    ------
    InputError
        If the names are clearly the other organism's, or none is recognised.
    """

    def __init__(
        self, labels: Sequence[str], symbols: Sequence[str] | None = None, *, genes: GeneMap, organism: str = "human"
    ) -> None:
        longest = max(map(len, labels), default=0)
        if longest > _MAX_LABEL_CHARS:
            raise InputError(f"A gene name is {longest:,} characters long; expected Ensembl gene ids or gene symbols.")
        refuse_other_organism(labels, genes=genes, organism=organism)
        rows = genes.rows_of(labels, symbols, organism=organism)
        if not bool((rows >= 0).any()):
            raise InputError(
                f"None of the {len(labels):,} gene names is recognised (for example {', '.join(map(repr, labels[:5]))}). "
                "Expected Ensembl gene ids or gene symbols.",
                details={"n_given": len(labels), "examples": list(labels[:5])},
            )
        known = np.flatnonzero(rows >= 0)
        _, first = np.unique(rows[known], return_index=True)
        is_first = np.zeros(known.size, dtype=bool)
        is_first[first] = True
        self._n_model_genes = len(genes)
        self._n_given = len(labels)
        self._columns, self._rows = known[is_first], rows[known[is_first]]
        self._more_columns, self._more_rows = known[~is_first], rows[known[~is_first]]
        self.coverage = _report(labels, rows, n_model_genes=int(genes.mask(organism).sum()), organism=organism)

    def align(self, matrix: ExpressionMatrix) -> AlignedExpression:
        """Return ``matrix`` in model order; its columns must be those the aligner was made for."""
        if matrix.n_genes != self._n_given:
            raise InputError(f"A block has {matrix.n_genes:,} genes, expected {self._n_given:,}.")
        is_log2 = np.array([unit is Unit.LOG2 for unit in matrix.units], dtype=bool)
        values = np.zeros((matrix.n_samples, self._n_model_genes), dtype=np.float32)
        measured = self._align_mask(matrix)
        source = matrix.values if matrix.measured is None else np.where(matrix.measured, matrix.values, np.float32(0))
        values[:, self._rows] = source[:, self._columns]
        if self._more_rows.size:
            self._add_duplicates(values, source=source, rows=np.flatnonzero(~is_log2))
            self._add_log2_duplicates(values, matrix=matrix, rows=np.flatnonzero(is_log2))
        return AlignedExpression(values, measured, matrix.units, matrix.sample_ids, self.coverage)

    def _align_mask(self, matrix: ExpressionMatrix) -> npt.NDArray[np.bool_]:
        shape = (matrix.n_samples, self._n_model_genes)
        if matrix.measured is None:
            listed = np.zeros(self._n_model_genes, dtype=bool)
            listed[self._rows] = True
            return np.broadcast_to(listed, shape)
        measured = np.zeros(shape, dtype=bool)
        measured[:, self._rows] = matrix.measured[:, self._columns]
        for column, row in zip(self._more_columns, self._more_rows, strict=True):
            measured[:, row] |= matrix.measured[:, column]
        return measured

    def _add_duplicates(
        self, values: npt.NDArray[np.float32], *, source: npt.NDArray[np.float32], rows: npt.NDArray[np.intp]
    ) -> None:
        for column, row in zip(self._more_columns, self._more_rows, strict=True):
            values[rows, row] += source[rows, column]

    def _add_log2_duplicates(
        self, values: npt.NDArray[np.float32], *, matrix: ExpressionMatrix, rows: npt.NDArray[np.intp]
    ) -> None:
        """Sum the duplicated genes of log2 samples on the linear scale and take the logarithm again."""
        if not rows.size:
            return
        more = np.unique(self._more_rows)
        places = {row: place for place, row in enumerate(more)}
        sums = np.zeros((rows.size, more.size), dtype=np.float64)
        columns = np.concatenate([self._columns, self._more_columns])
        targets = np.concatenate([self._rows, self._more_rows])
        for column, row in zip(columns, targets, strict=True):
            if row in places:
                linear = np.exp2(matrix.values[rows, column].astype(np.float64))
                sums[:, places[row]] += linear if matrix.measured is None else linear * matrix.measured[rows, column]
        logs = np.log2(sums, out=np.zeros_like(sums), where=sums > 0)
        values[np.ix_(rows, more)] = logs


def align(matrix: ExpressionMatrix, genes: GeneMap, *, organism: str = "human") -> AlignedExpression:
    """Return ``matrix`` in the model's gene order.

    Duplicated genes are summed on the linear scale; genes that the source lacks are marked as not measured, never as zero.

    Raises
    ------
    InputError
        If no gene is recognised, or the genes are clearly the other organism's.
    """
    return GeneAligner(matrix.genes, matrix.symbols, genes=genes, organism=organism).align(matrix)


def _report(labels: Sequence[str], rows: npt.NDArray[np.int32], *, n_model_genes: int, organism: str) -> Coverage:
    known = rows >= 0
    ids = sum(1 for label in labels if strip_version(label.strip()))
    identifier: Literal["ensembl", "symbol", "mixed"] = "mixed"
    if ids >= 0.99 * len(labels):
        identifier = "ensembl"
    elif ids <= 0.01 * len(labels):
        identifier = "symbol"
    unknown = np.flatnonzero(~known)[:_N_EXAMPLES]
    n_covered = int(np.unique(rows[known]).size)
    return Coverage(
        n_given=len(labels),
        n_recognised=int(known.sum()),
        n_model_genes=n_model_genes,
        n_covered=n_covered,
        n_duplicates=int(known.sum()) - n_covered,
        identifier=identifier,
        organism=organism,
        unrecognised_examples=tuple(labels[i] for i in unknown),
    )
