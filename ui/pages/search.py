"""Search: ask the atlas for a phrase, read the hits, see where they lie, open one."""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, views
from ui.service import Service, sentence

EXAMPLES = (
    "cardiomyopathy", "heart", "pancreatic islets", "T cells", "neurons", "colorectal cancer", "uveal melanoma",
    "adrenal gland",
)  # fmt: skip
MODES = {"By meaning": "semantic", "By words": "lexical", "Both": "hybrid"}
LONGEST_PHRASE = 2_000


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page for the present state."""
    if address.arrived("search"):
        st.session_state["q"] = address.read("q")
        _open(address.read("sample")[:80])
    views.heading(
        "An atlas of public human transcriptomes",
        "Type what you look for; the atlas ranks samples by what their genes express, not by what their authors wrote, and "
        "shows where they lie.",
    )
    question = _form()
    phrase = str(question.pop("phrase"))
    with st.spinner("Asking the atlas …", show_time=False):
        answer: Any = service.ask(Client.search, phrase, **question) if phrase else None
        words = phrase if answer and not views.names_record(answer) else None  # a name says nothing as words
    columns = dict(service.ask(Client.map, words))
    address.write("search", {"q": phrase, "sample": st.session_state.get("opened", "")}, release=service.release)
    if answer is None:
        views.welcome(release)
    else:
        views.verdict(answer)
    _results(service, columns=columns, answer=answer)


def _form() -> dict[str, Any]:
    with st.form("ask", border=False):
        box, button = st.columns([6, 1], vertical_alignment="bottom")
        box.text_input(
            "Phrase", key="q", max_chars=LONGEST_PHRASE, label_visibility="collapsed",
            placeholder="A disease, tissue, cell type, treatment or an accession, e.g. dilated cardiomyopathy",
        )  # fmt: skip
        button.form_submit_button("Search", type="primary", width="stretch", on_click=_close)
        with st.expander("Options and filters"):
            left, middle, right = st.columns(3)
            mode = left.radio("Search", list(MODES), key="mode", horizontal=True)
            k = left.number_input("Number of samples", 1, 500, 20, key="k")
            tissue = middle.text_input("Tissue or source contains", key="tissue", placeholder="left ventricle, blood")
            series = middle.text_input("Series", key="series", placeholder="GSE141910")
            organism = right.text_input("Organism", key="organism", placeholder="Homo sapiens")
            exclude = right.text_input(
                "Leave out samples that mention", key="exclude", placeholder="cell line", max_chars=200
            )
    with st.container(horizontal=True, gap="small", key="examples"):
        for example in EXAMPLES:
            st.button(example, key=f"example-{example}", type="tertiary", on_click=_ask, args=(example,))
    return {
        "phrase": st.session_state.get("q", "").strip(), "mode": MODES[mode or "By meaning"], "k": int(k or 20),
        "tissue": _words(tissue), "series": _words(series), "organism": _words(organism),
        "exclude": (exclude or "").strip() or None,
    }  # fmt: skip


def _results(service: Service, *, columns: dict[str, Any], answer: dict[str, Any] | None) -> None:
    hits = answer["hits"] if answer else []
    lists, place = st.columns([11, 9], gap="medium")
    with lists:
        if answer is None:
            _clusters(service)
        else:
            tabs = st.tabs([f"Samples ({len(hits)})", f"Series ({len(answer['series'])})", "Clusters"])
            with tabs[0]:
                views.hits(hits, release=answer["release"], phrase=answer["query"], on_open=_open)
            with tabs[1]:
                views.series(answer["series"])
            with tabs[2]:
                _clusters(service)
    with place:
        opened = st.session_state.get("opened")
        if opened:
            _card(service, opened)
        views.map_chart(
            columns, highlighted=[hit["sample"]["accession"] for hit in hits], opened=opened,
            theme=_theme(), narrow=_is_phone(), on_open=_open,
        )  # fmt: skip


def _card(service: Service, accession: str) -> None:
    try:
        sample = _sample(service, accession)
    except AtlasHTTPError as error:
        st.warning(views.as_markdown(sentence(error, url=service.url)))
        st.button("Close", key="close-missing", on_click=_close)
        return
    views.card(sample, on_open=_open, on_close=_close)


def _clusters(service: Service) -> None:
    try:
        clusters = [dict(cluster) for cluster in service.ask(Client.clusters)]
        chosen = views.clusters(clusters)
        if chosen is not None:
            views.cluster(dict(service.ask(Client.cluster, chosen)), on_open=_open)
    except AtlasHTTPError as error:
        st.warning(views.as_markdown(sentence(error, url=service.url)))


def _ask(phrase: str) -> None:
    st.session_state["q"] = phrase
    _close()


def _open(accession: str | None) -> None:
    if accession:
        st.session_state["opened"] = accession


def _close() -> None:
    st.session_state.pop("opened", None)
    for choice in ("choose-hit", "choose-central"):
        st.session_state[choice] = None


def _sample(service: Service, accession: str) -> dict[str, Any]:
    found = dict(service.ask(Client.sample, accession)["sample"])
    near = service.ask(Client.neighbors, accession, k=10, exclude_same_series=True)
    return {**found, "neighbors": near["hits"]}


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip()[:200] for word in (text or "").split(",") if word.strip())


def _theme() -> Literal["light", "dark"]:
    return "dark" if st.context.theme.type == "dark" else "light"


def _is_phone() -> bool:
    return "Mobi" in (st.context.headers.get("User-Agent") or "")
