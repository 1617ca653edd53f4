"""The page's states, drawn without a browser over a stand-in for the API."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from pages_api import TISSUES, FakeAtlas, fake_api
from streamlit.testing.v1 import AppTest

from ui import ask, compare, hits
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


def test_first_visit_invites_and_says_what_the_atlas_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url)
        assert not page.exception
        assert "<b>900</b> samples" in shown(page)
        assert "made-up" in shown(page)
        assert "Tissue or source" in shown(page)
        assert not page.dataframe


def test_examples_are_names_this_atlas_holds_with_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeAtlas()
    with fake_api(atlas) as url:
        page = open_page(monkeypatch, url)
        examples = {
            button.key.removeprefix("example-"): button for button in page.button if button.key.startswith("example-")
        }
        assert 4 <= len(examples) <= 8
        assert set(examples) <= set(TISSUES)
        phrase, button = next(iter(examples.items()))
        assert button.help == f"{(atlas.group == TISSUES.index(phrase)).sum()} samples carry this name"
        button.click().run()
        assert not page.exception
        assert atlas.asked[-1] == phrase
        assert page.text_input(key="q").value == phrase


def test_no_example_finds_nothing() -> None:
    clusters = [{"label": "NK cells / T cells", "n_samples": 9, "n_series": 3, "single_study": False}]
    facets = {"tissue": [{"value": "coadread", "n": 92}, {"value": "retina", "n": 4}]}
    phrases = ask.example_phrases(clusters, facets, answered=lambda phrase: phrase != "coadread")
    assert phrases == [("NK cells", 9), ("retina", 4)]


def test_hits_are_a_table_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="heart")
        table = page.dataframe[0].value
        assert len(table) == 20
        assert all(text.startswith("heart left ventricle") for text in table["Description"])
        assert list(table["Score"]) == sorted(table["Score"], reverse=True)
        assert set(table["Answer"]) == {"strong"}
        assert "Strong answer" in shown(page)


def test_typed_phrase_and_options_reach_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url)
        page.text_input(key="q").input("pancreatic islets")
        page.number_input(key="k").set_value(5)
        page.button(key="go").click().run()
        assert not page.exception
        assert len(page.dataframe[0].value) == 5
        assert "pancreatic islets" in shown(page)
        assert page.query_params["q"] == "pancreatic islets"
        assert page.query_params["k"] == "5"


def test_filter_by_a_counted_value_reaches_the_service_and_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="heart")
        tissue = page.multiselect(key="filter-tissue")
        assert any(option.startswith("liver (") for option in tissue.options)
        tissue.select("liver").run()
        assert not page.exception
        assert page.query_params["tissue"] == "liver"
        assert {text.split(" ")[0] for text in page.dataframe[0].value["Description"]} == {"liver"}
        page.button(key="clear-filters").click().run()
        assert "tissue" not in page.query_params
        assert page.dataframe[0].value["Description"][0].startswith("heart")


def test_ingredients_are_added_weighed_and_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeAtlas()
    with fake_api(atlas) as url:
        page = open_page(monkeypatch, url, q="heart")
        page.button(key="part-add-less").click().run()
        page.text_input(key="part-text-0").input("lung")
        page.number_input(key="part-weight-0").set_value(0.5).run()
        assert not page.exception
        assert atlas.questions[-1]["minus"] == ["lung^0.5"]
        assert page.query_params["minus"] == "lung^0.5"
        assert "less lung × 0.5" in shown(page)
        page.button(key="part-drop-0").click().run()
        assert "minus" not in page.query_params


def test_opened_sample_becomes_an_ingredient(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="heart", sample="GSM4000007")
        page.button(key="part-less").click().run()
        assert not page.exception
        assert page.query_params["minus"] == "GSM4000007"
        assert "sample" not in page.query_params


def test_two_phrases_side_by_side_with_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeAtlas()
    with fake_api(atlas) as url:
        page = open_page(monkeypatch, url, q="heart", vs="heart ventricle")
        assert not page.exception
        assert {"heart", "heart ventricle"} <= set(atlas.asked)
        assert "samples are among the 20 nearest of" in shown(page)
        assert page.toggle(key="compare").value
        page.toggle(key="compare").set_value(False).run()
        assert "vs" not in page.query_params
        assert "samples are among" not in shown(page)


def test_shared_samples_are_those_of_both_answers() -> None:
    def answer(*names: str) -> dict[str, object]:
        sample = {"title": "t", "source_name": "s", "cluster_label": "c"}
        return {"hits": [{"rank": i, "sample": {**sample, "accession": name}} for i, name in enumerate(names, 1)]}

    rows = compare.shared_rows([answer("A", "B", "C"), answer("C", "D", "B")], ["x", "y"])
    assert [row["Sample"] for row in rows] == ["C", "B"]
    assert (rows[0]["Rank: x"], rows[0]["Rank: y"]) == (3, 1)


def test_no_match_is_said_and_the_nearest_are_listed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="zebra crossing")
        assert "Nothing in this atlas matches" in page.warning[0].value
        assert page.warning[0].value.count("listed all the same") <= 1
        assert len(page.dataframe[0].value) == 20


def test_name_of_a_sample_or_series_is_told_from_words() -> None:
    found = [{"sample": {"accession": "GSM12", "series": ["GSE3"]}}]
    assert hits.names_record({"query": "gsm12 ", "hits": found})
    assert hits.names_record({"query": "GSE3", "hits": found})
    assert not hits.names_record({"query": "heart", "hits": found})
    assert not hits.names_record({"query": "GSM12", "hits": []})


def test_chosen_hit_opens_says_why_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="cardiomyopathy")
        accession, second = page.dataframe[0].value["Sample"][:2]
        choice = next(box for box in page.selectbox if box.key.startswith("pick-hits"))
        choice.select(accession).run()
        assert not page.exception
        assert accession in shown(page)
        assert "part of a study" in page.text[0].value
        assert "Rank 1, score" in shown(page)
        assert "Why this sample" in shown(page)
        assert page.query_params["sample"] == accession
        page.button(key="step-Next").click().run()
        assert page.query_params["sample"] == second
        page.button(key="close").click().run()
        assert not page.text
        assert "sample" not in page.query_params


def test_address_restores_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeAtlas()
    with fake_api(atlas) as url:
        page = open_page(
            monkeypatch,
            url,
            q="liver",
            sample="GSM4000007",
            k="7",
            view="series",
            minus="lung^0.5",
            exclude="cell line",
        )
        assert not page.exception
        assert page.text_input(key="q").value == "liver"
        assert "GSM4000007" in shown(page)
        assert page.segmented_control(key="view").value == "series"
        assert page.text_input(key="part-text-0").value == "lung"
        asked = atlas.questions[-1]
        assert (asked["k"], asked["minus"], asked["exclude"]) == (["7"], ["lung^0.5"], ["cell line"])
        assert page.query_params["release"] == "made-up"
        assert page.query_params["view"] == "series"


def test_removed_release_is_a_sentence_with_a_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        page = open_page(monkeypatch, url, q="liver", release="removed")
        assert "taken out of service" in page.error[0].value
        assert not page.exception
        page.button(key="unpin").click().run()
        assert not page.error
        assert page.query_params["release"] == "made-up"
        assert len(page.dataframe[0].value) == 20


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


def test_question_survives_a_service_that_goes_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_api() as url:
        port = int(url.rsplit(":", 1)[1])
        page = open_page(monkeypatch, url, q="heart")
        page.text_input(key="q").input("liver").run()
        assert page.query_params["q"] == "liver"
    st.cache_data.clear()
    st.cache_resource.clear()
    page.run()
    assert "does not answer" in page.error[0].value
    with fake_api(port=port):
        page.button(key="retry").click().run()
        assert not page.error
        assert page.text_input(key="q").value == "liver"
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
