"""Rows to be scored, block by block: an ``.h5ad`` file, an AnnData object in memory or backed, or an expression matrix.

In: a file or an object. Out: blocks of some hundred rows, linear values, in the order of the source; memory is bounded by a
block, however long the file is. Row ids are kept as they are, repeated ones too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
import numpy.typing as npt

from atlas.cells.scale import Scale
from atlas.errors import InputError, NotFoundError
from atlas.expression import hdf5
from atlas.expression.h5ad import ENSEMBL_COLUMNS, SYMBOL_COLUMNS, H5adSource, gene_names
from atlas.expression.h5ad_matrix import BlockMatrix
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.source import Block, check_rows
from atlas.expression.units import Unit

BLOCK_BYTES = 32 << 20
MISSING = frozenset({"", "nan", "NaN", "NA", "None", "<NA>"})  # how tables write "no label"
_PEEK = 200  # rows looked at to say how they are read, which they do not decide

logger = logging.getLogger(__name__)


@runtime_checkable
class CellRows(Protocol):
    """Rows of one source.

    Attributes
    ----------
    name
        For messages.
    row_ids
        One id a row, in order; ids may repeat.
    genes, symbols
        As in ``ExpressionMatrix``.
    scale
        In words, how the values were read.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def row_ids(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def genes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def symbols(self) -> tuple[str, ...] | None: ...  # noqa: D102

    @property
    def scale(self) -> str: ...  # noqa: D102

    def matrices(self) -> Iterator[ExpressionMatrix]:
        """Yield all rows in order, a block at a time."""

    def labels(self, column: str) -> tuple[str | None, ...]:
        """Return a column of ``obs`` as text, ``None`` where a row has no value."""


@contextmanager
def open_rows(data: object, *, layer: str | None = None, unit: Unit | None = None) -> Iterator[CellRows]:
    """Open what a person wants scored.

    Parameters
    ----------
    data
        Path of an ``.h5ad`` file, an AnnData object (in memory or backed), or an ``ExpressionMatrix``.
    layer
        ``"X"``, ``"raw"`` or the name of a layer; ``None``: the first of ``layers["counts"]``, ``raw`` and ``X`` that is there;
        where a unit other than counts is declared, the last of them.
    unit
        Unit of the values; ``None``: each row shows its own.

    Raises
    ------
    InputError
        If the file cannot be read, or its values are scaled.
    NotFoundError
        If there is no such layer.
    """
    if isinstance(data, CellRows):
        yield data
    elif isinstance(data, str | Path):
        with _open_file(Path(data), layer=layer, unit=unit) as rows:
            yield rows
    elif isinstance(data, ExpressionMatrix):
        yield MatrixRows(data)
    elif hasattr(data, "obs_names") and hasattr(data, "var_names"):
        yield AnnDataRows(data, layer=layer, unit=unit)
    else:
        raise InputError(
            f"A {type(data).__name__} cannot be scored; expected the path of an .h5ad file, an AnnData object or an "
            "ExpressionMatrix."
        )


def _open_file(path: Path, *, layer: str | None, unit: Unit | None) -> H5adRows:
    if not os.path.isfile(path):  # of a name that no file system takes it says no; Path raises
        raise InputError(f"{path} does not exist or is no file. Expected an .h5ad file.", details={"file": str(path)})
    return H5adRows(path, layer=layer, unit=unit)


class H5adRows(H5adSource):
    """Rows of an ``.h5ad`` file, read with h5py alone, never whole."""

    def __init__(self, path: Path, *, layer: str | None = None, unit: Unit | None = None) -> None:
        self._layer = layer
        super().__init__(path, unit=unit)
        try:
            if not self.sample_ids:
                raise InputError(f"{path} has no rows: its obs is empty.", details={"file": str(path)})
            with hdf5.reading(str(path)):
                self._scale = Scale(unit, self._base())
                head = self._matrix.read(0, min(_PEEK, self.n_samples))
            self._words = self._scale.read_head(head, row_ids=self.sample_ids)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Index of ``obs``."""
        return self.sample_ids

    @property
    def scale(self) -> str:
        """How the values are read, in words."""
        return self._words

    def matrices(self) -> Iterator[ExpressionMatrix]:
        """Yield all rows in order, a block at a time; values that are not finite are not measured, and their rows counted."""
        return _counted((matrix for _, matrix in self._blocks(None, block_bytes=BLOCK_BYTES)), name=self.name)

    def blocks(self, rows: npt.NDArray[np.integer] | None = None, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield ``(source rows, matrix)`` in source order, values linear.

        Raises
        ------
        InputError
            If a value is not finite, or negative where there are no negative values.
        """
        for chosen, matrix in self._blocks(rows, block_bytes=block_bytes):
            _refuse_unmeasured(matrix)
            yield chosen, matrix

    def _blocks(self, rows: npt.NDArray[np.integer] | None, *, block_bytes: int) -> Iterator[Block]:
        wanted = check_rows(rows, n_samples=self.n_samples)
        step = max(1, self._matrix.block_rows(max(1, block_bytes // (4 * max(1, len(self.genes))))))
        for start in range(0, self.n_samples, step):
            chosen = wanted[slice(*np.searchsorted(wanted, [start, start + step]))]
            if not chosen.size:
                continue
            with hdf5.reading(str(self.path)):
                values = self._matrix.read(start, min(start + step, self.n_samples))[chosen - start]
            ids = tuple(self.sample_ids[row] for row in chosen)
            yield chosen, _matrix(values, self, ids=ids, scale=self._scale)

    def labels(self, column: str) -> tuple[str | None, ...]:
        """Return a column of ``obs``.

        Raises
        ------
        NotFoundError
            If there is no such column; the columns that there are, are named.
        """
        with hdf5.reading(str(self.path)):
            obs = hdf5.group(self._file, "obs")
            values = None if obs is None else self._column(obs, column)
            node = None if obs is None else hdf5.find(obs, column)
            mask = hdf5.dataset(node, "mask") if isinstance(node, h5py.Group) else None
            gone = np.zeros(self.n_samples, dtype=bool) if mask is None else np.asarray(mask[:], dtype=bool)
            names = [] if obs is None else sorted(name for name in obs if not name.startswith("_"))
        if values is None:
            raise _no_column(column, names=names, where=str(self.path))
        if len(values) != self.n_samples or len(gone) != self.n_samples:
            raise InputError(f"{self.path}: obs/{column} has {len(values):,} values for {self.n_samples:,} rows.")
        return _labels(values, gone=gone)

    def _choose_matrix(self) -> tuple[BlockMatrix, str]:
        layers = hdf5.group(self._file, "layers")
        places = {name: (f"layers/{name}", "var") for name in sorted(layers or ())}
        places |= {"X": ("X", "var"), "raw": ("raw/X", "raw/var")}
        there = {name: place for name, place in places.items() if hdf5.find(self._file, place[0]) is not None}
        path, var = there[_chosen(there, layer=self._layer, unit=self._unit, where=str(self.path))]
        return self._open_matrix(path), var

    def _base(self) -> float | None:
        base = hdf5.dataset(self._file, "uns/log1p/base")
        if base is not None and base.shape == () and base.dtype.kind in "fiu":
            return float(base[()])
        return None if hdf5.group(self._file, "uns/log1p") is None else float(np.e)


class AnnDataRows:
    """Rows of an AnnData object; a backed one is read block by block, a sparse one made dense block by block."""

    def __init__(self, data: Any, *, layer: str | None = None, unit: Unit | None = None) -> None:
        self._data = data
        self.name = "the AnnData object"
        self.row_ids = tuple(map(str, data.obs_names))
        if not self.row_ids:
            raise InputError("The AnnData object has no rows.")
        self._x, var = self._choose(layer, unit=unit)
        columns = [_first_of(var, names) for names in (ENSEMBL_COLUMNS, SYMBOL_COLUMNS)]
        self.genes, self.symbols = gene_names(tuple(map(str, var.index)), ids=columns[0], symbols=columns[1])
        log = data.uns.get("log1p")
        base = log.get("base") or float(np.e) if isinstance(log, dict) else None
        self._scale = Scale(unit, base)
        self.scale = self._scale.read_head(self._dense(0, min(_PEEK, len(self.row_ids))), row_ids=self.row_ids)

    def matrices(self) -> Iterator[ExpressionMatrix]:
        """Yield all rows in order, a block at a time; values that are not finite are not measured, and their rows counted."""
        return _counted(self._blocks(), name=self.name)

    def _blocks(self) -> Iterator[ExpressionMatrix]:
        step = max(1, BLOCK_BYTES // (4 * max(1, len(self.genes))))
        for start in range(0, len(self.row_ids), step):
            stop = min(start + step, len(self.row_ids))
            yield _matrix(self._dense(start, stop), self, ids=self.row_ids[start:stop], scale=self._scale)

    def labels(self, column: str) -> tuple[str | None, ...]:
        """Return a column of ``obs``."""
        obs = self._data.obs
        if column not in obs:
            raise _no_column(column, names=sorted(map(str, obs.columns)), where=self.name)
        return _labels([str(value) for value in obs[column]], gone=obs[column].isna().to_numpy())

    def _choose(self, layer: str | None, *, unit: Unit | None) -> tuple[Any, Any]:
        data = self._data
        places = {name: (data.layers[name], data.var) for name in data.layers}
        places |= {} if data.X is None else {"X": (data.X, data.var)}
        places |= {} if data.raw is None else {"raw": (data.raw.X, data.raw.var)}
        return places[_chosen(places, layer=layer, unit=unit, where=self.name)]

    def _dense(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        block = self._x[start:stop]
        return np.ascontiguousarray(block.toarray() if hasattr(block, "toarray") else block, dtype=np.float32)


class MatrixRows:
    """Rows of an expression matrix, whose units are known."""

    def __init__(self, matrix: ExpressionMatrix) -> None:
        self._matrix = matrix
        self.name = "the matrix"
        self.row_ids, self.genes, self.symbols = matrix.sample_ids, matrix.genes, matrix.symbols
        self.scale = ", ".join(sorted({unit.value for unit in matrix.units}))

    def matrices(self) -> Iterator[ExpressionMatrix]:
        """Yield the matrix."""
        yield self._matrix

    def labels(self, column: str) -> tuple[str | None, ...]:
        """Refuse: a matrix carries no labels."""
        raise _no_column(column, names=[], where=self.name)


def repeated(row_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that stand there more than once, in the order of their first repetition."""
    seen: set[str] = set()
    twice = dict.fromkeys(name for name in row_ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return tuple(twice)


def _chosen(there: Iterable[str], *, layer: str | None, unit: Unit | None, where: str) -> str:
    """Return the name of the matrix to read: what was asked for, else by what is there and never by what rows hold."""
    names = sorted(there)
    order = ("counts", "raw", "X") if unit in (None, Unit.COUNTS) else ("X", "raw", "counts")
    wanted = (layer,) if layer is not None else order
    found = next((name for name in wanted if name in names), None)
    if found is None:
        there_are = ", ".join(names) or "none"
        raise NotFoundError(
            f"{where} has no layer {layer or 'X'!r}; there are: {there_are}.", details={"layers": names}
        )  # fmt: skip
    return found


def _matrix(values: npt.NDArray[np.float32], rows: CellRows, *, ids: tuple[str, ...], scale: Scale) -> ExpressionMatrix:
    read = scale.read(values, row_ids=ids)
    units = tuple(one.unit for one in read.scales)
    return ExpressionMatrix(read.values, rows.genes, ids, units, read.measured, rows.symbols)


def _counted(matrices: Iterator[ExpressionMatrix], *, name: str) -> Iterator[ExpressionMatrix]:
    """Pass the blocks on and say at the end how many rows have values that are not finite."""
    n_rows = 0
    for matrix in matrices:
        n_rows += 0 if matrix.measured is None else int((~matrix.measured).any(axis=1).sum())
        yield matrix
    if n_rows:
        logger.warning(
            "%s: %d row(s) hold values that are not finite; those genes count as not measured.", name, n_rows
        )


def _refuse_unmeasured(matrix: ExpressionMatrix) -> None:
    if matrix.measured is None:
        return
    row = int(np.flatnonzero(~matrix.measured.all(axis=1))[0])
    raise InputError(
        f"There is a value that is not finite in row {matrix.sample_ids[row]!r}: what was not measured is no value. "
        "Choose another matrix of the file (--layer counts or --layer raw; over REST send a file whose X it is), or leave such "
        "rows out.",
        details={"row": matrix.sample_ids[row]},
    )


def _first_of(var: Any, names: Sequence[str]) -> tuple[str, ...] | None:
    column = next((name for name in names if name in var), None)
    return None if column is None else tuple("" if value != value else str(value) for value in var[column])


def _labels(values: Sequence[str], *, gone: npt.NDArray[np.bool_]) -> tuple[str | None, ...]:
    return tuple(
        None if lost or value.strip() in MISSING else value.strip() for value, lost in zip(values, gone, strict=True)
    )


def _no_column(column: str, *, names: Sequence[str], where: str) -> NotFoundError:
    there = ", ".join(names) if names else "none"
    return NotFoundError(
        f"obs of {where} has no column {column!r}; its columns: {there}.", details={"columns": list(names)}
    )
