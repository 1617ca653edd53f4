"""One sample: everything its source says, its place, what it resembles, its neighbours, and why it answers a phrase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, atlas_map, downloads, hits, views
from ui.atlas_map import Marks
from ui.card import facts, head, links, why
from ui.question import Question
from ui.service import Service, sentence
from ui.tables import sample_download
from ui.text import as_markdown, markup, shorten

N_NEIGHBOURS = 20


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page of the sample that the address names."""
    if address.arrived("sample"):
        st.session_state["sample-name"] = address.read("accession")[:80] or st.session_state.get("last sample", "")
        st.session_state["sample-phrase"] = address.read("q")
        st.session_state["sample-others"] = address.read("others", "1") != "0"
    name = _ask_for_one()
    phrase = str(st.session_state.get("sample-phrase") or "").strip()
    others = bool(st.session_state.get("sample-others", True))
    query = {"accession": name, "q": phrase, "others": "" if others else "0"}
    address.write("sample", query, release=service.release)
    st.session_state["last sample"] = name
    if not name:
        _none_named(service)
        return
    try:
        sample = service.ask(Client.sample, name)["sample"]
    except AtlasHTTPError as error:
        if error.status != 404 or "near_matches" not in error.details:
            raise
        _unknown(error, service=service)
        return
    _draw(service, sample, phrase=phrase, others=others)


def _ask_for_one() -> str:
    """Draw the box for an accession, on a line with what the page is."""
    views.heading("Sample", "What its depositors wrote, where it lies, what it resembles, and what is like it.")
    st.text_input(
        "Accession of a sample", key="sample-name", max_chars=80, placeholder="e.g. GSM4216051", icon=":material/science:",
        label_visibility="collapsed",
    )  # fmt: skip
    return str(st.session_state.get("sample-name") or "").strip()


def _draw(service: Service, sample: Mapping[str, Any], *, phrase: str, others: bool) -> None:
    accession = str(sample["accession"])
    near = service.ask(Client.neighbors, accession, k=N_NEIGHBOURS, exclude_same_series=others)
    head(sample, level=2)
    links(sample, release=service.release, here=False)
    left, place = st.columns([1, 1], gap="medium")
    with left:
        st.text(sample["caption"])
        facts(sample)
        with st.container(horizontal=True, gap="small"):
            st.button("Search with this sample", icon=":material/search:", key="search-with", on_click=address.go,
                      args=("search",), kwargs={"q": accession})  # fmt: skip
            downloads.buttons(
                lambda: sample_download([sample], release=service.release), stem=("sample", accession), key="sample"
            )
    with place:
        atlas_map.draw(
            service, marks=Marks(hits=[hit["sample"] for hit in near["hits"]], opened=accession),
            key="sample-map", title=f"Place of {accession}", height_px=430,
            note="Diamond: this sample. Rings: its nearest. Colour: clusters.", on_open=_open,
        )  # fmt: skip
    tabs = st.tabs(["Nearest samples", "What it resembles", "Why it answers a phrase"])
    with tabs[0]:
        _neighbours(service, accession, near)
    with tabs[1]:
        _keywords(service, accession)
    with tabs[2]:
        _reason(service, accession, phrase)


def _neighbours(service: Service, accession: str, near: Mapping[str, Any]) -> None:
    st.toggle("Leave out samples of its own series", key="sample-others")
    if not near["hits"]:
        views.empty("This atlas holds no other sample to compare with.")
        return
    stem = ("nearest", accession)
    hits.table(
        near["hits"], key=f"near-{accession}", release=service.release, stem=stem, on_open=_open, size="all",
        null="random pairs of samples of different series",
    )  # fmt: skip


def _keywords(service: Service, accession: str) -> None:
    found = service.ask(Client.keywords, (accession,))["keywords"]
    if not found:
        st.caption("The vocabularies of this release say nothing about this sample.")
        return
    st.dataframe(
        [{"Term": one["term"], "Vocabulary": one["library"], "Score": one["score"], "z": one["z"]} for one in found],
        hide_index=True, key="keywords", height=min(38 + 35 * len(found), 458),
        column_config={
            "Score": st.column_config.NumberColumn(format="%.3f", help="Cosine of term and sample"),
            "z": st.column_config.NumberColumn(format="%.1f", help="Standard deviations above all terms of the release"),
        },
    )  # fmt: skip
    rows = downloads.keyword_table(found, of=accession, release=service.release)
    downloads.buttons(lambda: rows, stem=("keywords", accession), key="keywords")


def _reason(service: Service, accession: str, phrase: str) -> None:
    st.text_input("Phrase", key="sample-phrase", max_chars=2_000, placeholder="A phrase, e.g. dilated cardiomyopathy",
                  label_visibility="collapsed")  # fmt: skip
    if not phrase:
        st.caption("Type a phrase to see which genes of this sample speak for it and which against.")
        return
    why(service, accession, Question(phrase=phrase), key="page", most=15)


def _none_named(service: Service) -> None:
    views.empty(
        "No sample is open.",
        "Type an accession above, take one of these, or open a hit of a search.",
        icon=":material/science:",
    )
    found = [one for one in service.ask(Client.clusters) if not one["single_study"]][:4]
    with st.container(horizontal=True, gap="small", key="examples"):
        for cluster in found:
            central = service.ask(Client.cluster, int(cluster["cluster"]))["top_samples"][:1]
            for hit in central:
                name = hit["sample"]["accession"]
                st.button(
                    f"{as_markdown(name)} ({as_markdown(shorten(cluster['label'], limit=30))})", key=f"example-{name}",
                    type="tertiary", on_click=_open, args=(name,),
                )  # fmt: skip


def _unknown(error: AtlasHTTPError, *, service: Service) -> None:
    st.warning(as_markdown(sentence(error, url=service.url)), icon=":material/search_off:")
    near = [str(one) for one in error.details.get("near_matches", [])[:5]]
    if near:
        st.html(f'<p class="ga-small">Did you mean one of {markup(len(near))}?</p>')
        with st.container(horizontal=True, gap="small", key="examples"):
            for name in near:
                st.button(as_markdown(name), key=f"near-{name}", type="tertiary", on_click=_open, args=(name,))


def _open(accession: str) -> None:
    st.session_state["sample-name"] = accession
