from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from landscape_api import TERMS, FakeLandscape

from ui import heatmap
from ui.heatmap import Grid, forest_figure, heatmap_figure, heatmap_svg, strength, take_grid

SVG = "{http://www.w3.org/2000/svg}"


def grid(**changes: Any) -> Grid:
    made: dict[str, Any] = {
        "terms": ("a", "b <i>x</i>"),
        "clusters": (7, 3),
        "labels": ("liver", "heart"),
        "effects": ((2.0, -1.0), (0.1, 0.5)),
        "q_values": ((0.01, 0.9), (None, None)),
        "q_within": ((0.001, 0.9), (0.02, 0.4)),
    }
    return Grid(**(made | changes))


@pytest.mark.parametrize(
    ("q_value", "q_within", "expected"),
    [(0.01, 0.01, "claimed"), (None, 0.01, "alone"), (0.2, 0.01, "alone"), (None, 0.05, "none"), (0.05, 0.9, "none")],
)
def test_claims_are_told_from_leads(q_value: float | None, q_within: float, expected: str) -> None:
    assert strength(q_value, q_within) == expected


def test_taken_grid_keeps_the_strongest_in_the_order_of_the_matrix() -> None:
    matrix = {
        "terms": ["w", "x", "y", "z"],
        "clusters": [5, 6, 7],
        "cluster_labels": ["five", "six", "seven"],
        "effects": [[0.1, 0.2, 0.1], [3.0, 0.0, 0.2], [0.0, 0.1, 0.3], [0.0, 0.1, 2.0]],
        "q_values": [[None] * 3, [0.01, 0.5, 0.5], [None] * 3, [0.02, 0.6, 0.01]],
        "q_within": [[0.9] * 3, [0.001, 0.5, 0.5], [0.8] * 3, [0.02, 0.6, 0.001]],
    }
    taken = take_grid(matrix, n_terms=2, n_clusters=2)
    assert taken.terms == ("x", "z")
    assert taken.clusters == (5, 7)
    assert taken.labels == ("five", "seven")
    assert taken.effects == ((3.0, 0.2), (0.0, 2.0))
    assert taken.q_values == ((0.01, 0.5), (0.02, 0.01))
    assert taken.q_within == ((0.001, 0.5), (0.02, 0.001))
    assert take_grid(matrix, n_terms=1, n_clusters=3, always=("w",)).terms == ("w",)
    assert take_grid(matrix, n_terms=2, n_clusters=3, best=("z", "y")).terms == ("y", "z")


def test_marks_stand_on_the_significant_cells_alone() -> None:
    _, dots, halo, rings, cells = heatmap_figure(grid()).data
    assert (list(dots.x), list(dots.y)) == ([0], [0])
    assert (list(rings.x), list(rings.y)) == ([0], [1])
    assert (list(halo.x), list(halo.y)) == (list(rings.x), list(rings.y))
    assert [tuple(one) for one in cells.customdata] == [("a", 7), ("a", 3), ("b <i>x</i>", 7), ("b <i>x</i>", 3)]
    assert cells.marker.opacity == 0


def test_colours_are_symmetric_and_not_faded_by_one_loud_cell() -> None:
    drawn = heatmap_figure(grid(effects=((50.0, -1.0), (0.1, 0.5)))).data[0]
    assert drawn.zmin == -drawn.zmax
    assert drawn.zmax == 1.0
    assert heatmap_figure(grid()).data[0].zmax == 1.0
    assert grid(effects=((4.0, 4.0), (4.0, -4.0))).limit == 4.0


def test_names_tell_findings_and_few_studies_and_are_never_markup() -> None:
    layout = heatmap_figure(grid(), descriptive={3}, selected={"a"}).layout
    assert list(layout.xaxis.ticktext) == ["liver", "heart†"]
    assert layout.yaxis.ticktext[0] == "<b>a</b>"
    assert "<i>" not in layout.yaxis.ticktext[1]
    texts = heatmap_figure(grid(), descriptive={3}).data[-1].text
    assert "q 0.01" in texts[0]
    assert "fewer than 3 studies" in texts[1]
    assert "q 0.02 for this term alone" in texts[2]
    assert all("<i>" not in text for text in texts)


def test_huge_grid_answers_only_on_marked_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heatmap, "MOST_CELLS", 3)
    assert len(heatmap_figure(grid()).data[-1].customdata) == 2


def test_forest_has_every_cluster_once_with_its_interval() -> None:
    cells = FakeLandscape().cells(0)
    figure = forest_figure(cells)
    drawn = {
        point[0]: (x, plus, minus, trace.marker.symbol)
        for trace in figure.data
        for point, x, plus, minus in zip(
            trace.customdata, trace.x, trace.error_x.array, trace.error_x.arrayminus, strict=True
        )
    }
    assert set(drawn) == {cell["cluster"] for cell in cells}
    for cell in cells:
        x, plus, minus, symbol = drawn[cell["cluster"]]
        assert x == cell["effect"]
        if cell["descriptive"]:
            assert (plus, minus) == (0, 0)
            assert symbol.startswith("diamond")
        else:
            assert (x + plus, x - minus) == pytest.approx((cell["high"], cell["low"]))
            assert symbol == ("circle" if cell["q_value"] < 0.05 else "circle-open")
    best = min(zip(figure.data[0].y, figure.data[0].customdata, strict=True))
    assert best[1][0] == cells[0]["cluster"]


def test_svg_is_well_formed_whatever_the_names() -> None:
    evil = grid(terms=('<script>"&', "b\x00\x0b]]>"), labels=("a&b", "</svg>"))
    root = ET.fromstring(heatmap_svg(evil, title="T & <t>", descriptive={3}, selected={"b"}))
    cells = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert len(cells) == 4
    assert [circle.get("fill") for circle in root.iter(f"{SVG}circle") if circle.get("r") == "2.6"] == [
        "#14171b",
        "none",
    ]
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert '<script>"&' in words
    assert "</svg>†" in words
    assert cells[0].get("fill") == "#9c3f06"  # the end of the scale


def test_empty_grid_and_forest_are_charts() -> None:
    empty = take_grid(FakeLandscape().matrix(), n_terms=0, n_clusters=0)
    assert empty.terms == ()
    assert heatmap_figure(empty).layout.height > 0
    assert forest_figure([]).layout.height > 0
    assert len(take_grid(FakeLandscape().matrix(), n_terms=100, n_clusters=100).terms) == len(TERMS)
