"""The page's states, drawn without a browser over a stand-in for the API."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from pages_api import FakeAtlas, fake_api
from streamlit.testing.v1 import AppTest

from ui import views
from ui.service import api_url

PAGE = Path(importlib.util.find_spec("ui").submodule_search_locations[0]) / "app.py"  # type: ignore[union-attr,index]


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


def open_page(monkeypatch: pytest.MonkeyPatch, url: str, **query: str) -> AppTest:
    monkeypatch.setenv("GEO_ATLAS_API_URL", url)
    monkeypatch.setattr("sys.argv", ["app.py"])
    page = AppTest.from_file(str(PAGE), default_timeout=30)
    for key, value in query.items():
        page.query_params[key] = value
    return page.run()


def shown(page: AppTest) -> str:
    """Everything that is set in HTML."""
    return " ".join(str(element.proto.body) for element in page.get("html"))


def test_first_visit_invites_and_lists_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url)
        assert not page.exception
        assert "900 samples" in shown(page)
        assert "made-up" in shown(page)
        assert list(page.dataframe[0].value["Cluster"])
        assert not page.tabs


def test_example_button_asks_for_its_phrase(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeAtlas()
    with fake_api(atlas) as url:
        page = open_page(monkeypatch, url)
        page.button(key="example-heart").click().run()
        assert not page.exception
        assert atlas.asked == ["heart"]
        assert page.text_input(key="q").value == "heart"
        table = page.dataframe[0].value
        assert len(table) == 20
        assert set(table["Source"]) == {"heart left ventricle"}
        assert list(table["Score"]) == sorted(table["Score"], reverse=True)
        assert page.tabs[1].label.startswith("Series (")


def test_typed_phrase_and_options_reach_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url)
        page.text_input(key="q").input("pancreatic islets")
        page.number_input(key="k").set_value(5)
        page.button[0].click().run()
        assert not page.exception
        assert len(page.dataframe[0].value) == 5
        assert "pancreatic islets" in shown(page)
        assert page.query_params["q"] == "pancreatic islets"


def test_no_match_is_said_and_the_nearest_are_listed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="zebra crossing")
        assert "Nothing in this atlas matches" in page.warning[0].value
        assert page.warning[0].value.count("listed all the same") <= 1
        assert len(page.dataframe[0].value) == 20


def test_name_of_a_sample_or_series_is_told_from_words() -> None:
    hits = [{"sample": {"accession": "GSM12", "series": ["GSE3"]}}]
    assert views.names_record({"query": "gsm12 ", "hits": hits})
    assert views.names_record({"query": "GSE3", "hits": hits})
    assert not views.names_record({"query": "heart", "hits": hits})
    assert not views.names_record({"query": "GSM12", "hits": []})


def test_chosen_hit_opens_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="cardiomyopathy")
        accession = page.dataframe[0].value["Sample"][0]
        page.selectbox(key="choose-hit").select(accession).run()
        assert not page.exception
        assert accession in shown(page)
        assert "part of a study" in page.text[0].value
        assert page.query_params["sample"] == accession
        page.button(key="close").click().run()
        assert not page.text
        assert "sample" not in page.query_params


def test_address_restores_phrase_and_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="liver", sample="GSM4000007")
        assert page.text_input(key="q").value == "liver"
        assert "GSM4000007" in shown(page)


def test_unknown_sample_in_the_address_is_a_sentence_with_near_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, sample="GSM1")
        assert "GSM4000000" in page.warning[0].value
        assert not page.exception


def test_service_that_is_down_is_a_sentence_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        port = int(url.rsplit(":", 1)[1])
    page = open_page(monkeypatch, url, q="liver")
    assert "does not answer" in page.error[0].value
    assert not page.exception
    assert not page.dataframe
    with fake_api(port=port):
        page.button(key="retry").click().run()
        assert not page.error
        assert len(page.dataframe[0].value) == 20


def test_text_of_strangers_is_never_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api(FakeAtlas(evil=True)) as url:
        page = open_page(monkeypatch, url, q="<script>alert(1)</script> liver", sample="GSM4000007")
        assert not page.exception
        assert "<img" not in shown(page)
        assert "<script>" not in shown(page)
        assert "&lt;img" in shown(page)
        assert all(not value for value in page.dataframe[0].value["Record"])  # javascript: addresses are dropped
        assert all("![" not in element.value for element in page.markdown)


def test_address_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py"])
    assert api_url() == "http://127.0.0.1:8000"
    monkeypatch.setenv("GEO_ATLAS_API_URL", "http://a.example/")
    assert api_url() == "http://a.example"
    assert api_url(["http://b.example:1"]) == "http://b.example:1"
