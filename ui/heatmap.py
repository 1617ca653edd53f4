"""Charts of a scan: the heat map of terms and clusters, and one term's clusters with their intervals.

In: the bodies of ``GET /v1/scans/{name}/matrix`` (``ScanMatrix``) and of its terms (``ScanCell``). Out: Plotly figures, and the
heat map as an SVG file. Rows are terms, columns are clusters, both in the order the service gives: similar ones side by side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape

import plotly.graph_objects as go

from ui.text import chart_text, shorten

Theme = Literal["light", "dark"]

SIGNIFICANT = 0.05
"""q below it is marked."""

MOST_CELLS = 6_000
"""Above it only marked cells answer to a click: a browser draws each of them."""

# Blue against orange with a pale (or dark) middle: told apart with every kind of colour vision, and by lightness alone.
_DIVERGING = {
    "light": ("#134a7c", "#7fb2d4", "#f4f3ef", "#eda55f", "#9c3f06"),
    "dark": ("#8ccbf2", "#2f6a94", "#252a30", "#a05a1c", "#ffb872"),
}
_INK = {"light": "#1d2733", "dark": "#eef2f5"}
_PALE = {"light": "#8a949e", "dark": "#87919b"}
_MARK, _RIM = "#14171b", "#ffffff"
_ACCENT = {"light": "#b3470a", "dark": "#ffab66"}
_FEW = " (fewer than 3 studies)"
_FONT = '"Source Sans", "Source Sans Pro", sans-serif'
_STILL: dict[str, Any] = {
    "dragmode": False, "clickmode": "event+select", "hovermode": "closest", "hoverlabel": {"align": "left", "namelength": 0},
    "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
}  # fmt: skip
_CONTROL = {code: None for code in range(32) if code not in (9, 10, 13)} | {0xFFFE: None, 0xFFFF: None}


@dataclass(frozen=True)
class Grid:
    """The part of a matrix that is drawn, in the matrix' own order; effects and q-values are rows of terms."""

    terms: tuple[str, ...]
    clusters: tuple[int, ...]
    labels: tuple[str, ...]
    effects: tuple[tuple[float, ...], ...]
    q_values: tuple[tuple[float | None, ...], ...]
    q_within: tuple[tuple[float, ...], ...]

    @property
    def limit(self) -> float:
        """The effect at which the colours end, at least 1: one loud cell does not fade the others."""
        sizes = sorted(abs(value) for row in self.effects for value in row)
        return max(1.0, sizes[int(0.98 * (len(sizes) - 1))]) if sizes else 1.0


def take_grid(
    matrix: Mapping[str, Any], *, n_terms: int, n_clusters: int, always: Collection[str] = (), best: Sequence[str] = ()
) -> Grid:
    """Return the strongest terms and, for them, the strongest clusters; their order stays that of the matrix.

    Parameters
    ----------
    matrix
        A ``ScanMatrix`` body.
    n_terms, n_clusters
        Most rows and columns.
    always
        Terms that are kept whatever their effect.
    best
        Terms by rank, where a ranking is at hand; else the largest effect of a term decides.
    """
    terms, effects = matrix["terms"], matrix["effects"]
    within = matrix.get("q_within") or [[1.0] * len(matrix["clusters"])] * len(terms)
    place = {term: rank for rank, term in enumerate(best)}
    keys = [
        (term not in always, place.get(term, len(place)), -max(row, default=0.0))
        for term, row in zip(terms, effects, strict=True)
    ]
    rows = sorted(sorted(range(len(terms)), key=keys.__getitem__)[:n_terms])
    peaks = [max((effects[row][column] for row in rows), default=0.0) for column in range(len(matrix["clusters"]))]
    columns = sorted(sorted(range(len(peaks)), key=lambda column: -peaks[column])[:n_clusters])
    return Grid(
        terms=tuple(terms[row] for row in rows),
        clusters=tuple(matrix["clusters"][column] for column in columns),
        labels=tuple(matrix["cluster_labels"][column] for column in columns),
        effects=tuple(tuple(effects[row][column] for column in columns) for row in rows),
        q_values=tuple(tuple(matrix["q_values"][row][column] for column in columns) for row in rows),
        q_within=tuple(tuple(within[row][column] for column in columns) for row in rows),
    )


def heatmap_figure(
    grid: Grid,
    *,
    descriptive: Collection[int] = (),
    selected: Collection[str] = (),
    theme: Theme = "light",
    narrow: bool = False,
) -> go.Figure:
    """Return the heat map: colour the mean z, a dot where q < .05, a ring where it is so for the term alone.

    Parameters
    ----------
    descriptive
        Clusters of fewer than 3 studies; their names carry a dagger.
    selected
        Terms that are significant over the sweep; their names are bold.
    narrow
        Whether the screen is a phone's: shorter names, smaller cells.
    """
    letters, row_px = (20, 17) if narrow else (38, 19)
    rows, columns = list(range(len(grid.terms))), list(range(len(grid.clusters)))
    figure = go.Figure(
        go.Heatmap(
            z=[list(row) for row in grid.effects], x=columns, y=rows, zmin=-grid.limit, zmax=grid.limit, hoverinfo="skip",
            colorscale=[[i / 4, colour] for i, colour in enumerate(_DIVERGING[theme])], xgap=1, ygap=1,
            colorbar={
                "title": {"text": "mean z", "side": "top", "font": {"size": 11}}, "orientation": "h", "thickness": 8,
                "len": 0.6 if narrow else 0.24, "x": 0.0, "xanchor": "left", "y": 0.0, "yanchor": "top", "ypad": 6,
                "tickfont": {"size": 10}, "outlinewidth": 0, "nticks": 5,
            },
        )
    )  # fmt: skip
    for trace in _cell_marks(grid, descriptive=descriptive):
        figure.add_trace(trace)
    names = [_bold(chart_text(term, limit=letters), wanted=term in selected) for term in grid.terms]
    heads = [chart_text(_headed(grid, i, descriptive, limit=18 if narrow else 36)) for i in columns]
    widest, tallest = max(map(_width, names), default=0), max(map(_width, heads), default=0)
    top = int(tallest * (5.6 if narrow else 4.0)) + 14
    axis = {"showgrid": False, "zeroline": False, "ticks": "", "tickmode": "array", "fixedrange": True}
    figure.update_layout(
        height=top + row_px * max(1, len(rows)) + 62,
        margin={
            "l": int(widest * 5.9) + 10,
            "r": 4 if narrow else min(150, int(tallest * 4.6)),
            "t": top,
            "b": 62,
            "autoexpand": False,
        },
        xaxis={**axis, "side": "top", "tickvals": columns, "ticktext": heads, "tickangle": -90 if narrow else -42,
               "tickfont": {"size": 10 if narrow else 11}, "range": [-0.5, len(columns) - 0.5]},
        yaxis={**axis, "tickvals": rows, "ticktext": names, "tickfont": {"size": 10 if narrow else 11.5},
               "range": [len(rows) - 0.5, -0.5]},
        showlegend=False, font={"color": _INK[theme], "family": _FONT}, **_STILL,
    )  # fmt: skip
    return figure


def forest_figure(cells: Sequence[Mapping[str, Any]], *, theme: Theme = "light", narrow: bool = False) -> go.Figure:
    """Return one term's clusters as points with their 95 % intervals over studies, best first.

    Filled: q < .05; accented but hollow: q < .05 for the term alone; diamonds: fewer than 3 studies, hence no interval.
    """
    rows = list(range(len(cells)))
    figure = go.Figure()
    kinds = [(strength(cell["q_value"], cell["q_within"]), bool(cell["descriptive"])) for cell in cells]
    for kind in sorted(set(kinds), key=list(_LOOKS).index):
        shape, accented = _LOOKS[kind]
        colour = _ACCENT[theme] if accented else _INK[theme]
        mine = [row for row in rows if kinds[row] == kind]
        span = [(cells[row]["low"], cells[row]["effect"], cells[row]["high"]) for row in mine]
        figure.add_trace(
            go.Scatter(
                x=[mean for _, mean, _ in span], y=mine, mode="markers",
                marker={"symbol": shape, "size": 9, "color": colour, "line": {"width": 1.6}},
                error_x={
                    "type": "data", "symmetric": False, "thickness": 1.4, "width": 0, "color": colour,
                    "array": [0.0 if high is None else high - mean for _, mean, high in span],
                    "arrayminus": [0.0 if low is None else mean - low for low, mean, _ in span],
                },
                customdata=[[cells[row]["cluster"]] for row in mine],
                text=[cell_hover(cells[row]) for row in mine], hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    names = [chart_text(cell["cluster_label"], limit=22 if narrow else 40) for cell in cells]
    left = int(max(map(_width, names), default=0) * 5.9) + 10
    figure.add_vline(x=0, line={"color": _PALE[theme], "width": 1, "dash": "dot"}, layer="below")
    figure.update_layout(
        height=23 * max(1, len(rows)) + 52, margin={"l": left, "r": 10, "t": 8, "b": 44, "autoexpand": False},
        xaxis={"title": {"text": "mean z of the cluster's samples", "font": {"size": 11}}, "zeroline": False, "fixedrange": True,
               "gridcolor": "rgba(128,128,128,.18)"},
        yaxis={"tickmode": "array", "tickvals": rows, "ticktext": names, "range": [len(rows) - 0.5, -0.5], "showgrid": False,
               "zeroline": False, "fixedrange": True, "tickfont": {"size": 10 if narrow else 11.5}},
        showlegend=False, font={"color": _INK[theme], "family": _FONT}, **_STILL,
    )  # fmt: skip
    return figure


_LOOKS = {
    ("claimed", False): ("circle", True),
    ("claimed", True): ("diamond", True),
    ("alone", False): ("circle-open", True),
    ("alone", True): ("diamond-open", True),
    ("none", False): ("circle-open", False),
    ("none", True): ("diamond-open", False),
}
"""Symbol, and whether it is accented, of (strength, descriptive)."""


def strength(q_value: float | None, q_within: float) -> Literal["claimed", "alone", "none"]:
    """Return whether a cell is significant over the whole scan, only for a question about its term alone, or not at all."""
    if q_value is not None and q_value < SIGNIFICANT:
        return "claimed"
    return "alone" if q_within < SIGNIFICANT else "none"


def cell_hover(cell: Mapping[str, Any]) -> str:
    """Return what the pointer shows of one ``ScanCell``."""
    lines = [f"<b>{chart_text(cell['cluster_label'])}</b>", chart_text(cell["term"]), f"effect {cell['effect']:.2f}"]
    if cell["low"] is not None and cell["high"] is not None:
        lines[-1] += f" ({cell['low']:.2f} to {cell['high']:.2f})"
    lines.append(_q_text(cell["q_value"], cell["q_within"]))
    lines.append(
        f"{cell['n_samples']:,} samples of {cell['n_studies']:,} studies" + (_FEW if cell["descriptive"] else "")
    )
    return "<br>".join(lines)


def heatmap_svg(grid: Grid, *, title: str, descriptive: Collection[int] = (), selected: Collection[str] = ()) -> str:
    """Return the heat map as an SVG file for print, every cell a vector and every name real text."""
    cell_w, cell_h, left, top, bottom = 30, 18, 270, 190, 46
    width, height = left + cell_w * len(grid.clusters) + 150, top + cell_h * len(grid.terms) + bottom
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#1d2733">',
        f'<title>{_xml(title)}</title><rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="8" y="20" font-size="14" font-weight="bold">{_xml(shorten(title, limit=120))}</text>',
    ]
    for column in range(len(grid.clusters)):
        x = left + cell_w * (column + 0.5)
        head = _xml(_headed(grid, column, descriptive, limit=34))
        parts.append(f'<text transform="translate({x + 4:.1f} {top - 6}) rotate(-45)">{head}</text>')
    for row, term in enumerate(grid.terms):
        y, weight = top + cell_h * row, ' font-weight="bold"' if term in selected else ""
        parts.append(
            f'<text x="{left - 6}" y="{y + 13}" text-anchor="end"{weight}>{_xml(shorten(term, limit=46))}</text>'
        )
        for column, (effect, q_value) in enumerate(zip(grid.effects[row], grid.q_values[row], strict=True)):
            x = left + cell_w * column
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell_w - 1}" height="{cell_h - 1}" fill="{_colour(effect, grid.limit)}">'
            )
            parts.append(f"<title>{_xml(term)}: {effect:.3f}</title></rect>")
            if (found := strength(q_value, grid.q_within[row][column])) != "none":
                centre = f'cx="{x + cell_w / 2 - 0.5}" cy="{y + cell_h / 2 - 0.5}"'
                fill = _MARK if found == "claimed" else "none"
                parts.append(f'<circle {centre} r="3.6" fill="none" stroke="{_RIM}" stroke-width="2.4"/>')
                parts.append(f'<circle {centre} r="2.6" fill="{fill}" stroke="{_MARK}"/>')
    foot = f"Colour: mean z, from -{grid.limit:.2f} (blue) to {grid.limit:.2f} (orange). Dot: q < .05; ring: for the term alone."
    parts.append(f'<text x="8" y="{height - 16}">{_xml(foot)}</text></svg>')
    return "\n".join(parts)


def _cell_marks(grid: Grid, *, descriptive: Collection[int]) -> list[go.Scatter]:
    """Return the marks of the significant cells, and one trace that is clicked and hovered but not seen."""
    cells = [(row, column) for row in range(len(grid.terms)) for column in range(len(grid.clusters))]
    found = {cell: strength(grid.q_values[cell[0]][cell[1]], grid.q_within[cell[0]][cell[1]]) for cell in cells}
    dots = [cell for cell in cells if found[cell] == "claimed"]
    rings = [cell for cell in cells if found[cell] == "alone"]
    clickable = cells if len(cells) <= MOST_CELLS else dots + rings

    def trace(wanted: Sequence[tuple[int, int]], **look: Any) -> go.Scatter:
        solid = {"marker": {"opacity": look["marker"]["opacity"]}}
        return go.Scatter(
            x=[column for _, column in wanted],
            y=[row for row, _ in wanted],
            mode="markers",
            selected=solid,
            unselected=solid,
            **look,
        )

    # A marked cell is strong, so dark by day and bright by night: a dark mark with a white rim is seen on both.
    dot = {"size": 6.5, "color": _MARK, "line": {"color": _RIM, "width": 1.3}, "opacity": 1.0}
    halo = {"symbol": "circle-open", "size": 7, "color": _RIM, "line": {"width": 3.4}, "opacity": 1.0}
    ring = {"symbol": "circle-open", "size": 7, "color": _MARK, "line": {"width": 1.5}, "opacity": 1.0}
    return [
        trace(dots, marker=dot, hoverinfo="skip"),
        trace(rings, marker=halo, hoverinfo="skip"),
        trace(rings, marker=ring, hoverinfo="skip"),
        trace(
            clickable,
            marker={"symbol": "square", "size": 15, "opacity": 0.0},
            customdata=[[grid.terms[row], grid.clusters[column]] for row, column in clickable],
            text=[_grid_hover(grid, row, column, descriptive) for row, column in clickable],
            hovertemplate="%{text}<extra></extra>",
        ),
    ]


def _grid_hover(grid: Grid, row: int, column: int, descriptive: Collection[int]) -> str:
    few = _FEW if grid.clusters[column] in descriptive else ""
    return (
        f"<b>{chart_text(grid.terms[row])}</b><br>{chart_text(grid.labels[column])}{few}<br>"
        f"effect {grid.effects[row][column]:.2f} · {_q_text(grid.q_values[row][column], grid.q_within[row][column])}"
    )


def _q_text(q_value: float | None, q_within: float) -> str:
    return f"q {q_value:.2g}" if q_value is not None else f"q {q_within:.2g} for this term alone"


def _headed(grid: Grid, column: int, descriptive: Collection[int], *, limit: int) -> str:
    return shorten(grid.labels[column], limit=limit) + ("†" if grid.clusters[column] in descriptive else "")


def _bold(text: str, *, wanted: bool) -> str:
    return f"<b>{text}</b>" if wanted else text


def _width(name: str) -> int:
    return len(
        name.replace("<b>", "").replace("</b>", "").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    )


def _colour(effect: float, limit: float) -> str:
    """Return the colour of an effect in print, between the stops of the light scale."""
    place = (max(-limit, min(limit, effect)) / limit + 1) * 2
    below = min(3, int(place))
    low, high = (_rgb(_DIVERGING["light"][below + i]) for i in (0, 1))
    mixed = [round(a + (b - a) * (place - below)) for a, b in zip(low, high, strict=True)]
    return f"#{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _xml(text: str) -> str:
    return escape(str(text).translate(_CONTROL))
