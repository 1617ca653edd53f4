"""Nearest samples: what in the atlas is most like a sample of it, a pasted table or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, atlas_map, cluster_views, downloads, hits, views
from ui.atlas_map import Marks
from ui.own_table import UNITS, Table, coverage_sentences, read_pasted
from ui.service import Service, sentence
from ui.tables import download_rows
from ui.text import as_markdown, markup, shorten

WAYS = {"accession": "A sample of the atlas", "paste": "Paste a table", "file": "Upload a file"}
N_NEIGHBOURS = 50
EXAMPLE = (
    "gene\theart_1\nMYH6\t5321\nMYH7\t24780\nTNNT2\t9120\nTNNI3\t6404\nNPPA\t912\nACTC1\t18033\nMYL2\t15120\nALB\t3\n"
)


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page for the present state."""
    if address.arrived("nearest"):
        st.session_state["nearest-by"] = address.read("by") if address.read("by") in WAYS else "accession"
        st.session_state["nearest-accession"] = address.read("accession")[:80]
        st.session_state["nearest-others"] = address.read("others", "1") != "0"
    views.heading(
        "Nearest samples",
        "Take a sample of the atlas or your own expression values, and see which public samples are most like it, where it lies "
        "on the map, and which terms fit it.",
    )
    by = st.segmented_control(
        "Start from",
        list(WAYS),
        key="nearest-by",
        required=True,
        format_func=WAYS.__getitem__,
        label_visibility="collapsed",
    )
    accession, others = "", True
    if by == "accession":
        accession, others = _accession_form(service)
        if accession:
            _of_accession(service, accession, others=others)
        else:
            _examples(service)
    else:
        _own_form(service, str(by))
        _of_table(service)
    query = {"by": str(by or "accession"), "accession": accession, "others": "" if others else "0"}
    address.write("nearest", query, release=service.release)


def _accession_form(service: Service) -> tuple[str, bool]:
    left, right = st.columns([3, 2], vertical_alignment="bottom", gap="medium")
    left.text_input("Accession of a sample", key="nearest-accession", max_chars=80, placeholder="e.g. GSM4216051")
    right.toggle(
        "Leave out samples of its own series", key="nearest-others", help="They are near for technical reasons alone"
    )
    return str(st.session_state.get("nearest-accession") or "").strip(), bool(
        st.session_state.get("nearest-others", True)
    )


def _examples(service: Service) -> None:
    """Offer a sample of each of the largest clusters, so that nobody needs to know an accession."""
    clusters = service.ask(Client.clusters)
    lists, place = st.columns([2, 3], gap="medium")
    with lists, st.container(gap="small", key="examples"):
        st.caption("Or begin with one of these")
        for cluster in clusters[:8]:
            for sample in service.ask(Client.samples, cluster=(int(cluster["cluster"]),), limit=1)["samples"]:
                accession = str(sample["accession"])
                label = f"{accession} · {shorten(str(cluster['label']), limit=40)}"
                st.button(
                    as_markdown(label), key=f"example-{accession}", type="tertiary", on_click=_take, args=(accession,)
                )
    with place:
        atlas_map.draw(
            service,
            key="nearest-map",
            title="Map of the atlas",
            note="Click a point to see what is nearest to it.",
            on_open=_take,
        )


def _of_accession(service: Service, accession: str, *, others: bool) -> None:
    try:
        with st.spinner("Looking for the nearest …", show_time=False):
            sample = service.ask(Client.sample, accession)["sample"]
            answer = service.ask(Client.neighbors, str(sample["accession"]), k=N_NEIGHBOURS, exclude_same_series=others)
            keywords = answer["keywords"] or _keywords(service, str(sample["accession"]))
    except AtlasHTTPError as error:
        if error.status != 404 or "release" in error.details:
            raise
        _unknown(service, error)
        return
    title = sample["title"] or sample["source_name"] or sample["caption"]
    st.html(
        f'<h2 class="ga-name">{markup(sample["accession"])} · {markup(shorten(title, limit=90))}</h2>'
        f'<p class="ga-sub">{markup(sample["source_name"])} · {markup(", ".join(sample["series"]))} · '
        f"{markup(sample['cluster_label'] or 'no cluster')}</p>"
    )
    _answer(service, answer, keywords, opened=str(sample["accession"]), stem=str(sample["accession"]))


def _keywords(service: Service, accession: str) -> Sequence[Any]:
    return service.ask(Client.keywords, (accession,))["keywords"]


def _unknown(service: Service, error: AtlasHTTPError) -> None:
    st.warning(as_markdown(error.message))
    near = [str(name)[:80] for name in error.details.get("near_matches", ())][:5]
    if near:
        st.caption("Did you mean")
        with st.container(horizontal=True, gap="small", key="near-matches"):
            for name in near:
                st.button(as_markdown(name), key=f"near-{name}", type="tertiary", on_click=_take, args=(name,))


def _own_form(service: Service, by: str) -> None:
    with st.form(f"own-{by}", border=False):
        if by == "paste":
            st.text_area(
                "Genes as rows, samples as columns", key="nearest-table", height=190, placeholder=EXAMPLE,
                help="Symbols or Ensembl ids, then values; separated by tabs, commas or blanks. Names of samples are optional.",
            )  # fmt: skip
        else:
            st.file_uploader(
                "CSV or TSV (plain or gzipped) with genes as rows, or h5ad", key="nearest-file",
                help="Names of genes are symbols or Ensembl ids. The file is answered and forgotten; nothing of it is stored.",
            )  # fmt: skip
        left, right = st.columns(2, gap="medium")
        left.selectbox(
            "Unit of the values", list(UNITS), format_func=UNITS.__getitem__, key="nearest-unit",
            help="Values that cannot be read counts are refused unless their unit is given.",
        )  # fmt: skip
        right.text_input(
            "Leave out series", key="nearest-without", placeholder="GSE141910, GSE50244", max_chars=500,
            help="For instance the series your samples come from",
        )  # fmt: skip
        with st.container(horizontal=True):
            st.form_submit_button(
                "Find the nearest", type="primary", icon=":material/near_me:", on_click=_send, args=(service, by)
            )
            if by == "paste":
                st.form_submit_button("Try an example", on_click=_example, args=(service,))


def _example(service: Service) -> None:
    """Fill in a table and answer it at once: a second click could come before the filled form is in the browser."""
    st.session_state["nearest-table"] = EXAMPLE
    st.session_state["nearest-unit"] = ""
    _send(service, "paste")


def _send(service: Service, by: str) -> None:
    """Send the table and keep the answer for this session alone; the values themselves are not kept."""
    st.session_state.pop("nearest-answer", None)
    table = _table(by)
    if table.problem:
        st.session_state["nearest-told"] = table.problem
        return
    without = [word.strip() for word in str(st.session_state.get("nearest-without") or "").split(",") if word.strip()]
    try:
        st.session_state["nearest-answer"] = service.now(
            Client.transcriptome_neighbors, table.name, content=table.content, k=N_NEIGHBOURS, exclude_series=without,
            unit=st.session_state.get("nearest-unit") or None, release=service.release,
        )  # fmt: skip
    except AtlasHTTPError as error:
        st.session_state["nearest-told"] = sentence(error, url=service.url)


def _table(by: str) -> Table:
    if by == "paste":
        return read_pasted(str(st.session_state.get("nearest-table") or ""))
    upload = st.session_state.get("nearest-file")
    if upload is None:
        return Table(problem="No file was chosen. Choose a CSV, TSV or h5ad file first.")
    return Table(str(upload.name), upload.getvalue())


def _of_table(service: Service) -> None:
    if told := st.session_state.get("nearest-told"):
        st.error(as_markdown(str(told)), icon=":material/table_view:")
        st.session_state.pop("nearest-told")
    answer = st.session_state.get("nearest-answer")
    if answer is None:
        views.empty(
            "Your table never leaves this installation and is not stored.",
            "A few dozen well-measured genes are enough for a first answer; a whole transcriptome is better.",
            icon=":material/lock:",
        )
        return
    results = answer["results"]
    chosen = 0
    if len(results) > 1:
        chosen = st.selectbox(
            f"Which of the {len(results):,} samples", range(len(results)), format_func=lambda i: str(results[i]["query"]),
            key="nearest-which",
        ) or 0  # fmt: skip
    result = results[min(chosen, len(results) - 1)]
    st.html(f'<h2 class="ga-name">{markup(shorten(str(result["query"]), limit=90))}</h2>')
    _coverage(result["coverage"])
    if position := result["position"]:
        st.html(f'<p class="ga-said">It lies among <b>{markup(position["cluster_label"])}</b>.</p>')
    _answer(service, result, result["keywords"], position=position, stem=str(result["query"]))
    if len(results) > 1:
        st.caption("All samples of the table")
        downloads.buttons(lambda: _all_rows(results, service.release), stem=("nearest", "all"), key="nearest-all")


def _coverage(coverage: Mapping[str, Any] | None) -> None:
    if not coverage:
        return
    st.html(f'<p class="ga-said">{markup(" ".join(coverage_sentences(coverage)))}</p>')
    if coverage["unrecognised_examples"]:
        with st.expander("Names that were not recognised"):
            st.text(", ".join(str(name)[:60] for name in coverage["unrecognised_examples"]) + " …")


def _answer(
    service: Service,
    answer: Mapping[str, Any],
    keywords: Sequence[Any],
    *,
    stem: str,
    opened: str | None = None,
    position: Mapping[str, Any] | None = None,
) -> None:
    found = answer["hits"]
    if not found:
        views.empty("No sample is left.", "Leave out fewer series.", icon=":material/filter_alt_off:")
        return
    lists, place = st.columns([5, 3], gap="medium")
    with lists:
        names = [f"Samples ({len(found)})", f"Series ({len(answer['series'])})", f"Keywords ({len(keywords)})"]
        for tab, name in zip(st.tabs(names), ("samples", "series", "keywords"), strict=True):
            with tab:
                _list(service, name, answer, keywords, stem=stem)
    with place:
        at = (position["x"], position["y"]) if position else None
        atlas_map.draw(
            service, marks=Marks(hits=[hit["sample"] for hit in found], opened=opened, place=at),
            key=f"nearest-map-{stem}", title=f"Nearest samples of {stem}", on_open=_open_sample,
            note="Rings: the nearest. " + ("Diamond: the sample itself." if opened else "Star: your sample."),
        )  # fmt: skip


def _list(service: Service, name: str, answer: Mapping[str, Any], keywords: Sequence[Any], *, stem: str) -> None:
    if name == "samples":
        hits.table(
            answer["hits"], key=f"nearest-{stem}", release=service.release, stem=("nearest", stem), on_open=_open_sample
        )
    elif name == "series":
        hits.series_table(
            answer["series"], key=f"nearest-series-{stem}", release=service.release, stem=("nearest", stem, "series"),
            on_open=lambda series: address.go("series", accession=series),
        )  # fmt: skip
    else:
        cluster_views.keyword_table(keywords, empty="No term stands out.")
        downloads.buttons(
            lambda: downloads.keyword_table(keywords, of=stem, release=service.release), stem=("nearest", stem, "keywords"),
            key="nearest-words",
        )  # fmt: skip


def _all_rows(results: Sequence[Mapping[str, Any]], release: str) -> list[downloads.Row]:
    return [
        {"query": result["query"], **row}
        for result in results
        for row in download_rows(result["hits"], release=release)
    ]


def _take(accession: str) -> None:
    st.session_state["nearest-accession"] = accession


def _open_sample(accession: str) -> None:
    address.go("sample", accession=accession)
