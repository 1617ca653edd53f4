"""Questions that name a release: served, at hand, removed, never there."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from api_checks import assert_error
from api_server import served
from fake_atlas import FakeBackend, manifest

from api.errors import ReleaseRetiredError
from api.held import PIN_IDLE_S, Pins
from api.main import create_app
from api.serving import Serving
from atlas.errors import ArtifactError, InputError, NotFoundError
from atlas.manifest import write_json
from atlas.release import Home, write_pointer
from atlas.settings import Settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    for name in ("one", "two", "three"):
        publish(home, name)
    write_pointer(home.pointer, "one")
    return home


def publish(home: Home, name: str) -> None:
    write_json(home.releases / name / "manifest.json", manifest(name).model_dump(mode="json"))


def pins(home: Home, backend: FakeBackend, *, n_kept: int = 1, clock: Clock | None = None) -> Pins:
    return Pins(home, backend.open, n_kept=n_kept, clock=clock or Clock())


def test_removal_leaves_a_note_until_the_name_is_published_again(home: Home) -> None:
    assert home.retired("two") is None
    home.remove("two")
    note = home.retired("two")
    assert note is not None
    assert note["content_key"] == "c" * 64
    assert home.retired_names() == ["two"]
    assert home.retired("never") is None
    publish(home, "two")
    assert home.retired("two") is None
    assert home.retired_names() == []


def test_broken_release_and_garbled_note_are_still_told_apart(home: Home) -> None:
    (home.releases / "two" / "manifest.json").write_text("{", encoding="utf-8")
    home.remove("two")
    assert "problem" in (home.retired("two") or {})
    (home.path / "retired" / "two.json").write_bytes(b"\xff")
    assert home.retired("two") == {}
    with pytest.raises(ReleaseRetiredError, match="an unknown day"):
        pins(home, FakeBackend()).take("two")
    with pytest.raises(InputError):
        home.retired("../two")


def test_release_is_opened_once_and_kept(home: Home) -> None:
    backend = FakeBackend()
    kept = pins(home, backend)
    for _ in range(3):
        kept.take("two").give_back()
    assert len(backend.opened) == 1
    assert not backend.atlas.closed


def test_least_recently_used_is_closed_when_its_last_user_has_gone(home: Home) -> None:
    backend = FakeBackend()
    kept = pins(home, backend)
    first = kept.take("two")
    kept.take("three").give_back()
    assert not backend.opened[0].closed
    assert kept.try_take("two") is None
    first.give_back()
    assert [atlas.closed for atlas in backend.opened] == [True, False]


def test_none_is_opened_where_none_may_be_kept(home: Home) -> None:
    with pytest.raises(NotFoundError, match="PINNED_RELEASES"):
        pins(home, FakeBackend(), n_kept=0).take("two")


def test_unused_pin_and_removed_pin_are_closed(home: Home) -> None:
    backend, clock = FakeBackend(), Clock()
    kept = pins(home, backend, n_kept=2, clock=clock)
    kept.take("two").give_back()
    clock.now = PIN_IDLE_S - 1
    kept.take("three").give_back()
    clock.now = PIN_IDLE_S + 1
    kept.sweep()
    assert [atlas.closed for atlas in backend.opened] == [True, False]
    home.remove("three")
    assert kept.try_take("three") is None
    kept.sweep()
    assert backend.opened[1].closed


def test_many_at_once_open_a_release_once(home: Home) -> None:
    backend = FakeBackend()
    kept = pins(home, backend)
    gate = threading.Barrier(8)

    def ask(_: int) -> str:
        gate.wait(10)
        held = kept.take("two")
        try:
            return held.atlas.release.name
        finally:
            held.give_back()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"two"}
    assert len(backend.opened) == 1


def test_replaced_release_is_kept_as_a_pin_and_comes_back_without_opening(home: Home) -> None:
    backend = FakeBackend()
    serving = Serving(home, backend, n_pinned=1, clock=Clock())
    serving.look()
    write_pointer(home.pointer, "two")
    serving.look()
    with serving.lease("one") as old, serving.lease() as new:
        assert (old.release.name, new.release.name) == ("one", "two")
    assert len(backend.opened) == 2
    write_pointer(home.pointer, "one")
    serving.look()
    assert serving.release_name == "one"
    assert len(backend.opened) == 2
    serving.stop()
    assert all(atlas.closed for atlas in backend.opened)


def test_pinned_release_that_is_broken_stops_its_own_answers_alone(home: Home) -> None:
    backend = FakeBackend()
    serving = Serving(home, backend, n_pinned=1, clock=Clock())
    serving.look()
    with serving.lease("two"):
        pass
    backend.opened[1].release.failure = ArtifactError("changed", kind="corrupt")
    with pytest.raises(ArtifactError), serving.lease("two"):
        pass
    with serving.lease() as atlas:
        assert atlas.release.name == "one"


def test_routes_answer_from_the_release_named(home: Home) -> None:
    app = create_app(Settings(home=home.path, pinned_releases=1), lambda _: FakeBackend())
    with served(app) as url, httpx.Client(base_url=url, timeout=20) as http:
        for name in ("one", "two"):
            for path in ("/v1/search?q=heart", "/v1/map?q=heart", "/v1/scans/omim_expanded?"):
                response = http.get(f"{path}&release={name}")
                assert response.status_code == 200, response.text
                assert response.headers["x-geo-atlas-release"] == name
        assert http.post("/v1/keywords?release=two", json={"accessions": ["GSM1"]}).json()["release"] == "two"
        tags = {http.get("/v1/clusters", params={"release": name}).headers["etag"] for name in ("one", "two")}
        assert len(tags) == 2
        cursor = http.get("/v1/clusters?limit=1&release=two").json()["next_cursor"]
        assert http.get(f"/v1/clusters?release=two&cursor={cursor}").status_code == 200
        assert_error(http.get(f"/v1/clusters?cursor={cursor}"), 410, "cursor_expired")
        assert_error(http.get("/v1/map?release=never"), 404, "not_found")
        assert str(home.path) not in http.get("/v1/map?release=never").text
        for bad in ("..%2Ftwo", "", "a%20b", "x" * 65, "%00"):
            assert_error(http.get(f"/v1/map?release={bad}"), 422, "invalid_input")
        assert_error(http.get("/v1/map?release=one&release=two"), 422, "invalid_input")
        assert_error(http.get("/v1/health/live?release=one"), 422, "invalid_input")
        home.remove("two")
        error = assert_error(http.get("/v1/map?release=two"), 410, "release_retired")
        assert error["details"]["release"] == "two"
        assert error["details"]["removed_at"]
        listed = http.get("/v1/releases").json()
        assert [entry["name"] for entry in listed["releases"] if entry["current"]] == ["one"]
        assert listed["retired"] == ["two"]
        shutil.rmtree(home.path / "retired")
        assert_error(http.get("/v1/map?release=two"), 404, "not_found")
