"""Copy columns into tables of the catalog: parquet in batches, CSV on the way, COPY at the end.

Arrow writes the CSV and Postgres reads it, so no value passes through Python.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from psycopg import sql
from sqlalchemy import Text

from atlas.catalog.database import driver_errors_translated
from atlas.catalog.tables import SCHEMA, Base
from atlas.errors import ArtifactError

BATCH_ROWS = 5_000

Batches = Iterator[tuple[pa.Array, ...]]


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of ``BATCH_ROWS`` rows, columns in the order asked for.

    Raises
    ------
    ArtifactError
        If the file is damaged or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            missing = [column for column in columns if column not in file.schema_arrow.names]
            if missing:
                raise contradiction(f"{path.name} lacks the columns {', '.join(missing)}")
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield batch.select(list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Build it again.", kind="corrupt") from error


def copy_batches(
    connection: psycopg.Connection[Any],
    table: str,
    *,
    columns: Sequence[str],
    batches: Batches,
    release_id: int | None = None,
    filled: Collection[str] | None = None,
) -> int:
    """COPY batches of columns into one table of the catalog and return the number of rows.

    Parameters
    ----------
    release_id
        Put before every row; ``None`` for a table without such a column.
    filled
        Columns in which null is written as empty text; by default those texts of the table that may not be null. A key that
        is missing is an error instead.
    """
    named = columns if release_id is None else ("release_id", *columns)
    statement = sql.SQL("COPY {}.{} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        sql.Identifier(SCHEMA), sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, named))
    )
    if filled is None:
        filled = _required_texts(table)
    n_rows = 0
    with errors_explained(table), connection.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in batches:
            arrays = [storable(column, fill=name in filled) for name, column in zip(columns, batch, strict=True)]
            if release_id is not None:
                arrays.insert(0, pa.repeat(release_id, len(batch[0])))
            text = io.BytesIO()
            pyarrow.csv.write_csv(pa.table(arrays, list(named)), text, _WITHOUT_HEADER)
            copy.write(text.getbuffer())
            n_rows += len(batch[0])
    return n_rows


@contextmanager
def errors_explained(table: str) -> Iterator[None]:
    """Raise our errors for what the driver says while ``table`` is filled: rows that do not fit are a fault of the files."""
    try:
        with driver_errors_translated():
            yield
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        detail = f"{error.diag.message_primary or error} ({error.diag.message_detail})"
        raise contradiction(f"rows for the table {table} do not fit the others: {detail}") from error


def storable(column: pa.Array, *, fill: bool = False) -> pa.Array:
    """Return a column as Postgres can hold it: no NUL and, where it is to be filled, empty text for null."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.replace_substring(column, "\0", "\ufffd")
        column = pc.fill_null(column, "") if fill else column
    return column


def array_literal(lists: pa.Array) -> pa.Array:
    """Return lists of texts as Postgres writes arrays, ``{"a","b"}``; a missing list or text counts as empty."""
    lists = pc.fill_null(lists, [])
    each = storable(lists.flatten(), fill=True)
    for sign in ("\\", '"'):
        each = pc.replace_substring(each, sign, "\\" + sign)
    quoted = pc.binary_join_element_wise('"', each, '"', "")
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, quoted), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")


def contradiction(what: str) -> ArtifactError:
    """Return the error for files that cannot be loaded together."""
    return ArtifactError(
        f"The release cannot be loaded: {what}. Nothing was changed; build the release again.", kind="corrupt"
    )


_WITHOUT_HEADER = pyarrow.csv.WriteOptions(include_header=False)


def _required_texts(table: str) -> Collection[str]:
    known = Base.metadata.tables[f"{SCHEMA}.{table}"].columns
    return frozenset(
        column.name for column in known if isinstance(column.type, Text) and not (column.nullable or column.primary_key)
    )
