"""One way to any Postgres: an external server by URL, or the home's embedded one.

Out comes a :class:`Database`. Whatever goes wrong with the connection surfaces as ``DatabaseUnavailableError`` and heals by
itself: each connection taken from the pool is tested first, and each new one to the embedded server starts it if need be.
No message repeats a password.
"""

from __future__ import annotations

import contextlib
import math
import os
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from atlas.errors import ArtifactError, AtlasError, ConfigError, DatabaseUnavailableError, ResourceError
from atlas.resources import resource_path
from atlas.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import ExceptionContext

    from atlas.catalog.embedded import EmbeddedPostgres

MINIMUM_MAJOR = 15
_MIGRATION_LOCK = 0x67656F61746C6173  # "geoatlas": two processes never migrate one database at once
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_QUERY_CANCELED = "57014"
_DISK_FULL = "53100"


class Database:
    """The catalog's database; use :func:`open_database`.

    Attributes
    ----------
    engine
        SQLAlchemy engine on psycopg 3; its errors are already ours.
    """

    def __init__(self, engine: Engine, *, embedded: EmbeddedPostgres | None = None) -> None:
        self.engine = engine
        self._embedded = embedded

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The place of the database for people, without secrets."""
        return str(self._embedded.folder) if self._embedded else self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections; the last process to leave an embedded server stops it."""
        self.engine.dispose()
        if self._embedded is not None:
            self._embedded.close()

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        """Lend a connection in a read-only transaction.

        Raises
        ------
        DatabaseUnavailableError
            If the server cannot be reached, answers too slowly, or all connections stay busy.
        """
        with self._lent() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            yield connection

    @contextlib.contextmanager
    def begin(self, *, unlimited: bool = False) -> Iterator[Connection]:
        """Lend a connection in a transaction that is committed at the end; ``unlimited`` lifts the statement timeout."""
        with self._lent() as connection, connection.begin():
            if unlimited:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection

    def ping(self) -> None:
        """Return if the server answers; raise ``DatabaseUnavailableError`` if not."""
        with self.connect() as connection:
            connection.execute(text("SELECT 1"))

    def migrate(self) -> None:
        """Bring the tables to the newest schema; safe to call from many processes at once.

        Raises
        ------
        ArtifactError
            If a newer geo-atlas has already moved the tables on (``incompatible``).
        """
        from alembic import command
        from alembic.util import CommandError

        with self.begin(unlimited=True) as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            try:
                command.upgrade(migration_config(connection), "head")
            except CommandError as error:
                raise ArtifactError(
                    f"The tables in {self.where} cannot be brought to this version's schema: {error}. They were probably "
                    "made by a newer geo-atlas; update this one, or use another database.",
                    kind="incompatible",
                ) from error

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Connection]:
        try:
            connection = self.engine.connect()
        except PoolTimeoutError as error:
            raise DatabaseUnavailableError("All connections to the database are busy. Try again shortly.") from error
        with connection:
            yield connection


def open_database(settings: Settings) -> Database:
    """Open the database the settings name: ``database_url``, else the embedded server of the home.

    Raises
    ------
    ConfigError
        If the URL is not one of Postgres, or the server is older than 15.
    MissingExtraError
        If no URL is set and the embedded server is not installed.
    DatabaseUnavailableError, ResourceError, ArtifactError, BusyError
        If the server cannot be reached or started.
    """
    embedded: EmbeddedPostgres | None = None
    if settings.database_url is None:
        from atlas.catalog.embedded import EmbeddedPostgres

        embedded = EmbeddedPostgres(settings.home_path, start_timeout_s=settings.database_start_timeout_s)
        url = URL.create("postgresql+psycopg")
    else:
        url = external_url(settings.database_url.get_secret_value())
    database = Database(_create_engine(url, settings, embedded), embedded=embedded)
    try:
        database.ping()
    except BaseException:
        database.close()
        raise
    return database


def external_url(raw: str) -> URL:
    """Parse the URL of a Postgres and choose our driver.

    Raises
    ------
    ConfigError
        If it is not a Postgres URL; the message never repeats it, for it may hold a password.
    """
    try:
        url = make_url(raw.strip())
    except (ArgumentError, ValueError):
        raise ConfigError(
            "GEO_ATLAS_DATABASE_URL is not a database URL. Expected: postgresql://user:password@host:5432/database."
        ) from None
    backend = url.drivername.partition("+")[0]
    if backend not in ("postgresql", "postgres"):
        raise ConfigError(
            f"GEO_ATLAS_DATABASE_URL names a {backend!r} database. Expected Postgres 15 or newer: "
            "postgresql://user:password@host:5432/database."
        )
    return url.set(drivername="postgresql+psycopg")


def migration_config(connection: Connection) -> Config:
    """Return the Alembic configuration that works on ``connection``, inside its transaction."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(resource_path("migrations")).replace("%", "%%"))
    return config


def _create_engine(url: URL, settings: Settings, embedded: EmbeddedPostgres | None) -> Engine:
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=settings.database_timeout_s,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": max(2, math.ceil(settings.database_timeout_s)),
            "application_name": "geo-atlas",
        },
    )
    if embedded is not None:

        def start_first(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
            parameters.update(embedded.ensure_running())

        event.listen(engine, "do_connect", start_first)

    def prepare(connection: psycopg.Connection[Any], record: Any) -> None:
        _check_version(connection)
        limit = f"SET statement_timeout = {math.ceil(settings.database_timeout_s * 1000)}"
        connection.execute(limit.encode())
        connection.commit()

    event.listen(engine, "connect", prepare)
    event.listen(engine, "handle_error", _translate)
    _engines.add(engine)
    return engine


def _after_fork_in_child() -> None:
    for engine in _engines:  # the parent's connections stay the parent's; the child opens its own
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_after_fork_in_child)


def _check_version(connection: psycopg.Connection[Any]) -> None:
    major = connection.info.server_version // 10_000
    if major < MINIMUM_MAJOR:
        raise ConfigError(
            f"The database server is Postgres {major}; geo-atlas needs {MINIMUM_MAJOR} or newer. Upgrade it, or unset "
            "GEO_ATLAS_DATABASE_URL to use the embedded server."
        )


def _translate(context: ExceptionContext) -> None:
    original = context.original_exception
    if not context.is_pre_ping and isinstance(original, (psycopg.OperationalError, psycopg.InterfaceError)):
        raise _ours(original, context.engine.url.password if context.engine else None) from original


@contextlib.contextmanager
def driver_errors_translated() -> Iterator[None]:
    """Do for code that uses psycopg itself what the engine does for all other: raise our errors."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise _ours(error, None) from error


def _ours(original: psycopg.Error, password: object) -> AtlasError:
    """Return our error for what the driver says about the server's state; mistakes in a statement are none of it."""
    if original.sqlstate == _QUERY_CANCELED:
        return DatabaseUnavailableError(
            "The database took longer than GEO_ATLAS_DATABASE_TIMEOUT_S. Try again, or raise it."
        )
    if original.sqlstate == _DISK_FULL:
        return ResourceError("The database's disk is full. Make room, then try again.")
    reason = str(original).strip().partition("\n")[0][:300]
    if password:
        reason = reason.replace(str(password), "***")
    return DatabaseUnavailableError(f"The database cannot be reached: {reason}")
