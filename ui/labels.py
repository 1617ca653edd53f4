"""Names on a map: each beside its cluster, none on another, as few points covered as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ui.text import chart_text, shorten

# Where a label may go, in half widths and half heights from its cluster's centre; earlier places are preferred.
_SHIFTS = (
    (0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 2), (0, -2), (1, 2), (-1, 2), (1, -2),
    (-1, -2),
)  # fmt: skip
_FAR_PX = 30.0
"""From this distance on a line must say whose a label is."""
_MISLEADS = 12
"""Points a label may cover rather than stand nearer to another cluster than to its own."""
_BESIDE_PX = 8.0
"""Within it a label stands at its own cluster, whatever else is near."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """A label that has found its place, in map units."""

    lines: tuple[str, ...]
    x: float
    y: float
    leader: tuple[float, float] | None = None
    """The centre of its cluster, where a line must lead there."""

    @property
    def text(self) -> str:
        """The lines as a chart takes them: escaped, joined by breaks."""
        return "<br>".join(map(chart_text, self.lines))


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
    def around(
        cls, xs: np.ndarray | Sequence[float], ys: np.ndarray | Sequence[float], *, width_px: int, height_px: int
    ) -> Canvas:
        """Return the canvas that holds all points with a little air."""
        if not len(xs):
            return cls(0.0, 1.0, 0.0, 1.0, width_px, height_px)
        left, right, bottom, top = float(np.min(xs)), float(np.max(xs)), float(np.min(ys)), float(np.max(ys))
        air_x, air_y = 0.05 * (right - left) or 1.0, 0.06 * (top - bottom) or 1.0
        return cls(left - air_x, right + air_x, bottom - air_y, top + air_y, width_px, height_px)

    @property
    def x_per_px(self) -> float:
        """Map units of a pixel, across."""
        return (self.x_max - self.x_min) / self.width_px

    @property
    def y_per_px(self) -> float:
        """Map units of a pixel, upwards."""
        return (self.y_max - self.y_min) / self.height_px

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Map units to pixels."""
        return (
            (x - self.x_min) / (self.x_max - self.x_min) * self.width_px,
            (y - self.y_min) / (self.y_max - self.y_min) * self.height_px,
        )

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Map units to pixels, (n, 2) float64 each."""
        origin = np.array([self.x_min, self.y_min])
        scale = np.array(
            [self.width_px / (self.x_max - self.x_min), self.height_px / (self.y_max - self.y_min)], dtype=np.float64
        )
        return np.asarray((points - origin) * scale)

    def point(self, px: float, py: float) -> tuple[float, float]:
        """Pixels to map units."""
        return (
            self.x_min + px / self.width_px * (self.x_max - self.x_min),
            self.y_min + py / self.height_px * (self.y_max - self.y_min),
        )


def place_labels(
    clusters: Sequence[Mapping[str, Any]],
    canvas: Canvas,
    *,
    points: np.ndarray | Sequence[tuple[float, float]] = (),
    owners: np.ndarray | Sequence[int] | None = None,
    reserved: Sequence[Box] = (),
    font_px: int = 11,
    letter_em: float = 0.58,
) -> list[Label]:
    """Place cluster labels greedily, largest cluster first; one that finds no free place is left out.

    Of the free places at, above, below and beside a cluster's centre a label takes the one that covers the fewest points; where
    it would stand nearer to another cluster's points than to its own, that counts like several covered ones.

    Parameters
    ----------
    points
        Map positions that labels should leave visible.
    owners
        The cluster of each point, if it is known.
    reserved
        Boxes in pixels (left, bottom, right, top) that no label may enter.
    letter_em
        Width of a letter, in font sizes: what a wide typeface takes.
    """
    pixels = canvas.pixels(np.asarray(points, dtype=np.float64).reshape(-1, 2))
    own = None if owners is None else np.asarray(owners)
    taken: list[Box] = list(reserved)
    placed: list[Label] = []
    for cluster in sorted(clusters, key=lambda c: (-c["n_samples"], c["cluster"])):
        lines = _wrap(str(cluster["label"]))
        half_w = max(map(len, lines)) * font_px * letter_em / 2 + 4
        half_h = len(lines) * font_px * 0.65 + 3
        centre = canvas.pixel(cluster["x"], cluster["y"])
        boxes = [_inside(canvas, centre, shift, half_w=half_w, half_h=half_h) for shift in _SHIFTS]
        free = [i for i, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)]
        if free:
            mine = None if own is None else own == cluster["cluster"]
            best = min((boxes[i] for i in free), key=lambda box: _cost(box, pixels, mine=mine))  # the first of equals
            taken.append(best)
            x, y = canvas.point((best[0] + best[2]) / 2, (best[1] + best[3]) / 2)
            leader = (float(cluster["x"]), float(cluster["y"])) if _gap(best, centre) >= _FAR_PX else None
            placed.append(Label(tuple(lines), x, y, leader))
    return placed


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
) -> Box:
    """Return the label's box at a shift (in label heights and widths) from the centre, pushed inside the canvas."""
    x = centre[0] + shift[0] * (half_w + 10)
    y = centre[1] + shift[1] * (half_h + 8)
    x = min(max(x, half_w), max(half_w, canvas.width_px - half_w))
    y = min(max(y, half_h), max(half_h, canvas.height_px - half_h))
    return (x - half_w, y - half_h, x + half_w, y + half_h)


def _cost(box: Box, pixels: np.ndarray, *, mine: np.ndarray | None) -> int:
    """Return how bad a place is, in points covered."""
    covered = _n_covered(box, pixels)
    if mine is None or not mine.any() or mine.all():
        return covered
    across = np.maximum(np.maximum(box[0] - pixels[:, 0], pixels[:, 0] - box[2]), 0.0)
    upwards = np.maximum(np.maximum(box[1] - pixels[:, 1], pixels[:, 1] - box[3]), 0.0)
    gaps = np.hypot(across, upwards)
    own = float(gaps[mine].min())
    return covered + (_MISLEADS if own > _BESIDE_PX and float(gaps[~mine].min()) < own else 0)


def _n_covered(box: Box, pixels: np.ndarray) -> int:
    x, y = pixels[:, 0], pixels[:, 1]
    return int(np.count_nonzero((box[0] < x) & (x < box[2]) & (box[1] < y) & (y < box[3])))


def _gap(box: Box, point: tuple[float, float]) -> float:
    """Return the distance of a point from a box, pixels; 0 inside."""
    across = max(box[0] - point[0], 0.0, point[0] - box[2])
    upwards = max(box[1] - point[1], 0.0, point[1] - box[3])
    return float(np.hypot(across, upwards))


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
