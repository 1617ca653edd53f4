"""The pages of clusters, scans, nearest samples and About, drawn without a browser over a stand-in for the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import streamlit as st
from landscape_api import TERMS, TOKEN, FakeLandscape, landscape_api
from streamlit.testing.v1 import AppTest

from ui import address

GENES = "gene\ts1\nMYH7\t5\nALB\t3\n"


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


def run_page(name: str) -> None:
    """Draw one page in its frame; what ``AppTest`` runs stands alone."""
    import importlib
    import os

    import streamlit as st

    from atlas.client import AtlasHTTPError
    from ui import address, views
    from ui.service import Service

    service = Service(os.environ["GEO_ATLAS_API_URL"])
    try:
        release = service.current()
        service.release = str(release["release"])
        importlib.import_module(f"ui.pages.{name}").page(service, release)
    except AtlasHTTPError as error:
        views.failure(error, url=service.url)
    wanted = address.asked_to_go()
    if wanted:
        st.text(f"went to {wanted}")


def open_page(monkeypatch: pytest.MonkeyPatch, url: str, name: str, **query: str) -> AppTest:
    monkeypatch.setenv("GEO_ATLAS_API_URL", url)
    page = AppTest.from_function(run_page, default_timeout=30, args=(name,))
    for key, value in query.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception
    return page


def shown(page: AppTest) -> str:
    """Everything that is set in HTML."""
    return " ".join(str(element.proto.body) for element in page.get("html"))


def address_of(page: AppTest) -> dict[str, Any]:
    return {key: value[0] if isinstance(value, list) else value for key, value in page.query_params.items()}


def test_clusters_are_listed_with_how_far_to_trust_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "clusters")
        table = page.dataframe[0].value
        clusters = FakeLandscape().clusters()
        assert list(table["Cluster"]) == [cluster["label"] for cluster in clusters]
        assert list(table["Agreement"]) == [round(100 * cluster["agreement"]) for cluster in clusters]
        assert table["Stability"].isna().sum() == 1  # the one that was not measured
        assert set(table["Note"]) - {""} <= {"single study", "mostly one study"}
        assert any(table["Note"])
        assert address_of(page) == {"release": "made-up"}


def test_picked_cluster_opens_with_evidence_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "clusters")
        page.selectbox(key="choose-cluster").select(1).run()
        assert "liver" in shown(page)
        assert "a language model" in shown(page)
        assert "87 %" in shown(page)  # agreement
        assert "comes back in 20 repeats, at worst 40 %" in shown(page)
        assert [block.value for block in page.code] == ["Name this cluster.", "liver"]
        assert address_of(page) == {"release": "made-up", "cluster": "1", "view": "evidence"}
        page.button(key="all-clusters").click().run()
        assert "cluster" not in address_of(page)


def test_address_restores_cluster_and_view_and_members_are_paged(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "clusters", cluster="7", view="samples")
        first = list(page.dataframe[0].value["Sample"])
        assert len(first) == 50
        assert page.button(key="members-back").disabled
        page.button(key="members-on").click().run()
        second = list(page.dataframe[0].value["Sample"])
        assert second
        assert not set(first) & set(second)
        assert page.button(key="members-on").disabled
        page.button(key="members-back").click().run()
        assert list(page.dataframe[0].value["Sample"]) == first
        page.selectbox(key="choose-member-7-1").select(first[3]).run()
        assert page.text[0].value == f"went to ('sample', {{'accession': '{first[3]}'}})"


@pytest.mark.parametrize("cluster", ["999", "-3", "x", "9" * 30])
def test_cluster_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, cluster: str) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "clusters", cluster=cluster)
        assert "no cluster 999" in page.markdown[0].value if cluster == "999" else len(page.dataframe)


def rename(page: AppTest, label: str, *, author: str = "Ada", token: str = TOKEN) -> AppTest:
    page.text_input(key="new-label-3").input(label)
    page.text_input(key="rename-author").input(author)
    page.text_input(key="rename-token").input(token)
    next(button for button in page.button if button.label == "Save name").click()
    page.run()
    assert not page.exception
    return page


def test_cluster_is_renamed_for_everybody_and_the_token_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "clusters", cluster="3", view="rename")
        rename(page, "cortex <b>")
        assert "Saved" in page.success[0].value
        assert "cortex &lt;b&gt;" in shown(page)
        assert "named by Ada on 2026-02-03; the machine's name is <b>brain cortex</b>" in shown(page)
        assert page.text_input(key="rename-token").value == ""
        assert TOKEN not in repr(page.session_state)
        assert list(page.dataframe[0].value["By"]) == ["Ada"]
        other = open_page(monkeypatch, url, "clusters")
        assert "cortex <b>" in set(other.dataframe[0].value["Cluster"])
        page.text_input(key="rename-token").input(TOKEN)
        next(button for button in page.button if button.label.startswith("Back to the machine")).click()
        page.run()
        assert "named by the vocabulary terms" in shown(page)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"token": "wrong"}, "not the administrator's token"), ({"author": ""}, "your name"), ({"label": " "}, "a name")],
)
def test_rename_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], said: str) -> None:
    atlas = FakeLandscape()
    with landscape_api(atlas) as url:
        page = open_page(monkeypatch, url, "clusters", cluster="3", view="rename")
        rename(page, **({"label": "cortex"} | changes))
        assert said in page.error[0].value
        assert atlas.edits == []


def test_names_that_met_no_cluster_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeLandscape()
    atlas.edits = [{"edit_id": 1, "label": "old name", "machine_label": "m", "author": "Ada", "note": None, "cluster": None,
                    "created_at": "2025-01-01", "made_on_release": "2025", "overlap": 0.3, "carried": "orphaned"}]  # fmt: skip
    with landscape_api(atlas) as url:
        page = open_page(monkeypatch, url, "clusters")
        assert "no cluster of this release" in page.expander[0].label
        assert list(page.dataframe[1].value["Name"]) == ["old name"]


def test_scan_opens_with_what_was_found_and_how_far_to_trust_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "scan")
        assert "20 terms against 900 samples in 18 clusters: 12 stand out" in shown(page)
        assert "Kolmogorov-Smirnov" in shown(page)
        assert "Significance can be read as it is printed" in page.expander[0].label
        assert len(page.get("plotly_chart")) == 1
        assert address_of(page) == {"release": "made-up", "scan": "omim_expanded", "view": "heat-map"}


def test_terms_are_ranked_and_a_picked_one_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "scan", view="terms")
        table = page.dataframe[0].value
        assert list(table["Term"]) == list(TERMS)
        assert list(table["#"]) == list(range(1, len(TERMS) + 1))
        page.toggle(key="scan-significant").set_value(True).run()
        assert len(page.dataframe[0].value) == 12
        page.selectbox(key="choose-term-omim_expanded").select("Asthma").run()
        assert "Rank 8 of 20" in shown(page)
        assert len(page.dataframe[0].value) == 18
        assert "descriptive" in set(page.dataframe[0].value["Note"])
        assert address_of(page)["term"] == "Asthma"
        page.button(key="all-terms").click().run()
        assert "term" not in address_of(page)


def test_address_restores_a_term_with_a_slash_and_unknown_ones_offer_near(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "scan", term="Adrenal hyperplasia/insufficiency")
        assert "Rank 14 of 20" in shown(page)
        page = open_page(monkeypatch, url, "scan", term="Nonsense")
        assert "no such term" in page.warning[0].value
        page.button(key="near-0").click().run()
        assert "Rank 1 of 20" in shown(page)


def test_clusters_and_sum_of_a_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "scan", view="clusters")
        assert "●" in page.dataframe[0].value["Term 1"].str.cat()
        page = open_page(monkeypatch, url, "scan", view="sum")
        assert "resemble each other" in shown(page)
        medians = list(page.dataframe[0].value["Median percentile"])
        assert medians == sorted(medians, reverse=True)


def start_own(page: AppTest, text: str) -> AppTest:
    page.text_area(key="own-terms").input(text)
    next(button for button in page.button if button.label == "Start").click()
    page.run()
    assert not page.exception
    return page


def test_own_list_becomes_a_job_and_its_result_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeLandscape()
    atlas.job_steps = 3
    with landscape_api(atlas) as url:
        page = start_own(open_page(monkeypatch, url, "scan"), "asthma\nAsthma\neczema")
        assert atlas.changed == [("POST", "/v1/scans", {"terms": ["asthma", "eczema"]})]
        assert address_of(page)["job"] == "job-0"
        assert any("1 repeated term is scanned once" in caption.value for caption in page.caption)
        for _ in range(4):
            page.run()
        assert address_of(page)["scan"] == "0123456789abcdef"
        assert "job" not in address_of(page)


def test_job_is_found_again_by_its_address_and_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = FakeLandscape()
    atlas.job_steps = 1_000
    with landscape_api(atlas) as url:
        start_own(open_page(monkeypatch, url, "scan"), "asthma")
        page = open_page(monkeypatch, url, "scan", job="job-0")
        page.button(key="cancel-job").click().run()
        assert any("was stopped" in one.value for one in page.markdown)
        page.button(key="dismiss-job").click().run()
        assert "job" not in address_of(page)


@pytest.mark.parametrize("text", ["", "# nothing\n", "x" * 400])
def test_own_list_that_is_none_is_a_sentence_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    atlas = FakeLandscape()
    with landscape_api(atlas) as url:
        page = start_own(open_page(monkeypatch, url, "scan"), text)
        assert page.error[0].value
        assert atlas.changed == []


def test_release_without_scans_and_unknown_scan_help(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api(FakeLandscape(scans=False)) as url:
        page = open_page(monkeypatch, url, "scan", scan="gone")
        assert "not at hand" in page.warning[0].value
        assert "holds no scan yet" in " ".join(one.value for one in page.markdown)


def test_nearest_of_an_accession_leaves_its_series_out_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "nearest", accession="GSM4000007")
        assert "GSM4000007" in shown(page)
        assert len(page.dataframe[0].value) == 50
        assert page.toggle(key="nearest-others").value
        page.toggle(key="nearest-others").set_value(False).run()
        assert address_of(page)["others"] == "0"


def test_nearest_without_an_accession_offers_some(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "nearest")
        example = next(button for button in page.button if str(button.key).startswith("example-"))
        example.click().run()
        assert address_of(page)["accession"] == str(example.key).removeprefix("example-")
        page = open_page(monkeypatch, url, "nearest", accession="GSM1")
        assert "not a sample" in page.warning[0].value
        assert page.button(key="near-GSM4000000").label


def find(page: AppTest) -> AppTest:
    next(button for button in page.button if button.label == "Find the nearest").click()
    page.run()
    assert not page.exception
    return page


def test_pasted_table_is_answered_with_coverage_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "nearest", by="paste")
        page.text_area(key="nearest-table").input(GENES)
        find(page)
        assert "480 of your 500 genes were recognised" in shown(page)
        assert "It lies among <b>" in shown(page)
        assert set(page.dataframe[0].value["Sample"])
        page.selectbox(key="nearest-which").select(1).run()
        assert "sample_2" in shown(page)


def test_example_is_filled_in_and_answered_by_one_click(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "nearest", by="paste")
        next(button for button in page.button if button.label == "Try an example").click().run()
        assert not page.error
        assert page.text_area(key="nearest-table").value.startswith("gene\t")
        assert "480 of your 500 genes were recognised" in shown(page)


def test_click_that_brings_an_earlier_address_along_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that has not heard of the newest address yet sends the one before it with the next click."""
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "nearest")
        first = address_of(page)
        page.segmented_control(key="nearest-by").set_value("paste").run()
        assert address_of(page)["by"] == "paste"
        page.query_params.clear()
        page.query_params.update(first)
        page.segmented_control(key="nearest-by").set_value("file").run()
        assert page.segmented_control(key="nearest-by").value == "file"
        assert address_of(page)["by"] == "file"


def test_address_followed_or_gone_back_to_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "nearest")
        first = address_of(page)
        page.segmented_control(key="nearest-by").set_value("paste").run()
        page.run()  # the browser has confirmed the newest address
        page.query_params.clear()
        page.query_params.update(first)
        page.run()
        assert page.segmented_control(key="nearest-by").value == "accession"
        page.segmented_control(key="nearest-by").set_value("paste").run()
        page.query_params.clear()
        page.query_params.update(first)
        monkeypatch.setattr(address, "_went_back", lambda: True)  # the back button, before anything else was clicked
        page.run()
        assert page.segmented_control(key="nearest-by").value == "accession"


def test_pasted_nonsense_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = find(open_page(monkeypatch, url, "nearest", by="paste"))
        assert "Nothing was pasted" in page.error[0].value
        page.text_area(key="nearest-table").input("not a table")
        find(page)
        assert "no table of genes" in page.error[0].value
        page = find(open_page(monkeypatch, url, "nearest", by="file"))
        assert "No file was chosen" in page.error[0].value


def test_about_tells_what_was_measured_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    with landscape_api() as url:
        page = open_page(monkeypatch, url, "about")
        for said in (
            "99.3 %",
            "647 phrases",
            "zero counts 12",
            "modularity 0.87",
            "Honest use",
            "Scan of OMIM Expanded",
        ):
            assert said in shown(page)
        assert "geo-atlas 0.1, release made-up of 2026-01-01 (900 samples" in page.code[1].value


@pytest.mark.parametrize("name", ["clusters", "scan", "nearest", "about"])
def test_service_that_is_down_is_a_sentence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with landscape_api() as url:
        pass
    page = open_page(monkeypatch, url, name)
    assert "does not answer" in page.error[0].value
    assert page.button(key="retry").label == "Try again"


@pytest.mark.parametrize(
    ("name", "query"),
    [("clusters", {}), ("clusters", {"cluster": "0", "view": "made-of"}), ("clusters", {"cluster": "1"}),
     ("clusters", {"cluster": "0", "view": "samples"}), ("scan", {}), ("scan", {"term": "<script>alert(1)</script>"}),
     ("scan", {"view": "clusters"}), ("nearest", {"accession": "GSM4000007"}), ("nearest", {"accession": "<script>x"})],
)  # fmt: skip
def test_text_of_strangers_is_never_markup(monkeypatch: pytest.MonkeyPatch, name: str, query: dict[str, str]) -> None:
    with landscape_api(FakeLandscape(evil=True)) as url:
        page = open_page(monkeypatch, url, name, **query)
        assert "<img" not in shown(page)
        assert "<script" not in shown(page)
        written = [*page.markdown, *page.caption, *page.warning]
        assert all("![" not in one.value for one in written)
        assert all("<img" not in button.label.replace("\\<", "") for button in page.button)
