"""The parts of the page. Each draws what it is given; what a click does is the caller's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from atlas.client import AtlasHTTPError
from ui import address
from ui.charts import MOST_POINTS, map_figure, sampling_step
from ui.service import sentence
from ui.tables import cluster_rows, download_rows, hit_rows, option_of, series_rows
from ui.text import csv_table, markup, safe_url, shorten

OnOpen = Callable[[str | None], None]

_STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.svg").read_text(encoding="utf-8")
"""The page's icon, of our own: a named one would be fetched from elsewhere."""

WEAK_PERCENTILE = 75.0
"""Below it a best hit is called weak, although something in the atlas does match."""

_LINK_NAMES = {"www.ncbi.nlm.nih.gov": "GEO / SRA", "portal.gdc.cancer.gov": "GDC"}


def style() -> None:
    """Add the page's few style rules."""
    st.html(_STYLE)


def heading(title: str, lead: str = "") -> None:
    """Head a page: its name, and in a sentence what it is for. Both are ours, neither is text of strangers."""
    st.html(f'<h1 class="ga-title">{markup(title)}</h1>' + (f'<p class="ga-lead">{markup(lead)}</p>' if lead else ""))


def failure(error: AtlasHTTPError, *, url: str) -> None:
    """Say what went wrong, with a way on: try again, or the served release where the named one is gone."""
    if error.code == "release_retired" or (error.status == 404 and error.details.get("what") == "release"):
        st.error(as_markdown(sentence(error, url=url)), icon=":material/history_toggle_off:")
        st.button("Show the current release", key="unpin", icon=":material/update:", on_click=address.unpin)
        return
    st.error(as_markdown(sentence(error, url=url)), icon=":material/cloud_off:")
    st.button("Try again", key="retry", icon=":material/refresh:")


def pinned(release: dict[str, Any], *, current: str) -> None:
    """Say that an older release is shown, and offer the served one."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="pinned"):
        st.markdown(
            f":material/history: This link names release **{as_markdown(str(release['release']))}**, built "
            f"{as_markdown(str(release.get('created_at', ''))[:10])}. The atlas now serves **{as_markdown(current)}**."
        )
        st.button("Show the current release", key="unpin", on_click=address.unpin)


def empty(title: str, hint: str = "", *, icon: str = ":material/search_off:") -> None:
    """Say that there is nothing to show, and what would change that."""
    with st.container(key=f"empty-{title[:24]}", border=True):
        st.markdown(f"{icon} **{as_markdown(title)}**" + (f"  \n{as_markdown(hint)}" if hint else ""))


def welcome(release: dict[str, Any]) -> None:
    """Invite to the first question."""
    st.html(
        f'<p class="ga-verdict">{release["n_samples"]:,} samples, grouped by similar expression. Ask for a phrase above, '
        "or look around: pick a cluster, or a point of the map.</p>"
    )


def names_record(answer: dict[str, Any]) -> bool:
    """Return whether the question was the name of a sample or series rather than words: then no score tells of words."""
    name, hits = answer["query"].strip().casefold(), answer["hits"]
    return bool(hits) and name in {
        one.casefold() for one in (hits[0]["sample"]["accession"], *hits[0]["sample"]["series"])
    }


def verdict(answer: dict[str, Any]) -> None:
    """Say in a sentence how good the answer is; an answer that is none is said to be none."""
    if answer["no_match"]:
        st.warning(
            as_markdown(answer["message"] or "Nothing in this atlas matches that phrase."),
            icon=":material/search_off:",
        )
        return
    if answer["message"]:
        st.info(as_markdown(answer["message"]), icon=":material/info:")
    hits = answer["hits"]
    if not hits:
        st.warning("No sample passes these filters. Loosen one of them.", icon=":material/filter_alt_off:")
        return
    first = hits[0]
    best = ""
    if first["score"] is not None and not names_record(answer):
        best = f" Best score {first['score']:.3f}"
        if first["percentile"] is not None:
            best += f", higher than {_percent(first['percentile'])} of what random phrases reach"
            best += ": a weak answer" if first["percentile"] < WEAK_PERCENTILE else ""
        best += "."
    st.html(
        f'<p class="ga-verdict">The <b>{len(hits)}</b> nearest of {answer["n_candidates"]:,} samples to '
        f"<b>{markup(shorten(answer['query'], limit=120))}</b>, from <b>{len(answer['series'])}</b> series.{best}</p>"
    )


def hits(found: list[dict[str, Any]], *, release: str, phrase: str, on_open: OnOpen) -> None:
    """Show the hits; a row or the list beneath opens one."""
    if not found:
        st.caption("No samples to list.")
        return
    accessions = [hit["sample"]["accession"] for hit in found]
    table = f"hit-table-{release}-{phrase}"  # another question starts without a selected row
    top = max((hit["score"] for hit in found if hit["score"] is not None), default=1.0)
    st.dataframe(
        hit_rows(found),
        key=table,
        hide_index=True,
        placeholder="",
        height=min(38 + 35 * len(found), 458),
        on_select=lambda: on_open(_selected(table, accessions)),
        selection_mode="single-row",
        column_config={
            "#": st.column_config.NumberColumn(width=34),
            "Sample": st.column_config.TextColumn(width=94),
            "Record": st.column_config.LinkColumn("↗", display_text="↗", width=30, help="The public record of the sample"),
            "Score": st.column_config.ProgressColumn(
                format="%.3f", min_value=0.0, max_value=max(top, 0.01), width=90, help="Cosine of phrase and sample"
            ),
            "Pct": st.column_config.NumberColumn(
                format="%.1f", width=50, help="Percentile among the scores that random phrases reach in this atlas"
            ),
            "Source": st.column_config.TextColumn(width=140),
            "Title": st.column_config.TextColumn(width=110),
            "Series": st.column_config.TextColumn(width=90),
            "Series record": st.column_config.LinkColumn("↗", display_text="↗", width=30, help="The public record of the series"),
            "Cluster": st.column_config.TextColumn(width=140),
        },
    )  # fmt: skip
    choose, save = st.columns([3, 1], vertical_alignment="bottom")
    options = dict(zip(accessions, map(option_of, found), strict=True))
    choose.selectbox(
        "Open a sample", accessions, index=None, format_func=lambda a: options.get(a, a), key="choose-hit",
        placeholder="Choose a sample to open", label_visibility="collapsed",
        on_change=lambda: on_open(st.session_state.get("choose-hit")),
    )  # fmt: skip
    save.download_button(
        "CSV", csv_table(download_rows(found, release=release)), file_name=f"geo-atlas-{_slug(phrase)}.csv",
        mime="text/csv", icon=":material/download:", width="stretch", on_click="ignore",
    )  # fmt: skip


def series(found: list[dict[str, Any]]) -> None:
    """Show how the hits fall on series."""
    if not found:
        st.caption("No series to list.")
        return
    st.dataframe(
        series_rows(found),
        hide_index=True,
        column_config={
            "Title": st.column_config.TextColumn(width="medium"),
            "Hits": st.column_config.NumberColumn(help="Samples of this series among the hits"),
            "Samples": st.column_config.NumberColumn(help="Samples of this series in the atlas"),
            "Best score": st.column_config.NumberColumn(format="%.3f"),
            "Record": st.column_config.LinkColumn(display_text="open ↗"),
        },
    )


def clusters(found: list[dict[str, Any]]) -> int | None:
    """Show the clusters; return the id of the chosen one."""
    event = st.dataframe(
        cluster_rows(found),
        key="cluster-table",
        hide_index=True,
        height=min(38 + 35 * max(len(found), 1), 458),
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "Cluster": st.column_config.TextColumn(width=200),
            "Samples": st.column_config.NumberColumn(width=68),
            "Series": st.column_config.NumberColumn(width=58),
            "Largest series": st.column_config.TextColumn(width=104),
            "Share": st.column_config.NumberColumn(format="%d %%", width=58, help="Share of the largest series"),
            "Note": st.column_config.TextColumn(
                width=90, help="single study: over 80 % of the samples come from one series"
            ),
        },
    )
    rows = event["selection"]["rows"] if event else []
    return int(found[rows[0]]["cluster"]) if rows and rows[0] < len(found) else None


def cluster(detail: dict[str, Any], *, on_open: OnOpen) -> None:
    """Show why a cluster is called what it is called, and its most central samples."""
    summary = detail["summary"]
    with st.container(border=True):
        note = " · single study" if summary["single_study"] else ""
        st.html(
            f'<p class="ga-name">{markup(summary["label"])}</p><p class="ga-sub">{summary["n_samples"]:,} samples of '
            f"{summary['n_series']:,} series{note} · label by {_method(detail['label_method'])}</p>"
        )
        st.dataframe(
            [
                {"Evidence": k["term"], "Library": k["library"], "Score": k["score"], "z": k["z"]}
                for k in detail["evidence"]
            ],
            hide_index=True,
            column_config={
                "Score": st.column_config.NumberColumn(format="%.3f"),
                "z": st.column_config.NumberColumn(format="%.1f", help="Standard deviations above all terms"),
            },
        )
        accessions = [hit["sample"]["accession"] for hit in detail["top_samples"]]
        options = {hit["sample"]["accession"]: option_of(hit) for hit in detail["top_samples"]}
        st.selectbox(
            "Most central samples", accessions, index=None, format_func=lambda a: options.get(a, a), key="choose-central",
            placeholder="Open one of its most central samples", label_visibility="collapsed",
            on_change=lambda: on_open(st.session_state.get("choose-central")),
        )  # fmt: skip


def card(sample: dict[str, Any], *, on_open: OnOpen, on_close: Callable[[], None]) -> None:
    """Show one sample: what its source says, its links, its nearest samples of other series."""
    with st.container(border=True, key="sample-card"):
        name, close = st.columns([5, 1], gap="small")
        place = sample["cluster_label"] or "no cluster"
        name.html(
            f'<p class="ga-name">{markup(sample["accession"])} · {markup(sample["title"] or sample["source_name"])}</p>'
            f'<p class="ga-sub">{markup(sample["organism"])} · {markup(place)} · '
            f"{sample['n_genes_detected']:,} genes detected</p>"
        )
        close.button(
            "Close", key="close", icon=":material/close:", type="tertiary", on_click=on_close, help="Close this sample"
        )
        _links(sample)
        st.text(sample["caption"])
        facts = [("source", sample["source_name"]), *sample["characteristics"], ("unit", sample["unit"])]
        rows = "".join(f"<tr><th>{markup(key)}</th><td>{markup(value)}</td></tr>" for key, value in facts if value)
        with st.expander("Characteristics", expanded=len(facts) <= 7):
            st.html(f'<table class="ga-facts">{rows}</table>')
        _neighbours(sample["neighbors"], on_open=on_open)


def _links(sample: dict[str, Any]) -> None:
    links = [(sample["accession"], sample["url"]), *zip(sample["series"], sample["series_urls"], strict=True)]
    with st.container(horizontal=True, gap="small"):
        for accession, url in links:
            if address := safe_url(url):
                st.link_button(as_markdown(accession), address, icon=":material/open_in_new:")
    if not any(safe_url(url) for _, url in links):
        st.caption("This sample has no public record to link to.")


def _neighbours(found: list[dict[str, Any]], *, on_open: OnOpen) -> None:
    if not found:
        return
    st.caption("Nearest samples of other series")
    accessions = [hit["sample"]["accession"] for hit in found]
    st.dataframe(
        [
            {"Sample": h["sample"]["accession"], "Score": h["score"], "Title": h["sample"]["title"] or h["sample"]["source_name"],
             "Series": ", ".join(h["sample"]["series"])}
            for h in found
        ],
        key="neighbour-table",
        hide_index=True,
        height=38 + 35 * min(len(found), 4),
        placeholder="",
        on_select=lambda: on_open(_selected("neighbour-table", accessions)),
        selection_mode="single-row",
        column_config={"Score": st.column_config.NumberColumn(format="%.3f", width="small")},
    )  # fmt: skip


def map_chart(
    columns: dict[str, Any],
    *,
    highlighted: list[str],
    opened: str | None,
    theme: Literal["light", "dark"],
    narrow: bool,
    on_open: OnOpen,
) -> None:
    """Show the map; a click on a point opens its sample."""
    figure = map_figure(
        columns,
        highlighted=highlighted,
        opened=opened,
        theme=theme,
        width_px=350 if narrow else 620,
        height_px=400 if narrow else 520,
    )
    st.plotly_chart(
        figure,
        key="map",
        on_select=lambda: on_open(_clicked("map")),
        selection_mode="points",
        config={"displaylogo": False, "displayModeBar": False, "scrollZoom": not narrow},
    )
    colour = "Colour: score of each sample; rings: the hits." if columns.get("score") else "Colour: clusters."
    step = sampling_step(len(columns["accession"]))
    part = f" Of more than {MOST_POINTS:,} samples every {step}th is drawn, hits always." if step > 1 else ""
    st.caption(f"{colour} Near each other means similar expression; distances across the map mean little.{part}")


def footer(release: dict[str, Any], *, url: str) -> None:
    """Name the release, and say what a score does and does not mean."""
    built = markup(str(release.get("created_at", ""))[:10])
    st.html(
        f'<div class="ga-foot">Release <b>{markup(release["release"])}</b>, built {built}, {release["n_samples"]:,} samples. '
        "A sample's place comes from its expression alone. A score says that genes and phrase point the same way; it is no "
        "diagnosis, and for many diseases it finds the tissue rather than the disease. Texts are the depositors' own. "
        f'Your words go to the atlas service ({markup(url)}) and nowhere else.</div>'
    )  # fmt: skip


def as_markdown(text: str) -> str:
    """Return plain text for Streamlit's markdown: every character that could mean something is escaped; `code` stays."""
    text = text.replace("://", ":\u2060//").replace("www.", "www\u2060.")  # no address becomes a link by itself
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if i % 2 else re.sub(r"([\\*_{}\[\]()#+\-.!|<>$:~&@`])", r"\\\1", part) for i, part in enumerate(parts)
    )


def _selected(key: str, accessions: list[str]) -> str | None:
    rows = st.session_state[key]["selection"]["rows"]
    return accessions[rows[0]] if rows and rows[0] < len(accessions) else None


def _clicked(key: str) -> str | None:
    points = st.session_state[key]["selection"]["points"]
    data = points[0].get("customdata") if points else None
    return str(data[0] if isinstance(data, list) else data) if data else None


def _percent(percentile: float) -> str:
    return f"{min(percentile, 99.9):.1f} %"


def _method(method: str) -> str:
    return "a language model, evidence below" if method == "llm" else "its best matching terms"


def _slug(phrase: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", phrase.lower()).strip("-")[:60] or "search"
