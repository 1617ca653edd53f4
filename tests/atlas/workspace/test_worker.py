"""The worker: it carries out, reports, survives, lets go; and the next one finishes what a killed one began."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from catalog_fixtures import scratch_database, url_of
from postgres_users import until
from sqlalchemy import text

from atlas.answers import Job
from atlas.catalog.database import Database
from atlas.catalog.embedded import EmbeddedPostgres
from atlas.errors import AtlasError, InputError
from atlas.settings import Settings
from atlas.workspace import lease, worker
from atlas.workspace.jobs import Jobs
from atlas.workspace.kinds import KINDS, JobContext, JobKind, scan_folder
from atlas.workspace.worker import expire, work, work_off

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Place:
    """A home and a database of its own, as the settings name them."""

    settings: Settings
    database: Database

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.database)

    def submit(self, kind: str = "test", **request: Any) -> Job:
        return self.jobs.submit(kind, request, release="tiny", client="ann", settings=self.settings, unlimited=True)

    def work(self, **kinds: JobKind) -> int:
        return work(self.settings, once=True, stop=threading.Event(), kinds=kinds)


@pytest.fixture
def place(embedded_server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(worker, "RETRY_S", 0.05)
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    with scratch_database(embedded_server) as database:
        name = database.engine.url.database
        url = url_of(embedded_server).replace("/postgres?", f"/{name}?")
        settings = Settings(home=tmp_path, database_url=url, database_timeout_s=20)  # type: ignore[arg-type]
        database.migrate()
        yield Place(settings, database)


def echo(context: JobContext) -> dict[str, Any]:
    context.progress(0.5, "half")
    return {"said": context.request["say"]}


def raising(error: BaseException) -> JobKind:
    def run(context: JobContext) -> dict[str, Any]:
        raise error

    return JobKind(run)


def patient(started: threading.Event) -> JobKind:
    """A kind that works until it is cancelled."""

    def run(context: JobContext) -> dict[str, Any]:
        started.set()
        while not context.cancelled():
            time.sleep(0.01)
        raise InputError("stopped in the middle")

    return JobKind(run)


def test_jobs_are_carried_out_one_after_another(place: Place) -> None:
    ids = [place.submit(say=n).job_id for n in range(3)]
    assert place.work(test=JobKind(echo)) == 3
    assert [place.jobs.get(job_id).result for job_id in ids] == [{"said": n} for n in range(3)]


def test_a_worker_makes_the_tables_itself(embedded_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with scratch_database(embedded_server) as database:
        url = url_of(embedded_server).replace("/postgres?", f"/{database.engine.url.database}?")
        settings = Settings(home=tmp_path, database_url=url)  # type: ignore[arg-type]
        assert work(settings, once=True, stop=threading.Event()) == 0
        assert Jobs(database).list() == ()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("No such term."), "invalid_input"),
        (OSError(28, "No space left on device"), "resource"),
        (MemoryError(), "resource"),
        (ZeroDivisionError("a secret of the program"), "internal"),
    ],
)
def test_a_job_that_fails_tells_why_and_the_worker_lives(place: Place, error: Exception, code: str) -> None:
    bad, good = place.submit("bad"), place.submit(say="hello")
    assert place.work(bad=raising(error), test=JobKind(echo)) == 2
    failed = place.jobs.get(bad.job_id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["code"] == code
    assert "secret" not in failed.error["message"]
    assert place.jobs.get(good.job_id).status == "done"


def test_an_unknown_kind_fails_with_the_known_ones(place: Place) -> None:
    job = place.submit("strange")
    place.work(test=JobKind(echo))
    error = place.jobs.get(job.job_id).error
    assert error is not None
    assert error["details"] == {"seen": "strange", "expected": ["test"]}


def test_a_running_job_is_cancelled_at_its_next_step(place: Place) -> None:
    started = threading.Event()
    job = place.submit("slow")
    thread = threading.Thread(target=place.work, kwargs={"slow": patient(started)})
    thread.start()
    assert started.wait(20)
    place.jobs.cancel(job.job_id)
    thread.join(20)
    assert place.jobs.get(job.job_id).status == "cancelled"


def test_a_worker_told_to_stop_gives_its_job_back(place: Place) -> None:
    started, stop = threading.Event(), threading.Event()
    job = place.submit("slow")
    thread = threading.Thread(
        target=work, args=(place.settings,), kwargs={"stop": stop, "kinds": {"slow": patient(started)}}
    )
    thread.start()
    assert started.wait(20)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert place.jobs.get(job.job_id).status == "queued"
    assert place.work(slow=JobKind(lambda context: {})) == 1


def test_a_database_that_goes_away_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away, asked = threading.Event(), threading.Event()
    away.set()
    opened = worker.opened_workspace

    def flaky(settings: Settings) -> Any:
        if away.is_set():
            asked.set()
            raise AtlasError("The database cannot be reached: away")
        return opened(settings)

    monkeypatch.setattr(worker, "opened_workspace", flaky)
    monkeypatch.setattr(worker, "POLL_S", 0.05)
    job = place.submit(say="hello")
    stop = threading.Event()
    thread = threading.Thread(
        target=work, args=(place.settings,), kwargs={"stop": stop, "kinds": {"test": JobKind(echo)}}
    )
    thread.start()
    assert asked.wait(20)
    time.sleep(0.3)
    away.clear()
    until(lambda: place.jobs.get(job.job_id).status == "done", patience_s=20)
    # Connections that break while it waits heal too.
    with place.database.begin() as connection:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
    again = place.submit(say="again")
    until(lambda: place.jobs.get(again.job_id).status == "done", patience_s=20)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert len([record for record in caplog.records if "no jobs for now" in record.message]) == 1


def test_the_end_of_a_job_is_told_once_the_database_is_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job = place.submit(say="hello")
    done = lease.LeasedJob.done
    tries: list[int] = []

    def flaky(self: lease.LeasedJob, *given: Any, **more: Any) -> bool:
        tries.append(1)
        if len(tries) < 3:
            raise AtlasError("away")
        return done(self, *given, **more)

    monkeypatch.setattr(lease.LeasedJob, "done", flaky)
    place.work(test=JobKind(echo))
    assert place.jobs.get(job.job_id).status == "done"


SLOW_WORKER = """
import sys, threading, time
from pathlib import Path
from atlas.settings import load_settings
from atlas.workspace.kinds import JobKind
from atlas.workspace.worker import work

def run(context):
    Path(sys.argv[1]).touch()
    time.sleep(600)

work(load_settings(), stop=threading.Event(), kinds={"test": JobKind(run)})
"""


def test_a_killed_workers_job_is_done_by_the_next(place: Place, tmp_path: Path) -> None:
    job = place.submit(say="hello")
    url = place.settings.database_url
    assert url is not None
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "GEO_ATLAS_HOME": str(tmp_path),
        "GEO_ATLAS_DATABASE_URL": url.get_secret_value(),
    }  # fmt: skip
    killed = subprocess.Popen([sys.executable, "-c", SLOW_WORKER, str(tmp_path / "begun")], env=environment, cwd=ROOT)
    try:
        until((tmp_path / "begun").exists)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert place.jobs.get(job.job_id).status == "running"
    assert place.work(test=JobKind(echo)) == 0  # its lease still holds
    with place.database.begin() as connection:
        connection.execute(text("UPDATE app.jobs SET lease_until = lease_until - interval '40 seconds'"))
    assert place.work(test=JobKind(echo)) == 1
    assert place.jobs.get(job.job_id).result == {"said": "hello"}


def test_expired_results_go_with_their_folders(place: Place, tmp_path: Path) -> None:
    def write(context: JobContext) -> dict[str, Any]:
        folder = tmp_path / "scans" / context.release / context.request["key"]
        folder.mkdir(parents=True)
        (folder / "scan.json").write_text("{}")
        return {"scan": context.request["key"]}

    kinds = {"scan": JobKind(write, folder=scan_folder)}
    old, young = place.submit("scan", key="old"), place.submit("scan", key="young")
    place.work(**kinds)
    with place.database.begin() as connection:
        past = text("UPDATE app.jobs SET expires_at = now() - interval '1 s' WHERE job_id = :id")
        connection.execute(past, {"id": old.job_id})
    for name in (".expired-left-1", ".young-1.tmp", ".killed-2.tmp"):
        (tmp_path / "scans" / "tiny" / name).mkdir()
    os.utime(tmp_path / "scans" / "tiny" / ".killed-2.tmp", (0, 0))
    assert expire(place.jobs, place.settings, kinds=kinds) == 1
    assert {path.name for path in (tmp_path / "scans" / "tiny").iterdir()} == {"young", ".young-1.tmp"}
    assert place.jobs.get(old.job_id).status == "expired"
    assert place.jobs.get(young.job_id).status == "done"


def test_a_row_that_names_no_folder_expires_and_stops_nobody(place: Place) -> None:
    kinds = {
        "scan": JobKind(lambda context: {"scan": context.request["key"]}, folder=lambda home, release, result: None)
    }
    odd = place.submit("scan", key="../../evil")
    place.work(**kinds)
    with place.database.begin() as connection:
        connection.execute(text("UPDATE app.jobs SET expires_at = now() - interval '1 s'"))
    assert expire(place.jobs, place.settings) == 1
    assert place.jobs.get(odd.job_id).status == "expired"


@pytest.mark.parametrize("key", ["../../evil", "/etc", "", ".hidden", "a/b"])
def test_a_result_never_leads_out_of_the_home(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError):
        scan_folder(tmp_path, "tiny", {"scan": key})
    with pytest.raises(InputError):
        scan_folder(tmp_path, key, {"scan": "key"})
    assert scan_folder(tmp_path, "tiny", {}) is None
    assert KINDS["scan"].folder is scan_folder


def test_a_job_is_worked_off_here_with_its_progress(place: Place) -> None:
    seen: list[tuple[float, str | None]] = []
    job = place.submit(say="hello")
    done = work_off(
        place.database, place.settings, job.job_id, watch=lambda *now: seen.append(now), kinds={"test": JobKind(echo)}
    )
    assert (done.status, done.result) == ("done", {"said": "hello"})
    assert seen == [(0.5, "half")]


def test_a_job_that_another_worker_has_is_waited_for(place: Place) -> None:
    job = place.submit(say="hello")
    leased = place.jobs.take("other")
    assert leased is not None
    threading.Timer(0.3, lambda: leased.done({"by": "other"})).start()
    done = work_off(place.database, place.settings, job.job_id, watch=lambda *now: None, kinds={})
    assert done.result == {"by": "other"}


def test_interrupting_a_job_worked_off_here_cancels_it(place: Place) -> None:
    job = place.submit("slow")
    kinds = {"slow": raising(KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt):
        work_off(place.database, place.settings, job.job_id, watch=lambda *now: None, kinds=kinds)
    assert place.jobs.get(job.job_id).status == "cancelled"


def test_a_release_is_opened_for_a_job_and_let_go_when_idle(
    place: Place, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = place.settings.model_copy(update={"home": tiny_home})
    seen: list[int] = []

    def count(context: JobContext) -> dict[str, Any]:
        seen.append(id(context.open_atlas()))
        return {"n": context.open_atlas().release.manifest.n_samples}

    job = place.submit(one=1)
    place.submit(two=2)
    place.submit("missing")
    kinds = {"test": JobKind(count), "missing": JobKind(count)}
    with worker._Bench(settings, kinds) as bench:
        for _ in range(2):
            leased = place.jobs.take("w")
            assert leased is not None
            bench.carry_out(leased, stop=threading.Event())
        assert len(set(seen)) == 1
        bench.tidy()
        assert bench._atlas is not None
        monkeypatch.setattr(worker, "IDLE_S", -1.0)
        bench.tidy()
        assert bench._atlas is None
    assert place.jobs.get(job.job_id).result == {"n": 64}


def test_a_worker_that_let_a_release_go_begins_anew_with_nothing_open(
    place: Place, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "IDLE_S", -1.0)
    settings = place.settings.model_copy(update={"home": tiny_home})
    stop = threading.Event()
    n_connected: list[int] = []

    def renew() -> None:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        with place.database.connect() as connection:
            n_connected.append(connection.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")) or 0)
        stop.set()

    def open_it(context: JobContext) -> dict[str, Any]:
        return {"name": context.open_atlas().release.name}

    place.submit()
    place.database.engine.dispose()
    assert work(settings, stop=stop, kinds={"test": JobKind(open_it)}, renew=renew) == 1
    assert n_connected == [0]


RENEWED = """
import os, sys
from atlas.workspace.worker import begin_anew
count = os.read(0, 1).decode()
print("round", count, sys.argv[1], flush=True)
if count != "2":
    begin_anew()
"""


def test_beginning_anew_keeps_arguments_and_pipes() -> None:
    command = [sys.executable, "-c", RENEWED, "x"]
    done = subprocess.run(command, input="12", capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    assert done.stdout == "round 1 x\nround 2 x\n"


def test_a_release_that_is_gone_fails_the_job(place: Place) -> None:
    def opens(context: JobContext) -> dict[str, Any]:
        context.open_atlas()
        return {}

    job = place.submit()
    place.work(test=JobKind(opens))
    error = place.jobs.get(job.job_id).error
    assert error is not None
    assert error["code"] == "not_found"


def test_a_release_removed_under_a_job_is_named_as_the_reason(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "tiny"

    def read(context: JobContext) -> dict[str, Any]:
        folder.rmdir()
        raise FileNotFoundError(2, "No such file or directory", str(folder / "communities.parquet"))

    place.submit()
    with worker._Bench(place.settings, {"test": JobKind(read)}) as bench:
        folder.mkdir(parents=True)
        release = SimpleNamespace(name="tiny", folder=folder)
        bench._atlas = cast("Any", SimpleNamespace(release=release, close=lambda: None))
        leased = place.jobs.take("w")
        assert leased is not None
        bench.carry_out(leased, stop=threading.Event())
    error = place.jobs.get(leased.job_id).error
    assert error is not None
    assert (error["code"], error["details"]) == ("not_found", {"release": "tiny"})
    assert "was removed while the job ran" in error["message"]
