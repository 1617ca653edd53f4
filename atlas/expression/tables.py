"""CSV and TSV tables of expression, plain or gzipped: one named axis of genes, one of samples, numbers between.

The delimiter is told by the header. Rows are genes unless the names say otherwise. Every cell must be a finite number; the first
that is not is named by line and column. Nothing is guessed for it.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.accessions import id_kind
from atlas.errors import InputError, TooLargeError
from atlas.expression.genes import GeneMap, strip_version
from atlas.expression.limits import FILE_LIMITS, BoundedReader, Limits, refuse_too_many
from atlas.expression.matrix import ExpressionMatrix, build_matrix
from atlas.expression.source import BLOCK_BYTES, SAMPLE_SCHEMA, SERIES_SCHEMA, Block, check_rows
from atlas.expression.units import Unit

Orientation = Literal["auto", "genes_by_samples", "samples_by_genes"]

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_DELIMITERS = "\t,;"
_SYMBOL_HEADERS = frozenset({"symbol", "gene_symbol", "gene_name", "gene", "hgnc_symbol", "genename", "genesymbol"})
_MAX_LINE_CHARS = 64 << 20
_MAX_GENE_COLUMNS = 250_000
_MAX_LINES = 500_000  # a line costs far more memory than its bytes: a small gzip file may hold a billion short ones


def read_table(
    stream: BinaryIO,
    *,
    name: str = "the table",
    max_bytes: int = FILE_LIMITS.max_bytes,
    max_expanded_bytes: int = FILE_LIMITS.max_expanded_bytes,
    max_samples: int = FILE_LIMITS.max_samples,
    unit: Unit | None = None,
    genes: GeneMap | None = None,
    orientation: Orientation = "auto",
) -> ExpressionMatrix:
    """Read a CSV or TSV table of expression.

    Parameters
    ----------
    stream
        Bytes of the table, plain or gzip.
    name
        Name for messages.
    max_bytes, max_expanded_bytes, max_samples
        Bounds as in ``Limits``; decompression stops where the second is passed.
    unit
        Declared unit; ``None``: counts, which is checked.
    genes
        The model's genes; with them ``auto`` tells the axis of genes by which names are recognised.
    orientation
        ``auto`` takes rows as genes unless the column names are genes more often.

    Raises
    ------
    InputError
        If it is no such table; line and column are named.
    TooLargeError
        If a bound is passed.
    """
    limits = Limits(max_bytes, max_expanded_bytes, max_samples)
    try:
        table = _parse(_lines(stream, limits=limits, name=name), limits=limits, name=name)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is a damaged or incomplete gzip file: {error}. Send it again.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 text (byte {error.start} of a block). Expected a CSV or TSV table."
        ) from error
    return _to_matrix(table, unit=unit, genes=genes, orientation=orientation, limits=limits)


class TableSource:
    """A table file as a source; it is held in memory as float32. See ``ExpressionSource``."""

    def __init__(self, path: Path, *, unit: Unit | None = None, limits: Limits = FILE_LIMITS) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                self._matrix = read_table(
                    stream,
                    name=str(path),
                    max_bytes=limits.max_bytes,
                    max_expanded_bytes=limits.max_expanded_bytes,
                    max_samples=limits.max_samples,
                    unit=unit,
                )
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
        self.genes = self._matrix.genes
        self.symbols = self._matrix.symbols

    @property
    def n_samples(self) -> int:
        """Number of samples in the table."""
        return self._matrix.n_samples

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def sample_table(self) -> pa.Table:
        """Return one row a sample; a table states nothing but names."""
        ids, n = self._matrix.sample_ids, self.n_samples
        columns = {
            "sample_id": ids,
            "id_kind": [id_kind(name) for name in ids],
            "series_ids": [[]] * n,
            "unit": [unit.value for unit in self._matrix.units],
            "singlecell_probability": [None] * n,
            "source_row": np.arange(n, dtype=np.int32),
        }
        arrays = [pa.array(columns.get(field.name, [""] * n), field.type) for field in SAMPLE_SCHEMA]
        return pa.table(arrays, schema=SAMPLE_SCHEMA)

    def series_table(self) -> pa.Table:
        """Return no series."""
        return SERIES_SCHEMA.empty_table()

    def blocks(self, rows: npt.NDArray[np.integer] | None = None, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield ``(source rows, matrix)`` in source order; see ``ExpressionSource.blocks``."""
        whole = self._matrix
        wanted = check_rows(rows, n_samples=self.n_samples)
        step = max(1, block_bytes // (4 * whole.n_genes))
        for start in range(0, wanted.size, step):
            chosen = wanted[start : start + step]
            ids = tuple(whole.sample_ids[row] for row in chosen)
            units = tuple(whole.units[row] for row in chosen)
            yield chosen, ExpressionMatrix(whole.values[chosen], self.genes, ids, units, None, self.symbols)


class _Table:
    """A parsed table: names of rows and columns, and one float32 array a row."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns
        self.rows: list[str] = []
        self.second: list[str] = []
        self.values: list[npt.NDArray[np.float32]] = []


def _lines(stream: BinaryIO, *, limits: Limits, name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are neither empty nor comments."""
    sent = io.BufferedReader(BoundedReader(stream, limit=limits.max_bytes, what=name))
    head = sent.peek(4)[:4]
    if head == _ZIP:
        raise InputError(f"{name} is a zip archive or a spreadsheet. Send CSV or TSV, plain or gzipped.")
    plain: BinaryIO = sent
    if head[:2] == _GZIP:
        unpacked = gzip.GzipFile(fileobj=sent)
        limited = BoundedReader(unpacked, limit=limits.max_expanded_bytes, what=f"{name}, decompressed,")  # type: ignore[arg-type]
        plain = io.BufferedReader(limited)
    text = io.TextIOWrapper(plain, encoding="utf-8-sig", newline=None)
    number = 0
    while line := text.readline(_MAX_LINE_CHARS):
        number += 1
        if len(line) == _MAX_LINE_CHARS:
            raise TooLargeError(f"Line {number} of {name} is longer than {_MAX_LINE_CHARS:,} characters.")
        if number > _MAX_LINES:
            raise TooLargeError(f"{name} has more than {_MAX_LINES:,} lines. Expected one line a gene; send fewer.")
        if "\0" in line:
            raise InputError(f"Line {number} of {name} holds binary data. Expected a CSV or TSV table.")
        if line.strip() and not line.startswith("#"):
            yield number, line.rstrip("\n")


def _parse(lines: Iterator[tuple[int, str]], *, limits: Limits, name: str) -> _Table:
    number, header = next(lines, (0, ""))
    delimiter = max(_DELIMITERS, key=header.count)
    if not header.count(delimiter):
        raise InputError(f"{name} has no table header with tabs, commas or semicolons. Expected a CSV or TSV table.")
    max_columns = max(limits.max_samples, _MAX_GENE_COLUMNS)
    names = [cell.strip() for cell in _cells(header, delimiter=delimiter, number=number, max_columns=max_columns)]
    table: _Table | None = None
    has_symbols, n_cells = False, 0
    for number, line in lines:
        cells = _cells(line, delimiter=delimiter, number=number, max_columns=max_columns)
        if table is None:  # R writes no name over the row names
            columns = names if len(cells) == len(names) + 1 else names[1:]
            has_symbols = len(columns) > 1 and columns[0].lower() in _SYMBOL_HEADERS and not _is_number(cells[1])
            table = _Table(columns[1:] if has_symbols else columns)
        start = 2 if has_symbols else 1
        if len(cells) != len(table.columns) + start:
            raise InputError(
                f"Line {number} of {name} has {len(cells)} cells, expected {len(table.columns) + start} as the header."
            )
        table.rows.append(cells[0].strip())
        table.second.extend(cells[1:start])
        table.values.append(_numbers(cells[start:], columns=table.columns, number=number, name=name))
        n_cells += len(table.columns)
        if 4 * n_cells > limits.max_expanded_bytes:
            raise TooLargeError(
                f"{name} holds more than {limits.max_expanded_bytes:,} bytes of values. Send fewer samples."
            )
    if table is None or not table.columns:
        raise InputError(f"{name} has a header but no values. Expected one line a gene and one column a sample.")
    return table


def _cells(line: str, *, delimiter: str, number: int, max_columns: int) -> list[str]:
    if line.count(delimiter) > max_columns:
        raise TooLargeError(f"Line {number} has more than {max_columns:,} columns.")
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration) as error:
        raise InputError(f"Line {number} has unbalanced quotes.") from error


def _numbers(cells: Sequence[str], *, columns: Sequence[str], number: int, name: str) -> npt.NDArray[np.float32]:
    """Parse one line's values.

    Raises
    ------
    InputError
        Naming line and column of the first cell that is no finite number.
    """
    try:
        with np.errstate(over="ignore"):
            values = np.array(cells, dtype=np.float64).astype(np.float32)
        if bool(np.isfinite(values).all()) and not any("_" in cell for cell in cells):
            return values
    except ValueError:
        pass  # the search below names the cell
    place = next(i for i, cell in enumerate(cells) if not _is_number(cell))
    raise InputError(
        f"Line {number} of {name}, column {columns[place]!r}: {cells[place][:40]!r} is not a finite number. "
        "Write zero as 0, and leave out genes or samples that were not measured.",
        details={"line": number, "column": columns[place]},
    )


def _is_number(cell: str) -> bool:
    try:
        with np.errstate(over="ignore"):
            return "_" not in cell and bool(np.isfinite(np.float32(float(cell))))
    except ValueError:
        return False


def _to_matrix(
    table: _Table, *, unit: Unit | None, genes: GeneMap | None, orientation: Orientation, limits: Limits
) -> ExpressionMatrix:
    if orientation == "auto":
        by_column = _gene_likeness(table.columns, genes) > _gene_likeness(table.rows, genes)
        orientation = "samples_by_genes" if by_column else "genes_by_samples"
    are_samples_rows = orientation == "samples_by_genes"
    names, labels = (table.rows, table.columns) if are_samples_rows else (table.columns, table.rows)
    refuse_too_many(len(names), limits=limits)
    if "" in names:
        raise InputError(f"Sample number {names.index('') + 1} has no name. Give each sample one.")
    values = np.stack(table.values) if are_samples_rows else np.ascontiguousarray(np.stack(table.values).T)
    symbols = table.second if table.second and not are_samples_rows else None
    return build_matrix(values, genes=labels, sample_ids=names, unit=unit, symbols=symbols)


def _gene_likeness(labels: Sequence[str], genes: GeneMap | None) -> float:
    """Share of labels that are genes: known ones with a gene map, Ensembl ids without."""
    if genes is None:
        return sum(strip_version(label) is not None for label in labels) / len(labels)
    return max(genes.n_exact(labels, organism=organism) for organism in ("human", "mouse")) / len(labels)
