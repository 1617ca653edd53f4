"""Load a release folder into the catalog: all of its rows in one transaction, replacing only its own.

In: the parquet files of :data:`atlas.catalog.contents.CATALOG_FILES`, read in batches. Out: rows in Postgres, and
``catalog.json`` with the number of rows by table and the key of the files they came from. Killed at any point, the database
holds what it held before.

The samples become a partition of their own (``indexer.stages.catalog_samples``), which is attached complete with its indexes;
that of an earlier load is dropped in the last moment before the commit, so questions are answered all the while.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from sqlalchemy import Connection, delete, func, insert, select, update

from atlas.catalog.contents import CATALOG_FILES, folder_key
from atlas.catalog.database import Database, open_database
from atlas.catalog.queries import loaded_release
from atlas.catalog.tables import SCHEMA, ReleaseRow
from atlas.errors import ArtifactError
from atlas.manifest import write_json
from indexer.stage import BuildRequest, StageContext, StageResult
from indexer.stages.catalog_copy import Batches, copy_batches, read_batches
from indexer.stages.catalog_samples import attach_samples, drop_samples

logger = logging.getLogger(__name__)


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
    database.migrate()
    with database.begin(unlimited=True) as connection:
        _wait_for_other_loads(connection)
        old = _release_id(connection, name)
        connection.execute(delete(ReleaseRow).where(ReleaseRow.name == name))
        values = {"name": name, "model_hash": model_hash, "content_key": key, "counts": {}}
        new = int(connection.scalar(insert(ReleaseRow).values(values).returning(ReleaseRow.release_id)) or 0)
        raw = _driver(connection)
        counts = {}
        for table, columns, batches in _plan(folder):
            counts[table] = copy_batches(raw, table, columns=columns, batches=batches(), release_id=new)
            raw.execute(f"ANALYZE {SCHEMA}.{table}".encode())  # else the first questions would be planned blindly
        counts["samples"] = attach_samples(raw, folder, release_id=new)
        connection.execute(update(ReleaseRow).where(ReleaseRow.name == name).values(counts=counts))
        if old is not None:
            drop_samples(raw, release_id=old)
    logger.info("loaded release %s: %s", name, ", ".join(f"{n} {table}" for table, n in counts.items()))
    return counts


def remove_release(database: Database, name: str) -> bool:
    """Remove the rows of one release; return whether there were any."""
    if loaded_release(database, name) is None:
        return False
    with database.begin(unlimited=True) as connection:
        _wait_for_other_loads(connection)
        found = _release_id(connection, name)
        if found is None:
            return False
        connection.execute(delete(ReleaseRow).where(ReleaseRow.name == name))
        drop_samples(_driver(connection), release_id=found)
        return True


class LoadCatalog:
    """Stage ``load_catalog``."""

    name = "load_catalog"
    version = 2
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


# --- helpers -----------------------------------------------------------------------------------------------------------


def _wait_for_other_loads(connection: Connection) -> None:
    """One load or removal at a time: each works the whole machine, and the end of one would lock out the middle of another."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{SCHEMA}.load", 0))))


def _release_id(connection: Connection, name: str) -> int | None:
    return connection.scalar(select(ReleaseRow.release_id).where(ReleaseRow.name == name))


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"the catalog is loaded through psycopg, not {type(raw).__name__}")
    return raw


def _plan(folder: Path) -> tuple[tuple[str, tuple[str, ...], Callable[[], Batches]], ...]:
    """Return table, columns and a maker of batches of the small tables, parents before their children."""

    def plain(name: str, columns: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[[], Batches]]:
        return columns, lambda: (tuple(batch.columns) for batch in read_batches(folder / name, columns))

    return (
        ("series", *plain("series.parquet", ("series_id", "title", "n_samples"))),
        ("clusters", *plain("labels.parquet", _CLUSTERS)),
        ("cluster_keywords", *plain("keywords.parquet", _KEYWORDS)),
        ("vocabularies", ("library", "n_terms"), lambda: _vocabularies(folder)),
        ("terms", *plain("terms.parquet", _TERMS)),
    )


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


def _vocabularies(folder: Path) -> Batches:
    counts = (
        pq.read_table(folder / "terms.parquet", columns=["library"]).group_by("library").aggregate([([], "count_all")])
    )
    if counts.num_rows:
        yield (counts["library"].combine_chunks(), counts["count_all"].combine_chunks())
