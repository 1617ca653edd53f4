"""One series: its samples, where they lie, what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, atlas_map, downloads, parts, views
from ui.atlas_map import Marks
from ui.service import Service, sentence
from ui.tables import description_of, sample_download, sample_rows
from ui.text import as_markdown, markup, safe_url, shorten

MOST_LISTED = 2_000
"""Samples of a series that the choice beneath the table lists; the table and the files hold them all."""


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page of the series that the address names."""
    if address.arrived("series"):
        st.session_state["series-name"] = address.read("accession")[:80] or st.session_state.get("last series", "")
    views.heading("Series", "The samples of one study: what they are, and where their expression puts them.")
    st.text_input(
        "Accession of a series", key="series-name", max_chars=80, placeholder="e.g. GSE141910", icon=":material/dataset:",
        label_visibility="collapsed",
    )  # fmt: skip
    name = str(st.session_state.get("series-name") or "").strip()
    address.write("series", {"accession": name}, release=service.release)
    st.session_state["last series"] = name
    if not name:
        _none_named(service)
        return
    try:
        series = service.ask(Client.series, name)
    except AtlasHTTPError as error:
        if error.status != 404 or error.code == "release_retired":
            raise
        st.warning(as_markdown(sentence(error, url=service.url)), icon=":material/search_off:")
        _largest(service)
        return
    _draw(service, series)


def _draw(service: Service, series: Mapping[str, Any]) -> None:
    accession, samples = str(series["accession"]), series["samples"]
    n_clusters = len(series["by_cluster"])
    counted = f"{series['n_samples']:,} samples in this atlas, in {n_clusters} cluster{'s' * (n_clusters != 1)}"
    st.html(f'<h2 class="ga-name">{markup(accession)} · {markup(series["title"] or "without a title")}</h2>'
            f'<p class="ga-sub">{counted}</p>')  # fmt: skip
    with st.container(horizontal=True, gap="small", key="links-page"):
        if url := safe_url(series["url"]):
            st.link_button(
                as_markdown(accession), url, icon=":material/open_in_new:", type="tertiary", help="The public record"
            )
        st.button("Search within this series", icon=":material/search:", key="search-in", type="tertiary",
                  on_click=address.go, args=("search",), kwargs={"series": [accession]})  # fmt: skip
    left, place = st.columns([1, 1], gap="medium")
    with left:
        n = max(1, int(series["n_samples"]))
        clusters = [
            {"value": one["label"] or one["value"], "n": one["n"], "share": one["n"] / n}
            for one in series["by_cluster"]
        ]
        parts.share_bars("Clusters", clusters)
        parts.share_bars("Tissue or source", series["by_tissue"])
    with place:
        atlas_map.draw(
            service, marks=Marks(members=samples), key="series-map", title=f"Samples of {accession}", height_px=430,
            note="Pointed out: the samples of this series.", on_open=_open_sample,
        )  # fmt: skip
    _samples(service, accession, samples)


def _samples(service: Service, accession: str, samples: Any) -> None:
    key = f"samples-{accession}"

    def chosen() -> None:
        row = parts.selected_row(key)
        if row is not None and row < len(samples):
            _open_sample(samples[row]["accession"])

    st.dataframe(
        sample_rows(samples), key=key, hide_index=True, on_select=chosen, selection_mode="single-row", placeholder="",
        height=min(38 + 35 * max(1, len(samples)), 458),
        column_config={
            "Sample": st.column_config.TextColumn(width=112),
            "Title": st.column_config.TextColumn(width=200),
            "Source": st.column_config.TextColumn(width=160),
            "Characteristics": st.column_config.TextColumn(width=420),
            "Cluster": st.column_config.TextColumn(width=160),
            "Genes": st.column_config.NumberColumn(format="localized", width=72, help="Genes detected"),
            "Record": st.column_config.LinkColumn("↗", display_text="↗", width=30, help="The public record of the sample"),
        },
    )  # fmt: skip
    options = {
        sample["accession"]: f"{sample['accession']} · {shorten(description_of(sample), limit=60)}"
        for sample in samples[:MOST_LISTED]
    }
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        parts.pick("Open a sample", options, key="pick-of-series", then=_open_sample, placeholder="Open a sample …")
        downloads.buttons(
            lambda: sample_download(samples, release=service.release), stem=("series", accession), key="series"
        )


def _none_named(service: Service) -> None:
    views.empty("No series is open.", "Type an accession above, or take one of these.", icon=":material/dataset:")
    _largest(service)


def _largest(service: Service) -> None:
    """Draw the largest series of the atlas as a way in."""
    found = service.ask(Client.facets)["series"]
    options = {one["value"]: f"{one['value']} ({one['n']:,} samples)" for one in found}
    parts.pick("Open a series", options, key="pick-largest", then=_open, placeholder="One of the largest series …")


def _open(accession: str) -> None:
    st.session_state["series-name"] = accession


def _open_sample(accession: str) -> None:
    address.go("sample", accession=accession)
