"""How a scan looks: how far it can be trusted, its heat map, its terms, one term, the best terms of clusters, the sum."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from ui import downloads, parts, scan_words
from ui.heatmap import Grid, forest_figure, heatmap_figure, heatmap_svg, strength
from ui.text import markup

MOST_CELLS_LISTED = 60
"""Clusters of a term that the forest plot shows; the table has them all."""

_DAGGER = {True: "†", False: ""}
_MARKS = {"claimed": " ●", "alone": " ○", "none": ""}

OnTerm = Callable[[str], None]
OnCluster = Callable[[int], None]


def trust(summary: Mapping[str, Any]) -> None:
    """Say what was swept, what was found, and how far to trust it."""
    st.html(f'<p class="ga-said">{markup(scan_words.summary_sentence(summary))}</p>')
    if not summary["n_significant"]:
        st.info(scan_words.NOTHING_FOUND, icon=":material/info:")
    said = scan_words.calibration_sentences(summary["calibration"])
    icon = ":material/verified:" if scan_words.is_calibrated(summary["calibration"]) else ":material/warning:"
    with st.expander(f"How far to trust the p-values: {said[-1]}", icon=icon):
        points = [
            *said[:-1],
            "Clusters were found on the same samples, so shuffling them would make everything look significant; it is not used. "
            "A term is compared with background terms of other vocabularies that are as general as it is.",
            f"Each term was embedded as the mean of {len(summary['templates'])} wordings: "
            + ", ".join(f"“{one}”" for one in summary["templates"])
            + ".",
        ]
        st.html(f'<ul class="ga-list">{"".join(f"<li>{markup(point)}</li>" for point in points)}</ul>')


def heat_map(grid: Grid, *, key: str, descriptive: Collection[int], selected: Collection[str], on_term: OnTerm) -> None:
    """Show terms by clusters; a click on a cell opens its term."""
    narrow = parts.is_phone()
    figure = heatmap_figure(grid, descriptive=descriptive, selected=selected, theme=parts.theme(), narrow=narrow)

    def pressed() -> None:
        data = parts.clicked(key)
        if data:
            on_term(str(data[0]))

    # A small window scrolls what was laid out for a large one.
    with st.container(key="heat-phone" if narrow else "heat-wide"):
        st.plotly_chart(
            figure,
            key=key,
            theme=None,
            on_select=pressed,
            selection_mode="points",
            alt=f"Heat map of {len(grid.terms)} terms by {len(grid.clusters)} clusters; the table of terms has the same figures",
            config={"displaylogo": False, "displayModeBar": False},
        )
    st.caption(
        "Colour: how far the samples of a cluster lie above (orange) or below (blue) the atlas' mean answer to the term, in "
        "standard deviations. Dot: q < .05; ring: q < .05 for a question about that term alone. Bold: the term stands out. "
        + ("† fewer than 3 studies: holds for those studies. " if set(grid.clusters) & set(descriptive) else "")
        + "Click a cell to open its term."
    )


def save_heat_map(
    matrix: Mapping[str, Any], grid: Grid, *, descriptive: Collection[int], selected: Collection[str]
) -> None:
    """Offer the heat map as a figure and as tables."""
    summary = matrix["summary"]
    place = st.container(horizontal=True, gap="small")
    place.download_button(
        "Figure SVG",
        lambda: heatmap_svg(
            grid,
            title=f"{scan_words.title(summary)} in release {summary['release']}",
            descriptive=descriptive,
            selected=selected,
        ),
        file_name=downloads.file_name("scan", summary["name"], "heat map", suffix="svg"),
        mime="image/svg+xml",
        icon=":material/image:",
        type="tertiary",
        key="save-heat-svg",
        on_click="ignore",
        help="This heat map as a figure for print",
    )
    with place:
        downloads.buttons(
            lambda: downloads.matrix_table(matrix), stem=("scan", summary["name"], "matrix"), key="matrix"
        )


def terms(report: Mapping[str, Any], *, significant_only: bool, on_term: OnTerm) -> None:
    """Show the ranked terms; a chosen row opens one."""
    listed = [t for t in report["terms"] if not significant_only or t["selected"]]
    if not listed:
        st.caption("No term has q < .05. Switch the filter off to see them all.")
        return
    key = f"term-table-{report['summary']['name']}-{significant_only}"

    def chosen() -> None:
        row = parts.selected_row(key)
        if row is not None and row < len(listed):
            on_term(str(listed[row]["term"]))

    top = max((t["effect"] for t in listed), default=1.0)
    st.dataframe(
        [
            {
                "#": t["rank"], "Term": t["term"], "Effect": t["effect"],
                "Best cluster": t["top_cluster_label"] + _DAGGER[bool(t["descriptive"])],
                "q": scan_words.p_text(t["q_value"]), "p": scan_words.p_text(t["p_value"]),
                "p (Gauss)": scan_words.p_text(t["p_gaussian"]), "Answers": round(100 * t["share_answering"], 1),
            }
            for t in listed
        ],
        key=key,
        hide_index=True,
        placeholder="",
        height=min(38 + 35 * len(listed), 563),
        alt="Terms, best first: effect, best cluster, q, p, share of the atlas that answers",
        on_select=chosen,
        selection_mode="single-row",
        column_config={
            "#": st.column_config.NumberColumn(width=40),
            "Term": st.column_config.TextColumn(width=260),
            "Effect": st.column_config.ProgressColumn(
                width=110, format="%.2f", min_value=0.0, max_value=max(top, 0.01),
                help="Mean z of the samples of its best cluster",
            ),
            "Best cluster": st.column_config.TextColumn(width=220),
            "q": st.column_config.TextColumn(width=70, help="Benjamini-Hochberg over the terms of the scan"),
            "p": st.column_config.TextColumn(width=70, help="Share of comparable background terms that do as well (add-one)"),
            "p (Gauss)": st.column_config.TextColumn(width=76, help="The same from a fitted Gaussian tail"),
            "Answers": st.column_config.NumberColumn(
                width=76, format="%.1f %%", help="Share of the atlas' samples that answer the term at all"
            ),
        },
    )  # fmt: skip


def cluster_terms(report: Mapping[str, Any], *, per_cluster: int = 5) -> list[dict[str, Any]]:
    """Return one row a cluster with its best terms, strongest cluster first."""
    mine: dict[int, list[Mapping[str, Any]]] = {}
    for cell in report["top_terms_of_clusters"]:
        mine.setdefault(int(cell["cluster"]), []).append(cell)
    ranked = [sorted(cells, key=lambda cell: -cell["effect"])[:per_cluster] for cells in mine.values()]
    return [
        {
            "cluster": int(cells[0]["cluster"]),
            "Cluster": cells[0]["cluster_label"] + _DAGGER[bool(cells[0]["descriptive"])],
            "Samples": cells[0]["n_samples"],
            "Studies": cells[0]["n_studies"],
            **{f"Term {i}": _short_cell(cell) for i, cell in enumerate(cells, start=1)},
        }
        for cells in sorted(ranked, key=lambda cells: -cells[0]["effect"])
    ]


def clusters(report: Mapping[str, Any], *, on_cluster: OnCluster) -> None:
    """Show the best terms of each cluster; a chosen row opens the cluster."""
    rows = cluster_terms(report)
    key = f"cluster-terms-{report['summary']['name']}"

    def chosen() -> None:
        row = parts.selected_row(key)
        if row is not None and row < len(rows):
            on_cluster(int(rows[row]["cluster"]))

    st.dataframe(
        [{name: value for name, value in row.items() if name != "cluster"} for row in rows],
        key=key,
        hide_index=True,
        placeholder="",
        height=min(38 + 35 * max(1, len(rows)), 563),
        alt="Clusters with their best terms",
        on_select=chosen,
        selection_mode="single-row",
        column_config={
            "Cluster": st.column_config.TextColumn(width=210),
            "Samples": st.column_config.NumberColumn(width=66),
            "Studies": st.column_config.NumberColumn(width=62),
            **{f"Term {i}": st.column_config.TextColumn(width=220) for i in range(1, 6)},
        },
    )
    st.caption(
        "In brackets the effect: mean z of the cluster's samples. ● q < .05; ○ q < .05 for a question about that term alone. "
        "† fewer than 3 studies. A chosen row opens the cluster."
    )


def term_detail(report: Mapping[str, Any], *, key: str, on_cluster: OnCluster) -> None:
    """Show what one term found: in words, as intervals, as a table."""
    term, cells = report["term"], report["cells"]
    st.html(
        f'<h2 class="ga-name">{markup(term["term"])}</h2>'
        f'<p class="ga-said">{markup(scan_words.term_sentence(term, n_terms=report["summary"]["n_terms"]))}</p>'
        f'<p class="ga-said">{markup(scan_words.cells_sentence(cells))}</p>'
    )
    shown = cells[:MOST_CELLS_LISTED]

    def pressed() -> None:
        data = parts.clicked(key)
        if data:
            on_cluster(int(data[0] if isinstance(data, list) else data))

    st.plotly_chart(
        forest_figure(shown, theme=parts.theme(), narrow=parts.is_phone()),
        key=key,
        theme=None,
        on_select=pressed,
        selection_mode="points",
        alt=f"Effect of {term['term']} in {len(shown)} clusters with 95 % intervals; the table below has the figures",
        config={"displaylogo": False, "displayModeBar": False},
    )
    st.caption(
        "Mark: mean z of the cluster; bar: 95 % interval over studies; ◇ fewer than 3 studies, hence no bar. Orange and filled: "
        "q < .05; orange and hollow: q < .05 for this term alone. Click a mark to open its cluster."
    )


def cell_table(cells: Sequence[Mapping[str, Any]]) -> None:
    """Show one term's clusters with every figure."""
    st.dataframe(
        [
            {
                "Cluster": c["cluster_label"], "Effect": c["effect"], "Low": c["low"], "High": c["high"],
                "q": scan_words.p_text(c["q_value"]), "q alone": scan_words.p_text(c["q_within"]),
                "p": scan_words.p_text(c["p_value"]), "Answers": round(100 * c["share_answering"], 1),
                "Samples": c["n_samples"], "Studies": c["n_studies"],
                "Note": "descriptive" if c["descriptive"] else "",
            }
            for c in cells
        ],
        hide_index=True,
        placeholder="",
        height=min(38 + 35 * max(1, len(cells)), 388),
        alt="Clusters with effect, interval, q, p, samples and studies",
        column_config={
            "Cluster": st.column_config.TextColumn(width=200),
            "Effect": st.column_config.NumberColumn(format="%.2f", width=58, help="Mean z of the cluster's samples"),
            "Low": st.column_config.NumberColumn(format="%.2f", width=52, help="Lower end of the 95 % interval"),
            "High": st.column_config.NumberColumn(format="%.2f", width=52, help="Upper end of the 95 % interval"),
            "q": st.column_config.TextColumn(width=60, help="Pays for the choice of the term"),
            "q alone": st.column_config.TextColumn(width=66, help="Had you asked about this term alone"),
            "p": st.column_config.TextColumn(width=64),
            "Answers": st.column_config.NumberColumn(format="%.1f %%", width=72, help="Samples that answer at all"),
            "Samples": st.column_config.NumberColumn(width=66),
            "Studies": st.column_config.NumberColumn(width=62),
            "Note": st.column_config.TextColumn(width=86, help="descriptive: fewer than 3 studies"),
        },
    )  # fmt: skip


def cluster_medians(
    percentiles: np.ndarray | Sequence[float], cluster_of: np.ndarray | Sequence[int], labels: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Return the median percentile of each cluster, highest first."""
    values, owners = np.asarray(percentiles, dtype=float), np.asarray(cluster_of)
    order = np.argsort(owners, kind="stable")
    clusters, starts = np.unique(owners[order], return_index=True)
    rows = []
    for cluster, mine in zip(clusters, np.split(values[order], starts[1:]), strict=False):
        rows.append(
            {
                "Cluster": labels.get(int(cluster), f"cluster {cluster}"),
                "Median percentile": float(np.median(mine)),
                "Samples above 95": round(100 * float(np.mean(mine >= 95)), 1),
                "Samples": len(mine),
            }
        )
    return sorted(rows, key=lambda row: -float(row["Median percentile"]))


def sums(percentile: np.ndarray, owners: np.ndarray, labels: Mapping[int, str]) -> None:
    """Show in words and by cluster how the sum over all terms compares with random terms.

    Parameters
    ----------
    percentile, owners
        (n,) percentile of each sample's sum, and its cluster.
    labels
        Name of each cluster.
    """
    st.html(f'<p class="ga-said"><b>{markup(scan_words.sum_sentence(percentile))}</b></p>')
    st.html(f'<p class="ga-said">{markup(scan_words.SUM_CAVEAT)}</p>')
    st.dataframe(
        cluster_medians(percentile, owners, labels),
        hide_index=True,
        height=388,
        alt="Clusters by the median percentile of their samples' sums",
        column_config={
            "Cluster": st.column_config.TextColumn(width=250),
            "Median percentile": st.column_config.ProgressColumn(
                min_value=0, max_value=100, format="%.0f", width=140, help="50: as random terms"
            ),
            "Samples above 95": st.column_config.NumberColumn(
                format="%.0f %%", width=120, help="5 % would be by chance"
            ),
            "Samples": st.column_config.NumberColumn(width=66),
        },
    )


def _short_cell(cell: Mapping[str, Any]) -> str:
    return f"{cell['term']} ({cell['effect']:.1f}){_MARKS[strength(cell['q_value'], cell['q_within'])]}"
