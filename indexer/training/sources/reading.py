"""Chosen rows of several files, aligned to the model's genes: read in file order, given back in the order asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.source import BLOCK_BYTES, ExpressionSource

_DENSE = 0.25  # share of a span that must be wanted before whole blocks of it are read


class AlignedFiles:
    """Random access to the rows of files.

    Parameters
    ----------
    paths
        The files; a row is asked for by number of file and row in it.
    opener
        Opens one file.
    genes, organism
        What rows are aligned to.
    """

    def __init__(
        self, paths: Sequence[Path], *, opener: Callable[[Path], ExpressionSource], genes: GeneMap, organism: str
    ) -> None:
        self.paths = tuple(paths)
        self._opener, self._genes, self._organism = opener, genes, organism
        self._open: dict[tuple[int, int], tuple[ExpressionSource, GeneAligner]] = {}

    def read(self, files: npt.NDArray[np.integer], rows: npt.NDArray[np.integer]) -> AlignedExpression:
        """Return rows ``rows[i]`` of files ``files[i]`` in that order; they may repeat.

        Raises
        ------
        InputError
            If no row is asked for, or a file cannot be read.
        """
        if not len(files):
            raise InputError("No row was asked for. Give at least one.")
        parts: list[AlignedExpression] = []
        place = np.empty(len(files), dtype=np.int64)
        n_read = 0
        for number in np.unique(files):
            mine = np.flatnonzero(files == number)
            wanted, inverse = np.unique(rows[mine], return_inverse=True)
            place[mine] = n_read + inverse
            n_read += wanted.size
            parts += self._read_file(int(number), wanted.astype(np.int64))
        units = [unit for part in parts for unit in part.units]
        ids = [sample for part in parts for sample in part.sample_ids]
        return AlignedExpression(
            values=np.concatenate([part.values for part in parts])[place],
            measured=np.concatenate([part.measured for part in parts])[place],
            units=tuple(units[i] for i in place),
            sample_ids=tuple(ids[i] for i in place),
            coverage=parts[0].coverage,
        )

    def _read_file(self, number: int, wanted: npt.NDArray[np.int64]) -> list[AlignedExpression]:
        source, aligner = self._opened(number)
        is_dense = wanted.size >= _DENSE * (int(wanted[-1]) - int(wanted[0]) + 1)
        blocks = source.blocks(wanted, block_bytes=BLOCK_BYTES if is_dense else 1)
        return [aligner.align(matrix) for _, matrix in blocks]

    def _opened(self, number: int) -> tuple[ExpressionSource, GeneAligner]:
        """Open a file once a process: an HDF5 handle must not be shared with a forked worker."""
        key = (os.getpid(), number)
        if key not in self._open:
            source = self._opener(self.paths[number])
            aligner = GeneAligner(source.genes, source.symbols, genes=self._genes, organism=self._organism)
            self._open[key] = (source, aligner)
        return self._open[key]
