from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest
from pages_api import EVIL, FakeAtlas

from ui import charts
from ui.charts import between, gene_bars, map_figure, score_range
from ui.labels import Canvas, Label, place_labels


def cluster(number: int, x: float, y: float, *, label: str = "some label", n: int = 10) -> dict[str, Any]:
    return {"cluster": number, "label": label, "x": x, "y": y, "n_samples": n}


def boxes(labels: list[Label], canvas: Canvas) -> list[tuple[float, float, float, float]]:
    found = []
    for label in labels:
        lines = label.text.split("<br>")
        x, y = canvas.pixel(label.x, label.y)
        w, h = max(map(len, lines)) * 3.0, len(lines) * 6.0  # a little less than the room a label is given
        found.append((x - w, y - h, x + w, y + h))
    return found


def test_labels_never_cover_each_other_and_stay_inside() -> None:
    canvas = Canvas(0, 10, 0, 10, width_px=600, height_px=400)
    clusters = [
        cluster(i, (i * 7 % 11) * 0.9, (i * 5 % 13) * 0.75, label=f"label number {i}", n=100 - i) for i in range(60)
    ]
    placed = place_labels(clusters, canvas)
    drawn = boxes(placed, canvas)
    assert 5 < len(placed) < 60
    for i, a in enumerate(drawn):
        assert a[0] >= -1
        assert a[2] <= 601
        for b in drawn[:i]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_larger_cluster_wins_the_place() -> None:
    canvas = Canvas(0, 1, 0, 1, width_px=60, height_px=16)
    placed = place_labels([cluster(1, 0.5, 0.5, label="small", n=1), cluster(2, 0.5, 0.5, label="large", n=9)], canvas)
    assert [label.text for label in placed] == ["large"]


def test_label_steps_aside_for_the_points_of_its_cluster() -> None:
    canvas = Canvas(0, 10, 0, 10, width_px=600, height_px=400)
    points = [(5 + dx / 20, 5.0) for dx in range(-5, 6)]
    (label,) = place_labels([cluster(1, 5.0, 5.0)], canvas, points=points)
    assert label.y != 5.0
    (label,) = place_labels([cluster(1, 5.0, 5.0)], canvas)
    assert (label.x, label.y) == pytest.approx((5.0, 5.0))


def test_label_stands_nearer_to_its_own_cluster_than_to_another() -> None:
    canvas = Canvas(0.0, 10.0, 0.0, 10.0, 400, 400)
    points, owners = [(1.5, 5.0), (7.5, 5.0)], [1, 2]
    (unaware,) = place_labels([cluster(1, 5.0, 5.0, label="skin")], canvas, points=points)
    (label,) = place_labels([cluster(1, 5.0, 5.0, label="skin")], canvas, points=points, owners=owners)
    assert (unaware.x, unaware.y) == (5.0, 5.0)
    assert label.x < 5.0


def test_no_label_enters_a_reserved_corner() -> None:
    canvas = Canvas(0, 10, 0, 10, width_px=600, height_px=400)
    corner = (400.0, 0.0, 600.0, 60.0)
    (label,) = place_labels([cluster(1, 9.0, 1.3)], canvas, reserved=[corner])
    ((left, bottom, right, top),) = boxes([label], canvas)
    assert right <= corner[0] or bottom >= corner[3] or left >= corner[2] or top <= corner[1]


def test_narrow_map_gets_fewer_labels_than_a_wide_one() -> None:
    clusters = FakeAtlas(400).clusters()
    xs, ys = [c["x"] for c in clusters], [c["y"] for c in clusters]
    wide = place_labels(clusters, Canvas.around(xs, ys, width_px=900, height_px=600))
    narrow = place_labels(clusters, Canvas.around(xs, ys, width_px=150, height_px=150))
    assert len(narrow) < len(wide)


def dots(figure: go.Figure) -> dict[str, int]:
    """Number of points by colour, in the order of drawing."""
    return {shape.fillcolor: shape.path.count("M") for shape in figure.layout.shapes if shape.type == "path"}


def test_map_with_phrase_draws_every_sample_best_on_top_and_rings_the_hits() -> None:
    columns = FakeAtlas(300).map("cardiomyopathy")
    hits = columns["accession"][:3]
    figure = map_figure(columns, highlighted=hits, opened=hits[0])
    points, rings, diamond, _ = figure.data
    assert isinstance(points, go.Scatter)
    assert len(points.x) == 300
    score = dict(zip(columns["accession"], columns["score"], strict=True))
    drawn = [score[name] for name in points.customdata]
    assert drawn == sorted(drawn)
    assert sum(dots(figure).values()) == 300
    assert {shape.fillrule for shape in figure.layout.shapes if shape.type == "path"} == {
        "nonzero"
    }  # overlaps stay filled
    assert list(dots(figure))[-1] == charts.SCORES["light"][-1]
    assert set(rings.customdata) == set(hits[1:])
    assert list(diamond.customdata) == hits[:1]


def test_points_of_a_path_lie_where_the_samples_are() -> None:
    columns = FakeAtlas(40).map(None)
    figure = map_figure(columns)
    centres = []
    for shape in figure.layout.shapes:
        for dot in shape.path.split("M")[1:] if shape.type == "path" else []:
            corners = [tuple(map(float, corner.split(","))) for corner in dot.rstrip("Z").split("L")]
            assert len(corners) == 8
            centres.append([sum(axis) / 8 for axis in zip(*corners, strict=True)])
    there = sorted(zip(columns["x"], columns["y"], strict=True))
    assert [tuple(centre) for centre in sorted(centres)] == [pytest.approx(point, abs=0.01) for point in there]


def test_map_without_phrase_is_coloured_by_cluster() -> None:
    columns = FakeAtlas(300).map(None)
    counted: dict[str, int] = {}
    for cluster in columns["cluster"]:
        colour = charts.CLUSTERS[cluster % len(charts.CLUSTERS)]
        counted[colour] = counted.get(colour, 0) + 1
    assert dots(map_figure(columns)) == counted


def test_map_of_many_points_is_drawn_by_webgl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "WEBGL_FROM", 50)
    columns = FakeAtlas(300).map("liver")
    figure = map_figure(columns)
    points = figure.data[0]
    assert isinstance(points, go.Scattergl)
    assert sorted(points.customdata) == sorted(columns["accession"])
    assert len(points.marker.color) == len(points.x)
    assert not dots(figure)


def test_labels_of_strangers_are_text_in_the_chart() -> None:
    figure = map_figure(FakeAtlas(200, evil=True).map(None))
    shown = [*figure.data[-1].text, *figure.data[0].text]
    assert all("<img" not in text and "<a" not in text for text in shown)
    assert any("&lt;img" in text for text in shown)
    assert EVIL[:4] == "<img"


def test_name_that_stands_far_off_is_led_to_its_cluster() -> None:
    canvas = Canvas(0, 10, 0, 10, width_px=300, height_px=300)
    crowd = [(5 + dx / 8, 5 + dy / 8) for dx in range(-14, 15) for dy in range(-6, 7)]
    (label,) = place_labels([cluster(1, 5.0, 5.0, label="a name that takes two lines")], canvas, points=crowd)
    assert label.leader == (5.0, 5.0)
    (near,) = place_labels([cluster(1, 5.0, 5.0)], canvas)
    assert near.leader is None


def test_empty_map_is_a_chart() -> None:
    columns = {"accession": [], "x": [], "y": [], "cluster": [], "score": None, "clusters": []}
    assert len(map_figure(columns).data[0].x) == 0


def test_colour_scale_is_no_part_of_the_chart_and_runs_from_the_median_to_the_best() -> None:
    columns = FakeAtlas(301).map("heart")
    assert map_figure(columns).data[0].marker.showscale is None
    assert score_range(columns) == (sorted(columns["score"])[150], max(columns["score"]))
    assert score_range(FakeAtlas(20).map(None)) is None


def test_colours_between_stops() -> None:
    stops = ["#000000", "#ffffff", "#ff0000"]
    assert [between(stops, share) for share in (0, 0.25, 0.5, 1, 7, -1)] == [
        "#000000", "#808080", "#ffffff", "#ff0000", "#ff0000", "#000000",
    ]  # fmt: skip


def test_members_are_coloured_above_all_others() -> None:
    columns = FakeAtlas(300).map(None)
    members = {columns["accession"][1], columns["accession"][200]}
    figure = map_figure(columns, members=members)
    assert set(figure.data[0].customdata[-2:]) == members
    assert list(dots(figure)) == [charts.GREY["light"], charts.ACCENT["light"]]
    assert dots(figure)[charts.ACCENT["light"]] == 2


def test_place_of_no_sample_is_a_star() -> None:
    star = map_figure(FakeAtlas(30).map(None), place=(1.5, -2.0)).data[-2]
    assert (star.marker.symbol, list(star.x), list(star.y)) == ("star", [1.5], [-2.0])


def test_gene_bars_stand_in_order_and_name_strangers_as_text() -> None:
    genes = [{"symbol": EVIL, "ensembl_id": "E1", "contribution": 0.3, "weight": 1.0},
             {"symbol": "", "ensembl_id": "E2", "contribution": 0.1, "weight": 1.0}]  # fmt: skip
    against = [{"symbol": "AWAY", "ensembl_id": "E3", "contribution": -0.2, "weight": 1.0}]
    (bars,) = gene_bars(genes, against).data
    assert list(bars.x) == [-0.2, 0.1, 0.3]  # drawn from the bottom: the strongest is on top
    assert bars.text[1] == "E2"
    assert "<" not in bars.text[2]
    assert bars.marker.color[0] != bars.marker.color[1]
