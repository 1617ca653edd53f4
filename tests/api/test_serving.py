"""The served release: followed by the pointer, swapped whole, kept where the new one fails."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from api_checks import assert_error
from api_server import served
from fake_atlas import FakeBackend

from api.errors import NotReadyError
from api.main import create_app
from api.serving import RETRY_EVERY_S, Serving
from atlas.errors import ArtifactError, DatabaseUnavailableError
from atlas.release import Home, write_pointer
from atlas.settings import Settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def home(tmp_path: Path) -> Home:
    write_pointer(tmp_path / "current", "one")
    return Home(tmp_path)


def opened(home: Home, backend: FakeBackend, clock: Clock | None = None) -> Serving:
    serving = Serving(home, backend, clock=clock or Clock())
    serving.look()
    return serving


def test_pointer_moves_and_the_service_follows(home: Home) -> None:
    backend = FakeBackend()
    serving = opened(home, backend)
    assert serving.release_name == "one"
    write_pointer(home.pointer, "two")
    serving.look()
    assert serving.release_name == "two"
    assert [atlas.closed for atlas in backend.opened] == [True, False]


def test_same_pointer_opens_nothing_again(home: Home) -> None:
    backend = FakeBackend()
    serving = opened(home, backend)
    serving.look()
    assert len(backend.opened) == 1


def test_request_keeps_the_release_it_began_with(home: Home) -> None:
    backend = FakeBackend()
    serving = opened(home, backend)
    with serving.lease() as first:
        write_pointer(home.pointer, "two")
        serving.look()
        with serving.lease() as second:
            assert (first.release.name, second.release.name) == ("one", "two")
        assert not backend.opened[0].closed
    assert backend.opened[0].closed
    assert not backend.opened[1].closed


def test_release_that_cannot_be_opened_keeps_the_old_one_and_is_told(home: Home) -> None:
    backend, clock = FakeBackend(failing={"two": ArtifactError("samples.parquet was changed", kind="corrupt")}), Clock()
    serving = opened(home, backend, clock)
    write_pointer(home.pointer, "two")
    serving.look()
    report = serving.readiness()
    assert (report.status, report.release) == ("ready", "one")
    assert "samples.parquet was changed" in report.reasons[0]
    backend.failing.clear()
    serving.look()
    assert serving.release_name == "one"  # not tried again at once
    clock.now += RETRY_EVERY_S
    serving.look()
    assert serving.release_name == "two"
    assert serving.readiness().reasons == ()


def test_pointer_moved_back_clears_the_complaint(home: Home) -> None:
    backend = FakeBackend(failing={"two": ArtifactError("broken", kind="corrupt")})
    serving = opened(home, backend)
    write_pointer(home.pointer, "two")
    serving.look()
    write_pointer(home.pointer, "one")
    serving.look()
    assert serving.readiness().reasons == ()
    assert len(backend.opened) == 1


def test_unforeseen_failure_does_not_end_the_watch(home: Home) -> None:
    backend = FakeBackend(failing={"two": MemoryError()})
    serving = opened(home, backend)
    write_pointer(home.pointer, "two")
    serving.look()
    assert serving.release_name == "one"
    write_pointer(home.pointer, "three")
    serving.look()
    assert serving.release_name == "three"


def test_new_release_waits_for_the_database(home: Home) -> None:
    backend, clock = FakeBackend(), Clock()
    serving = opened(home, backend, clock)
    write_pointer(home.pointer, "two")
    backend.database = "the database does not hold it"
    serving.look()
    assert serving.release_name == "one"
    assert len(backend.opened) == 1
    backend.database = None
    clock.now += RETRY_EVERY_S
    serving.look()
    assert serving.release_name == "two"


def test_first_release_is_served_without_the_database(home: Home) -> None:
    serving = opened(home, FakeBackend(database="away"))
    report = serving.readiness()
    assert (report.status, report.semantic, report.lexical) == ("degraded", True, False)
    with pytest.raises(DatabaseUnavailableError):
        serving.require_database("one")


def test_empty_home_is_unavailable_until_something_is_published(tmp_path: Path) -> None:
    home = Home(tmp_path)
    serving = opened(home, FakeBackend())
    assert serving.readiness().status == "unavailable"
    with pytest.raises(NotReadyError, match="No atlas is published"), serving.lease():
        pass
    write_pointer(home.pointer, "one")
    serving.look()
    assert serving.readiness().status == "ready"


def test_unreadable_pointer_keeps_the_old_release(home: Home) -> None:
    serving = opened(home, FakeBackend())
    for junk in (b"", b"../../etc\n", b"\xff\xfe"):
        home.pointer.write_bytes(junk)
        serving.look()
        assert serving.release_name == "one"
        assert "pointer" in serving.readiness().reasons[0]


def test_stop_closes_what_was_opened(home: Home) -> None:
    backend = FakeBackend()
    serving = Serving(home, backend)
    serving.start()
    serving.stop()
    assert backend.closed
    assert backend.atlas.closed
    with pytest.raises(NotReadyError), serving.lease():
        pass


def test_leases_under_switches_never_meet_a_closed_atlas(home: Home) -> None:
    serving = opened(home, FakeBackend())
    stop = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                with serving.lease() as atlas:
                    atlas.sample("GSM1")
            except RuntimeError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(30):
        write_pointer(home.pointer, f"r{number}")
        serving.look()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_served_app_without_release_says_so_everywhere(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path), lambda _: FakeBackend())
    with served(app) as url, httpx.Client(base_url=url, timeout=20) as http:
        assert http.get("/v1/health/live").json() == {"status": "live", "release": None}
        for path in ("/v1/search?q=heart", "/v1/map", "/v1/releases/current", "/v1/health/ready"):
            response = http.get(path)
            assert_error(response, 503, "not_ready")
            assert response.headers["retry-after"]
            assert "x-geo-atlas-release" not in response.headers


def test_served_app_follows_the_pointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.serving.CHECK_EVERY_S", 0.01)
    write_pointer(tmp_path / "current", "one")
    app = create_app(Settings(home=tmp_path), lambda _: FakeBackend())
    with served(app) as url, httpx.Client(base_url=url, timeout=20) as http:
        cursor = http.get("/v1/clusters?limit=1").json()["next_cursor"]
        write_pointer(tmp_path / "current", "two")
        for _ in range(2_000):
            if http.get("/v1/health/live").json()["release"] == "two":
                break
        assert http.get("/v1/search?q=heart").headers["x-geo-atlas-release"] == "two"
        assert_error(http.get("/v1/clusters", params={"cursor": cursor}), 410, "cursor_expired")
