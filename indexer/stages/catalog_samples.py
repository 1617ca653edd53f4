"""The samples of a release in the catalog: texts staged, words taken out of them by all processors, attached as a partition.

Taking words out of texts is most of the work of a load. ``CREATE TABLE AS`` does it in parallel where an insert would not, and
leaves the samples in an order that has nothing to do with their rows: what a search finds first of many is then spread evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from atlas.catalog.filters import fold, joined_titles, searched_text, tissue_text
from atlas.catalog.tables import SCHEMA, SampleRow, document_expression
from indexer.stages.catalog_copy import (
    Batches,
    array_literal,
    contradiction,
    copy_batches,
    errors_explained,
    read_batches,
)

_TEXTS = ("title", "source_name", "characteristics", "tissue", "unit", "molecule")
_STAGED = (
    "row",
    "sample_id",
    "cluster",
    "id_kind",
    *_TEXTS,
    "caption",
    "series_text",
    "series_titles",
    "series_ids",
    "organism_folded",
    "tissue_folded",
    "tissue_words",
    "text_folded",
)
_FILLED = ("id_kind", *_TEXTS, "caption")
_TYPES = {"row": "integer", "cluster": "integer", "series_ids": "text[]", "tissue_words": "text[]"}

_SPREAD = "(row * 2654435761) % 4294967296"
"""Knuth's multiplicative hash: an order without repeats in which neighbours lie far apart, the same on every server."""

_MACHINE = {
    "work_mem": "'64MB'",
    "maintenance_work_mem": "'256MB'",
    "max_parallel_workers_per_gather": "4",
    "max_parallel_maintenance_workers": "4",
    "parallel_setup_cost": "0",  # the planner underrates what reading words costs
    "parallel_tuple_cost": "0",
}


def attach_samples(connection: psycopg.Connection[Any], folder: Path, *, release_id: int) -> int:
    """Load the samples of a release and return their number; part of the caller's transaction."""
    partition, staged = f"{SCHEMA}.samples_{release_id}", f"samples_{release_id}_staged"
    selected = ", ".join(_selected(column.name, release_id) for column in SampleRow.__table__.columns)
    required = ", ".join(f"ALTER {column.name} SET NOT NULL" for column in SampleRow.__table__.columns)
    columns = ", ".join(f"{name} {_TYPES.get(name, 'text')} NOT NULL" for name in _STAGED)
    with errors_explained("samples"):
        for name, value in _MACHINE.items():
            connection.execute(f"SET LOCAL {name} = {value}".encode())
        connection.execute(f"CREATE UNLOGGED TABLE {SCHEMA}.{staged} ({columns})".encode())
        n_samples = copy_batches(connection, staged, columns=_STAGED, batches=_samples(folder), filled=_FILLED)
        for statement in (
            f"CREATE TABLE {partition} AS SELECT {selected} FROM {SCHEMA}.{staged} ORDER BY {_SPREAD}",  # noqa: S608 # ours, all of it
            f"DROP TABLE {SCHEMA}.{staged}",
            f"ALTER TABLE {partition} {required}",
            # builds the indexes that the whole table has
            f"ALTER TABLE {SCHEMA}.samples ATTACH PARTITION {partition} FOR VALUES IN ({release_id})",
            f"ANALYZE {partition}",
        ):
            connection.execute(statement.encode())
    return n_samples


def drop_samples(connection: psycopg.Connection[Any], *, release_id: int) -> None:
    """Drop the samples of a release; waits for the questions that are being answered from them."""
    with errors_explained("samples"):
        connection.execute(f"DROP TABLE IF EXISTS {SCHEMA}.samples_{release_id}".encode())


def _selected(name: str, release_id: int) -> str:
    made = {"release_id": str(release_id), "document": document_expression()}
    return f"{made[name]} AS {name}" if name in made else name


def _samples(folder: Path) -> Batches:
    titles = _series_titles(folder)
    labelled = pa.array(
        [one for batch in read_batches(folder / "labels.parquet", ("cluster",)) for one in batch[0].to_pylist()]
    )
    listed = pa.array(list(titles), pa.string())
    captions = read_batches(folder / "captions.parquet", ("sample_id", "caption"))
    places = read_batches(folder / "landscape.parquet", ("sample_id", "row", "cluster"))
    columns = ("sample_id", "id_kind", "series_ids", "organism", *_TEXTS)
    for batch in read_batches(folder / "samples.parquet", columns):
        caption = _same(next(captions, None), batch, name="captions.parquet")
        place = _same(next(places, None), batch, name="landscape.parquet")
        _require(place["cluster"], labelled, what="landscape.parquet names clusters that labels.parquet lacks")
        series_ids = pc.fill_null(batch["series_ids"], [])
        _require(series_ids.flatten(), listed, what="samples.parquet names series that series.parquet lacks")
        table = pa.Table.from_batches([batch]).append_column("caption", caption["caption"])
        words = tissue_text(table)
        yield (
            place["row"],
            batch["sample_id"],
            place["cluster"],
            *(batch[name] for name in ("id_kind", *_TEXTS)),
            caption["caption"],
            pc.binary_join(series_ids, " "),
            joined_titles(series_ids, titles),
            array_literal(series_ids),
            fold(batch["organism"]),
            words,
            array_literal(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.replace_substring(words, "|", " ")))),
            searched_text(table, series_titles=titles).combine_chunks(),
        )
    for name, rest in (("captions.parquet", captions), ("landscape.parquet", places)):
        if next(rest, None) is not None:
            raise contradiction(f"{name} lists more samples than samples.parquet")


def _same(found: pa.RecordBatch | None, samples: pa.RecordBatch, *, name: str) -> pa.RecordBatch:
    if found is None or not found["sample_id"].equals(samples["sample_id"]):
        raise contradiction(f"{name} and samples.parquet list other samples or another order")
    return found


def _require(values: pa.Array, known: pa.Array, *, what: str) -> None:
    lacking = values.filter(pc.invert(pc.is_in(values, value_set=known.cast(values.type))))
    if len(lacking):
        raise contradiction(f"{what}: {lacking[0].as_py()}")


def _series_titles(folder: Path) -> Mapping[str, str]:
    titles: dict[str, str] = {}
    for batch in read_batches(folder / "series.parquet", ("series_id", "title")):
        titles.update(zip(batch["series_id"].to_pylist(), pc.fill_null(batch["title"], "").to_pylist(), strict=True))
    return titles
