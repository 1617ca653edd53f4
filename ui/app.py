"""The page: ask an atlas for a phrase, read the hits, see where they lie, open one.

Run by its absolute path: ``streamlit run /…/ui/app.py [-- API_URL]``. State that is worth keeping is in the address bar
(``?q=…&sample=…``), so a view can be shared. Text of public records is shown through ``ui.text`` and as data, never as markup.
"""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from atlas.client import AtlasHTTPError
from ui import views
from ui.service import Question, Service, api_url, sentence

EXAMPLES = (
    "cardiomyopathy", "heart", "pancreatic islets", "T cells", "neurons", "colorectal cancer", "uveal melanoma",
    "adrenal gland",
)  # fmt: skip
MODES = {"By meaning": "semantic", "By words": "lexical", "Both": "hybrid"}
LONGEST_PHRASE = 2_000


def main() -> None:
    """Draw the page for the present state."""
    st.set_page_config(page_title="geo-atlas", page_icon=views.ICON, layout="wide")
    views.style()
    _read_address()
    service = Service(api_url())
    views.header()
    question = _form()
    try:
        with st.spinner("Asking the atlas …", show_time=False):
            release = service.release()
            name = str(release["release"])
            answer = service.search(question, release=name) if question.phrase else None
            words = (
                question.phrase if answer and not views.names_record(answer) else None
            )  # a name says nothing as words
        columns = service.map(words, release=name)
    except AtlasHTTPError as error:
        views.failure(sentence(error, url=service.url))
        return
    _write_address(question.phrase)
    if answer is None:
        views.welcome(release)
    else:
        views.verdict(answer)
    _results(service, columns=columns, answer=answer, release=name)
    views.footer(release, url=service.url)


def _form() -> Question:
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
    return Question(
        phrase=st.session_state.get("q", "").strip(), mode=MODES[mode or "By meaning"], k=int(k or 20),
        tissue=_words(tissue), series=_words(series), organism=_words(organism), exclude=(exclude or "").strip() or None,
    )  # fmt: skip


def _results(service: Service, *, columns: dict[str, Any], answer: dict[str, Any] | None, release: str) -> None:
    hits = answer["hits"] if answer else []
    lists, place = st.columns([11, 9], gap="medium")
    with lists:
        if answer is None:
            _clusters(service, release=release)
        else:
            tabs = st.tabs([f"Samples ({len(hits)})", f"Series ({len(answer['series'])})", "Clusters"])
            with tabs[0]:
                views.hits(hits, release=answer["release"], phrase=answer["query"], on_open=_open)
            with tabs[1]:
                views.series(answer["series"])
            with tabs[2]:
                _clusters(service, release=release)
    with place:
        opened = st.session_state.get("opened")
        if opened:
            _card(service, opened, release=release)
        views.map_chart(
            columns, highlighted=[hit["sample"]["accession"] for hit in hits], opened=opened,
            theme=_theme(), narrow=_is_phone(), on_open=_open,
        )  # fmt: skip


def _card(service: Service, accession: str, *, release: str) -> None:
    try:
        sample = service.sample(accession, release=release)
    except AtlasHTTPError as error:
        st.warning(views.as_markdown(sentence(error, url=service.url)))
        st.button("Close", key="close-missing", on_click=_close)
        return
    views.card(sample, on_open=_open, on_close=_close)


def _clusters(service: Service, *, release: str) -> None:
    try:
        clusters = service.clusters(release=release)
        chosen = views.clusters(clusters)
        if chosen is not None:
            views.cluster(service.cluster(chosen, release=release), on_open=_open)
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


def _read_address() -> None:
    """On the first run of a session take the phrase and the open sample from the address."""
    if "address_read" not in st.session_state:
        st.session_state["address_read"] = True
        st.session_state["q"] = str(st.query_params.get("q", ""))[:LONGEST_PHRASE]
        _open(st.query_params.get("sample", "")[:80])


def _write_address(phrase: str) -> None:
    state = {"q": phrase, "sample": st.session_state.get("opened", "")}
    st.query_params.from_dict({key: value for key, value in state.items() if value})


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip()[:200] for word in (text or "").split(",") if word.strip())


def _theme() -> Literal["light", "dark"]:
    return "dark" if st.context.theme.type == "dark" else "light"


def _is_phone() -> bool:
    return "Mobi" in (st.context.headers.get("User-Agent") or "")


main()
