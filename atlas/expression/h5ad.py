"""AnnData files (``.h5ad``), read with h5py alone: counts of a layer, ``X`` or ``raw``, dense, csr or csc, in blocks of samples.

Nothing is unpickled, no link out of the file is followed, and every index of a sparse matrix is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.accessions import id_kind
from atlas.errors import InputError, TooLargeError
from atlas.expression import hdf5
from atlas.expression.genes import strip_version
from atlas.expression.h5ad_matrix import BlockMatrix, open_matrix
from atlas.expression.limits import Limits, refuse_too_many
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.source import BLOCK_BYTES, SAMPLE_SCHEMA, SERIES_SCHEMA, Block, check_rows, settle_units
from atlas.expression.units import Unit

ENSEMBL_COLUMNS = ("ensembl_id", "ensembl_gene_id", "ensembl_gene", "gene_ids", "gene_id")
SYMBOL_COLUMNS = ("gene_name", "symbol", "gene_symbol", "feature_name", "gene_short_name")
# Field of the sample table -> columns of obs that may hold it, the first found wins.
_OBS_COLUMNS = {
    "title": ("title", "geo_title"),
    "source_name": ("source_name_ch1", "geo_source_name", "source_name", "tissue"),
    "characteristics": ("characteristics_ch1", "characteristics"),
    "organism": ("organism_ch1", "organism"),
    "molecule": ("molecule_ch1",),
    "platform": ("platform_id",),
}
_PEEK = 100  # samples looked at to find the counts


class H5adSource(hdf5.Hdf5Samples):
    """Samples of one AnnData file; see ``ExpressionSource``.

    Parameters
    ----------
    path
        The file, or its name if ``stream`` is given.
    unit
        Unit of the values; ``None``: the counts are looked for in ``layers["counts"]``, ``X`` and ``raw``.
    stream
        The file's bytes in memory.
    limits
        Bounds for a file from a stranger, applied to the declared sizes before anything is read.

    Raises
    ------
    InputError
        If the file is damaged, names no genes or samples, or its parts disagree in length.
    TooLargeError
        If it exceeds the limits.
    """

    def __init__(
        self,
        path: Path,
        *,
        unit: Unit | None = None,
        stream: BinaryIO | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.path = path
        self._unit = unit
        self._limits = limits
        self._declared_bytes = 0
        self._file = hdf5.open_hdf5(stream if stream is not None else str(path), name=str(path))
        try:
            with hdf5.reading(str(path)):
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.sample_ids = self._index("obs")
        if self._limits is not None:
            refuse_too_many(len(self.sample_ids), limits=self._limits)
        self._matrix, var = self._choose_matrix()
        self.genes, self.symbols = self._read_genes(var)
        expected = (len(self.sample_ids), len(self.genes))
        if self._matrix.shape != expected:
            raise InputError(
                f"{self.path}: the matrix has shape {self._matrix.shape}, but obs and var name {expected} (samples, genes)."
            )

    def sample_table(self) -> pa.Table:
        """Return one row a sample; columns of ``SAMPLE_SCHEMA``."""
        n = self.n_samples
        with hdf5.reading(str(self.path)):
            fields = {name: self._obs_field(names) for name, names in _OBS_COLUMNS.items()}
            series = self._obs_field(("series_id",))
        columns = {
            "sample_id": self.sample_ids,
            "id_kind": [id_kind(name) for name in self.sample_ids],
            "series_ids": [[part for part in text.replace(",", " ").split() if part] for text in series],
            **fields,
            "date": [""] * n,
            "unit": [None if self._unit is None else self._unit.value] * n,
            "singlecell_probability": [None] * n,
            "source_row": np.arange(n, dtype=np.int32),
        }
        return pa.table([pa.array(columns[field.name], field.type) for field in SAMPLE_SCHEMA], schema=SAMPLE_SCHEMA)

    def series_table(self) -> pa.Table:
        """Return no series: AnnData describes none."""
        return SERIES_SCHEMA.empty_table()

    def blocks(self, rows: npt.NDArray[np.integer] | None = None, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield ``(source rows, matrix)`` in source order; see ``ExpressionSource.blocks``."""
        wanted = check_rows(rows, n_samples=self.n_samples)
        step = self._matrix.block_rows(max(1, block_bytes // (4 * max(1, len(self.genes)))))
        for start in range(0, self.n_samples, step):
            low, high = np.searchsorted(wanted, [start, start + step])
            if low == high:
                continue
            chosen = wanted[low:high]
            with hdf5.reading(str(self.path)):
                values = self._matrix.read(start, min(start + step, self.n_samples))[chosen - start]
            ids = tuple(self.sample_ids[row] for row in chosen)
            units = settle_units(values, declared=[self._unit] * len(ids), sample_ids=ids)
            yield chosen, ExpressionMatrix(values, self.genes, ids, units, None, self.symbols)

    def _choose_matrix(self) -> tuple[BlockMatrix, str]:
        """Return the matrix to read and the group that names its genes."""
        places = [("layers/counts", "var"), ("X", "var"), ("raw/X", "raw/var")]
        found = [(path, var) for path, var in places if hdf5.find(self._file, path) is not None]
        if not found:
            raise InputError(f"{self.path} has no matrix: neither layers/counts, X nor raw/X is there.")
        if self._unit not in (None, Unit.COUNTS):
            path, var = next((place for place in found if place[0] != "layers/counts"), found[0])
            return self._open_matrix(path), var
        opened = [(self._open_matrix(path), var) for path, var in found]
        return next(
            (place for place in opened if _holds_counts(place[0])), opened[0]
        )  # the first says what it is if none does

    def _open_matrix(self, path: str) -> BlockMatrix:
        node = hdf5.find(self._file, path)
        parts = (
            [node] if isinstance(node, h5py.Dataset) else [hdf5.dataset(node, x) for x in ("data", "indices", "indptr")]
        )
        for part in parts:
            if part is not None:
                self._check_size(part)
        matrix = open_matrix(node, name=f"{self.path}:{path}")
        if self._limits is not None and 4 * matrix.shape[0] * matrix.shape[1] > self._limits.max_expanded_bytes:
            raise TooLargeError(
                f"{self.path}: a matrix of {matrix.shape} takes more than {self._limits.max_expanded_bytes:,} bytes.",
                details={"limit_bytes": self._limits.max_expanded_bytes},
            )
        return matrix

    def _check_size(self, data: h5py.Dataset) -> None:
        """Count what a data set declares to hold, before any of it is decompressed."""
        if self._limits is None:
            return
        chunk_bytes = int(np.prod(data.chunks, dtype=np.float64)) * data.dtype.itemsize if data.chunks else 0
        self._declared_bytes += max(int(data.size) * data.dtype.itemsize, chunk_bytes)
        if self._declared_bytes > self._limits.max_expanded_bytes:
            raise TooLargeError(
                f"{self.path} declares more than {self._limits.max_expanded_bytes:,} bytes of data. Send fewer samples.",
                details={"limit_bytes": self._limits.max_expanded_bytes},
            )

    def _read_genes(self, var: str) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
        index = self._index(var)
        ids, names = (self._first_column(var, columns) for columns in (ENSEMBL_COLUMNS, SYMBOL_COLUMNS))
        return gene_names(index, ids=ids, symbols=names)

    def _index(self, table: str) -> tuple[str, ...]:
        frame = hdf5.group(self._file, table)
        if frame is None:
            raise InputError(f"{self.path} has no {table!r} table; write it again with anndata 0.8 or newer.")
        name = frame.attrs.get("_index", "_index")
        names = self._column(frame, name.decode() if isinstance(name, bytes) else str(name))
        if names is None:
            raise InputError(f"{self.path}: the table {table!r} has no index, so its rows have no names.")
        return tuple(name.strip() for name in names)

    def _first_column(self, table: str, names: tuple[str, ...]) -> tuple[str, ...] | None:
        frame = hdf5.group(self._file, table)
        columns = (self._column(frame, name) for name in names if frame is not None and name in frame)
        return next((tuple(column) for column in columns if column is not None), None)

    def _obs_field(self, names: tuple[str, ...]) -> list[str]:
        return list(self._first_column("obs", names) or [""] * self.n_samples)

    def _column(self, frame: h5py.Group, name: str) -> list[str] | None:
        """One column of a table as text: plain, categorical or nullable; ``None`` if it is not there."""
        node = hdf5.find(frame, name)
        if isinstance(node, h5py.Dataset):
            return self._strings(node)
        if not isinstance(node, h5py.Group):
            return None
        categories, codes = hdf5.dataset(node, "categories"), hdf5.dataset(node, "codes")
        if categories is not None and codes is not None:
            self._check_size(codes)
            names, numbers = [*self._strings(categories), ""], np.asarray(codes[:], dtype=np.int64)
            if numbers.size and (numbers.min() < -1 or numbers.max() >= len(names) - 1):
                raise InputError(f"{self.path}: the categories of {name!r} do not fit their codes.")
            return [names[number] for number in numbers]
        values = hdf5.dataset(node, "values")
        return None if values is None else self._strings(values)

    def _strings(self, data: h5py.Dataset) -> list[str]:
        self._check_size(data)
        if self._limits is None:
            texts = hdf5.read_strings(data)
        else:
            file_bytes = self._file.id.get_filesize()
            texts = hdf5.read_strings(data, max_bytes=self._limits.max_expanded_bytes, file_bytes=file_bytes)
        return list(texts.to_pylist())


def gene_names(
    index: tuple[str, ...], *, ids: tuple[str, ...] | None, symbols: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return the labels of the genes, and second ones, from the index of ``var`` and its columns of ids and symbols."""
    if ids is None or _is_ensembl(index) or not any(map(strip_version, ids)):
        return index, symbols
    return tuple(id_ or name for id_, name in zip(ids, index, strict=True)), symbols or index


def _holds_counts(matrix: BlockMatrix) -> bool:
    head = matrix.read(0, min(_PEEK, matrix.shape[0]))
    return bool(np.all((head >= 0) & (head == np.round(head))))


def _is_ensembl(names: tuple[str, ...]) -> bool:
    head = names[:1000]
    return bool(head) and sum(strip_version(name) is not None for name in head) > len(head) / 2
