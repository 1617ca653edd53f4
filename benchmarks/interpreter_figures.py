"""Figures of ``docs/interpreter.md``: who is taken for whom, and where cells lie before and after learning.

In: confusion counts, and vectors of cells that were not learned from. Out: SVG files, equal bytes for equal input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ui.charts import CLUSTERS

_MARKS = ("o", "x")
_ROUNDS = ("o", "^", "s", "D")
"""Marks of labels beyond the colours there are."""
_N_NEIGHBOURS = 15


@dataclass(frozen=True)
class Places:
    """Cells of one panel.

    Attributes
    ----------
    vectors
        ``(n, dim)`` of what is drawn.
    labels
        ``(n,)`` their labels.
    groups
        ``(n,)`` what the mark tells, for instance the species; one mark if all are equal.
    """

    vectors: np.ndarray
    labels: Sequence[str]
    groups: Sequence[str]


def draw_confusions(counts: Mapping[str, tuple[np.ndarray, Sequence[str]]], path: Path) -> None:
    """Draw one matrix a set: the share of each true label's cells (row) that got each label.

    Parameters
    ----------
    counts
        Title -> ``(n_labels, n_labels)`` counts, row = true label, and the labels.
    """
    n_rows = -(-len(counts) // 3)
    figure = _figure(3, n_rows, width=3.4, height=3.2)
    for place, (title, (matrix, labels)) in enumerate(counts.items()):
        axes = figure.add_subplot(n_rows, 3, place + 1)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
        axes.set_yticks(range(len(labels)), labels, fontsize=6)
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                ink = "white" if share > 0.5 else "black"
                axes.text(
                    column,
                    row,
                    f"{share:.2f}"[1 if share < 0.995 else 0 :],
                    ha="center",
                    va="center",
                    fontsize=5,
                    color=ink,
                )
    _save(figure, path)


def draw_places(panels: Mapping[str, Mapping[str, Places]], path: Path) -> None:
    """Draw a row of UMAPs a set, one a representation; colour is the label, mark the group.

    Parameters
    ----------
    panels
        Set -> representation -> cells.
    """
    n_columns = max(len(row) for row in panels.values())
    figure = _figure(n_columns, len(panels), width=3.6, height=2.9)
    for i, (title, row) in enumerate(panels.items()):
        for j, (what, places) in enumerate(row.items()):
            axes = figure.add_subplot(len(panels), n_columns, i * n_columns + j + 1)
            axes.set_title(f"{title}: {what}", fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
            _scatter(axes, places)
            if j == n_columns - 1:
                axes.legend(fontsize=5, markerscale=1.5, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _save(figure, path)


def _scatter(axes: Any, places: Places) -> None:
    spots = _umap(places.vectors)
    labels, groups = np.array(places.labels), np.array(places.groups)
    for number, group in enumerate(sorted(set(places.groups))):
        for colour, label in enumerate(sorted(set(places.labels))):
            mine = (labels == label) & (groups == group)
            if mine.any():
                name = f"{label}, {group}" if group else label
                again, hue = divmod(colour, len(CLUSTERS))
                mark = _MARKS[number] if group else _ROUNDS[again % len(_ROUNDS)]
                look = {"marker": mark, "s": 9, "linewidths": 0.6, "color": CLUSTERS[hue]}
                axes.scatter(*spots[mine].T, label=name, **look)


def _umap(vectors: np.ndarray) -> np.ndarray:
    import warnings

    near = min(_N_NEIGHBOURS, len(vectors) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a library that is not there, and that a seed leaves one thread
        from umap import UMAP

        return np.asarray(UMAP(n_neighbors=near, metric="cosine", random_state=0).fit_transform(vectors))


def _figure(n_columns: int, n_rows: int, *, width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width * n_columns, height * n_rows), facecolor="white", layout="constrained")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and a fixed salt: the same figures give the same bytes.
    with rc_context({"svg.hashsalt": "geo-atlas", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
