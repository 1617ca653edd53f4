"""Lists of samples that a person kept from a search: JSON, JSON lines, CSV, TSV, Parquet, or plain accessions.

In: any answer of the command line (``--json``), the REST service or the pages that lists samples, or a text of accessions. Out:
one :class:`HitList`, each sample once, in the order of the file.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from atlas.errors import InputError, TooLargeError

NUMBERS = ("rank", "score", "percentile", "sum_z", "cluster")
"""Columns of a list that are kept as numbers."""
TEXTS = (
    "title", "source_name", "characteristics", "organism", "molecule", "tissue", "caption", "cluster_label", "series", "unit",
    "url", "query", "release",
)  # fmt: skip
"""Columns of a list that are kept as text."""

MAX_BYTES = 256 << 20
"""Largest list that is read; the accessions of an atlas of 650,000 samples take a tenth of it."""

_LISTS = ("hits", "samples", "top_samples")
_ACCESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_SEPARATORS = re.compile(r"[,;\s]+")
_PARQUET = b"PAR1"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class HitList:
    """Samples in the order of their list.

    Attributes
    ----------
    accessions
        Each once.
    columns
        Of ``NUMBERS`` and ``TEXTS`` those that the list has, one value a sample; ``None`` where it states nothing.
    n_duplicates
        Lines that repeated a sample; the first line counts.
    """

    accessions: tuple[str, ...]
    columns: dict[str, list[Any]]
    n_duplicates: int


def read_hits(source: Path | bytes, *, name: str | None = None) -> HitList:
    """Read a list of samples.

    Parameters
    ----------
    source
        File, or its bytes.
    name
        Name for messages.

    Raises
    ------
    InputError
        If it cannot be read, is none of the formats, or lists no sample.
    TooLargeError
        If it is larger than ``MAX_BYTES``.
    """
    label = name or (str(source) if isinstance(source, Path) else "the list")
    raw = _bytes(source, name=label)
    try:
        rows = list(_rows(raw))
    except (ValueError, csv.Error, RecursionError, OSError) as error:
        raise InputError(
            f"{label} cannot be read as a list of samples: {error}. Give the JSON or CSV of a search, or one accession a line."
        ) from error
    if not rows:
        raise InputError(f"{label} lists no sample. Give the JSON or CSV of a search, or one accession a line.")
    return _hit_list(rows, name=label)


def _bytes(source: Path | bytes, *, name: str) -> bytes:
    if isinstance(source, Path):
        try:
            with source.open("rb") as stream:
                source = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}.") from error
    if len(source) > MAX_BYTES:
        raise TooLargeError(f"{name} is larger than {MAX_BYTES:,} bytes. Give the accessions alone.")
    return source


def _rows(raw: bytes) -> Iterable[Row]:
    """Tell the format by its first bytes."""
    if raw.startswith(_PARQUET):
        return _parquet_rows(raw)
    text = raw.decode("utf-8-sig").strip()
    if text.startswith(("{", "[")):
        return _json_rows(text)
    head = re.split(r"[,\t]", text.split("\n", 1)[0].strip())
    if {cell.strip().strip('"').lower() for cell in head} & {"accession", "sample_id"}:
        return _table_rows(text, separator="\t" if "\t" in text.split("\n", 1)[0] else ",")
    return _plain_rows(text)


def _parquet_rows(raw: bytes) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(raw))
    kept = [c for c in table.column_names if c in {"accession", "sample_id", *NUMBERS, *TEXTS}]
    return list(table.select(kept).to_pylist())


def _json_rows(text: str) -> Iterator[Row]:
    """One JSON value, or one a line as the command line prints them."""
    try:
        payload = json.loads(text)
    except json.JSONDecodeError:
        payload = [json.loads(line) for line in text.splitlines() if line.strip()]
    yield from _found(payload, given={})


def _found(payload: Any, *, given: Row) -> Iterator[Row]:
    """Yield the samples of an answer; what the answer says of itself (release, query) is said of each."""
    if isinstance(payload, str):
        yield {"accession": payload}
    elif isinstance(payload, list):
        for one in payload:
            yield from _found(one, given=given)
    elif isinstance(payload, dict):
        said = {**given, **{key: payload[key] for key in ("release", "query") if isinstance(payload.get(key), str)}}
        accession = payload.get("accession", payload.get("sample_id"))
        if isinstance(payload.get("sample"), dict):
            yield {**said, **payload["sample"], **{key: payload[key] for key in NUMBERS if key in payload}}
        elif isinstance(accession, list):
            columns = {key: value for key, value in payload.items() if isinstance(value, list)}
            yield from ({**said, **_row_of(columns, place)} for place in range(len(accession)))
        elif isinstance(payload.get("results"), list):
            yield from _found(payload["results"], given=said)
        elif isinstance(accession, str) and not any(isinstance(payload.get(key), list) for key in _LISTS):
            yield {**said, **payload}
        else:
            for key in _LISTS:
                yield from _found(payload.get(key, []), given=said)


def _row_of(columns: Mapping[str, list[Any]], place: int) -> Row:
    return {key: values[place] for key, values in columns.items() if place < len(values)}


def _table_rows(text: str, *, separator: str) -> Iterator[Row]:
    for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
        yield {key.strip().lower(): value for key, value in row.items() if isinstance(key, str)}


def _plain_rows(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        for word in filter(None, _SEPARATORS.split(line.split("#", 1)[0])):
            if not _ACCESSION.fullmatch(word):
                raise ValueError(f"line {number} holds {word[:40]!r}, which is no accession")
            yield {"accession": word}


def _hit_list(rows: list[Row], *, name: str) -> HitList:
    kept: dict[str, Row] = {}
    for number, row in enumerate(rows, start=1):
        accession = str(row.get("accession") or row.get("sample_id") or "").strip().lstrip("'")
        if not _ACCESSION.fullmatch(accession):
            raise InputError(f"{name}: sample number {number} has no usable accession ({accession[:40]!r}).")
        kept.setdefault(accession, row)
    columns: dict[str, list[Any]] = {}
    for column in NUMBERS + TEXTS:
        read = _number if column in NUMBERS else _text
        values = [read(row.get(column)) for row in kept.values()]
        if any(value is not None for value in values):
            columns[column] = values
    return HitList(tuple(kept), columns, n_duplicates=len(rows) - len(kept))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number == number and abs(number) != float("inf") else None


def _text(value: Any) -> str | None:
    """Join what an answer lists; characteristics are pairs of key and value."""
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, (list, tuple)):
        pairs = (": ".join(map(str, islice(v, 2))) if isinstance(v, (list, tuple)) else str(v) for v in value)
        return "; ".join(pairs)
    return str(value)
