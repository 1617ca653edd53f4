"""Charts: the map of an atlas, and bars of the genes that carry a similarity. Plotly figures, no Streamlit.

Up to ``WEBGL_FROM`` points are drawn as SVG (crisp, and there in browsers without WebGL), more by WebGL; above
``MOST_POINTS`` every n-th sample is drawn, those that are pointed out always.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from ui.labels import Canvas, place_labels
from ui.text import chart_text

WEBGL_FROM = 5_000
MOST_POINTS = 150_000

Theme = Literal["light", "dark"]

# Luminance runs one way in each scale, so they read the same with every kind of colour vision and in print.
SCORES = {
    "light": ["#dde4ea", "#a9c6d3", "#5f9fb8", "#22709a", "#0a3a66"],
    "dark": ["#2c3640", "#2d5a73", "#3f8f9d", "#8fcbb5", "#f4f3c1"],
}
# Okabe and Ito's colours without black and yellow, softened: neighbours differ, the labels identify.
CLUSTERS = ["#56a6d6", "#e0a03c", "#3aa987", "#c98bb4", "#4a7fb5", "#d9805a", "#8d9aa6"]
INK = {"light": "#1d2733", "dark": "#eef2f5"}
ACCENT = {"light": "#c2410c", "dark": "#ff9d5c"}
GREY = {"light": "#ccd3d9", "dark": "#39424b"}
AGAINST = {"light": "#5b7a99", "dark": "#8fb0cf"}
_PAPER = {"light": "rgba(255,255,255,0.78)", "dark": "rgba(24,23,21,0.74)"}
_POINTS_WEIGHED = 2_000


def map_figure(
    columns: Mapping[str, Any],
    *,
    highlighted: Collection[str] = (),
    opened: str | None = None,
    members: Collection[str] | None = None,
    place: tuple[float, float] | None = None,
    theme: Theme = "light",
    width_px: int = 640,
    height_px: int = 520,
) -> go.Figure:
    """Return the map: coloured by score if ``columns`` has one, else by cluster.

    Parameters
    ----------
    columns
        ``GET /v1/map``: accession, x, y, cluster, score (or null) as lists, and clusters.
    highlighted
        Accessions of the hits, drawn as rings.
    opened
        The sample that is open, drawn as a diamond.
    members
        The samples that the map is about: they are coloured, all others turn grey.
    place
        A place that is no sample's, drawn as a star.
    width_px, height_px
        About the size on screen; it decides which labels fit.
    """
    xs, ys = np.asarray(columns["x"], dtype=np.float64), np.asarray(columns["y"], dtype=np.float64)
    canvas = Canvas.around(xs, ys, width_px=width_px, height_px=height_px)
    figure = go.Figure(_points(columns, xs, ys, always={*highlighted, *(members or ())}, members=members, theme=theme))
    for trace in _marks(columns, xs, ys, highlighted=highlighted, opened=opened, theme=theme):
        figure.add_trace(trace)
    if place is not None:
        star = {"symbol": "star", "size": 18, "color": ACCENT[theme], "line": {"width": 1.5, "color": "#ffffff"}}
        figure.add_trace(go.Scatter(x=[place[0]], y=[place[1]], mode="markers", hoverinfo="skip", marker=star))
    every = max(1, len(xs) // _POINTS_WEIGHED)
    for label in place_labels(columns["clusters"], canvas, points=np.column_stack([xs, ys])[::every]):
        if label.leader is not None:
            figure.add_shape(
                type="line", x0=label.x, y0=label.y, x1=label.leader[0], y1=label.leader[1], layer="below",
                line={"color": AGAINST[theme], "width": 0.8},
            )  # fmt: skip
        figure.add_annotation(
            x=label.x, y=label.y, text=label.text, showarrow=False, bgcolor=_PAPER[theme], borderpad=1,
            font={"size": 11, "color": INK[theme]}, captureevents=False,
        )  # fmt: skip
    return figure.update_layout(_layout(canvas, height_px=height_px))


def sampling_step(n_samples: int) -> int:
    """Return n where every n-th sample is drawn; 1 draws them all."""
    return max(1, -(-n_samples // MOST_POINTS))


def score_range(columns: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the scores at the two ends of the colour scale: the median, as the lower half is background, and the best."""
    scores = columns.get("score")
    if not scores:
        return None
    values = np.asarray(scores, dtype=np.float64)
    return float(np.median(values)), float(values.max())


def gene_bars(
    genes: Sequence[Mapping[str, Any]], against: Sequence[Mapping[str, Any]] = (), *, theme: Theme = "light", most: int = 10
) -> go.Figure:  # fmt: skip
    """Return bars of the genes for (and, beneath, against) a similarity, strongest on top.

    Parameters
    ----------
    genes, against
        ``GeneContribution`` records: symbol, ensembl_id, contribution, weight.
    """
    drawn = [*genes[:most], *against[: max(3, most // 3)]][::-1]
    names = [chart_text(gene["symbol"] or gene["ensembl_id"], limit=18) for gene in drawn]
    values = [float(gene["contribution"]) for gene in drawn]
    bars = go.Bar(
        x=values, y=list(range(len(drawn))), orientation="h", width=0.72,
        marker={"color": [ACCENT[theme] if value >= 0 else AGAINST[theme] for value in values]},
        customdata=[chart_text(gene["ensembl_id"]) for gene in drawn], text=names,
        hovertemplate="<b>%{text}</b> %{customdata}<br>%{x:+.4f} of the score<extra></extra>", textposition="none",
    )  # fmt: skip
    figure = go.Figure(bars)
    return figure.update_layout(
        height=26 + 19 * len(drawn), margin={"l": 0, "r": 8, "t": 2, "b": 22}, showlegend=False, dragmode=False,
        hoverlabel={"align": "left"}, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", bargap=0.2,
        xaxis={"zeroline": True, "zerolinecolor": GREY[theme], "showgrid": False, "tickformat": "+.3f", "nticks": 4,
               "tickfont": {"size": 10}, "fixedrange": True},
        yaxis={"tickvals": list(range(len(drawn))), "ticktext": names, "showgrid": False, "fixedrange": True,
               "tickfont": {"size": 11, "color": INK[theme]}, "automargin": True},
    )  # fmt: skip


def _layout(canvas: Canvas, *, height_px: int) -> dict[str, Any]:
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    return {
        "height": height_px,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "showlegend": False,
        "dragmode": "pan",
        "clickmode": "event+select",
        "hoverlabel": {"align": "left", "namelength": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {**hidden, "range": [canvas.x_min, canvas.x_max]},
        "yaxis": {**hidden, "range": [canvas.y_min, canvas.y_max]},
    }


def _rows_of(columns: Mapping[str, Any], wanted: Collection[str]) -> np.ndarray:
    if not wanted:
        return np.zeros(0, dtype=np.int64)
    return np.array([row for row, name in enumerate(columns["accession"]) if name in wanted], dtype=np.int64)


def _kept(columns: Mapping[str, Any], always: np.ndarray) -> np.ndarray:
    """Rows to draw, best score last, so that the best lie on top."""
    n = len(columns["accession"])
    rows = np.union1d(np.arange(0, n, sampling_step(n)), always)
    scores = columns.get("score")
    return rows[np.argsort(np.asarray(scores)[rows], kind="stable")] if scores else rows


def _points(
    columns: Mapping[str, Any],
    xs: np.ndarray,
    ys: np.ndarray,
    *,
    always: set[str],
    members: Collection[str] | None,
    theme: Theme,
) -> go.Scatter | go.Scattergl:
    kept = _kept(columns, _rows_of(columns, always))
    clusters = np.asarray(columns["cluster"], dtype=np.int64)[kept]
    names, labels = columns["accession"], {c["cluster"]: chart_text(c["label"]) for c in columns["clusters"]}
    scores = columns.get("score")
    n = len(kept)
    marker: dict[str, Any] = {"size": 6 if n <= 3_000 else 4 if n <= 20_000 else 2.5, "line": {"width": 0}}
    pairs = zip(kept.tolist(), clusters.tolist(), strict=True)
    text = [f"<b>{chart_text(names[row])}</b><br>{labels.get(cluster, '')}" for row, cluster in pairs]
    if members is not None:
        inside = np.array([names[row] in members for row in kept], dtype=bool)
        order = np.argsort(inside, kind="stable")  # members last: none is covered
        kept, text = kept[order], [text[i] for i in order]
        marker |= {"color": [ACCENT[theme] if own else GREY[theme] for own in inside[order].tolist()], "opacity": 0.9}
    elif scores and n:
        values = np.asarray(scores, dtype=np.float64)[kept]
        low, high = score_range(columns) or (0.0, 1.0)
        marker |= {"color": values.tolist(), "colorscale": SCORES[theme], "cmin": low, "cmax": high}
        text = [f"{line}<br>score {value:.3f}" for line, value in zip(text, values.tolist(), strict=True)]
    else:
        marker |= {"color": [CLUSTERS[c % len(CLUSTERS)] for c in clusters.tolist()], "opacity": 0.8}
    opacity = {"marker": {"opacity": marker.get("opacity", 1.0)}}
    kind = go.Scatter if n <= WEBGL_FROM else go.Scattergl
    return kind(
        x=xs[kept].tolist(), y=ys[kept].tolist(), mode="markers", marker=marker, selected=opacity, unselected=opacity,
        customdata=[names[row] for row in kept], text=text, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _marks(
    columns: Mapping[str, Any], xs: np.ndarray, ys: np.ndarray, *, highlighted: Collection[str], opened: str | None, theme: Theme
) -> list[go.Scatter]:  # fmt: skip
    ring = {"symbol": "circle-open", "size": 10, "color": ACCENT[theme], "line": {"width": 1.6}}
    diamond = {"symbol": "diamond", "size": 14, "color": ACCENT[theme], "line": {"width": 2, "color": INK[theme]}}
    solid = {"marker": {"opacity": 1.0}}
    marks = []
    for wanted, marker in ((set(highlighted) - {opened}, ring), ({opened} - {None}, diamond)):
        rows = _rows_of(columns, {str(name) for name in wanted})
        if len(rows):
            marks.append(
                go.Scatter(
                    x=xs[rows].tolist(), y=ys[rows].tolist(), mode="markers", marker=marker, hoverinfo="skip", selected=solid,
                    unselected=solid, customdata=[columns["accession"][row] for row in rows],
                )
            )  # fmt: skip
    return marks
