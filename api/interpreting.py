"""The interpreter that the service was told of: opened by the first question, kept for all."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from api.schemas import CellAnswer, CellsAnswer, GeneEffectAnswer
from atlas.errors import ConfigError, InputError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from atlas.expression.genes import GeneMap
    from atlas.expression.matrix import ExpressionMatrix
    from atlas.interpreter.explain import CellExplanation
    from atlas.interpreter.interpreter import Interpretation, Interpreter

MOST_EXPLAINED = 8
"""Cells explained in one answer: each asks as many times as it has genes."""


class CellDesk:
    """Interprets cells with the interpreter of a folder.

    Parameters
    ----------
    folder
        Of an interpreter; ``None``: the service has none, and says so.
    reader, domain
        Where its language model and joint model are now, see :meth:`atlas.interpreter.interpreter.Interpreter.load`.
    """

    def __init__(self, folder: Path | None, *, reader: str | None = None, domain: Path | None = None) -> None:
        self._folder = folder
        self._reader = None if reader is None else os.path.expanduser(reader)  # a hub id has nothing to expand
        self._domain = None if domain is None else str(domain.expanduser())
        self._lock = threading.Lock()
        self._made: Interpreter | None = None

    def genes(self) -> GeneMap:
        """Return the interpreter's genes; they tell which axis of a table names genes."""
        return self._interpreter().genes.genes

    def interpret(
        self, matrix: ExpressionMatrix, *, label: str | None, n_genes: int, texts: tuple[str, ...], organism: str | None
    ) -> CellsAnswer:
        """Say of every cell which type it is, and which genes moved that.

        Parameters
        ----------
        label
            What to explain; ``None``: the likeliest label of each cell.
        n_genes
            Most genes told of a cell; 0: nothing is explained.
        texts
            Labels in words, learned or not, to be scored too.

        Raises
        ------
        NotFoundError
            If no interpreter is configured, or it did not learn the label.
        InputError
            If no gene is known, of no cell anything can be read, or too many cells are to be explained.
        """
        from atlas.cells.rows import open_rows
        from atlas.cells.scoring import Reading, organism_of
        from atlas.expression.align import align
        from atlas.interpreter.explain import explain

        made = self._interpreter()
        if label is not None and label not in made.labels:
            raise NotFoundError(
                f"{label[:80]!r} is no label that the interpreter learned; it learned {', '.join(made.labels[:20])}.",
                details={"labels": list(made.labels)},
            )
        if n_genes and matrix.n_samples > MOST_EXPLAINED:
            raise InputError(
                f"{matrix.n_samples:,} cells are to be explained; at most {MOST_EXPLAINED} are in one answer. Send fewer, or ask "
                "for labels alone with genes=0.",
                details={"seen": matrix.n_samples, "maximum": MOST_EXPLAINED},
            )
        with open_rows(matrix) as rows:
            chosen = organism or organism_of(rows, made.genes.genes)
        aligned = align(matrix, made.genes.genes, organism=chosen)
        read = made.genes.read_aligned(aligned)
        found = made.interpret(read, notes=Reading(rows.name, rows.scale, aligned.coverage, len(read), ()).notes)
        shares = made.ask(read, texts) if texts else None
        cells = []
        for row in range(len(read)):
            known = found.best[row] is not None
            why = explain(made, aligned, row, label=label, top=n_genes) if n_genes and known else None
            cells.append(_cell(found, row, texts=texts, shares=shares, why=why))
        return CellsAnswer(
            interpreter=made.hash, organism=chosen, labels=made.labels, cells=tuple(cells), notes=found.notes
        )

    def _interpreter(self) -> Interpreter:
        if self._folder is None:
            raise NotFoundError(
                "This service has no interpreter of cells. Whoever runs it trains one (geo-atlas interpreter train) and names "
                "its folder in GEO_ATLAS_INTERPRETER."
            )
        with self._lock:
            if self._made is None:
                from atlas.interpreter.interpreter import Interpreter

                if not self._folder.is_dir():
                    raise ConfigError(f"GEO_ATLAS_INTERPRETER names {self._folder}, which is no folder.")
                self._made = Interpreter.load(  # threads are the service's to deal
                    self._folder, reader=self._reader, domain=self._domain
                )
            return self._made


def _cell(
    found: Interpretation, row: int, *, texts: tuple[str, ...], shares: np.ndarray | None, why: CellExplanation | None
) -> CellAnswer:
    label = found.best[row]
    asked = np.zeros(0) if shares is None else shares[row]
    moved = () if why is None else why.genes
    return CellAnswer(
        cell=found.row_ids[row],
        label=label,
        probabilities={} if label is None else dict(zip(found.labels, found.probabilities[row].tolist(), strict=True)),
        texts={} if label is None else dict(zip(texts, asked.tolist(), strict=True)),
        explained=None if why is None else why.label,
        genes=tuple(GeneEffectAnswer(one.ensembl_id, one.symbol, one.rank, one.effect) for one in moved),
    )
