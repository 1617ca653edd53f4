"""Answers as tables: one row a record, the sample of a hit spread over columns.

The columns follow the records of ``atlas.answers``, so an empty answer has the same columns as a full one. In CSV, lists are
joined by ``"; "``; in Parquet and Arrow they stay lists. The release is in the schema's metadata and in the header of the answer.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from functools import cache, singledispatch
from typing import Any, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc

from api import schemas
from api.media import CSV, PARQUET
from atlas import answers, map_answers

_FACETS = ("tissue", "organism", "series", "cluster", "unit", "molecule", "id_kind")


@singledispatch
def table_of(answer: Any) -> pa.Table:
    """Return the table of an answer."""
    raise TypeError(f"{type(answer).__name__} has no table")


def encode(table: pa.Table, *, media: str) -> bytes:
    """Return a table as CSV, Parquet or an Arrow stream."""
    sink = pa.BufferOutputStream()
    if media == CSV:
        from pyarrow import csv

        csv.write_csv(_joined(table), sink)
    elif media == PARQUET:
        from pyarrow import parquet

        parquet.write_table(table, sink, compression="zstd")
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


@table_of.register
def _(answer: answers.SearchResult) -> pa.Table:
    return _hits(answer.hits, release=answer.release)


@table_of.register
def _(answer: answers.NeighborsResult) -> pa.Table:
    return _hits(answer.hits, release=answer.release)


@table_of.register
def _(answer: schemas.TranscriptomesAnswer) -> pa.Table:
    query = [result.query for result in answer.results for _ in result.hits]
    found = _hits([hit for result in answer.results for hit in result.hits], release=answer.release)
    return found.add_column(0, "query", pa.array(query, pa.string()))


@table_of.register
def _(answer: schemas.MemberPage) -> pa.Table:
    return _hits(answer.hits, release=answer.release)


@table_of.register
def _(answer: schemas.SamplePage) -> pa.Table:
    return _records(answers.SampleRecord, answer.samples, release=answer.release)


@table_of.register
def _(answer: answers.SeriesRecord) -> pa.Table:
    return _records(answers.SampleRecord, answer.samples, release=answer.release)


@table_of.register
def _(answer: answers.FacetCounts) -> pa.Table:
    facet = [name for name in _FACETS for _ in getattr(answer, name)]
    values = [value for name in _FACETS for value in getattr(answer, name)]
    found = _records(answers.FacetValue, values, release=answer.release)
    return found.add_column(0, "facet", pa.array(facet, pa.string()))


@table_of.register
def _(answer: map_answers.Selection) -> pa.Table:
    return _records(answers.Keyword, answer.keywords, release=answer.release)


@table_of.register
def _(answer: answers.HitExplanation) -> pa.Table:
    return _records(answers.GeneContribution, [*answer.genes, *answer.against], release=answer.release)


@table_of.register
def _(answer: schemas.ClusterPage) -> pa.Table:
    return _records(answers.ClusterSummary, answer.clusters, release=answer.release)


@table_of.register
def _(answer: schemas.LabelEditList) -> pa.Table:
    return _records(answers.LabelEdit, answer.edits, release=answer.release)


@table_of.register
def _(answer: schemas.VocabularyList) -> pa.Table:
    return _records(answers.VocabularySummary, answer.vocabularies, release=answer.release)


@table_of.register
def _(answer: schemas.ScanList) -> pa.Table:
    return _records(answers.ScanSummary, answer.scans, release=answer.release)


@table_of.register
def _(answer: answers.ScanReport) -> pa.Table:
    return _records(answers.ScanTerm, answer.terms, release=answer.summary.release)


@table_of.register
def _(answer: answers.ScanTermReport) -> pa.Table:
    return _records(answers.ScanCell, answer.cells, release=answer.summary.release)


@table_of.register
def _(answer: answers.ScanMatrix) -> pa.Table:
    columns = {"term": pa.array(answer.terms, pa.string())}
    for place, cluster in enumerate(answer.clusters):
        columns[str(cluster)] = pa.array([row[place] for row in answer.effects], pa.float64(), from_pandas=True)
    return _named(pa.table(columns), release=answer.summary.release)


@table_of.register
def _(answer: answers.ScanSamples) -> pa.Table:
    return _columns(
        {"accession": answer.accession, "sum_z": answer.sum_z, "percentile": answer.percentile},
        kind=answers.ScanSamples,
        release=answer.summary.release,
    )


@table_of.register
def _(answer: schemas.KeywordList) -> pa.Table:
    return _records(answers.Keyword, answer.keywords, release=answer.release)


@table_of.register
def _(answer: answers.MapColumns) -> pa.Table:
    columns = {name: getattr(answer, name) for name in ("accession", "x", "y", "cluster")}
    if answer.score is not None:
        columns["score"] = answer.score
    return _columns(columns, kind=answers.MapColumns, release=answer.release)


@table_of.register
def _(answer: schemas.ReleaseList) -> pa.Table:
    return _records(schemas.ReleaseEntry, answer.releases, release=answer.release)


def _hits(hits: Sequence[answers.Hit], *, release: str) -> pa.Table:
    ranks = _records(answers.Hit, hits, release=release, left_out="sample")
    samples = _records(answers.SampleRecord, [hit.sample for hit in hits], release=release)
    for name, column in zip(samples.column_names, samples.columns, strict=True):
        ranks = ranks.append_column(name, column)
    return ranks


def _records(kind: type, records: Sequence[Any], *, release: str, left_out: str | None = None) -> pa.Table:
    columns = {}
    for name, made in _types(kind).items():
        if name != left_out:
            columns[name] = pa.array([_cell(getattr(one, name)) for one in records], made, from_pandas=True)
    return _named(pa.table(columns), release=release)


def _columns(columns: dict[str, list[Any]], *, kind: type, release: str) -> pa.Table:
    made = {name: _item(hint) for name, hint in _hints(kind).items() if name in columns}
    arrays = {name: pa.array(values, made[name], from_pandas=True) for name, values in columns.items()}
    return _named(pa.table(arrays), release=release)


def _named(table: pa.Table, *, release: str) -> pa.Table:
    return table.replace_schema_metadata({"release": release})


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return [": ".join(map(str, one)) if isinstance(one, tuple) else one for one in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _types(kind: type) -> dict[str, pa.DataType]:
    """Return the Arrow type of each field of a record that a table can hold."""
    hints = _hints(kind)
    return {
        field.name: _arrow(hints[field.name])
        for field in dataclasses.fields(kind)
        if not dataclasses.is_dataclass(_bare(hints[field.name]))
    }


def _arrow(hint: Any) -> pa.DataType:
    bare = _bare(hint)
    if get_origin(bare) in (tuple, list):
        inner = get_args(bare)[0]
        return pa.list_(pa.string() if get_origin(inner) is tuple else _arrow(inner))
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}.get(bare, pa.string())


def _item(hint: Any) -> pa.DataType:
    """Type of the items of a column that a record holds as a list."""
    return _arrow(get_args(_bare(hint))[0])


def _bare(hint: Any) -> Any:
    """Return a type without its ``None``."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(one for one in get_args(hint) if one is not type(None))
    return hint


def _joined(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = pc.cast(table.column(place), pa.list_(pa.string()))
            table = table.set_column(place, field.name, pc.binary_join(_without_nulls(texts), "; "))
    return table


def _without_nulls(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists with each missing text as an empty one, which a join would else turn into a missing cell."""
    chunks = [
        pa.ListArray.from_arrays(chunk.offsets, pc.fill_null(chunk.values, ""), mask=chunk.is_null())
        if len(chunk)
        else chunk
        for chunk in texts.chunks
    ]
    return pa.chunked_array(chunks, texts.type)
