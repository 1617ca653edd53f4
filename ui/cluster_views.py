"""How clusters look: their table, the page of one, the evidence for its name, its samples, the form that renames it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from ui import downloads, parts
from ui.text import as_markdown, markup, shorten

METHODS = {
    "llm": "a language model that was shown the evidence below",
    "deterministic": "the vocabulary terms that lie nearest to the cluster",
}

_SHARE: dict[str, Any] = {"min_value": 0, "max_value": 100, "format": "%d %%"}


def rows(clusters: Sequence[Mapping[str, Any]]) -> list[downloads.Row]:
    """Return the clusters as the screen shows them."""
    return [
        {
            "Cluster": cluster["label"],
            "Samples": cluster["n_samples"],
            "Series": cluster["n_series"],
            "Agreement": _percent(cluster["agreement"]),
            "Stability": _percent(cluster["stability"]),
            "Note": _note(cluster),
        }
        for cluster in clusters
    ]


def table(clusters: Sequence[Mapping[str, Any]], *, on_open: Callable[[int], None]) -> None:
    """Show the clusters; a chosen row opens one."""

    def chosen() -> None:
        row = parts.selected_row("cluster-table")
        if row is not None and row < len(clusters):
            on_open(int(clusters[row]["cluster"]))

    st.dataframe(
        rows(clusters),
        key="cluster-table",
        hide_index=True,
        placeholder="",
        alt="Clusters, largest first: name, samples, series, agreement, stability",
        height=min(38 + 35 * len(clusters), 458),
        on_select=chosen,
        selection_mode="single-row",
        column_config={
            "Cluster": st.column_config.TextColumn(width=236),
            "Samples": st.column_config.NumberColumn(width=62, format="localized"),
            "Series": st.column_config.NumberColumn(width=50, help="Studies the samples come from"),
            "Agreement": st.column_config.ProgressColumn(
                width=80, **_SHARE, help="How far the name agrees with what the depositors wrote about the samples"
            ),
            "Stability": st.column_config.ProgressColumn(
                width=80, **_SHARE, help="How much of the cluster comes back when clustering is repeated on part of the samples"
            ),
            "Note": st.column_config.TextColumn(
                width=108, help="mostly one study: over 80 % of the samples are of one series, so the cluster may be that study"
            ),
        },
    )  # fmt: skip


def head(detail: Mapping[str, Any]) -> None:
    """Name a cluster, and say how it came by its name."""
    summary = detail["summary"]
    chips = _of_one_study(summary)
    st.html(
        f'<h2 class="ga-name">{markup(summary["label"])} '
        + "".join(f'<span class="ga-chip">{markup(chip)}</span>' for chip in chips)
        + f'</h2><p class="ga-sub">Cluster {summary["cluster"]} · {named_by(detail)}</p>'
    )


def named_by(detail: Mapping[str, Any]) -> str:
    """Say who or what named a cluster, as HTML."""
    summary = detail["summary"]
    if summary["edited_by"]:
        on = f" on {markup(str(summary['edited_at'])[:10])}" if summary["edited_at"] else ""
        return f"named by {markup(summary['edited_by'])}{on}; the machine's name is <b>{markup(summary['machine_label'])}</b>"
    return f"named by {METHODS.get(detail['label_method'], markup(detail['label_method']))}"


def quality(detail: Mapping[str, Any]) -> None:
    """Show size and trust as figures with what they mean."""
    summary, found = detail["summary"], detail.get("quality") or {}
    figures = [
        ("Samples", f"{summary['n_samples']:,}", f"of {summary['n_series']:,} series"),
        ("Largest series", f"{100 * summary['top_series_share']:.0f} %", summary["top_series"]),
    ]
    if found.get("agreement") is not None:
        top = found.get("top_annotation")
        wrote = f"most wrote “{shorten(str(top), limit=30)}”" if top else "of the depositors' words"
        figures.append(
            ("Agreement", f"{100 * found['agreement']:.0f} %", f"{found['n_annotated']:,} described; {wrote}")
        )
    if found.get("stability") is not None:
        low = found.get("stability_low")
        note = f"comes back in {found['n_resamples']:,} repeats" + (
            f", at worst {100 * low:.0f} %" if low is not None else ""
        )
        figures.append(("Stability", f"{100 * found['stability']:.0f} %", note))
    parts.figures(figures)
    if not found or (found.get("agreement") is None and found.get("stability") is None):
        st.caption("Agreement and stability were not measured in this release.")


def evidence(detail: Mapping[str, Any]) -> None:
    """Show why the cluster is called what it is called."""
    summary = detail["summary"]
    st.html(
        f'<p class="ga-said">The name comes from {METHODS.get(detail["label_method"], markup(detail["label_method"]))}. Between '
        "terms that fit about equally well, the one is taken that agrees with what depositors wrote. z: how far a term stands "
        "above all terms.</p>"
    )
    ranked = sorted(detail["evidence"], key=lambda keyword: -keyword["score"])
    named_by = [
        keyword["term"]
        for keyword in ranked
        if _gave_name(keyword["term"], name=summary.get("machine_label") or summary["label"])
    ]
    if named_by:
        st.caption(as_markdown(f"The name is made of: {'; '.join(named_by)}."))
    keyword_table(ranked, empty="No term stands out for this cluster, so its name says little.")
    if detail["keywords"]:
        with st.expander(f"Best terms of each vocabulary ({len(detail['keywords'])})"):
            keyword_table(detail["keywords"], empty="")
    downloads.buttons(
        lambda: downloads.keyword_table(
            [*detail["evidence"], *detail["keywords"]], of=f"cluster {summary['cluster']}", release=detail["release"]
        ),
        stem=("cluster", summary["cluster"], "keywords"),
        key="keywords",
    )
    if detail.get("prompt") or detail.get("raw_reply"):
        with st.expander("What the language model was asked, and what it said"):
            st.caption("Prompt")
            st.code(str(detail.get("prompt") or ""), language=None, wrap_lines=True)
            st.caption("Reply, word for word")
            st.code(str(detail.get("raw_reply") or ""), language=None, wrap_lines=True)


def _gave_name(term: str, *, name: str) -> bool:
    """Whether a term reads like a part of the name; names join two terms with a stroke where one stands twice."""
    words = re.findall(r"\w+", term.casefold())
    return any(re.findall(r"\w+", part.casefold()) == words for part in name.split(" / "))


def keyword_table(keywords: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """Show vocabulary terms with their scores."""
    if not keywords:
        st.caption(empty)
        return
    st.dataframe(
        [{"Term": k["term"], "Vocabulary": k["library"], "Score": k["score"], "z": k["z"]} for k in keywords],
        hide_index=True,
        height=min(38 + 35 * len(keywords), 318),
        alt="Terms with vocabulary, score and z",
        column_config={
            "Term": st.column_config.TextColumn(width=240),
            "Vocabulary": st.column_config.TextColumn(width=170),
            "Score": st.column_config.NumberColumn(format="%.3f", width=60, help="Cosine of term and cluster"),
            "z": st.column_config.NumberColumn(format="%.1f", width=45, help="Standard deviations above all terms"),
        },
    )


def composition(detail: Mapping[str, Any]) -> None:
    """Show what the cluster is made of."""
    left, right = st.columns(2, gap="medium")
    with left:
        parts.share_bars("By series", detail["by_series"], unnamed="no series")
    with right:
        parts.share_bars("By tissue, as depositors wrote it", detail["by_tissue"])
    downloads.buttons(
        lambda: downloads.share_table(detail),
        stem=("cluster", detail["summary"]["cluster"], "composition"),
        key="composition",
    )


def members(hits: Sequence[Mapping[str, Any]], *, key: str, on_open: Callable[[str], None]) -> None:
    """Show one page of a cluster's samples; a chosen row opens one."""
    accessions = [str(hit["sample"]["accession"]) for hit in hits]

    def chosen() -> None:
        row = parts.selected_row(key)
        if row is not None and row < len(accessions):
            on_open(accessions[row])

    st.dataframe(
        [
            {
                "#": hit["rank"],
                "Sample": hit["sample"]["accession"],
                "Source": hit["sample"]["source_name"],
                "Title": hit["sample"]["title"],
                "Series": ", ".join(hit["sample"]["series"]),
                "Centrality": hit["score"],
            }
            for hit in hits
        ],
        key=key,
        hide_index=True,
        placeholder="",
        alt="Samples of the cluster, most central first",
        height=min(38 + 35 * len(hits), 388),
        on_select=chosen,
        selection_mode="single-row",
        column_config={
            "#": st.column_config.NumberColumn(width=40),
            "Sample": st.column_config.TextColumn(width=96),
            "Source": st.column_config.TextColumn(width=170),
            "Title": st.column_config.TextColumn(width=170),
            "Series": st.column_config.TextColumn(width=92),
            "Centrality": st.column_config.NumberColumn(
                format="%.3f", width=76, help="Cosine of the sample and the middle of the cluster"
            ),
        },
    )


def edit_history(edits: Sequence[Mapping[str, Any]]) -> None:
    """Show labels people gave."""
    st.dataframe(
        [
            {
                "Name": edit["label"],
                "Machine's name": edit["machine_label"],
                "By": edit["author"],
                "On": str(edit["created_at"])[:10],
                "Why": edit["note"] or "",
                "Release": edit["made_on_release"],
                "How it met this release": carried(edit),
            }
            for edit in edits
        ],
        hide_index=True,
        alt="Names given by people",
    )


def carried(edit: Mapping[str, Any]) -> str:
    """Say how an edit met the clusters of this release."""
    if edit["carried"] == "exact":
        return "the same samples"
    if edit["carried"] == "carried":
        return f"carried over: {100 * edit['overlap']:.0f} % of the samples are the same"
    return "no cluster of this release has these samples"


def _percent(share: float | None) -> int | None:
    return None if share is None else round(100 * share)


def _of_one_study(cluster: Mapping[str, Any]) -> list[str]:
    """Return the mark of a cluster that is a single study, or little else."""
    if not cluster["single_study"]:
        return []
    return ["single study" if cluster["n_series"] == 1 else "mostly one study"]


def _note(cluster: Mapping[str, Any]) -> str:
    notes = _of_one_study(cluster)
    return ", ".join([*notes, *(["renamed"] if cluster["edited_by"] else [])])
