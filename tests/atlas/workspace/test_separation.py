"""What people made is apart from what is derived: loads and removals never touch it, and reading never writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from catalog_fixtures import scratch_database
from catalog_release import write_release
from sqlalchemy import text
from sqlalchemy.exc import InternalError
from workspace_cases import atlas_of

from atlas.catalog.database import Database, open_database
from atlas.catalog.embedded import EmbeddedPostgres
from atlas.catalog.tables import Base
from atlas.errors import ConfigError
from atlas.settings import Settings
from atlas.workspace.jobs import Jobs
from atlas.workspace.label_edits import LabelEdits
from atlas.workspace.session import reading
from atlas.workspace.tables import WorkspaceBase
from indexer.stages.load_catalog import load_release, remove_release

pytestmark = pytest.mark.postgres

ATLAS = atlas_of("apart", {0: range(10), 1: range(10, 25)})


def fill(database: Database) -> None:
    LabelEdits(database).set(ATLAS, 0, label="heart", machine_label="m", author="Ada")
    jobs = Jobs(database)
    for n in range(2):
        jobs.submit("scan", {"terms": [str(n)]}, release="apart", client="a", settings=Settings())
    leased = jobs.take("w")
    assert leased is not None
    leased.done({"scan": "k"})


def rows(database: Database) -> dict[str, list[Any]]:
    found = {}
    with database.connect() as connection:
        for table in ("jobs", "label_edits", "member_sets"):
            query = text(f"SELECT xmin, to_jsonb(t) FROM app.{table} t ORDER BY 2")
            found[table] = [tuple(row) for row in connection.execute(query)]
    return found


def test_no_load_and_no_removal_touches_the_workspace(workspace: Database, tmp_path: Path) -> None:
    fill(workspace)
    before = rows(workspace)
    folder = write_release(tmp_path / "apart")
    for _ in range(2):
        load_release(workspace, folder, "apart", model_hash="m")
        assert rows(workspace) == before  # `xmin` changes with any write to a row
    assert remove_release(workspace, "apart")
    assert rows(workspace) == before


def test_no_table_of_one_schema_names_one_of_the_other() -> None:
    for base, schema in ((Base, "atlas"), (WorkspaceBase, "app")):
        for table in base.metadata.tables.values():
            assert table.schema == schema
            assert {key.column.table.schema for key in table.foreign_keys} <= {schema}


def test_reading_cannot_write(workspace: Database) -> None:
    with pytest.raises(ConfigError, match="not write"), reading(workspace) as connection:
        connection.execute(text("DELETE FROM app.jobs"))
    with pytest.raises(InternalError, match="read-only"), workspace.connect() as connection:
        connection.execute(text("DELETE FROM app.jobs"))


@contextmanager
def as_role(server: EmbeddedPostgres, database: Database, grants: str) -> Iterator[Database]:
    """Open the database as a role that was given ``grants`` alone."""
    role = "least"
    with database.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
        for grant in grants.split(";"):
            connection.execute(text(f"GRANT {grant} TO {role}"))
    host = str(server.ensure_running()["host"])
    url = f"postgresql://{role}:secret@/{database.engine.url.database}?host={host}"
    try:
        with open_database(Settings(database_url=url)) as opened:  # type: ignore[arg-type]
            yield opened
    finally:
        with database.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


def test_reading_needs_no_more_than_reading(embedded_server: EmbeddedPostgres) -> None:
    with scratch_database(embedded_server) as database:
        database.migrate()
        fill(database)
        grants = "USAGE ON SCHEMA app;SELECT ON ALL TABLES IN SCHEMA app"
        with as_role(embedded_server, database, grants) as reader:
            jobs, edits = Jobs(reader), LabelEdits(reader)
            (edit,) = edits.for_release(ATLAS)
            assert edits.history(ATLAS) == (edit,)
            assert edits.version() == LabelEdits(database).version()
            assert jobs.get(jobs.list()[0].job_id) == jobs.list()[0]
            with pytest.raises(ConfigError, match="not write"):
                jobs.cancel(jobs.list()[0].job_id)
            with pytest.raises(ConfigError, match="not write"):
                edits.remove(edit.edit_id, author="Eve")
            with pytest.raises(ConfigError, match="not write"):
                fill(reader)


def test_writing_needs_no_right_on_the_catalog(embedded_server: EmbeddedPostgres) -> None:
    with scratch_database(embedded_server) as database:
        database.migrate()
        grants = "USAGE ON SCHEMA app;SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app"
        with as_role(embedded_server, database, grants) as writer:
            fill(writer)
            LabelEdits(writer).set(ATLAS, 0, label="again", machine_label="m", author="Ada")
            assert Jobs(writer).expire(lambda job: True) == 0
        assert [edit.label for edit in LabelEdits(database).for_release(ATLAS)] == ["again"]
