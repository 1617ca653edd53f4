"""One engine for any Postgres: errors, recovery, URLs, versions."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from catalog_fixtures import MakeDatabase, SystemServer, scratch_database, url_of
from sqlalchemy import text
from sqlalchemy.exc import InternalError, ProgrammingError

from atlas.catalog import database as database_module
from atlas.catalog.database import Database, external_url, open_database
from atlas.catalog.embedded import EmbeddedPostgres
from atlas.errors import ConfigError, DatabaseUnavailableError
from atlas.settings import Settings

Server = EmbeddedPostgres | SystemServer


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg2://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require"),
        (" postgresql:///d?host=/run/x \n", "postgresql+psycopg:///d?host=%2Frun%2Fx"),
    ],
)
def test_external_url_is_given_our_driver(given: str, expected: str) -> None:
    assert external_url(given).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    "given", ["", "sekret", "mysql://u:sekret@h/d", "sqlite:///sekret.db", "postgresql://u:sekret@h:x/d"]
)
def test_external_url_of_something_else_is_a_config_error_without_the_secret(given: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://user:password@host") as caught:
        external_url(given)
    assert "sekret" not in caught.value.message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_server_that_is_not_there_is_unavailable_and_keeps_the_secret() -> None:
    settings = Settings(database_url="postgresql://u:sekret@127.0.0.1:1/d")  # type: ignore[arg-type]  pydantic makes it a SecretStr
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached") as caught:
        open_database(settings)
    assert "sekret" not in caught.value.message


@pytest.mark.postgres
def test_the_place_is_told_without_the_secret(any_server: Server) -> None:
    with scratch_database(any_server) as database:
        password = database.engine.url.password
        assert "scratch_" in database.where
        assert password is None or str(password) not in database.where


@pytest.mark.postgres
def test_a_slow_statement_is_unavailable_not_a_hang(any_server: Server) -> None:
    with scratch_database(any_server, timeout_s=0.2) as database:
        with pytest.raises(DatabaseUnavailableError, match="GEO_ATLAS_DATABASE_TIMEOUT_S"), database.connect() as lent:
            lent.execute(text("SELECT pg_sleep(20)"))
        with database.begin(unlimited=True) as lent:
            lent.execute(text("SELECT pg_sleep(0.3)"))
        database.ping()


@pytest.mark.postgres
def test_busy_connections_are_unavailable_not_a_hang(any_server: Server) -> None:
    with scratch_database(any_server, timeout_s=0.2) as database:
        pool = [database.engine.connect() for _ in range(15)]
        with pytest.raises(DatabaseUnavailableError, match="busy"):
            database.ping()
        for lent in pool:
            lent.close()
        database.ping()


@pytest.mark.postgres
def test_connect_lends_a_read_only_transaction(any_database: Database) -> None:
    with pytest.raises(InternalError, match="read-only"), any_database.connect() as lent:
        lent.execute(text("CREATE TABLE forbidden ()"))


@pytest.mark.postgres
def test_mistakes_in_a_statement_stay_what_they_are(any_database: Database) -> None:
    with pytest.raises(ProgrammingError), any_database.connect() as lent:
        lent.execute(text("SELEKT"))


@pytest.mark.postgres
def test_connections_cut_by_the_server_are_replaced(any_server: Server) -> None:
    with scratch_database(any_server) as database:
        database.ping()
        with psycopg.connect(url_of(any_server), autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database.engine.url.database],
            )
        database.ping()


@pytest.mark.postgres
def test_a_forked_child_opens_connections_of_its_own(any_server: Server) -> None:
    with scratch_database(any_server) as database:

        def backend() -> int:
            with database.connect() as lent:
                return int(lent.scalar(text("SELECT pg_backend_pid()")) or 0)

        parents = backend()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.write(writing, str(backend()).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            childs = pipe.read()
        os.waitpid(child, 0)
        assert childs not in ("", "0", str(parents))
        assert backend() == parents


@pytest.mark.postgres
def test_an_external_server_that_comes_back_is_used_again(system_server: SystemServer) -> None:
    with scratch_database(system_server, timeout_s=5) as database:
        system_server.stop()
        try:
            with pytest.raises(DatabaseUnavailableError):
                database.ping()
            with pytest.raises(DatabaseUnavailableError):
                database.migrate()
        finally:
            system_server.start()
        database.ping()
        database.migrate()


@pytest.mark.postgres
def test_a_server_that_is_too_old_is_a_config_error(any_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MINIMUM_MAJOR", 99)
    with pytest.raises(ConfigError, match="needs 99 or newer"):
        open_database(Settings(database_url=url_of(any_server)))  # type: ignore[arg-type]


@pytest.mark.postgres
def test_many_migrate_an_empty_database_at_once(make_database: MakeDatabase) -> None:
    database = make_database()
    failures: list[BaseException] = []

    def migrate() -> None:
        try:
            database.migrate()
        except BaseException as error:  # noqa: BLE001  carried to the main thread
            failures.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with database.connect() as lent:
        assert lent.scalar(text("SELECT count(*) FROM atlas.alembic_version")) == 1


def test_filters_need_no_sqlalchemy_until_they_become_sql() -> None:
    code = "import sys, atlas.catalog.filters; sys.exit('sqlalchemy' in sys.modules)"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
