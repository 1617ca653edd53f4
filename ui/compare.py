"""Two phrases side by side: two answers, two maps, and the samples both find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from atlas.client import Client
from ui import atlas_map, downloads, hits, parts, views
from ui.question import Question
from ui.service import Service
from ui.tables import description_of
from ui.text import markup, shorten


def draw(service: Service, question: Question, *, on_open: views.OnOpen) -> None:
    """Draw both answers; filters and options are the same for the two."""
    sides = (replace(question, versus="", parts=()), question.compared())
    with st.spinner("Asking the atlas …", show_time=False):
        answers = [_ask(service, side) for side in sides]
    if question.parts:
        st.caption("A comparison is of the two phrases; the combination is left aside.")
    _shared(answers, sides, release=service.release, on_open=on_open)
    for side, answer, column, key in zip(sides, answers, st.columns(2, gap="medium"), ("a", "b"), strict=True):
        with column:
            st.html(f'<h2 class="ga-name">{markup(shorten(side.phrase, limit=80))}</h2>')
            hits.verdict(answer, side)
            words = None if hits.names_record(answer) else side.phrase
            atlas_map.draw(
                service, atlas_map.Asked(words), atlas_map.Marks(hits=[hit["sample"] for hit in answer["hits"]]),
                key=f"map-{key}", title=f"Where the atlas answers {side.phrase}", note="Rings: the hits.",
                width_px=600, height_px=380, on_open=on_open,
            )  # fmt: skip
            hits.table(
                answer["hits"],
                key=f"hits-{key}",
                release=service.release,
                stem=(side.phrase,),
                on_open=on_open,
                size="half",
            )


def shared_rows(answers: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, object]]:
    """Return the samples that both answers hold, those that rank high in both first."""
    first, second = ({hit["sample"]["accession"]: hit for hit in answer["hits"]} for answer in answers)
    both = sorted(first.keys() & second.keys(), key=lambda name: (first[name]["rank"] + second[name]["rank"], name))
    return [
        {
            "Sample": name,
            "Description": description_of(first[name]["sample"]),
            f"Rank: {names[0]}": first[name]["rank"],
            f"Rank: {names[1]}": second[name]["rank"],
            "Cluster": first[name]["sample"]["cluster_label"],
        }
        for name in both
    ]


def _ask(service: Service, question: Question) -> Mapping[str, Any]:
    phrase, options = question.asked()
    return service.ask(Client.search, phrase, **options)


def _shared(
    answers: Sequence[Mapping[str, Any]], sides: Sequence[Question], *, release: str, on_open: views.OnOpen
) -> None:  # fmt: skip
    names = [shorten(side.phrase, limit=30) for side in sides]
    if names[0] == names[1]:
        names[1] += " (2)"
    rows = shared_rows(answers, names)
    counts = [len(answer["hits"]) for answer in answers]
    many = "sample is" if len(rows) == 1 else "samples are"
    st.html(
        f'<p class="ga-verdict"><b>{len(rows)}</b> {many} among the {counts[0]} nearest of <b>{markup(names[0])}</b> and '
        f"the {counts[1]} nearest of <b>{markup(names[1])}</b>.</p>"
    )
    if not rows:
        return
    with st.expander(
        "The shared sample" if len(rows) == 1 else f"The {len(rows)} shared samples", icon=":material/join_inner:"
    ):
        st.dataframe(rows, hide_index=True, key="shared", height=min(38 + 35 * len(rows), 318))
        options = {
            str(row["Sample"]): f"{row['Sample']} · {shorten(str(row['Description']), limit=60)}" for row in rows
        }
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            parts.pick("Open a shared sample", options, key="pick-shared", then=on_open)
            downloads.buttons(
                lambda: [{**row, "release": release} for row in rows], stem=("shared", *names), key="shared"
            )
