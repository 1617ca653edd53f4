"""Transactions on the schema ``app``, and what is said when it is not there yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Protocol

import psycopg
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from atlas.errors import ConfigError, DatabaseUnavailableError, InputError
from atlas.workspace.tables import SCHEMA

_NOT_MADE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedColumn)
_NOT_ALLOWED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)


class WorkspaceDatabase(Protocol):
    """What jobs and label edits need of a database; :class:`atlas.catalog.database.Database` has it."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Lend a connection in a read-only transaction."""

    def begin(self) -> AbstractContextManager[Connection]:
        """Lend a connection in a transaction that is committed at the end."""


@contextmanager
def reading(database: WorkspaceDatabase) -> Iterator[Connection]:
    """Lend a read-only connection.

    Raises
    ------
    DatabaseUnavailableError
        If the server is away, or its tables are not made yet.
    ConfigError
        If the role may not do this.
    """
    with _explained(), database.connect() as connection:
        yield connection


@contextmanager
def writing(database: WorkspaceDatabase, *, turn: str | None = None, shared: bool = False) -> Iterator[Connection]:
    """Lend a connection in a transaction; those with the same ``turn`` go one after another (``shared``: beside each other).

    Raises
    ------
    DatabaseUnavailableError, ConfigError
        As :func:`reading`.
    """
    with _explained(), database.begin() as connection:
        if turn is not None:
            take_turn(connection, turn, shared=shared)
        yield connection


def take_turn(connection: Connection, turn: str, *, shared: bool = False) -> None:
    """Wait for all transactions of this turn, unless both are ``shared``; it is held to the end of the transaction."""
    lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    connection.execute(select(lock(func.hashtextextended(f"{SCHEMA}.{turn}", 0))))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, _NOT_MADE):
            raise DatabaseUnavailableError(
                "The database has no tables for jobs and label edits yet, or older ones. `geo-atlas work` brings it up to "
                "date; `geo-atlas serve` starts it."
            ) from error
        if isinstance(error.orig, _NOT_ALLOWED):
            raise ConfigError(
                "The database lets us read jobs and label edits, not write them. Name a role in GEO_ATLAS_DATABASE_URL that "
                f"may write the schema {SCHEMA!r} of a server that is not a read-only copy."
            ) from error
        raise


def iso(moment: datetime | None) -> str | None:
    """Return a time as UTC, ISO 8601, to the second."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def storable(value: str, *, what: str) -> str:
    """Return ``value`` if Postgres can keep it as text.

    Raises
    ------
    InputError
        If it holds a zero byte or half a surrogate pair.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        whole = False
    else:
        whole = "\0" not in value
    if not whole:
        raise InputError(f"The {what} holds a zero byte or a broken character. Send it as clean UTF-8 text.")
    return value
