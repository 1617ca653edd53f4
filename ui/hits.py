"""Hits as the pages show them: how good the answer is in a sentence, the table, the roll-up by series, what they are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from ui import downloads, parts
from ui.question import Question
from ui.tables import download_rows, hit_rows, option_of, series_download, series_rows
from ui.text import as_markdown, markup, percent, shorten, strength
from ui.views import OnOpen, empty

Size = Literal["half", "usual", "all"]

WEAK_PERCENTILE = 75.0
"""Below it a best hit is called weak, although something in the atlas does match."""


def names_record(answer: Mapping[str, Any]) -> bool:
    """Return whether the question was the name of a sample or series rather than words: then no score tells of words."""
    name, hits = answer["query"].strip().casefold(), answer["hits"]
    return bool(hits) and name in {
        one.casefold() for one in (hits[0]["sample"]["accession"], *hits[0]["sample"]["series"])
    }


def asked_for(question: Question) -> str:
    """Return the question in words, as plain text."""
    words = [shorten(question.phrase, limit=120)] if question.phrase else []
    for part in question.parts:
        weight = "" if part.weight == 1 else f" × {part.weight:g}"
        words.append(f"{'more' if part.sign == 'more' else 'less'} {shorten(part.text, limit=60)}{weight}")
    return ", ".join(words)


def verdict(answer: Mapping[str, Any], question: Question) -> None:
    """Say in a sentence how good the answer is; an answer that is none is said to be none."""
    if answer["no_match"]:
        text = answer["message"] or "Nothing in this atlas matches that phrase."
        st.warning(as_markdown(text), icon=":material/search_off:")
        return
    if answer["message"]:
        st.info(as_markdown(answer["message"]), icon=":material/info:")
    hits = answer["hits"]
    if not hits:
        empty("No sample passes these filters.", "Loosen one of them.", icon=":material/filter_alt_off:")
        return
    best = "" if names_record(answer) else _best(hits[0])
    n_series = len(answer["series"])
    st.html(
        f'<p class="ga-verdict">The <b>{len(hits)}</b> nearest of {answer["n_candidates"]:,} samples to '
        f"<b>{markup(asked_for(question))}</b>, from <b>{n_series}</b> series.{best}</p>"
    )


def _best(first: Mapping[str, Any]) -> str:
    if first["score"] is None:
        return ""
    if first["percentile"] is None:
        return f" Best score {first['score']:.3f}."
    word = "weak" if first["percentile"] < WEAK_PERCENTILE else strength(first["percentile"])
    return (
        f' <span class="ga-word ga-{word.split()[0]}">{word.capitalize()} answer</span> Its best score, {first["score"]:.3f}, is '
        f"higher than {percent(first['percentile'])} of what random phrases reach."
    )


def table(
    found: Sequence[Mapping[str, Any]],
    *,
    key: str,
    release: str,
    stem: Sequence[object],
    on_open: OnOpen,
    size: Size = "usual",
    null: str = "what random phrases find",
) -> None:
    """Draw the hits; a row, or the list beneath, opens one.

    Parameters
    ----------
    key
        Name of the table among the widgets of the page.
    stem
        What the file is called after.
    size
        How much room there is: half a page, the usual, or all of its width.
    null
        What the percentiles of these hits are against.
    """
    if not found:
        st.caption("No samples to list.")
        return
    accessions = [hit["sample"]["accession"] for hit in found]

    def chosen() -> None:
        row = parts.selected_row(key)
        if row is not None and row < len(accessions):
            on_open(accessions[row])

    narrow = size == "half" or parts.is_phone()
    st.dataframe(
        hit_rows(found), key=key, hide_index=True, placeholder="", on_select=chosen, selection_mode="single-row",
        height=min(38 + 35 * len(found), 318 if narrow else 458), column_config=_columns(found, size=size, null=null),
        column_order=["#", "Sample", "Description", "Score"] if narrow else _shown(found),
    )  # fmt: skip
    options = dict(zip(accessions, map(option_of, found), strict=True))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"under-{key}"):
        parts.pick("Open a sample", options, key=f"pick-{key}", then=on_open, placeholder="Open a sample …")
        downloads.buttons(lambda: download_rows(found, release=release), stem=stem, key=key)


def _shown(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns that say something: an answer in words needs a percentile."""
    told = any(hit["percentile"] is not None for hit in found)
    return ["#", "Sample", "Description", "Score", *(["Answer"] if told else []), "Series", "Cluster", "Record"]


def _columns(found: Sequence[Mapping[str, Any]], *, size: Size, null: str) -> dict[str, Any]:
    top = max((hit["score"] for hit in found if hit["score"] is not None), default=1.0)
    wide = size == "all"
    return {
        "#": st.column_config.NumberColumn(width=30),
        "Sample": st.column_config.TextColumn(width=210 if wide else 104),
        "Description": st.column_config.TextColumn(
            width=330 if wide else 104 if parts.is_phone() else 176,
            help="Source and title as its depositors wrote them",
        ),
        "Score": st.column_config.ProgressColumn(
            format="%.3f", min_value=0.0, max_value=max(top, 0.01), width=92, help="Cosine of question and sample"
        ),
        "Answer": st.column_config.TextColumn(
            width=66,
            help=f"How the score compares with {null}: strong (99 % are lower), clear (95 %), moderate (75 %), weak or chance",
        ),
        "Series": st.column_config.TextColumn(width=98),
        "Cluster": st.column_config.TextColumn(width=240 if wide else 140),
        "Record": st.column_config.LinkColumn("↗", display_text="↗", width=30, help="The public record of the sample"),
    }


def series_table(
    found: Sequence[Mapping[str, Any]], *, key: str, release: str, stem: Sequence[object], on_open: OnOpen
) -> None:
    """Draw how the hits fall on series; a row opens the series."""
    if not found:
        st.caption("No series to list.")
        return
    names = [str(one["series"]) for one in found]

    def chosen() -> None:
        row = parts.selected_row(key)
        if row is not None and row < len(names):
            on_open(names[row])

    st.dataframe(
        series_rows(found), key=key, hide_index=True, on_select=chosen, selection_mode="single-row",
        height=min(38 + 35 * len(found), 458), placeholder="",
        column_config={
            "Series": st.column_config.TextColumn(width=104),
            "Title": st.column_config.TextColumn(width=300),
            "Hits": st.column_config.ProgressColumn(
                format="%d", min_value=0, max_value=max(int(one["n_hits"]) for one in found), width=90,
                help="Samples of this series among the hits",
            ),
            "of": st.column_config.NumberColumn(width=56, help="Samples of this series in the atlas"),
            "Best score": st.column_config.NumberColumn(format="%.3f", width=84),
            "Record": st.column_config.LinkColumn("↗", display_text="↗", width=30, help="The public record of the series"),
        },
    )  # fmt: skip
    options = {str(one["series"]): f"{one['series']} · {shorten(str(one['title']), limit=70)}" for one in found}
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"under-{key}"):
        parts.pick("Open a series", options, key=f"pick-{key}", then=on_open, placeholder="Open a series …")
        downloads.buttons(lambda: series_download(found, release=release), stem=stem, key=key)


def made_of(found: Sequence[Mapping[str, Any]]) -> None:
    """Draw how the hits fall on clusters, tissues and organisms."""
    for title, values in (
        ("By cluster", [hit["sample"]["cluster_label"] or "" for hit in found]),
        ("By tissue or source", [hit["sample"]["tissue"] or hit["sample"]["source_name"] for hit in found]),
        ("By organism", [hit["sample"]["organism"] for hit in found]),
    ):
        counted = Counter(values).most_common()
        parts.share_bars(title, [{"value": value, "n": n, "share": n / len(found)} for value, n in counted])
