"""The map of a large atlas on a page: the application in a frame, told what to show, and no map fetched as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import streamlit as st
from landscape_api import FakeLandscape, landscape_api
from streamlit.testing.v1 import AppTest

from ui import atlas_map
from ui.service import public_url


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch) -> FakeLandscape:
    """An atlas that counts as large."""
    monkeypatch.setattr(atlas_map, "WHOLE_UP_TO", 100)
    monkeypatch.setattr(atlas_map, "FEW", 40)
    return FakeLandscape(300)


def run_page(name: str) -> None:
    """Draw one page; what ``AppTest`` runs stands alone."""
    import importlib
    import os

    from ui.service import Service

    service = Service(os.environ["GEO_ATLAS_API_URL"])
    release = service.current()
    service.release, service.n_samples = str(release["release"]), int(release["n_samples"])
    importlib.import_module(f"ui.pages.{name}").page(service, release)


def open_page(monkeypatch: pytest.MonkeyPatch, url: str, name: str, **query: str) -> AppTest:
    monkeypatch.setenv("GEO_ATLAS_API_URL", url)
    monkeypatch.setattr("sys.argv", ["app.py"])
    page = AppTest.from_function(run_page, default_timeout=30, args=(name,))
    for key, value in query.items():
        page.query_params[key] = value
    return page.run()


def told(page: Any) -> list[dict[str, Any]]:
    """What the frames of a page are told to show."""
    assert not page.exception
    return [json.loads(one.proto.json_args) for one in page.get("component_instance")]


@pytest.mark.parametrize(
    ("name", "query", "shown"),
    [
        ("clusters", {}, {"by": "cluster", "focus": ""}),
        ("clusters", {"cluster": "3"}, {"by": "cluster", "focus": "3"}),
        ("series", {"accession": "GSE140000"}, {"by": "cluster"}),
        ("sample", {"accession": "GSM4000007"}, {"by": "cluster"}),
        ("nearest", {}, {"by": "cluster", "hits": []}),
        ("nearest", {"accession": "GSM4000007"}, {"by": "cluster"}),
        ("scan", {"view": "sum"}, {"by": "percentile", "scan": "omim_expanded"}),
        ("map", {"state": "by=tissue"}, {"whole": True, "state": "by=tissue"}),
    ],
)
def test_no_page_of_a_large_atlas_fetches_its_map(
    monkeypatch: pytest.MonkeyPatch, atlas: FakeLandscape, name: str, query: dict[str, str], shown: dict[str, Any]
) -> None:
    with landscape_api(atlas) as url:
        page = open_page(monkeypatch, url, name, **query)
        (found,) = told(page)
    assert shown.items() <= found.items()
    assert found["release"] == "made-up"
    assert atlas.mapped == []


def test_search_tells_question_hits_and_open_sample(monkeypatch: pytest.MonkeyPatch, atlas: FakeLandscape) -> None:
    opened = atlas.accessions[0]
    with landscape_api(atlas) as url:
        (found,) = told(open_page(monkeypatch, url, "search", q="heart", minus="liver^0.5", sample=opened))
        (welcome,) = told(open_page(monkeypatch, url, "search"))
    assert (found["by"], found["q"], found["minus"]) == ("score", "heart", ["liver^0.5"])
    assert len(found["hits"]) == 20
    assert [type(one) for one in found["hits"][0]] == [str, float, float]
    assert found["opened"] == [opened, float(atlas.x[0]), float(atlas.y[0])]
    assert (welcome["by"], welcome["hits"], welcome["opened"]) == ("cluster", [], None)
    assert atlas.mapped == []


def test_comparison_has_two_maps(monkeypatch: pytest.MonkeyPatch, atlas: FakeLandscape) -> None:
    with landscape_api(atlas) as url:
        sides = told(open_page(monkeypatch, url, "search", q="heart", vs="liver"))
    assert [one["q"] for one in sides] == ["heart", "liver"]
    assert atlas.mapped == []


def test_browser_without_webgl_gets_a_figure_of_few_samples(
    monkeypatch: pytest.MonkeyPatch, atlas: FakeLandscape
) -> None:
    with landscape_api(atlas) as url:
        page = open_page(monkeypatch, url, "clusters")
        page.session_state[atlas_map.NO_WEBGL] = True
        page.run()
        assert told(page) == []
        assert [query["most"] for query in atlas.mapped] == [["40"]]
        assert any("40 evenly chosen samples of 300" in one.value for one in page.caption)


@pytest.mark.parametrize(
    ("url", "page", "given", "wanted"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8501/map", "", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", "http://atlas.example.org:8501/", "", "http://atlas.example.org:8000"),
        ("http://0.0.0.0:8000", "http://[fd00::1]:8501/", "", "http://[fd00::1]:8000"),
        ("http://localhost", "http://10.0.0.7/", "", "http://10.0.0.7"),
        ("http://127.0.0.1:8000", "", "", "http://127.0.0.1:8000"),
        ("http://api:8000", "http://atlas.example.org/", "", "http://api:8000"),
        (
            "http://api:8000",
            "http://atlas.example.org/",
            "https://atlas.example.org/api/",
            "https://atlas.example.org/api",
        ),
    ],
)
def test_browser_finds_the_service_where_it_finds_the_pages(
    monkeypatch: pytest.MonkeyPatch, url: str, page: str, given: str, wanted: str
) -> None:
    monkeypatch.delenv("GEO_ATLAS_PUBLIC_API_URL", raising=False)
    assert public_url(url, page=page, argv=("app.py", given)) == wanted
    monkeypatch.setenv("GEO_ATLAS_PUBLIC_API_URL", given)
    assert public_url(url, page=page, argv=("app.py",)) == wanted
