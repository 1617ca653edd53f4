"""Fixtures with a real Postgres: the embedded server, and the machine's own where it has one.

``database`` is a migrated catalog on the embedded server, shared by the whole session: use release names of your own.
``any_database`` runs a test on both servers. As root, everything lies in folders the servers' users can reach.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from atlas.catalog.database import Database, open_database
from atlas.catalog.embedded import EmbeddedPostgres
from atlas.errors import MissingExtraError
from atlas.settings import Settings

MakeDatabase = Callable[[], Database]


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Lend a folder with a short path that every user may enter (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="geo-atlas-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def other_user() -> pwd.struct_passwd | None:
    """Return an unprivileged user to run as, if we are root and there is one."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def system_binaries() -> Path | None:
    """Return the newest Postgres (15 or later) that the machine itself has."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if (program := shutil.which("postgres")) is not None:
        found.append(Path(program).resolve().parent)
    numbered = [path for path in found if path.parent.name.isdecimal() and int(path.parent.name) >= 15]
    return max(numbered, key=lambda path: int(path.parent.name), default=None)


class SystemServer:
    """A throw-away cluster of the machine's own Postgres, on a socket only."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._data, self._socket = binaries, folder / "data", folder / "socket"
        self._user = other_user()
        for path in (self._data, self._socket):
            path.mkdir(mode=0o700)
            if self._user is not None:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", self._data, "-U", "tester", "--auth=trust", "--encoding=UTF8", "--locale=C", "-N")
        lines = ["listen_addresses = ''", f"unix_socket_directories = '{self._socket}'", "fsync = off"]
        (self._data / "postgresql.conf").write_text("\n".join(lines) + "\n")
        self.start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"postgresql://tester@/postgres?host={self._socket}"

    def start(self) -> None:
        """Start it and wait."""
        self._run("pg_ctl", "start", "-w", "-s", "-D", self._data, "-l", self._data / "log")

    def stop(self) -> None:
        """Stop it as a crash would."""
        self._run("pg_ctl", "stop", "-s", "-m", "immediate", "-D", self._data)

    def _run(self, name: str, *arguments: str | Path) -> None:
        identity = {}
        if self._user is not None:
            identity = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        command = [str(self._binaries / name), *map(str, arguments)]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity)


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[EmbeddedPostgres]:
    """The embedded server in a home of its own, running until the session ends."""
    with reachable_folder() as home:
        try:
            server = EmbeddedPostgres(home, start_timeout_s=120)
        except MissingExtraError as error:
            pytest.skip(error.message)
        with server:
            hurry(server)
            yield server


def hurry(server: EmbeddedPostgres) -> None:
    """Spare the disk: tests kill processes, they do not cut the power."""
    with psycopg.connect(**server.ensure_running(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def system_server() -> Iterator[SystemServer]:
    """The machine's own Postgres; the test is skipped where it has none."""
    binaries = system_binaries()
    if binaries is None:
        pytest.skip("this machine has no Postgres of its own (looked in /usr/lib/postgresql and PATH)")
    if os.geteuid() == 0 and other_user() is None:
        pytest.skip("root cannot run Postgres, and there is no user 'postgres' or 'nobody'")
    with reachable_folder() as folder:
        server = SystemServer(binaries, folder)
        try:
            yield server
        finally:
            server.stop()


def url_of(server: EmbeddedPostgres | SystemServer) -> str:
    """Return the URL of a running server."""
    if isinstance(server, SystemServer):
        return server.url
    known = server.ensure_running()
    return f"postgresql://{known['user']}:{known['password']}@/{known['dbname']}?host={known['host']}"


@contextmanager
def scratch_database(server: EmbeddedPostgres | SystemServer, *, timeout_s: float = 30) -> Iterator[Database]:
    """Lend an empty database of its own on ``server``."""
    name = f"scratch_{uuid.uuid4().hex[:12]}"
    url = url_of(server)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    settings = Settings(database_url=url.replace("/postgres?", f"/{name}?"), database_timeout_s=timeout_s)
    with open_database(settings) as database:
        yield database
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def database(embedded_server: EmbeddedPostgres) -> Iterator[Database]:
    """A migrated catalog on the embedded server."""
    with scratch_database(embedded_server) as made:
        made.migrate()
        yield made


@pytest.fixture(scope="session", params=["embedded", "system"])
def any_server(request: pytest.FixtureRequest) -> EmbeddedPostgres | SystemServer:
    """Each of the two servers in turn."""
    server: EmbeddedPostgres | SystemServer = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture(scope="session")
def any_database(any_server: EmbeddedPostgres | SystemServer) -> Iterator[Database]:
    """A migrated catalog on each of the two servers in turn."""
    with scratch_database(any_server) as made:
        made.migrate()
        yield made


@pytest.fixture
def make_database(any_server: EmbeddedPostgres | SystemServer) -> Iterator[MakeDatabase]:
    """Return a maker of empty databases on each of the two servers in turn."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(scratch_database(any_server))


@pytest.fixture
def open_home() -> Iterator[Path]:
    """An empty home that any user can enter; as root, the embedded server then lives inside it."""
    with reachable_folder() as folder:
        yield folder
