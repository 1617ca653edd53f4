"""Serving: ports, environment of the children, and that nothing outlives the parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pages_api import fake_api

from atlas.errors import ConfigError, ResourceError
from atlas.settings import Settings
from cli import children
from cli.demo import DEMO_HOME, demo_settings
from cli.serve import plan_services

ROOT = Path(__file__).resolve().parents[2]
SERVE_UI = (
    "from atlas.settings import load_settings; from cli.serve import serve; serve(load_settings(), open_ui=True, open_api=False)"
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def group_is_gone(pid: int, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any_alive(pid):
            return True
        time.sleep(0.1)
    return False


def any_alive(group: int) -> bool:
    """Whether a process of the group runs; a zombie that nobody waits for does not count."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(
        int(g) == group and not stat.startswith("Z") for g, stat in (line.split() for line in listed.splitlines())
    )


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(child) for child, parent in (line.split() for line in listed.splitlines()) if int(parent) == pid]


@contextmanager
def serving_pages(tmp_path: Path, api_url: str) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """Start ``serve`` without the API in a folder with decoys; yields process, group of the pages, their address."""
    for name in ("api", "ui", "atlas", "cli"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('a folder of the user was imported')")
    port = free_port()
    environment = {
        **os.environ, "GEO_ATLAS_UI_PORT": str(port), "GEO_ATLAS_API_URL": api_url, "GEO_ATLAS_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", SERVE_UI], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    groups: list[int] = []
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line, line + (process.stderr.read() if process.stderr else "")
        groups = children_of(process.pid)
        yield process, groups[0], f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        for group in groups:
            if any_alive(group):
                os.killpg(group, signal.SIGKILL)


def test_taken_port_names_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=r"--ui-port \(GEO_ATLAS_UI_PORT\)") as caught:
            plan_services(Settings(home=tmp_path, ui_port=port, api_port=0))
    assert str(port) in caught.value.message


def test_host_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ResourceError, ConfigError)):
        plan_services(Settings(home=tmp_path, api_host="192.0.2.1", api_port=0, ui_port=0))


def test_port_zero_takes_a_free_port_and_the_pages_learn_it(tmp_path: Path) -> None:
    api, ui = plan_services(Settings(home=tmp_path, api_port=0, ui_port=0))
    port = api.environment["GEO_ATLAS_API_PORT"]
    assert port != "0"
    assert ui.environment["GEO_ATLAS_API_URL"] == f"http://127.0.0.1:{port}"


def test_children_see_flags_but_the_pages_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEO_ATLAS_LLM_MODEL", "m")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "relative", str(tmp_path)]))
    settings = Settings(home=tmp_path, api_port=0, ui_port=0, max_k=77, database_url="postgresql://u:secret@h/d")
    api, ui = plan_services(settings)
    assert api.environment["GEO_ATLAS_MAX_K"] == "77"
    assert api.environment["GEO_ATLAS_DATABASE_URL"] == "postgresql://u:secret@h/d"
    assert "u:secret@" not in "".join(ui.environment.values())
    paths = api.environment["PYTHONPATH"].split(os.pathsep)
    assert all(os.path.isabs(path) for path in paths)  # an empty entry would be the current folder


def test_pages_answer_from_a_folder_of_decoys_and_end_with_sigterm(tmp_path: Path) -> None:
    with fake_api() as url, serving_pages(tmp_path, url) as (process, group, address):
        assert httpx.get(f"{address}/_stcore/health", trust_env=False).text == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert group_is_gone(group, within_s=1)


@pytest.mark.slow
def test_killed_parent_takes_the_pages_along(tmp_path: Path) -> None:
    with serving_pages(tmp_path, "http://127.0.0.1:9") as (process, group, _):
        process.kill()
        process.wait(10)
        assert group_is_gone(group, within_s=children.GRACE_S + 5)


@pytest.mark.slow
def test_dead_child_ends_everything_with_its_last_words(tmp_path: Path) -> None:
    with serving_pages(tmp_path, "http://127.0.0.1:9") as (process, group, _):
        os.killpg(group, signal.SIGKILL)
        assert process.wait(30) != 0
        assert process.stderr is not None
        assert "ended by itself" in process.stderr.read()


def test_unknown_service_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert children.main(["database"]) == 2
    assert "expected api, ui or work" in capsys.readouterr().err


def test_page_is_run_by_its_absolute_path_without_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert children.page_path().is_absolute()
    assert children.page_path().is_file()
    flags = children.page_flags(host="127.0.0.1", port=1)
    assert "--browser.gatherUsageStats=false" in flags
    assert "--server.headless=true" in flags


def test_demo_keeps_out_of_the_home_of_real_atlases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo_settings(Settings()).home == DEMO_HOME
    assert demo_settings(Settings(home=tmp_path)).home == tmp_path
    monkeypatch.setenv("GEO_ATLAS_HOME", str(tmp_path))
    assert demo_settings(Settings()).home == tmp_path
