"""Load a release folder into the catalog: all of its rows in one transaction, replacing only its own.

In: the parquet files of :data:`atlas.catalog.contents.CATALOG_FILES`, read in batches. Out: rows in Postgres, and
``catalog.json`` with the number of rows by table and the key of the files they came from. Killed at any point, the database
holds what it held before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql
from sqlalchemy import Text, delete, func, insert, select, text, update

from atlas.catalog.contents import CATALOG_FILES, folder_key
from atlas.catalog.database import Database, driver_errors_translated, open_database
from atlas.catalog.filters import fold, joined_titles, searched_text, tissue_text
from atlas.catalog.queries import loaded_release
from atlas.catalog.tables import SCHEMA, Base, ReleaseRow
from atlas.errors import ArtifactError
from atlas.manifest import write_json
from indexer.stage import BuildRequest, StageContext, StageResult

logger = logging.getLogger(__name__)

BATCH_ROWS = 5_000

_Batches = Iterator[tuple[pa.Array, ...]]


def load_release(database: Database, folder: Path, name: str, *, model_hash: str | None = None) -> dict[str, int]:
    """Load the release in ``folder`` under ``name`` and return the number of rows by table.

    Parameters
    ----------
    model_hash
        Hash of the model that embedded it; by default that of ``folder/model``.

    Raises
    ------
    ArtifactError
        If a file is missing, or files contradict each other; the database is left as it was.
    DatabaseUnavailableError, ResourceError
        If the server goes away or its disk is full; likewise.
    """
    key = folder_key(folder)
    if model_hash is None:
        from atlas.model.checkpoint import model_hash as hash_model

        model_hash = hash_model(folder / "model")
    titles = _series_titles(folder)
    database.migrate()
    with database.begin(unlimited=True) as connection:
        # Two loads of one name wait for each other; the rows of the first are then the second's old ones.
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{SCHEMA}.load.{name}", 0))))
        connection.execute(delete(ReleaseRow).where(ReleaseRow.name == name))
        values = {"name": name, "model_hash": model_hash, "content_key": key, "counts": {}}
        release_id = connection.scalar(insert(ReleaseRow).values(values).returning(ReleaseRow.release_id))
        raw = connection.connection.driver_connection
        if not isinstance(raw, psycopg.Connection):
            raise TypeError(f"the catalog is loaded through psycopg, not {type(raw).__name__}")
        counts = {}
        for table, columns, batches in _plan(folder, titles):
            counts[table] = _copy(raw, table, columns=columns, batches=batches(), release_id=int(release_id or 0))
        _check_counts(counts)
        connection.execute(update(ReleaseRow).where(ReleaseRow.name == name).values(counts=counts))
    with database.begin(unlimited=True) as connection:
        for table in counts:  # without statistics the first questions would be planned blindly
            connection.execute(text(f"ANALYZE {SCHEMA}.{table}"))
    logger.info("loaded release %s: %s", name, ", ".join(f"{n} {table}" for table, n in counts.items()))
    return counts


def remove_release(database: Database, name: str) -> bool:
    """Remove the rows of one release; return whether there were any."""
    if loaded_release(database, name) is None:
        return False
    with database.begin(unlimited=True) as connection:
        return bool(connection.execute(delete(ReleaseRow).where(ReleaseRow.name == name)).rowcount)


class LoadCatalog:
    """Stage ``load_catalog``."""

    name = "load_catalog"
    version = 1
    inputs = CATALOG_FILES
    outputs = ("catalog.json",)

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the name the rows are loaded under."""
        return {"name": request.name}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return nothing: all inputs are artefacts."""
        return ()

    def run(self, ctx: StageContext) -> StageResult:
        """Load the database and write down what it then holds."""
        from atlas.model.checkpoint import model_hash

        with open_database(ctx.request.settings) as database:
            hashed = model_hash(ctx.request.model_dir)
            counts = load_release(database, ctx.folder, ctx.request.name, model_hash=hashed)
        write_json(ctx.out / "catalog.json", {"content_key": folder_key(ctx.folder), "counts": counts})
        return StageResult(n_in=counts["samples"], n_out=counts["samples"], notes={"rows": counts})

    def validate(self, ctx: StageContext) -> None:
        """Ask the database whether it holds what was written down."""
        written = json.loads((ctx.out / "catalog.json").read_text(encoding="utf-8"))
        with open_database(ctx.request.settings) as database:
            loaded = loaded_release(database, ctx.request.name)
        seen = None if loaded is None else {"content_key": loaded.content_key, "counts": loaded.counts}
        if seen != written:
            raise ArtifactError(
                f"The database holds {seen} for release {ctx.request.name!r}, catalog.json says {written}. Run the build again.",
                kind="corrupt",
            )


STAGE = LoadCatalog()


# --- what is copied where ----------------------------------------------------------------------------------------------


def _plan(folder: Path, titles: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...], Callable[[], _Batches]], ...]:
    """Return table, columns and a maker of batches, parents before their children."""
    return (
        ("series", ("series_id", "title", "n_samples"), lambda: _plain(folder, "series.parquet", _SERIES)),
        ("samples", _SAMPLE_COLUMNS, lambda: _samples(folder, titles)),
        ("sample_series", ("sample_id", "series_id", "position"), lambda: _sample_series(folder)),
        ("clusters", _CLUSTERS, lambda: _plain(folder, "labels.parquet", _CLUSTERS)),
        ("release_samples", _PLACES, lambda: _plain(folder, "landscape.parquet", _PLACES)),
        ("cluster_keywords", _KEYWORDS, lambda: _plain(folder, "keywords.parquet", _KEYWORDS)),
        ("vocabularies", ("library", "n_terms"), lambda: _vocabularies(folder)),
        ("terms", _TERMS, lambda: _plain(folder, "terms.parquet", _TERMS)),
    )


_SERIES = ("series_id", "title", "n_samples")
_PLACES = ("row", "sample_id", "x", "y", "cluster")
_KEYWORDS = ("cluster", "library", "rank", "term", "score", "z")
_TERMS = ("term_id", "library", "term")
_CLUSTERS = (
    "cluster",
    "label",
    "method",
    "evidence",
    "prompt",
    "raw_reply",
    "n_samples",
    "n_series",
    "top_series",
    "top_series_share",
    "single_study",
)
_TEXTS = ("title", "source_name", "characteristics", "organism", "molecule", "tissue", "unit")
_FACTS = ("n_genes_measured", "n_genes_detected", "total")
_SAMPLE_COLUMNS = (
    "sample_id",
    "id_kind",
    *_TEXTS,
    *_FACTS,
    "caption",
    "caption_method",
    "series_text",
    "series_titles",
    "organism_folded",
    "tissue_folded",
    "tissue_words",
    "text_folded",
)


def _samples(folder: Path, titles: Mapping[str, str]) -> _Batches:
    captions = _read(folder, "captions.parquet", ("sample_id", "caption", "method"))
    columns = ("sample_id", "id_kind", "series_ids", *_TEXTS, *_FACTS)
    for batch in _read(folder, "samples.parquet", columns):
        caption = next(captions, None)
        if caption is None or not caption["sample_id"].equals(batch["sample_id"]):
            raise _contradiction("captions.parquet and samples.parquet list other samples or another order")
        table = pa.Table.from_batches([batch]).append_column("caption", caption["caption"])
        series_ids = pc.fill_null(batch["series_ids"], [])
        words = tissue_text(table)
        yield (
            *(batch[name] for name in ("sample_id", "id_kind", *_TEXTS, *_FACTS)),
            caption["caption"],
            caption["method"],
            pc.binary_join(series_ids, " "),
            joined_titles(series_ids, titles),
            fold(batch["organism"]),
            words,
            pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.replace_substring(words, "|", " "))),
            searched_text(table, series_titles=titles).combine_chunks(),
        )
    if next(captions, None) is not None:
        raise _contradiction("captions.parquet lists more samples than samples.parquet")


def _sample_series(folder: Path) -> _Batches:
    for batch in _read(folder, "samples.parquet", ("sample_id", "series_ids")):
        rows = [
            (sample, series, position)
            for sample, all_series in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            for position, series in enumerate(dict.fromkeys(all_series or ()))
        ]
        if rows:
            yield tuple(pa.array(column) for column in zip(*rows, strict=True))


def _vocabularies(folder: Path) -> _Batches:
    counts = (
        pq.read_table(folder / "terms.parquet", columns=["library"]).group_by("library").aggregate([([], "count_all")])
    )
    if counts.num_rows:
        yield (counts["library"].combine_chunks(), counts["count_all"].combine_chunks())


def _plain(folder: Path, name: str, columns: Sequence[str]) -> _Batches:
    for batch in _read(folder, name, columns):
        yield tuple(batch.columns)


def _read(folder: Path, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of ``BATCH_ROWS`` rows, columns in the order asked for."""
    try:
        with pq.ParquetFile(folder / name) as file:
            missing = [column for column in columns if column not in file.schema_arrow.names]
            if missing:
                raise _contradiction(f"{name} lacks the columns {', '.join(missing)}")
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield batch.select(list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{folder / name} cannot be read: {error}. Build it again.", kind="corrupt") from error


def _series_titles(folder: Path) -> dict[str, str]:
    titles: dict[str, str] = {}
    for batch in _read(folder, "series.parquet", ("series_id", "title")):
        titles.update(zip(batch["series_id"].to_pylist(), pc.fill_null(batch["title"], "").to_pylist(), strict=True))
    return titles


# --- copying -----------------------------------------------------------------------------------------------------------


def _copy(
    connection: psycopg.Connection[Any], table: str, *, columns: Sequence[str], batches: _Batches, release_id: int
) -> int:
    """COPY batches of columns into one table and return the number of rows."""
    statement = sql.SQL("COPY {}.{} ({}) FROM STDIN").format(
        sql.Identifier(SCHEMA),
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, ("release_id", *columns))),
    )
    types = Base.metadata.tables[f"{SCHEMA}.{table}"].columns
    texts = [
        isinstance(types[name].type, Text) and not (types[name].nullable or types[name].primary_key) for name in columns
    ]
    n_rows = 0
    try:
        with driver_errors_translated(), connection.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in batches:
                values = [_values(column, required=need) for column, need in zip(batch, texts, strict=True)]
                for row in zip(*values, strict=True):
                    copy.write_row((release_id, *row))
                n_rows += len(batch[0])
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        detail = f"{error.diag.message_primary or error} ({error.diag.message_detail})"
        raise _contradiction(f"rows for the table {table} do not fit the others: {detail}") from error
    return n_rows


def _values(column: pa.Array, *, required: bool) -> list[Any]:
    """Return the values of a column as Postgres can hold them: no NUL, and no null where a text is required."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.replace_substring(column, "\0", "\ufffd")
        column = pc.fill_null(column, "") if required else column
    values: list[Any] = column.to_pylist()
    return values


def _check_counts(counts: Mapping[str, int]) -> None:
    if counts["samples"] != counts["release_samples"]:
        raise _contradiction(
            f"samples.parquet lists {counts['samples']} samples, landscape.parquet {counts['release_samples']}"
        )


def _contradiction(what: str) -> ArtifactError:
    return ArtifactError(
        f"The release cannot be loaded: {what}. Nothing was changed; build the release again.", kind="corrupt"
    )
