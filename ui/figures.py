"""The map as a figure for print: PNG at 300 dots an inch, or SVG with names as text. Made when asked for, in no global state."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from ui.charts import ACCENT, AGAINST, CLUSTERS, GREY, INK, SCORES, score_range
from ui.labels import Canvas, place_labels
from ui.text import shorten

WIDTH_MM, HEIGHT_MM = 180.0, 140.0
"""A full-width figure of a journal page."""

MOST_VECTOR_POINTS = 20_000
"""Above it the points of an SVG are an image inside it, so that the file opens everywhere."""

_PX_PER_INCH = 96.0
_DPI = 300


def map_file(
    columns: Mapping[str, Any],
    suffix: Literal["png", "svg"],
    *,
    title: str,
    highlighted: Collection[str] = (),
    opened: str | None = None,
    members: Collection[str] | None = None,
    unit: str = "score",
) -> bytes:
    """Return the map as a file: white ground, one colour scale in a corner of its own, names that do not overlap.

    Parameters
    ----------
    columns, highlighted, opened, members
        As for ``ui.charts.map_figure``.
    title
        Set above the map; the release stands below it.
    unit
        What the score is.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 7, "text.parse_math": False}):
        figure = Figure(figsize=(WIDTH_MM / 25.4, HEIGHT_MM / 25.4), dpi=_DPI, facecolor="white")
        (FigureCanvasSVG if suffix == "svg" else FigureCanvasAgg)(figure)
        axes = figure.add_axes((0.01, 0.075, 0.98, 0.865))
        axes.set_axis_off()
        axes.set_title(shorten(title, limit=110), loc="left", fontsize=9, fontweight="bold", color=INK["light"])
        points = _scatter(axes, columns, members=members)
        _marks(axes, columns, highlighted=highlighted, opened=opened)
        _names(axes, columns)
        if points is not None and columns.get("score"):
            bar = figure.colorbar(points, cax=figure.add_axes((0.76, 0.05, 0.22, 0.014)), orientation="horizontal")
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=2, labelsize=6)
            bar.ax.set_title(unit, fontsize=6, pad=2)
        foot = f"{len(columns['x']):,} samples of release {columns['release']}. Near means similar expression."
        figure.text(0.012, 0.022, foot, fontsize=6, color="#5b6770")
        out = io.BytesIO()
        # No date and a fixed salt: the same view gives the same bytes.
        with rc_context({"svg.hashsalt": "geo-atlas"}):
            figure.savefig(out, format=suffix, metadata={"Date": None} if suffix == "svg" else {"Software": None})
    return out.getvalue()


def _scatter(axes: Any, columns: Mapping[str, Any], *, members: Collection[str] | None) -> Any:
    xs, ys = np.asarray(columns["x"], dtype=np.float64), np.asarray(columns["y"], dtype=np.float64)
    n = len(xs)
    if not n:
        return None
    look: dict[str, Any] = {
        "s": 7.0 if n <= 3_000 else 2.0 if n <= 20_000 else 0.4, "linewidths": 0, "rasterized": n > MOST_VECTOR_POINTS,
    }  # fmt: skip
    order = np.arange(n)
    if members is not None:
        inside = np.array([name in members for name in columns["accession"]], dtype=bool)
        order = np.argsort(inside, kind="stable")
        look["color"] = np.where(inside[order], ACCENT["light"], GREY["light"]).tolist()
    elif ends := score_range(columns):
        from matplotlib.colors import LinearSegmentedColormap

        scores = np.asarray(columns["score"], dtype=np.float64)
        order = np.argsort(scores, kind="stable")  # the best lie on top
        look |= {"c": scores[order], "vmin": ends[0], "vmax": ends[1]}
        look["cmap"] = LinearSegmentedColormap.from_list("score", SCORES["light"])
    else:
        look["color"] = [CLUSTERS[int(cluster) % len(CLUSTERS)] for cluster in columns["cluster"]]
    return axes.scatter(xs[order], ys[order], **look)


def _marks(axes: Any, columns: Mapping[str, Any], *, highlighted: Collection[str], opened: str | None) -> None:
    rings = set(highlighted) - {opened}
    for wanted, look in (
        (rings, {"s": 22, "marker": "o", "facecolors": "none", "edgecolors": ACCENT["light"], "linewidths": 0.7}),
        ({opened}, {"s": 42, "marker": "D", "color": ACCENT["light"], "edgecolors": INK["light"], "linewidths": 0.7}),
    ):
        rows = [row for row, name in enumerate(columns["accession"]) if name in wanted]
        if rows:
            axes.scatter([columns["x"][row] for row in rows], [columns["y"][row] for row in rows], zorder=3, **look)


def _names(axes: Any, columns: Mapping[str, Any]) -> None:
    xs, ys = np.asarray(columns["x"], dtype=np.float64), np.asarray(columns["y"], dtype=np.float64)
    width, height = (round(mm / 25.4 * _PX_PER_INCH * share) for mm, share in ((WIDTH_MM, 0.98), (HEIGHT_MM, 0.865)))
    canvas = Canvas.around(xs, ys, width_px=width, height_px=height)
    axes.set_xlim(canvas.x_min, canvas.x_max)
    axes.set_ylim(canvas.y_min, canvas.y_max)
    step = max(1, len(xs) // 2_000)
    points, owners = np.column_stack([xs, ys])[::step], columns["cluster"][::step]
    for label in place_labels(columns["clusters"], canvas, points=points, owners=owners, font_px=10):
        if label.leader is not None:
            axes.plot(
                [label.x, label.leader[0]], [label.y, label.leader[1]], color=AGAINST["light"], linewidth=0.4, zorder=0
            )
        axes.text(
            label.x, label.y, "\n".join(label.lines), ha="center", va="center", color=INK["light"], zorder=4, linespacing=1.1,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
