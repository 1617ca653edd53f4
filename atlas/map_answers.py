"""What is answered about the map as columns of small numbers, and about a part of it that somebody drew a line around."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.answers import ClusterSummary, Keyword


@dataclass(frozen=True)
class MapColumn:
    """One column of the map, as bytes: ``dtype`` as numpy names it (little-endian), ``width`` numbers a sample, row by row.

    ``values`` names the codes, code by code, and ``counts`` how many samples carry each; of numbers both are empty.
    """

    name: str
    dtype: str
    width: int
    n_bytes: int
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class MapLayout:
    """What the map's columns mean. Row i of each is sample i of the release.

    Positions are 0 to 65,535 from the first to the second number of ``x`` and of ``y``. Months of ``date`` count from January
    1900, which is 1; 0 is not known. ``key`` changes with the release's content: columns asked for with it never change.
    """

    release: str
    key: str
    n_samples: int
    x: tuple[float, float]
    y: tuple[float, float]
    n_dated: int
    columns: tuple[MapColumn, ...]
    clusters: tuple[ClusterSummary, ...]


@dataclass(frozen=True)
class SelectedShare:
    """A value among the selected samples; ``share_of_atlas`` is how frequent it is among all samples."""

    value: str
    label: str
    n: int
    share: float
    share_of_atlas: float


@dataclass(frozen=True)
class NearCluster:
    """A cluster by the cosine of its mean with that of a selection."""

    cluster: int
    label: str
    n_samples: int
    similarity: float
    x: float
    y: float


@dataclass(frozen=True)
class Selection:
    """What a part of the map holds.

    ``keywords`` and ``near_clusters`` are of the mean vector of ``n_averaged`` of the samples: all of a small selection, a
    seeded draw of a large one.
    """

    release: str
    n_samples: int
    n_averaged: int
    keywords: tuple[Keyword, ...]
    by_cluster: tuple[SelectedShare, ...]
    by_tissue: tuple[SelectedShare, ...]
    by_series: tuple[SelectedShare, ...]
    near_clusters: tuple[NearCluster, ...]
