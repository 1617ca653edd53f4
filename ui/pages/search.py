"""Search: ask the atlas for a phrase or a combination, read the hits, see where they lie and why, compare two phrases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, ask, atlas_map, compare, hits, parts, views
from ui.atlas_map import Asked, Marks
from ui.card import card
from ui.question import VIEWS, Question
from ui.service import Service, sentence
from ui.text import as_markdown, shorten


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page for the present state."""
    _arrive()
    asked = ask.held()
    views.heading(
        "An atlas of public human transcriptomes",
        "Type what you look for; the atlas ranks samples by what their genes express, not by what their authors wrote, and "
        "shows where they lie.",
    )
    facets = _facets(service, asked)
    ask.draw(asked, facets=facets)
    question = _shown()
    ask.examples(_examples(service))
    address.write("search", question.to_query(), release=service.release)
    st.session_state["last question"] = question
    if question.versus and question.phrase:
        compare.draw(service, question, on_open=_open_alone)
    elif question.is_asked:
        _answer(service, question)
    else:
        _welcome(service, release, question, facets=facets)


def _answer(service: Service, question: Question) -> None:
    phrase, options = question.asked()
    with st.spinner("Asking the atlas …", show_time=False):
        answer = service.ask(Client.search, phrase, **options)
        sides = {name: options[name] for name in ("plus", "minus") if name in options}
    words = None if hits.names_record(answer) and not sides else phrase  # a name says nothing as words
    hits.verdict(answer, question)
    found = answer["hits"]
    if not found:
        return
    narrow = parts.is_phone()
    lists, place = st.columns([5, 3], gap="medium")
    order = [hit["sample"]["accession"] for hit in found]
    with lists if narrow else place:  # on a phone what was opened stands above the list it was opened from
        if question.opened:
            _card(service, question, found=found, order=order)
    with lists:
        _lists(service, answer, question)
    with lists if question.opened else place:  # what is open takes the place of the map, which moves beneath the list
        atlas_map.draw(
            service, Asked(words, plus=tuple(sides.get("plus", ())), minus=tuple(sides.get("minus", ()))),
            Marks(hits=[hit["sample"] for hit in found], opened=question.opened or None),
            key="map", title=f"Where the atlas answers {hits.asked_for(question)}",
            note="Rings: the hits." + (" Diamond: the open sample." if question.opened else ""),
            width_px=780 if question.opened else 470, height_px=440 if question.opened else 520, on_open=_open,
        )  # fmt: skip


def _lists(service: Service, answer: Mapping[str, Any], question: Question) -> None:
    names = {"samples": f"Samples ({len(answer['hits'])})", "series": f"Series ({len(answer['series'])})",
             "clusters": "What they are"}  # fmt: skip
    view = st.segmented_control(
        "Show", VIEWS, format_func=lambda one: names[one], key="view", label_visibility="collapsed", required=True
    )
    stem = (hits.asked_for(question),)
    turn = st.session_state.get("turn", 0)
    if view == "series":
        hits.series_table(
            answer["series"],
            key=f"series-{turn}",
            release=service.release,
            stem=("series", *stem),
            on_open=_open_series,
        )
    elif view == "clusters":
        hits.made_of(answer["hits"])
    else:
        key = f"hits-{turn}-{abs(hash((answer['release'], *stem, answer['mode'], len(answer['hits']))))}"
        hits.table(answer["hits"], key=key, release=service.release, stem=stem, on_open=_open)


def _card(service: Service, question: Question, *, found: Any, order: list[str]) -> None:
    try:
        sample = service.ask(Client.sample, question.opened)["sample"]
    except AtlasHTTPError as error:
        if error.status != 404:
            raise
        st.warning(as_markdown(sentence(error, url=service.url)))
        st.button("Close", key="close-missing", on_click=_close)
        return
    hit = next((one for one in found if one["sample"]["accession"] == sample["accession"]), None)
    card(service, sample, question, hit=hit, order=order, on_open=_open, on_close=_close, on_part=_add_part)


def _welcome(
    service: Service, release: Mapping[str, Any], question: Question, *, facets: Mapping[str, Any] | None
) -> None:  # fmt: skip
    st.html(
        f'<p class="ga-verdict"><b>{release["n_samples"]:,}</b> samples, grouped by similar expression. Ask for a phrase above, '
        "take one of the examples, or click a point of the map.</p>"
    )
    if question.minus:
        views.empty(
            "So far the question only says what you want less of.", "Add a phrase or a sample you want more of."
        )
    left, place = st.columns([9, 11], gap="medium")
    with left:
        if question.opened:
            _card(service, question, found=[], order=[])
        if facets is not None:
            for title, name in (("Tissue or source", "tissue"), ("Clusters", "cluster"), ("Organism", "organism")):
                n_all = max(1, facets["n_samples"])
                shares = [
                    {"value": shorten(str(v["label"] or v["value"]), limit=60), "n": v["n"], "share": v["n"] / n_all}
                    for v in facets[name]
                ]
                parts.share_bars(title, shares, most=7)
    with place:
        atlas_map.draw(
            service, marks=Marks(opened=question.opened or None), key="map", title="Map of the atlas", height_px=560,
            width_px=680, on_open=_open,
        )  # fmt: skip


def _examples(service: Service) -> list[tuple[str, int]]:
    def answered(phrase: str) -> bool:
        try:
            return not service.ask(Client.search, phrase, k=1)["no_match"]
        except AtlasHTTPError:
            return True  # an example more is no harm, the page tells what is wrong when it is asked

    return ask.example_phrases(service.ask(Client.clusters), _facets(service, Question()), answered=answered)


def _facets(service: Service, question: Question) -> Mapping[str, Any] | None:
    try:
        return service.ask(Client.facets, **question.narrowed())
    except AtlasHTTPError as error:
        if error.code in ("unreachable", "unexpected_answer") or error.status == 410:
            raise
        return None


def _arrive() -> None:
    """Take the question from the address if somebody followed it; one who comes back by the navigation finds the last one."""
    state = st.session_state
    if address.arrived("search"):
        followed = Question.from_query(address.read, address.read_all)
        last: Question | None = state.get("last question")
        question = last if last is not None and followed == Question() else followed
        ask.restore(question)
        state["opened"], state["view"] = question.opened, question.view


def _shown() -> Question:
    """Return the question of the widgets together with the view, after they were drawn."""
    return replace(
        ask.held(), opened=st.session_state.get("opened", ""), view=st.session_state.get("view") or "samples"
    )


def _open(accession: str) -> None:
    st.session_state["opened"] = accession


def _open_alone(accession: str) -> None:
    """Open a sample from a comparison: on its own page, as two answers leave no room for it."""
    address.go("sample", accession=accession)


def _open_series(accession: str) -> None:
    address.go("series", accession=accession)


def _close() -> None:
    st.session_state["opened"] = ""
    st.session_state["turn"] = st.session_state.get("turn", 0) + 1  # a table of a new name has no selected row


def _add_part(sign: str, accession: str) -> None:
    ask.add_part(sign, accession)
    _close()
