"""Disease scan: a vocabulary or a person's own list swept over the atlas; its heat map, terms, clusters and sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, atlas_map, downloads, parts, scan_job, scan_views, scan_words, views
from ui.atlas_map import Asked
from ui.heatmap import take_grid
from ui.service import Service

VIEWS = {"heat-map": "Heat map", "terms": "Terms", "clusters": "Clusters", "sum": "Sum of all"}
ROWS = (30, 60, 120)
DESCRIPTIVE_BELOW = 3
"""What is found in clusters of fewer studies holds for those studies."""


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page for the present state: a scan, or one term of it."""
    if address.arrived("scan"):
        _arrive()
    views.heading(
        "Disease scan",
        "Every term of a vocabulary is held against every cluster of the atlas, and against thousands of terms that have nothing "
        "to do with it: which diseases answer where, and is it more than chance?",
    )
    with st.spinner("Asking the atlas …", show_time=False):
        scans = list(service.now(Client.scans, release=service.release)["scans"])
    wanted = str(st.session_state.get("scan") or "")
    summary = next((s for s in scans if s["name"] == wanted), None) or _first(scans)
    _choose(service, scans, summary)
    scan_job.watch(service)
    if wanted and (summary is None or summary["name"] != wanted):
        st.warning(
            views.as_markdown(
                f"The scan “{wanted[:80]}” is not at hand in this release. Results of own lists are kept for some days."
            )
        )
    if summary is None:
        views.empty(
            "This release holds no scan yet.",
            "Scan a list of your own or a vocabulary at hand, above.",
            icon=":material/grid_on:",
        )
        _remember(service, "")
        return
    term = st.session_state.get("scan-term")
    if term:
        _term(service, summary, str(term))
    else:
        _scan(service, summary)
    _remember(service, str(summary["name"]))


def _arrive() -> None:
    st.session_state["scan"] = address.read("scan")
    st.session_state["scan-term"] = address.read("term")
    st.session_state["scan-view"] = address.read("view") if address.read("view") in VIEWS else "heat-map"
    if job := address.read("job")[:80]:
        st.session_state["scan-job"] = job


def _remember(service: Service, scan: str) -> None:
    term = str(st.session_state.get("scan-term") or "")
    view = "" if term else str(st.session_state.get("scan-view") or "")
    job = str(st.session_state.get("scan-job") or "")
    address.write("scan", {"scan": scan, "term": term, "view": view, "job": job}, release=service.release)


def _first(scans: list[Any]) -> Any:
    """Return the scan to begin with: one of the release before those of people, OMIM before others."""
    return min(
        scans, key=lambda s: (s["stored"] != "release", "omim" not in s["name"].lower(), s["name"]), default=None
    )


def _choose(service: Service, scans: list[Any], summary: Any) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom", gap="medium")
    with left:
        if scans:
            titles = {str(s["name"]): _title(s) for s in scans}
            parts.pick(
                "Scan", titles, key=f"choose-scan-{summary['name']}", then=_open_scan, value=str(summary["name"])
            )
    turn = st.session_state.get("scans started", 0)  # a started scan closes the form: its progress shows beneath
    with (
        right,
        st.popover("Scan your own list", icon=":material/playlist_add:", width="stretch", key=f"own-scan-{turn}"),
    ):
        scan_job.form(service)


def _title(scan: Mapping[str, Any]) -> str:
    size, name = f"{scan['n_terms']:,} terms", scan_words.title(scan)
    made = "" if scan["stored"] == "release" else f" · own list, {str(scan['created_at'] or '')[:16].replace('T', ' ')}"
    return f"{size}{made}" if name == size else f"{name} · {size}{made}"


def _scan(service: Service, summary: Any) -> None:
    name = str(summary["name"])
    scan_views.trust(summary)
    with st.spinner("Reading the scan …", show_time=False):
        report = service.ask(Client.scan, name)
    ranked = {str(t["term"]): f"{t['rank']} · {t['term']}" for t in report["terms"]}
    bar, find = st.columns([3, 2], vertical_alignment="bottom", gap="medium")
    view = bar.segmented_control(
        "What to show", list(VIEWS), key="scan-view", format_func=VIEWS.__getitem__, required=True, label_visibility="collapsed"
    )  # fmt: skip
    with find:
        parts.pick(
            "Open a term", ranked, key=f"choose-term-{name}", then=_open_term, placeholder="Type a term to open it"
        )
    if view == "terms":
        _terms(report)
    elif view == "clusters":
        scan_views.clusters(report, on_cluster=_open_cluster)
        downloads.buttons(
            lambda: downloads.cell_table(report["top_terms_of_clusters"], scan=name, release=service.release),
            stem=("scan", name, "clusters"),
            key="top-terms",
        )
    elif view == "sum":
        _sum(service, report["summary"])
    else:
        _heat_map(service, report)


def _heat_map(service: Service, report: Any) -> None:
    name, narrow = str(report["summary"]["name"]), parts.is_phone()
    n_terms = report["summary"]["n_terms"]
    sizes = [n for n in ROWS if n < n_terms] + ([n_terms] if n_terms <= 2 * ROWS[-1] else [])
    n_rows = sizes[0]
    if len(sizes) > 1:
        n_rows = st.segmented_control(
            "Terms shown", sizes, default=sizes[0], key=f"heat-rows-{name}", required=True,
            format_func=lambda n: f"{n} best terms" if n < n_terms else f"all {n}", label_visibility="collapsed",
        ) or sizes[0]  # fmt: skip
    matrix = service.ask(Client.scan_matrix, name, max_terms=n_rows)
    clusters = service.ask(Client.clusters)
    descriptive = {c["cluster"] for c in clusters if c["n_series"] < DESCRIPTIVE_BELOW}
    selected = {t["term"] for t in report["terms"] if t["selected"]}
    grid = take_grid(matrix, n_terms=n_rows, n_clusters=12 if narrow else 36)
    if len(grid.clusters) < len(matrix["clusters"]):
        st.caption(
            f"The {len(grid.clusters)} of {len(matrix['clusters']):,} clusters that answer most are drawn; the download has all."
        )
    scan_views.heat_map(
        grid, key=f"heat-{name}-{len(grid.terms)}", descriptive=descriptive, selected=selected, on_term=_open_term
    )
    scan_views.save_heat_map(matrix, grid, descriptive=descriptive, selected=selected)


def _terms(report: Any) -> None:
    n_found = report["summary"]["n_significant"]
    only = bool(n_found) and st.toggle(f"Only the {n_found:,} that stand out", key="scan-significant")
    scan_views.terms(report, significant_only=only, on_term=_open_term)
    downloads.buttons(
        lambda: downloads.term_table(report), stem=("scan", report["summary"]["name"], "terms"), key="terms"
    )


def _sum(service: Service, summary: Any) -> None:
    name = str(summary["name"])
    percentile, owners = _numbers(service, "percentile", scan=name), _numbers(service, "cluster")
    labels = {int(one["cluster"]): str(one["label"]) for one in service.ask(Client.clusters)}
    lists, place = st.columns([11, 9], gap="medium")
    with lists:
        scan_views.sums(percentile, owners, labels)
        downloads.buttons(
            lambda: downloads.sum_table(service.now(Client.scan_samples, name, release=service.release)),
            stem=("scan", name, "sums"),
            key="sums",
        )
    with place:
        atlas_map.draw(
            service,
            Asked(scan=name, percentile=True),
            key=f"sum-map-{name}",
            title=f"Sum over all terms of {scan_words.title(summary)}, against random terms",
            unit="percentile",
            note="Percentile of a sample's sum among sums of equally many random terms.",
            on_open=_open_sample,
        )


def _numbers(service: Service, name: str, **question: str) -> np.ndarray:
    """Return a number a sample: text of so many samples would keep reader and service waiting."""
    column = service.ask(Client.map_column, name, **question)
    codes = np.frombuffer(column.data, column.dtype)
    return codes if column.high == column.low == 0 else column.low + codes * ((column.high - column.low) / 65_535)


def _term(service: Service, summary: Any, term: str) -> None:
    name = str(summary["name"])
    st.button(
        f"All terms of {scan_words.title(summary)}",
        key="all-terms",
        icon=":material/arrow_back:",
        on_click=_open_term,
        args=("",),
    )
    try:
        with st.spinner("Reading the term …", show_time=False):
            report = service.ask(Client.scan_term, name, term)
    except AtlasHTTPError as error:
        if error.status != 404:
            raise
        st.warning(views.as_markdown(error.message))
        near = [str(one) for one in error.details.get("near_matches", ())][:5]
        with st.container(horizontal=True, gap="small", key="near-matches"):
            for i, one in enumerate(near):
                st.button(views.as_markdown(one), key=f"near-{i}", type="tertiary", on_click=_open_term, args=(one,))
        return
    lists, place = st.columns([11, 9], gap="medium")
    with lists:
        scan_views.term_detail(report, key=f"forest-{name}-{term}", on_cluster=_open_cluster)
    with place:
        atlas_map.draw(
            service,
            Asked(scan=name, term=term),
            key=f"term-map-{name}-{term}",
            title=f"{term} in release {service.release}",
            unit="z",
            note="z of each sample's answer to the term. Click a point to open its sample.",
            on_open=_open_sample,
        )
        st.button(
            "Search for this term",
            key="search-term",
            icon=":material/search:",
            on_click=lambda: address.go("search", q=term),
        )
    scan_views.cell_table(report["cells"])
    downloads.buttons(
        lambda: downloads.cell_table(report["cells"], scan=name, release=service.release),
        stem=("scan", name, term),
        key="cells",
    )


def _open_scan(name: str) -> None:
    st.session_state["scan"] = name
    st.session_state["scan-term"] = ""


def _open_term(term: str) -> None:
    st.session_state["scan-term"] = term
    st.session_state["scan-view"] = st.session_state.get("scan-view") or "heat-map"


def _open_cluster(cluster: int) -> None:
    address.go("clusters", cluster=str(cluster))


def _open_sample(accession: str) -> None:
    address.go("sample", accession=accession)
