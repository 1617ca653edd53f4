"""One sample beside an answer: what its source says, why it answers, what is like it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, downloads, parts
from ui.charts import gene_bars
from ui.question import Question
from ui.service import Service, sentence
from ui.tables import description_of, gene_rows
from ui.text import as_markdown, markup, percent, safe_url, strength


def head(sample: Mapping[str, Any], *, level: int = 2) -> None:
    """Draw the name of a sample and, in a line, where it belongs."""
    place = sample["cluster_label"] or "no cluster"
    st.html(
        f'<h{level} class="ga-name">{markup(sample["accession"])} · {markup(description_of(sample))}</h{level}>'
        f'<p class="ga-sub">{markup(sample["organism"])} · cluster {markup(place)} · '
        f"{sample['n_genes_detected']:,} genes detected · {markup(sample['unit'])}</p>"
    )


def answered(hit: Mapping[str, Any] | None) -> None:
    """Say in words how well an opened hit answers."""
    if not hit or hit["score"] is None:
        return
    text = f"Rank {hit['rank']}, score {hit['score']:.3f}"
    if hit["percentile"] is not None:
        text += f": {strength(hit['percentile'])}, higher than {percent(hit['percentile'])} of what random phrases find anywhere"
    st.html(f'<p class="ga-verdict">{markup(text)}.</p>')


def links(sample: Mapping[str, Any], *, release: str, here: bool = True) -> None:
    """Draw the ways on: the pages of the sample and its series, and the public records."""
    with st.container(horizontal=True, gap="small", key=f"links-{'card' if here else 'page'}"):
        if here:
            st.button("Sample page", icon=":material/science:", key="to-sample", type="tertiary", on_click=address.go,
                      args=("sample",), kwargs={"accession": sample["accession"]})  # fmt: skip
        for series in sample["series"][:3]:
            st.button(as_markdown(series), icon=":material/dataset:", key=f"to-{series}", type="tertiary",
                      on_click=address.go, args=("series",), kwargs={"accession": series}, help="Open this series")  # fmt: skip
        records = [(sample["accession"], sample["url"]), *zip(sample["series"], sample["series_urls"], strict=True)]
        public = [(name, found) for name, url in records if (found := safe_url(url))]
        for name, url in public[:4]:
            st.link_button(
                as_markdown(name), url, icon=":material/open_in_new:", type="tertiary", help="The public record"
            )
    if not public:
        st.caption("This sample has no public record to link to.")


def facts(sample: Mapping[str, Any]) -> None:
    """Draw every field of a sample."""
    stated = [
        ("title", sample["title"]), ("source", sample["source_name"]), ("tissue", sample["tissue"]),
        *sample["characteristics"], ("organism", sample["organism"]), ("molecule", sample["molecule"]),
        ("unit", sample["unit"]), ("genes detected", f"{sample['n_genes_detected']:,}"), ("kind of accession", sample["id_kind"]),
        ("cluster", sample["cluster_label"]),
    ]  # fmt: skip
    rows = "".join(
        f'<tr><th scope="row">{markup(key)}</th><td>{markup(value)}</td></tr>' for key, value in stated if value
    )
    st.html(f'<table class="ga-facts">{rows}</table>')


def why(service: Service, accession: str, question: Question, *, key: str, most: int = 10) -> None:
    """Draw the genes that carry a sample's similarity to the question, or say why that cannot be told."""
    phrase, options = question.asked()
    ways = {name: options[name] for name in ("plus", "minus") if name in options}
    try:
        found = service.ask(Client.explanation, accession, phrase or None, top=20, **ways)
    except AtlasHTTPError as error:
        st.caption(as_markdown(sentence(error, url=service.url)))
        return
    if not found["genes"] and not found["against"]:
        st.caption(as_markdown(found["message"] or "No gene carries this similarity alone."))
        return
    st.html(
        '<p class="ga-small"><b>Why this sample:</b> what the score would lose without each gene '
        f"(blue: genes that speak against it). Score {found['score']:.3f}.</p>"
    )
    figure = gene_bars(found["genes"], found["against"], theme=parts.theme(), most=most)
    st.plotly_chart(figure, key=f"genes-{key}", config={"displayModeBar": False},
                    alt="Genes for it: " + ", ".join(gene["symbol"] for gene in found["genes"][:5]))  # fmt: skip
    note = f"{found['n_genes']:,} genes judged, {100 * found['kept_weight']:.0f} % of the sample's weight."
    st.caption(as_markdown(f"{note} {found['message'] or ''}".strip()))
    downloads.buttons(lambda: gene_rows(found), stem=("genes", accession, phrase), key=f"genes-{key}")


def card(
    service: Service,
    sample: Mapping[str, Any],
    question: Question,
    *,
    hit: Mapping[str, Any] | None,
    order: Sequence[str],
    on_open: Callable[[str], None],
    on_close: Callable[[], None],
    on_part: Callable[[str, str], None],
) -> None:
    """Draw the opened sample of the search page.

    Parameters
    ----------
    hit
        The sample's place among the hits, if it is one.
    order
        Accessions of the hits; the arrows step through them.
    on_part
        Told ``"more"`` or ``"less"`` and the accession to put into the question.
    """
    accession = str(sample["accession"])
    with st.container(border=True, key="sample-card"):
        _steps(accession, order, on_open=on_open, on_close=on_close)
        head(sample)
        answered(hit)
        links(sample, release=service.release)
        reason, about = st.tabs(["Why it answers", "What it is"]) if question.is_asked else (None, st.container())
        with about:
            st.text(sample["caption"])
            with st.expander("All fields"):
                facts(sample)
        if reason is not None:
            with reason:
                why(service, accession, question, key="card")
        with st.container(horizontal=True, gap="small"):
            for sign, label, icon in (("more", "More like this", "add"), ("less", "Less like this", "remove")):
                st.button(
                    label, icon=f":material/{icon}:", key=f"part-{sign}", on_click=on_part, args=(sign, accession)
                )


def _steps(
    accession: str, order: Sequence[str], *, on_open: Callable[[str], None], on_close: Callable[[], None]
) -> None:  # fmt: skip
    at = order.index(accession) if accession in order else None
    with st.container(horizontal=True, horizontal_alignment="right", gap="small", key="card-steps"):
        if at is not None:
            for label, step, icon, keys in (
                ("Previous", -1, "chevron_left", "Alt+P"),
                ("Next", 1, "chevron_right", "Alt+N"),
            ):
                there = at + step
                known = 0 <= there < len(order)
                st.button(
                    label, icon=f":material/{icon}:", key=f"step-{label}", type="tertiary", disabled=not known, shortcut=keys,
                    on_click=on_open, args=(order[there] if known else accession,),
                )  # fmt: skip
        st.button(
            "Close", key="close", icon=":material/close:", type="tertiary", on_click=on_close, help="Close this sample"
        )
