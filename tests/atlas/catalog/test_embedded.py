"""The supervision of the embedded server: starts, kills, interrupts, permissions. Processes and signals are real."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from catalog_fixtures import hurry, other_user, reachable_folder
from postgres_users import (
    Spawn,
    as_ordinary_user,
    ask,
    await_ready,
    end_servers,
    leave,
    opened,
    postmasters,
    until,
)
from sqlalchemy import text

from atlas.catalog import placement
from atlas.catalog.database import open_database
from atlas.catalog.embedded import EmbeddedPostgres, _State
from atlas.catalog.processes import command_line, start_token
from atlas.errors import ArtifactError, AtlasError, BusyError, DatabaseUnavailableError, ResourceError
from atlas.settings import Settings

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def template(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A home whose cluster was created once and whose server is stopped: copying it is quicker than initdb."""
    request.getfixturevalue("embedded_server")  # skips where the wheel is absent
    with reachable_folder() as home:
        with EmbeddedPostgres(home, start_timeout_s=60) as server:
            hurry(server)
        yield home


@pytest.fixture
def home(template: Path) -> Iterator[Path]:
    """A home with a stopped, sound server; whatever a test leaves running fails it, and is ended."""
    yield template
    end_servers(template)


@pytest.fixture
def doomed_home(template: Path) -> Iterator[Path]:
    """The same for tests that break the data."""
    with reachable_folder() as folder:
        subprocess.run(["cp", "-a", str(template / "postgres"), str(folder)], check=True)
        yield folder
        end_servers(folder)


# --- several users ------------------------------------------------------------------------------------------------------


def test_two_processes_open_an_empty_home_at_once(
    open_home: Path, spawn: Spawn, embedded_server: EmbeddedPostgres
) -> None:
    killed = opened(open_home).folder / "data.tmp-killed"  # as an initdb killed half-way leaves it
    killed.mkdir()
    (killed / "PG_VERSION").write_text("18\n")
    users = [spawn(open_home, wait=False) for _ in range(2)]
    for user in users:
        await_ready(user)
    assert len(postmasters(open_home)) == 1
    assert not killed.exists()
    assert leave(users[0]) == 0
    assert len(postmasters(open_home)) == 1, "the other one still needs it"
    assert leave(users[1]) == 0
    assert not postmasters(open_home)


def test_both_users_killed_the_next_one_adopts_the_server(home: Path, spawn: Spawn) -> None:
    users = [spawn(home) for _ in range(2)]
    for user in users:
        user.kill()
        user.wait()
    orphan = postmasters(home)
    assert len(orphan) == 1
    with opened(home) as server:
        assert ask(server) == 1
        assert postmasters(home) == orphan
    assert not postmasters(home)


def test_one_user_killed_the_other_one_still_stops_the_server(home: Path, spawn: Spawn) -> None:
    killed, polite = spawn(home), spawn(home)
    killed.kill()
    killed.wait()
    assert leave(polite) == 0
    assert not postmasters(home)


def test_two_handles_in_one_process_count_twice(home: Path) -> None:
    first, second = opened(home), opened(home)
    with second:
        with first:
            pass
        assert ask(second) == 1
    assert not postmasters(home)


def test_a_handle_whose_pid_was_reused_counts_not(home: Path) -> None:
    with opened(home) as server:
        (server.folder / "handles" / f"{os.getppid()}.12345.0").touch()
        (server.folder / "handles" / "garbage.1.2").touch()
    assert not postmasters(home)


def test_a_forked_child_neither_takes_nor_loses_its_parents_handle(home: Path) -> None:
    with opened(home) as server:
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                server.close()  # never used here: not this process's handle
                code = 0
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert ask(server) == 1
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                used = ask(server) == 1 and any(server.folder.glob(f"handles/{os.getpid()}.*"))
                server.close()
                code = 0 if used else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ask(server) == 1
    assert not postmasters(home)


# --- kills and interrupts -----------------------------------------------------------------------------------------------


def test_postmaster_killed_under_a_running_user_queries_recover(home: Path) -> None:
    with open_database(Settings(home=home, database_timeout_s=5)) as database:
        with database.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS kept"))
            connection.execute(text("CREATE TABLE kept AS SELECT 42 AS answer"))
        (before,) = postmasters(home)
        os.kill(before, signal.SIGKILL)

        def answered_by_a_new_server() -> bool:
            with contextlib.suppress(DatabaseUnavailableError), database.connect() as connection:
                assert connection.scalar(text("SELECT answer FROM kept")) == 42
            return postmasters(home) not in ([], [before])  # an orphaned backend may still have answered

        until(answered_by_a_new_server)
    assert not postmasters(home)


def test_postmaster_killed_in_a_query_is_a_database_unavailable_error(home: Path) -> None:
    with open_database(Settings(home=home)) as database:
        with database.connect() as connection:
            os.kill(postmasters(home)[0], signal.SIGKILL)
            with pytest.raises(DatabaseUnavailableError):
                connection.execute(text("SELECT pg_sleep(30)"))  # a backend notices at its next wait
        database.ping()


@pytest.mark.parametrize("content", ["", "garbage\n", None, "stranger"])
def test_whatever_a_kill_leaves_as_pid_file_the_next_start_succeeds(home: Path, content: str | None) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        server = opened(home)
        server.ensure_running()
        (pid,) = postmasters(home)
        os.kill(pid, signal.SIGKILL)
        until(lambda: start_token(pid) is None)
        pid_file = server.folder / "data" / "postmaster.pid"
        if content is None:
            pid_file.unlink()
        elif content == "stranger":  # the pid was given to another process meanwhile
            pid_file.write_text(pid_file.read_text().replace(str(pid), str(stranger.pid), 1))
        else:
            pid_file.write_text(content)
        assert (server.folder / "socket" / ".s.PGSQL.5432").exists(), "a stale socket is part of this test"
        assert ask(server) == 1
        server.close()
        assert stranger.poll() is None, "a process that is not ours was signalled"
        stranger.terminate()
    assert not postmasters(home)


def test_ctrl_c_leaves_nothing_running(home: Path, spawn: Spawn) -> None:
    leader = spawn(home, process_group=0)
    second = spawn(home, process_group=leader.pid)
    os.killpg(leader.pid, signal.SIGINT)
    assert {leader.wait(timeout=60), second.wait(timeout=60)} == {130}
    assert not postmasters(home)


def test_ctrl_c_of_one_user_does_not_reach_the_server_of_the_others(home: Path, spawn: Spawn) -> None:
    interrupted, other = spawn(home, process_group=0), spawn(home)  # the first one started the server
    (before,) = postmasters(home)
    os.killpg(interrupted.pid, signal.SIGINT)
    assert interrupted.wait(timeout=60) == 130
    assert postmasters(home) == [before]
    assert leave(other) == 0
    assert not postmasters(home)


def test_interrupt_while_starting_leaves_nothing_running(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = opened(home)
    state = server._state

    def interrupted() -> _State:
        seen = state()
        if seen is not _State.STOPPED:  # a quick machine may never show it half-started
            monkeypatch.setattr(server, "_state", state)
            raise KeyboardInterrupt
        return seen

    monkeypatch.setattr(server, "_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.ensure_running()
    assert not postmasters(home)
    assert not list((server.folder / "handles").iterdir())


def test_start_that_takes_too_long_says_so_and_keeps_recovering(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(home):
        slow = EmbeddedPostgres(home, start_timeout_s=0.05)
        monkeypatch.setattr(slow, "_state", lambda: _State.CHANGING)
        with pytest.raises(DatabaseUnavailableError, match="DATABASE_START_TIMEOUT_S"):
            slow.ensure_running()
        assert len(postmasters(home)) == 1
        monkeypatch.undo()
        slow.close()


def test_a_held_lock_is_a_busy_error(home: Path) -> None:
    holder = opened(home)
    waiting = EmbeddedPostgres(home, start_timeout_s=0.05)
    with holder._locked(time.monotonic() + 1), pytest.raises(BusyError, match="starting or stopping"):
        waiting.ensure_running()


def test_a_server_that_cannot_start_shows_its_log(doomed_home: Path) -> None:
    server = opened(doomed_home)
    (server.folder / "data" / "global" / "pg_control").unlink()
    with pytest.raises(AtlasError, match="pg_control"):
        server.ensure_running()
    server.close()


def test_a_server_started_by_hand_is_left_alone(home: Path) -> None:
    server = opened(home)
    with server:
        pass
    place = server._placement
    assert place.run(["pg_ctl", "start", "-w", "-s", "-D", place.data, "-l", "/dev/null"]).returncode == 0
    try:
        with pytest.raises(BusyError, match="not started by geo-atlas"):
            opened(home).ensure_running()
        assert len(postmasters(home)) == 1
    finally:
        place.run(["pg_ctl", "stop", "-w", "-s", "-D", place.data])


def test_a_closed_handle_does_not_start_the_server_again(home: Path) -> None:
    server = opened(home)
    with server:
        pass
    with pytest.raises(DatabaseUnavailableError, match="closed"):
        server.ensure_running()


# --- permissions --------------------------------------------------------------------------------------------------------


def test_nothing_is_open_to_others(home: Path) -> None:
    home_mode = home.stat().st_mode
    with opened(home) as server:
        for path in (server.folder, server.folder / "data", server.folder / "socket", server.folder / "handles"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((server.folder / "password").stat().st_mode) == 0o600
        assert ask(server, "SHOW listen_addresses") == ""
        known = server.ensure_running()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(**{**known, "password": "guess"})
        rules = "SELECT string_agg(DISTINCT auth_method, ',' ORDER BY auth_method) FROM pg_hba_file_rules"
        assert ask(server, rules) == "reject,scram-sha-256"
        (pid,) = postmasters(home)
        assert known["password"] not in command_line(pid)
    assert home.stat().st_mode == home_mode


def test_root_runs_the_server_as_somebody_else(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with opened(home):
        (pid,) = postmasters(home)
        assert Path(f"/proc/{pid}").stat().st_uid not in (0, None)


def test_an_ordinary_user_can_do_it_all(open_home: Path, embedded_server: EmbeddedPostgres) -> None:
    user = other_user()
    if user is None:
        pytest.skip("every test of this run is already an ordinary user's")
    os.chown(open_home, user.pw_uid, user.pw_gid)

    def use() -> object:
        with opened(open_home) as server:
            return ask(server)

    def owners() -> set[int]:
        return {path.stat().st_uid for path in (open_home / "postgres").iterdir()}

    if not os.access(placement.find_binaries()[0], os.X_OK):
        pytest.skip("the embedded server is closed to ordinary users")
    assert as_ordinary_user(use) == "returned 1"
    assert owners() == {user.pw_uid}
    assert use() == 1, "root, coming later, runs it as the same user"
    assert owners() == {user.pw_uid}
    assert as_ordinary_user(use) == "returned 1"
    assert not postmasters(open_home)


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path: Path, embedded_server: EmbeddedPostgres) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(ResourceError, match="GEO_ATLAS_HOME"):
        opened(tmp_path / "home")


def test_a_read_only_home_is_a_clear_error(open_home: Path, embedded_server: EmbeddedPostgres) -> None:
    home = open_home / "home"
    home.mkdir()
    home.chmod(0o555)  # does not bind root
    told = as_ordinary_user(lambda: open_database(Settings(home=home)))
    assert told.startswith("ResourceError")
    assert "needs to write to" in told
    assert str(home) in told
    assert not list(home.iterdir())


def test_somebody_elses_home_is_a_clear_error(doomed_home: Path) -> None:
    if other_user() is None:
        pytest.skip("needs root")
    os.chown(doomed_home / "postgres", 0, 0)
    told = as_ordinary_user(lambda: open_database(Settings(home=doomed_home)))
    assert told.startswith("ResourceError")


# --- data ---------------------------------------------------------------------------------------------------------------


def test_data_of_another_major_version_are_refused(doomed_home: Path) -> None:
    (doomed_home / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ArtifactError, match="Postgres '9'") as caught:
        opened(doomed_home)
    assert caught.value.kind == "incompatible"
    assert "release load" in caught.value.message


def test_a_lost_password_file_says_what_to_do(doomed_home: Path) -> None:
    (doomed_home / "postgres" / "password").unlink()
    with pytest.raises(ArtifactError, match="password file"):
        opened(doomed_home).ensure_running()
    assert not postmasters(doomed_home)


def test_a_long_home_still_gets_a_short_socket(open_home: Path, template: Path) -> None:
    home = open_home / ("long" * 30)
    home.mkdir()
    subprocess.run(["cp", "-a", str(template / "postgres"), str(home)], check=True)
    server = opened(home)
    with server:
        folder = Path(server.ensure_running()["host"])
        assert len(str(folder)) < 80
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert ask(server) == 1
    assert not postmasters(home)
    shutil.rmtree(folder)


def test_the_log_does_not_grow_for_ever(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.catalog.embedded._MAX_LOG_BYTES", 10)
    server = opened(home)
    with server:
        pass
    assert (server.folder / "server.log.1").exists()
