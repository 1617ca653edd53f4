"""Where a transcriptome that is no sample of the atlas lies on its map.

In: the nearest samples, and where they lie. Out: a place and a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_NEIGHBOURS = 15
"""Nearest samples that decide a place: the k of the neighbour graph."""


@dataclass(frozen=True)
class Place:
    """A place on the map, and the cluster most of the nearest samples belong to."""

    x: float
    y: float
    cluster: int


def place(rows: np.ndarray, *, x: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> Place:
    """Return the mean place of those nearest samples that lie in the cluster most of them belong to.

    A mean over all of them can fall between two clusters, where nothing lies. UMAP's transform may keep a little more of the
    nearest samples around where series are held out whole (no sure gain), at a price: see ``docs/measurements-placement.md``.

    Parameters
    ----------
    rows
        (k,) rows of the nearest samples, k >= 1, nearest first; ``N_NEIGHBOURS`` of them where the atlas has as many.
    x, y, cluster
        (n,) of every sample of the atlas.
    """
    clusters = cluster[rows]
    most = int(np.bincount(clusters).argmax())
    chosen = rows[clusters == most]
    return Place(float(x[chosen].mean()), float(y[chosen].mean()), most)
