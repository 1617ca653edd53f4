"""The map of an atlas as a chart: every sample a point, cluster labels that do not cover each other, hits ringed.

In: the columns of ``GET /v1/map``. Out: a Plotly figure. Up to ``WEBGL_FROM`` points are drawn as SVG (crisp, and there in
browsers without WebGL), more by WebGL; above ``MOST_POINTS`` every n-th sample is drawn, hits always.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from ui.text import chart_text, shorten

WEBGL_FROM = 5_000
MOST_POINTS = 150_000

# Luminance runs one way in each scale, so they read the same with every kind of colour vision and in print.
_SCORES = {
    "light": ["#dde4ea", "#a9c6d3", "#5f9fb8", "#22709a", "#0a3a66"],
    "dark": ["#2c3640", "#2d5a73", "#3f8f9d", "#8fcbb5", "#f4f3c1"],
}
# Okabe and Ito's colours without black and yellow, softened: neighbours differ, the labels identify.
_CLUSTERS = ["#56a6d6", "#e0a03c", "#3aa987", "#c98bb4", "#4a7fb5", "#d9805a", "#8d9aa6"]
_INK = {"light": "#1d2733", "dark": "#eef2f5"}
_PAPER = {"light": "rgba(255,255,255,0.78)", "dark": "rgba(24,23,21,0.74)"}
_RING = {"light": "#c2410c", "dark": "#ff9d5c"}

# Where a label may go, in half widths and half heights from its cluster's centre; earlier places are preferred.
_SHIFTS = ((0, 0), (0, 1), (0, -1), (0, 2), (0, -2), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
_POINTS_WEIGHED = 2_000
_SCALE_PX = 52.0
"""Height of the colour scale with its title, in the lower right corner."""

_Box = tuple[float, float, float, float]
Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class Label:
    """A label that has found its place, in map units."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Canvas:
    """The drawing area: the map's bounds and about how many pixels it will have."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float
    width_px: int
    height_px: int

    @classmethod
    def around(cls, xs: Sequence[float], ys: Sequence[float], *, width_px: int, height_px: int) -> Canvas:
        """Return the canvas that holds all points with a little air."""
        if not xs:
            return cls(0.0, 1.0, 0.0, 1.0, width_px, height_px)
        air_x = 0.05 * (max(xs) - min(xs)) or 1.0
        air_y = 0.06 * (max(ys) - min(ys)) or 1.0
        return cls(min(xs) - air_x, max(xs) + air_x, min(ys) - air_y, max(ys) + air_y, width_px, height_px)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Map units to pixels."""
        return (
            (x - self.x_min) / (self.x_max - self.x_min) * self.width_px,
            (y - self.y_min) / (self.y_max - self.y_min) * self.height_px,
        )

    def point(self, px: float, py: float) -> tuple[float, float]:
        """Pixels to map units."""
        return (
            self.x_min + px / self.width_px * (self.x_max - self.x_min),
            self.y_min + py / self.height_px * (self.y_max - self.y_min),
        )


def place_labels(
    clusters: Sequence[dict[str, Any]],
    canvas: Canvas,
    *,
    points: Sequence[tuple[float, float]] = (),
    reserved: Sequence[_Box] = (),
    font_px: int = 11,
) -> list[Label]:
    """Place cluster labels greedily, largest cluster first; one that finds no free place is left out.

    Of the free places at, above, below and beside a cluster's centre a label takes the one that covers the fewest points.

    Parameters
    ----------
    points
        Map positions that labels should leave visible.
    reserved
        Boxes in pixels (left, bottom, right, top) that no label may enter.
    """
    pixels = [canvas.pixel(x, y) for x, y in points]
    taken: list[_Box] = list(reserved)
    placed: list[Label] = []
    for cluster in sorted(clusters, key=lambda c: (-c["n_samples"], c["cluster"])):
        lines = _wrap(str(cluster["label"]))
        half_w = max(map(len, lines)) * font_px * 0.29 + 4
        half_h = len(lines) * font_px * 0.65 + 3
        centre = canvas.pixel(cluster["x"], cluster["y"])
        boxes = [_inside(canvas, centre, shift, half_w=half_w, half_h=half_h) for shift in _SHIFTS]
        free = [box for box in boxes if not any(_overlap(box, other) for other in taken)]
        if free:
            best = min(free, key=lambda box: _n_covered(box, pixels))  # the first of equals
            taken.append(best)
            x, y = canvas.point((best[0] + best[2]) / 2, (best[1] + best[3]) / 2)
            placed.append(Label("<br>".join(map(chart_text, lines)), x, y))
    return placed


def map_figure(
    columns: dict[str, Any],
    *,
    highlighted: Collection[str] = (),
    opened: str | None = None,
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
    width_px, height_px
        About the size on screen; it decides which labels fit.
    """
    canvas = Canvas.around(columns["x"], columns["y"], width_px=width_px, height_px=height_px)
    figure = go.Figure(_points(columns, kept=_kept(columns, highlighted), theme=theme))
    for trace in _marks(columns, highlighted=highlighted, opened=opened, theme=theme):
        figure.add_trace(trace)
    every = max(1, len(columns["x"]) // _POINTS_WEIGHED)
    points = list(zip(columns["x"][::every], columns["y"][::every], strict=True))
    scale = [(width_px * 0.62, 0.0, float(width_px), _SCALE_PX)] if columns.get("score") else []
    for label in place_labels(columns["clusters"], canvas, points=points, reserved=scale):
        figure.add_annotation(
            x=label.x, y=label.y, text=label.text, showarrow=False, bgcolor=_PAPER[theme], borderpad=1,
            font={"size": 11, "color": _INK[theme]}, captureevents=False,
        )  # fmt: skip
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    figure.update_layout(
        height=height_px,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        showlegend=False,
        dragmode="pan",
        clickmode="event+select",
        hoverlabel={"align": "left", "namelength": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={**hidden, "range": [canvas.x_min, canvas.x_max]},
        yaxis={**hidden, "range": [canvas.y_min, canvas.y_max]},
    )
    return figure


def sampling_step(n_samples: int) -> int:
    """Return n where every n-th sample is drawn; 1 draws them all."""
    return max(1, -(-n_samples // MOST_POINTS))


def _kept(columns: dict[str, Any], highlighted: Collection[str]) -> list[int]:
    """Rows to draw, best score last, so that the best lie on top."""
    accessions, scores = columns["accession"], columns.get("score")
    step = sampling_step(len(accessions))
    rows = [row for row in range(len(accessions)) if row % step == 0 or accessions[row] in highlighted]
    return sorted(rows, key=lambda row: scores[row]) if scores else rows


def _points(columns: dict[str, Any], *, kept: list[int], theme: Theme) -> go.Scatter | go.Scattergl:
    labels = {c["cluster"]: chart_text(c["label"]) for c in columns["clusters"]}
    scores = columns.get("score")
    n = len(kept)
    marker: dict[str, Any] = {"size": 6 if n <= 3_000 else 4 if n <= 20_000 else 2.5, "line": {"width": 0}}
    if scores:
        values = [scores[row] for row in kept]  # ascending
        marker |= {
            "color": values,
            "colorscale": _SCORES[theme],
            "cmin": values[n // 2] if n else 0.0,  # the lower half is background
            "cmax": values[-1] if n else 1.0,
            "colorbar": {
                "title": {"text": "score", "side": "top", "font": {"size": 11}}, "orientation": "h", "thickness": 7, "len": 0.34,
                "x": 1.0, "xanchor": "right", "y": 0.0, "yanchor": "bottom", "nticks": 4, "outlinewidth": 0,
                "tickfont": {"size": 10}, "tickformat": ".2f",
            },
        }  # fmt: skip
        text = [f"<br>score {scores[row]:.3f}" for row in kept]
    else:
        marker |= {"color": [_CLUSTERS[columns["cluster"][row] % len(_CLUSTERS)] for row in kept], "opacity": 0.8}
        text = [""] * n
    opacity = {"marker": {"opacity": marker.get("opacity", 1.0)}}
    kind = go.Scatter if n <= WEBGL_FROM else go.Scattergl
    return kind(
        x=[columns["x"][row] for row in kept],
        y=[columns["y"][row] for row in kept],
        mode="markers",
        marker=marker,
        selected=opacity,
        unselected=opacity,
        customdata=[columns["accession"][row] for row in kept],
        text=[
            f"<b>{chart_text(columns['accession'][row])}</b><br>{labels.get(columns['cluster'][row], '')}{extra}"
            for row, extra in zip(kept, text, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _marks(
    columns: dict[str, Any], *, highlighted: Collection[str], opened: str | None, theme: Theme
) -> list[go.Scatter]:
    ring = {"symbol": "circle-open", "size": 10, "color": _RING[theme], "line": {"width": 1.6}}
    diamond = {"symbol": "diamond", "size": 14, "color": _RING[theme], "line": {"width": 2, "color": _INK[theme]}}
    marks = []
    for wanted, marker in ((set(highlighted) - {opened}, ring), ({opened}, diamond)):
        rows = [row for row, accession in enumerate(columns["accession"]) if accession in wanted]
        if rows:
            x, y = [columns["x"][row] for row in rows], [columns["y"][row] for row in rows]
            solid = {"marker": {"opacity": 1.0}}
            marks.append(
                go.Scatter(
                    x=x,
                    y=y,
                    mode="markers",
                    marker=marker,
                    hoverinfo="skip",
                    selected=solid,
                    unselected=solid,
                    customdata=[columns["accession"][row] for row in rows],
                )  # fmt: skip
            )
    return marks


def _wrap(label: str, *, width: int = 20) -> list[str]:
    """Split a label into at most two lines of about ``width`` characters."""
    label = shorten(label, limit=2 * width + 4) or "unnamed"
    if len(label) <= width + 2:
        return [label]
    breaks = [place for place, letter in enumerate(label) if letter == " "]
    if not breaks:
        return [shorten(label, limit=width + 2)]
    middle = min(breaks, key=lambda place: abs(place - len(label) / 2))
    return [label[:middle], label[middle + 1 :]]


def _inside(
    canvas: Canvas, centre: tuple[float, float], shift: tuple[float, float], *, half_w: float, half_h: float
) -> _Box:
    """Return the label's box at a shift (in label heights and widths) from the centre, pushed inside the canvas."""
    x = centre[0] + shift[0] * (half_w + 10)
    y = centre[1] + shift[1] * (half_h + 8)
    x = min(max(x, half_w), max(half_w, canvas.width_px - half_w))
    y = min(max(y, half_h), max(half_h, canvas.height_px - half_h))
    return (x - half_w, y - half_h, x + half_w, y + half_h)


def _n_covered(box: _Box, pixels: Sequence[tuple[float, float]]) -> int:
    return sum(1 for x, y in pixels if box[0] < x < box[2] and box[1] < y < box[3])


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
