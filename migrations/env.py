"""How Alembic reaches the database: on the connection it is handed, else by the settings.

``Database.migrate`` hands over a connection, inside a transaction that holds the migration lock. By hand, from a
checkout: ``alembic -c migrations/alembic.ini revision --autogenerate -m "..."``, and ``upgrade head --sql`` for the script.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from atlas.catalog.database import open_database
from atlas.catalog.tables import PARTITION, SCHEMA, Base
from atlas.settings import load_settings
from atlas.workspace.tables import SCHEMA as APP_SCHEMA
from atlas.workspace.tables import WorkspaceBase

TABLES = [Base.metadata, WorkspaceBase.metadata]


def _is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Look at our two schemas alone (others have owners of their own), and not at what loads make in them."""
    if kind == "table":
        return PARTITION.fullmatch(name or "") is None
    return kind != "schema" or name in (SCHEMA, APP_SCHEMA)


def _migrate(connection: Connection) -> None:
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    # A role called "atlas" or "app" would have our schema as its default one, and Alembic hides the default schema's name.
    connection.execute(text("SET LOCAL search_path TO public"))
    connection.dialect.default_schema_name = "public"
    context.configure(
        connection=connection,
        target_metadata=TABLES,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=_is_ours,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _write_script() -> None:
    context.configure(dialect_name="postgresql", target_metadata=TABLES, version_table_schema=SCHEMA)
    with context.begin_transaction():
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        context.run_migrations()


def _run() -> None:
    given = context.config.attributes.get("connection")
    if context.is_offline_mode():
        _write_script()
    elif given is not None:
        _migrate(given)
    else:
        with open_database(load_settings()) as database, database.begin(unlimited=True) as connection:
            _migrate(connection)


_run()
