"""Clusters: the labelled map and the table; one cluster with its evidence, samples, make-up and the history of its name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, atlas_map, cluster_views, downloads, parts, views
from ui.atlas_map import Marks
from ui.service import Service, sentence
from ui.tables import download_rows
from ui.text import markup

VIEWS = {"evidence": "Why this name", "samples": "Samples", "made-of": "Made of", "rename": "Rename"}
PAGE_SIZE = 50
DOWNLOAD_PAGE = 1_000


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page for the present state: all clusters, or the one the address names."""
    if address.arrived("clusters"):
        st.session_state["cluster"] = address.read_number("cluster", -1, low=-1, high=10**9)
        st.session_state["cluster-view"] = address.read("view") if address.read("view") in VIEWS else "evidence"
    opened = int(st.session_state.get("cluster", -1))
    views.heading(
        "Clusters",
        "Samples with similar expression form clusters. Each carries a name, the evidence for it, and how far to trust both.",
    )
    with st.spinner("Asking the atlas …", show_time=False):
        clusters = service.ask(Client.clusters)
    if not clusters:
        views.empty(
            "This release has no clusters.", "Build one with `geo-atlas build`.", icon=":material/bubble_chart:"
        )
    elif opened < 0:
        _all(service, clusters)
    else:
        _one(service, opened)
    view = st.session_state.get("cluster-view") if opened >= 0 else ""
    address.write(
        "clusters",
        {"cluster": str(opened) if opened >= 0 else "", "view": str(view or "")},
        release=service.release,
    )


def _all(service: Service, clusters: Any) -> None:
    lists, place = st.columns([11, 9], gap="medium")
    with lists:
        parts.pick(
            "Open a cluster",
            {int(c["cluster"]): f"{c['label']} · {c['n_samples']:,} samples" for c in clusters},
            key="choose-cluster",
            then=_open,
            placeholder="Type a name to open a cluster",
        )
        cluster_views.table(clusters, on_open=_open)
        downloads.buttons(
            lambda: downloads.cluster_table(clusters, release=service.release),
            stem=("clusters", service.release),
            key="clusters",
        )
        n_single = sum(1 for c in clusters if c["single_study"])
        st.caption(
            f"{len(clusters):,} clusters; {n_single:,} come mostly from a single study and may be that study, not biology."
        )
        _orphans(service)
    with place:
        atlas_map.draw(
            service,
            key="clusters-map",
            title=f"Clusters of release {service.release}",
            note="Colour: clusters. Click a point, a row or a name to open a cluster.",
            on_open=_opener(service),
        )


def _one(service: Service, opened: int) -> None:
    st.button("All clusters", key="all-clusters", icon=":material/arrow_back:", on_click=_open, args=(-1,))
    try:
        detail = service.ask(Client.cluster, opened)
    except AtlasHTTPError as error:
        if error.status != 404:
            raise
        views.empty(
            f"There is no cluster {opened} in this release.",
            "Clusters are numbered anew with each release; choose one from the list.",
        )
        return
    cluster_views.head(detail)
    cluster_views.quality(detail)
    lists, place = st.columns([11, 9], gap="medium")
    with lists:
        view = st.segmented_control(
            "What to show", list(VIEWS), key="cluster-view", format_func=VIEWS.__getitem__, required=True,
            label_visibility="collapsed",
        )  # fmt: skip
        _view(service, str(view or "evidence"), detail)
    with place:
        label = str(detail["summary"]["label"])
        atlas_map.draw(
            service,
            marks=Marks(cluster=opened),
            key=f"cluster-map-{opened}",
            title=f"{label}: cluster {opened} of release {service.release}",
            note="Coloured: this cluster. Click another to open it.",
            on_open=_opener(service),
        )
        st.button(
            "Search for this name",
            key="search-label",
            icon=":material/search:",
            on_click=lambda: address.go("search", q=label),
        )


def _view(service: Service, view: str, detail: Mapping[str, Any]) -> None:
    if view == "samples":
        _members(service, detail)
    elif view == "made-of":
        cluster_views.composition(detail)
    elif view == "rename":
        _rename(service, detail)
    else:
        cluster_views.evidence(detail)


def _members(service: Service, detail: Mapping[str, Any]) -> None:
    cluster = int(detail["summary"]["cluster"])
    trail: list[str | None] = st.session_state.setdefault(f"member-pages-{service.release}-{cluster}", [None])
    found = service.ask(Client.cluster_samples, cluster, limit=PAGE_SIZE, cursor=trail[-1])
    cluster_views.members(found["hits"], key=f"members-{cluster}-{len(trail)}", on_open=_open_sample)
    first = found["hits"][0]["rank"] if found["hits"] else 0
    last = found["hits"][-1]["rank"] if found["hits"] else 0
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Previous",
            key="members-back",
            icon=":material/chevron_left:",
            disabled=len(trail) < 2,
            on_click=_back,
            args=(trail,),
        )
        st.button(
            "Next", key="members-on", icon=":material/chevron_right:", disabled=found["next_cursor"] is None,
            on_click=trail.append, args=(found["next_cursor"],),
        )  # fmt: skip
        st.caption(f"{first:,}-{last:,} of {found['n_samples']:,}, most central first")
    parts.pick(
        "Open a sample",
        {
            hit["sample"]["accession"]: f"{hit['rank']} · {hit['sample']['accession']} · {hit['sample']['source_name']}"
            for hit in found["hits"]
        },
        key=f"choose-member-{cluster}-{len(trail)}",
        then=_open_sample,
        placeholder="Choose a sample to open",
    )
    downloads.buttons(lambda: _all_members(service, cluster), stem=("cluster", cluster, "samples"), key="members")


def _back(trail: list[str | None]) -> None:
    if len(trail) > 1:
        trail.pop()


def _all_members(service: Service, cluster: int) -> list[downloads.Row]:
    """Return every sample of a cluster, page after page: a download has them all."""
    rows: list[downloads.Row] = []
    cursor: str | None = None
    while True:
        found = service.ask(Client.cluster_samples, cluster, limit=DOWNLOAD_PAGE, cursor=cursor)
        rows += download_rows([dict(hit) for hit in found["hits"]], release=service.release)
        cursor = found["next_cursor"]
        if cursor is None:
            return rows


def _rename(service: Service, detail: Mapping[str, Any]) -> None:
    summary = detail["summary"]
    cluster = int(summary["cluster"])
    if told := st.session_state.pop("rename-told", None):
        (st.success if told[0] else st.error)(views.as_markdown(told[1]))
    st.html(
        '<p class="ga-said">A person may know better. The machine\'s name is kept, and author, date and reason are shown to '
        f"everybody. The machine's name: <b>{markup(summary['machine_label'] or summary['label'])}</b></p>"
    )
    with st.form("rename", border=True):
        st.text_input("Name", value=str(summary["label"]), key=f"new-label-{cluster}", max_chars=200)
        left, right = st.columns(2)
        left.text_input("Your name", key="rename-author", max_chars=200)
        right.text_input(
            "Administrator's token", key="rename-token", type="password", autocomplete="off",
            help="Whoever runs the service set it (GEO_ATLAS_ADMIN_TOKEN). It is sent with this request and kept nowhere.",
        )  # fmt: skip
        st.text_input("Why (optional)", key="rename-note", max_chars=2_000)
        with st.container(horizontal=True):
            st.form_submit_button("Save name", type="primary", on_click=_save, args=(service, cluster))
            if summary["edited_by"]:
                st.form_submit_button("Back to the machine's name", on_click=_take_back, args=(service, cluster))
    try:
        edits = service.now(Client.label_edits, release=service.release)["edits"]
    except AtlasHTTPError as error:
        st.caption(views.as_markdown(f"Earlier names cannot be shown: {sentence(error, url=service.url)}"))
        return
    mine = [edit for edit in edits if edit["cluster"] == cluster]
    if mine:
        st.caption("Names people gave to this cluster")
        cluster_views.edit_history(mine)


def _save(service: Service, cluster: int) -> None:
    token = _take_token()
    label = str(st.session_state.get(f"new-label-{cluster}", "")).strip()
    author = str(st.session_state.get("rename-author", "")).strip()
    note = str(st.session_state.get("rename-note", "")).strip() or None
    missing = [name for name, value in (("a name", label), ("your name", author), ("the token", token)) if not value]
    if missing:
        st.session_state["rename-told"] = (False, f"Please give {' and '.join(missing)}.")
        return
    try:
        service.now(Client.set_label, cluster, label, author=author, note=note, token=token, release=service.release)
    except AtlasHTTPError as error:
        st.session_state["rename-told"] = (False, sentence(error, url=service.url))
        return
    service.forget()
    st.session_state["rename-told"] = (True, f"Saved. Everybody sees “{label}” now.")


def _take_back(service: Service, cluster: int) -> None:
    token, author = _take_token(), str(st.session_state.get("rename-author", "")).strip()
    if not token or not author:
        st.session_state["rename-told"] = (False, "Please give your name and the token.")
        return
    try:
        service.now(Client.remove_label, cluster, author=author, token=token, release=service.release)
    except AtlasHTTPError as error:
        st.session_state["rename-told"] = (False, sentence(error, url=service.url))
        return
    st.session_state.pop(f"new-label-{cluster}", None)
    service.forget()
    st.session_state["rename-told"] = (True, "The machine's name is back.")


def _take_token() -> str:
    """Return the typed token and forget it: it lives for one request."""
    token = str(st.session_state.get("rename-token", "")).strip()
    st.session_state["rename-token"] = ""
    return token


def _orphans(service: Service) -> None:
    """Show the names people gave to clusters that this release no longer has."""
    try:
        edits = service.now(Client.label_edits, release=service.release)["edits"]
    except AtlasHTTPError:
        return  # the clusters are worth showing without
    orphaned = [edit for edit in edits if edit["carried"] == "orphaned"]
    if orphaned:
        with st.expander(f"Names that met no cluster of this release ({len(orphaned)})"):
            cluster_views.edit_history(orphaned)


def _opener(service: Service) -> Any:
    """Return what a click on the map does: open the cluster of the clicked sample."""

    def opened(accession: str) -> None:
        with suppress(AtlasHTTPError):  # whatever keeps the service from answering, the page tells
            cluster = service.ask(Client.sample, accession)["sample"]["cluster"]
            if cluster is not None:
                _open(cluster)

    return opened


def _open(cluster: int) -> None:
    st.session_state["cluster"] = cluster
    st.session_state.setdefault("cluster-view", "evidence")


def _open_sample(accession: str) -> None:
    address.go("sample", accession=accession)
