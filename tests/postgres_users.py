"""Processes that use the embedded server, for tests that kill, interrupt and count them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from catalog_fixtures import other_user

from atlas.catalog.embedded import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[1]

USER = """
import sys
from pathlib import Path
import psycopg
from atlas.catalog.embedded import EmbeddedPostgres

try:
    with EmbeddedPostgres(Path(sys.argv[1]), start_timeout_s=60) as server:
        with psycopg.connect(**server.ensure_running()) as connection:
            connection.execute("SELECT 1")
        print("ready", flush=True)
        sys.stdin.read()
except KeyboardInterrupt:
    sys.exit(130)
"""

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Return a starter of processes that use the server of a home; they live until their stdin closes."""
    started: list[subprocess.Popen[str]] = []

    def start(home: Path, *, wait: bool = True, **options: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", USER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            **options,  # type: ignore[call-overload]
        )
        started.append(child)
        if wait:
            await_ready(child)
        return child

    yield start
    for child in started:
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        child.wait()


def end_servers(home: Path) -> None:
    left = postmasters(home)
    for pid in left:
        os.kill(pid, signal.SIGQUIT)
    until(lambda: not postmasters(home))
    assert not left, "the test left a server running"


def await_ready(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"


def leave(child: subprocess.Popen[str]) -> int:
    """Let a user end of its own accord."""
    assert child.stdin is not None
    child.stdin.close()
    return child.wait(timeout=60)


def postmasters(home: Path) -> list[int]:
    """Return the pids of all servers on this home, whoever started them."""
    data = str(home / "postgres" / "data")
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    split = [line.strip().split(maxsplit=1) for line in listed.splitlines()]
    return [int(one[0]) for one in split if len(one) == 2 and one[1].endswith(f"postgres -D {data}")]


def until(condition: Callable[[], bool], *, patience_s: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def opened(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(home, start_timeout_s=60)


def ask(server: EmbeddedPostgres, query: str = "SELECT 1") -> object:
    with psycopg.connect(**server.ensure_running()) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def as_ordinary_user(work: Callable[[], object]) -> str:
    """Run ``work`` as an ordinary user and return its result, or its error, as text.

    A fork, not a new Python: the one that runs the tests may lie where that user cannot go.
    """
    user = other_user()
    if user is None:
        return _told(work)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.write(writing, _told(work).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


def _told(work: Callable[[], object]) -> str:
    try:
        return f"returned {work()}"
    except BaseException as error:  # noqa: BLE001  the other side of a fork must not run the tests on
        return f"{type(error).__name__}: {error}"
