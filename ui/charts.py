"""Charts: the map of an atlas, and bars of the genes that carry a similarity. Plotly figures, no Streamlit.

Up to ``WEBGL_FROM`` points are drawn as SVG (crisp, and there in browsers without WebGL), all of one colour as one path: a
mark of its own for each point takes a browser a second. They are found by the pointer through markers that are not drawn.
More points are drawn by WebGL; maps of large atlases are no charts but the map application, see ``ui.atlas_map``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from ui.labels import Canvas, Label, place_labels
from ui.text import chart_text

WEBGL_FROM = 5_000

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
PAPER = {"light": "#ffffff", "dark": "#181715"}
_POINTS_WEIGHED = 2_000
_LETTER_EM = 0.48
"""Width of a letter of the pages' typeface, which is a narrow one, in font sizes."""
_STEPS = 24
"""Colours of the score scale on the map: more cannot be told apart."""


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

    The first trace holds every sample (accession as ``customdata``), the last the names of the clusters.

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
    kept = _ordered(columns)
    rows, colours = _coloured(columns, kept, members=members, theme=theme)
    size = 6.0 if len(rows) <= 3_000 else 4.0 if len(rows) <= 20_000 else 2.5
    light = len(rows) <= WEBGL_FROM
    marker: dict[str, Any] = (
        {"size": size, "opacity": 0, "maxdisplayed": 1} if light else {"size": size, "color": colours, "opacity": 0.85}
    )
    opacity = {"marker": {"opacity": marker["opacity"]}}
    points = {
        "type": "scatter" if light else "scattergl", "mode": "markers", "x": xs[rows].tolist(), "y": ys[rows].tolist(),
        "marker": {**marker, "line": {"width": 0}}, "selected": opacity, "unselected": opacity,
        "customdata": [columns["accession"][row] for row in rows.tolist()], "text": _hovers(columns, rows),
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    step = max(1, len(xs) // _POINTS_WEIGHED)
    labels = place_labels(
        columns["clusters"], canvas, points=np.column_stack([xs, ys])[::step], owners=columns["cluster"][::step],
        letter_em=_LETTER_EM,
    )  # fmt: skip
    traces = [points, *_marks(columns, xs, ys, highlighted=highlighted, opened=opened, place=place, theme=theme)]
    shapes = _dots(xs[rows], ys[rows], colours, canvas, size_px=size) if light else []
    layout = _layout(canvas, height_px=height_px) | {"shapes": [*_leaders(labels, theme=theme), *shapes]}
    # The figure is made of what this module wrote: to check it again costs more than to draw it.
    return go.Figure({"data": [*traces, _names(labels, theme=theme)], "layout": layout}, _validate=False)


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
        xaxis={"zeroline": True, "zerolinecolor": GREY[theme], "showgrid": False, "tickformat": "+.1~g", "nticks": 5,
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


def _ordered(columns: Mapping[str, Any]) -> np.ndarray:
    """Rows in the order of drawing: the best score last, so that the best lie on top."""
    scores = columns.get("score")
    return np.argsort(np.asarray(scores), kind="stable") if scores else np.arange(len(columns["accession"]))


def _coloured(
    columns: Mapping[str, Any], kept: np.ndarray, *, members: Collection[str] | None, theme: Theme
) -> tuple[np.ndarray, list[str]]:
    """Return the rows to draw, in the order of drawing, and the colour of each."""
    scores = columns.get("score")
    if members is not None:
        names = columns["accession"]
        inside = np.array([names[row] in members for row in kept.tolist()], dtype=bool)
        order = np.argsort(inside, kind="stable")  # members last: none is covered
        return kept[order], [ACCENT[theme] if own else GREY[theme] for own in inside[order].tolist()]
    if scores and len(kept):
        low, high = score_range(columns) or (0.0, 1.0)
        share = np.clip((np.asarray(scores, dtype=np.float64)[kept] - low) / ((high - low) or 1.0), 0, 1)
        scale = [between(SCORES[theme], step / (_STEPS - 1)) for step in range(_STEPS)]
        return kept, [scale[step] for step in np.rint(share * (_STEPS - 1)).astype(int).tolist()]
    clusters = np.asarray(columns["cluster"], dtype=np.int64)[kept]
    return kept, [CLUSTERS[cluster % len(CLUSTERS)] for cluster in clusters.tolist()]


def between(stops: Sequence[str], share: float) -> str:
    """Return the colour at a share in [0, 1] of the way through evenly spaced stops."""
    at = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    below = min(int(at), len(stops) - 2)
    pairs = zip(_rgb(stops[below]), _rgb(stops[below + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (at - below)):02x}" for a, b in pairs)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _hovers(columns: Mapping[str, Any], rows: np.ndarray) -> list[str]:
    names, clusters, scores = columns["accession"], columns["cluster"], columns.get("score")
    labels = {c["cluster"]: chart_text(c["label"]) for c in columns["clusters"]}
    text = [f"<b>{chart_text(names[row])}</b><br>{labels.get(clusters[row], '')}" for row in rows.tolist()]
    if not scores:
        return text
    return [f"{line}<br>score {scores[row]:.3f}" for line, row in zip(text, rows.tolist(), strict=True)]


def _dots(
    xs: np.ndarray, ys: np.ndarray, colours: Sequence[str], canvas: Canvas, *, size_px: float
) -> list[dict[str, Any]]:
    """Return the points as one path a colour, in the order in which the colours come last; a point is an eight-cornered dot."""
    angles = np.arange(8) * (np.pi / 4) + np.pi / 8
    radius = 0.5 * size_px * np.array([canvas.x_per_px, canvas.y_per_px])
    corners = np.column_stack([np.cos(angles), np.sin(angles)]) * radius
    digits = 4
    outline = np.round(np.column_stack([xs, ys])[:, None, :] + corners, digits).tolist()
    paths: dict[str, list[str]] = {}
    for colour, dot in zip(colours, outline, strict=True):
        path = paths.pop(colour, [])  # to the end: what is drawn last lies on top
        path.append("M" + "L".join(f"{x:g},{y:g}" for x, y in dot) + "Z")
        paths[colour] = path
    return [
        {
            "type": "path",
            "path": "".join(path),
            "fillcolor": colour,
            "fillrule": "nonzero",
            "line": {"width": 0},
            "opacity": 0.85,
            "layer": "below",
        }
        for colour, path in paths.items()
    ]


def _leaders(labels: Sequence[Label], *, theme: Theme) -> list[dict[str, Any]]:
    """Return a line from each name that stands far off to its cluster."""
    line = {"color": AGAINST[theme], "width": 0.8}
    ends = [(label, label.leader) for label in labels if label.leader is not None]
    return [
        {"type": "line", "x0": label.x, "y0": label.y, "x1": x, "y1": y, "layer": "below", "line": line}
        for label, (x, y) in ends
    ]


def _names(labels: Sequence[Label], *, theme: Theme) -> dict[str, Any]:
    """Return the names of the clusters; a halo of paper keeps them readable on points."""
    halo = ", ".join([f"0 0 2px {PAPER[theme]}"] * 4)
    return {
        "type": "scatter", "mode": "text", "x": [label.x for label in labels], "y": [label.y for label in labels],
        "text": [label.text for label in labels], "textposition": "middle center", "hoverinfo": "skip",
        "textfont": {"size": 11, "color": INK[theme], "shadow": halo},
    }  # fmt: skip


def _marks(
    columns: Mapping[str, Any],
    xs: np.ndarray,
    ys: np.ndarray,
    *,
    highlighted: Collection[str],
    opened: str | None,
    place: tuple[float, float] | None,
    theme: Theme,
) -> list[dict[str, Any]]:
    ring = {"symbol": "circle-open", "size": 10, "color": ACCENT[theme], "line": {"width": 1.6}}
    diamond = {"symbol": "diamond", "size": 14, "color": ACCENT[theme], "line": {"width": 2, "color": INK[theme]}}
    star = {"symbol": "star", "size": 18, "color": ACCENT[theme], "line": {"width": 1.5, "color": "#ffffff"}}
    solid = {"marker": {"opacity": 1.0}}
    look = {"type": "scatter", "mode": "markers", "hoverinfo": "skip", "selected": solid, "unselected": solid}
    marks: list[dict[str, Any]] = []
    for wanted, marker in ((set(highlighted) - {opened}, ring), ({opened} - {None}, diamond)):
        rows = _rows_of(columns, {str(name) for name in wanted})
        if len(rows):
            names = [columns["accession"][row] for row in rows.tolist()]
            marks.append(
                {**look, "x": xs[rows].tolist(), "y": ys[rows].tolist(), "marker": marker, "customdata": names}
            )
    if place is not None:
        marks.append({**look, "x": [place[0]], "y": [place[1]], "marker": star})
    return marks
