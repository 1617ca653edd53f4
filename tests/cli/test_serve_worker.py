"""The worker beside the services: it waits for its database, comes back when killed, and ends with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from catalog_fixtures import scratch_database, url_of
from postgres_users import until
from typer.testing import CliRunner

from atlas.catalog.embedded import EmbeddedPostgres
from atlas.settings import Settings
from atlas.workspace.jobs import Jobs
from cli import children
from cli.main import app
from cli.serve import _Worker

ROOT = Path(__file__).resolve().parents[2]
SERVE = (
    "from atlas.settings import load_settings; from cli.serve import serve;"
    "serve(load_settings(), open_api=False, open_worker=True)"
)


def workers_of(pid: int) -> list[int]:
    """Return the pids of the workers that a process started."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=3) for line in listed.stdout.splitlines()]
    return [int(r[0]) for r in rows if int(r[1]) == pid and r[2][0] != "Z" and "cli.children work" in r[3]]


def test_pages_answer_without_a_database_and_a_killed_worker_comes_back(tmp_path: Path) -> None:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "GEO_ATLAS_HOME": str(tmp_path / "home"), "GEO_ATLAS_UI_PORT": "0",
        "GEO_ATLAS_API_URL": "http://127.0.0.1:9", "GEO_ATLAS_DATABASE_URL": "postgresql://u:secret@127.0.0.1:9/none",
    }  # fmt: skip
    command = [sys.executable, "-P", "-c", SERVE]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as served:
        said: list[str] = []
        assert served.stdout is not None
        assert served.stderr is not None
        listener = threading.Thread(target=lambda: said.extend(served.stderr), daemon=True)  # type: ignore[arg-type]
        listener.start()
        try:
            address = served.stdout.readline().split()[-1]
            until(lambda: bool(workers_of(served.pid)))
            until(lambda: any("no jobs for now" in line for line in said))
            (first,) = workers_of(served.pid)
            os.kill(first, signal.SIGKILL)
            until(lambda: workers_of(served.pid) not in ([], [first]))
            assert httpx.get(f"{address}/_stcore/health", trust_env=False).text == "ok"
            served.send_signal(signal.SIGTERM)
            assert served.wait(30) == 0
        finally:
            served.kill()
        listener.join(10)
        assert not any("secret" in line for line in said)
        assert any("exit status -9" in line and "started again" in line for line in said)


def test_a_worker_that_does_not_stay_is_started_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = [1_000.0]
    started: list[float] = []

    def start(service: object) -> object:
        from cli.serve import _Child

        started.append(clock[0])
        process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True, text=True)
        process.wait()
        return _Child(service, process, started_at=clock[0])  # type: ignore[arg-type]

    monkeypatch.setattr("cli.serve._start", start)
    monkeypatch.setattr("cli.serve.time.monotonic", lambda: clock[0])
    worker = _Worker({})
    for _ in range(60):
        worker.keep()
        clock[0] += 1
    pauses = [later - earlier for earlier, later in zip(started, started[1:], strict=False)]
    assert len(pauses) >= 3
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 4 * pauses[0]
    assert "The worker ended by itself (exit status 0)" in capfd.readouterr().err


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    """A copy of the home with the tiny release, to write in."""
    return Path(shutil.copytree(tiny_home, tmp_path / "home", ignore=shutil.ignore_patterns("postgres")))


@pytest.fixture
def call(embedded_server: EmbeddedPostgres, home: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run commands on the tiny release with an empty database."""
    with scratch_database(embedded_server) as database:
        url = url_of(embedded_server).replace("/postgres?", f"/{database.engine.url.database}?")
        monkeypatch.setenv("GEO_ATLAS_DATABASE_URL", url)
        monkeypatch.setenv("GEO_ATLAS_HOME", str(home))

        def run(*arguments: str, fails: str | None = None) -> str:
            result = CliRunner().invoke(app, list(arguments))
            if fails is None:
                assert result.exit_code == 0, result.output + repr(result.exception)
            else:
                assert fails in str(result.exception)
            return result.output

        run.database = database  # type: ignore[attr-defined]
        yield run


Call = Callable[..., str]


@pytest.mark.postgres
def test_labels_by_hand_are_listed_kept_and_taken_back(call: Call) -> None:
    assert "is now 'Heart'" in call("label", "0", "Heart", "--author", "Ada", "--note", "TTN")
    call("label", "0", "Heart muscle", "--author", "Ben")
    listed = call("label")
    assert "Heart muscle" in listed
    assert "Ada" not in listed
    history = call("label", "--history")
    assert "superseded" in history
    assert "TTN" in history
    assert '"machine_label"' in call("label", "--json")
    call("label", "0", "--remove", "--author", "Eve")
    assert "Heart" not in call("label")
    assert "removed by Eve" in call("label", "--history")
    call("label", "0", "--remove", "--author", "Eve", fails="has no edited label")
    call("label", "0", "x", fails="--author")
    call("label", "0", "--author", "x", fails="Give a label")
    call("label", "77", "x", "--author", "x", fails="no cluster 77")


@pytest.mark.postgres
def test_jobs_and_labels_go_through_a_backup(call: Call, tmp_path: Path) -> None:
    call("label", "0", "Heart", "--author", "Ada")
    settings = Settings()
    request = {"terms": ["a"], "name": "x"}
    job = Jobs(call.database).submit("scan", request, release="tiny", client="c", settings=settings)  # type: ignore[attr-defined]
    assert job.job_id in call("jobs", "list")
    assert "1 label edit, 1 job, 0 ad-hoc scans" in call("backup", str(tmp_path / "b.zip"))
    call("backup", str(tmp_path / "b.zip"), fails="exists already")
    call("jobs", "cancel", job.job_id)
    assert '"cancelled"' in call("jobs", "list", "--json")
    call("jobs", "cancel", "nothing", fails="no job")
    call("restore", str(tmp_path / "b.zip"), fails="--replace")
    call("restore", str(tmp_path / "b.zip"), "--replace")
    assert '"queued"' in call("jobs", "list", "--json")
    call("restore", str(tmp_path / "absent.zip"), fails="cannot be read")


@pytest.mark.postgres
def test_a_list_of_terms_is_swept_by_the_worker(call: Call, home: Path) -> None:
    jobs = Jobs(call.database)  # type: ignore[attr-defined]
    call("work", "--once")  # makes the tables
    terms = ["cardiomyopathy", "cirrhosis of the liver", "Cardiomyopathy", "anaemia"]
    settings = Settings()
    job = jobs.submit("scan", {"terms": terms, "name": "mine"}, release="tiny", client="c", settings=settings)
    bad = jobs.submit("scan", {"terms": [" "], "name": "blank"}, release="tiny", client="c", settings=settings)
    gone = jobs.submit("scan", {"terms": terms}, release="gone", client="d", settings=settings)
    assert "3 jobs carried out" in call("work", "--once")
    done = jobs.get(job.job_id)
    assert done.status == "done", done.error
    assert done.result is not None
    assert (home / "scans" / "tiny" / done.result["scan"] / "scan.json").is_file()
    for failed, code in ((bad, "invalid_input"), (gone, "not_found")):
        error = jobs.get(failed.job_id).error
        assert error is not None
        assert error["code"] == code


def test_work_is_a_service_of_its_own() -> None:
    assert children.main(["work", "--now"]) == 2
