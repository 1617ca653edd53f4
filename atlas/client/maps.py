"""The questions about the map: whole as JSON, as columns of numbers, and a part that a line is drawn around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict, cast

from atlas.client.connection import Connection, given, segment
from atlas.client.records import ClusterSummary, Keyword, MapAnswer, SampleAnswer, SamplesAnswer


class MapColumn(TypedDict):
    """One binary column of the map; ``values`` names its codes, ``counts`` how many samples carry each."""

    name: str
    dtype: str
    width: int
    n_bytes: int
    values: list[str]
    counts: list[int]


class MapLayoutAnswer(TypedDict):
    """What the map's columns mean; positions are 0 to 65,535 within ``x`` and ``y``."""

    release: str
    key: str
    n_samples: int
    x: list[float]
    y: list[float]
    n_dated: int
    columns: list[MapColumn]
    clusters: list[ClusterSummary]


class ColumnBytes(NamedTuple):
    """A column as it was sent; ``low``, ``middle`` and ``high`` are of scores."""

    data: bytes
    dtype: str
    low: float
    middle: float
    high: float


class SelectedShare(TypedDict):
    """A value among selected samples, with its share there and in the atlas."""

    value: str
    label: str
    n: int
    share: float
    share_of_atlas: float


class NearCluster(TypedDict):
    """A cluster by the cosine of its mean with that of a selection."""

    cluster: int
    label: str
    n_samples: int
    similarity: float
    x: float
    y: float


class SelectionAnswer(TypedDict):
    """What a part of the map holds; keywords and near clusters are of the mean of ``n_averaged`` samples."""

    release: str
    n_samples: int
    n_averaged: int
    keywords: list[Keyword]
    by_cluster: list[SelectedShare]
    by_tissue: list[SelectedShare]
    by_series: list[SelectedShare]
    near_clusters: list[NearCluster]


class MapQuestions(Connection):
    """The part of the client that asks about the map."""

    def map(
        self,
        phrase: str | None = None,
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        scan: str | None = None,
        term: str | None = None,
        most: int | None = None,
        release: str | None = None,
    ) -> MapAnswer:
        """Return the map as columns, of at most ``most`` samples, evenly spaced rows, if that is given.

        ``score`` is the cosine to ``phrase`` with ``plus`` and ``minus`` as in ``search``, the z of ``term`` in the sweep
        ``scan``, or the sum of z over that sweep.
        """
        query: dict[str, Any] = {"q": phrase, "plus": plus, "minus": minus, "scan": scan, "term": term}
        query |= {"most": most, "release": release}
        return cast("MapAnswer", self._get("/v1/map", query))

    def map_layout(self, *, release: str | None = None) -> MapLayoutAnswer:
        """Return which binary columns the map has: types, codes, the bounds of the positions."""
        return cast("MapLayoutAnswer", self._get("/v1/map/columns", {"release": release}))

    def map_column(
        self,
        name: str,
        phrase: str | None = None,
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        scan: str | None = None,
        term: str | None = None,
        release: str | None = None,
    ) -> ColumnBytes:
        """Return a column of the map as bytes: ``position``, ``cluster``, ``tissue``, ``date``, or ``score`` of a question.

        ``numpy.frombuffer(column.data, column.dtype)`` reads it; of scores 0 to 65,535 stand for ``low`` to ``high``.
        """
        query = {"q": phrase, "plus": plus, "minus": minus, "scan": scan, "term": term, "release": release}
        response = self._send("GET", f"/v1/map/columns/{segment(name)}", params=given(query))
        low, middle, high = (float(response.headers.get(f"x-geo-atlas-{end}", 0)) for end in ("low", "middle", "high"))
        return ColumnBytes(response.content, str(response.headers.get("x-geo-atlas-dtype", "")), low, middle, high)

    def sample_at(self, row: int, *, release: str | None = None) -> SampleAnswer:
        """Return the sample of a row of the map's columns."""
        return cast("SampleAnswer", self._get(f"/v1/map/rows/{row:d}", {"release": release}))

    def selection(self, outline: Sequence[Sequence[float]], *, release: str | None = None) -> SelectionAnswer:
        """Return what the samples within a line on the map have in common; ``outline`` lists its corners as (x, y)."""
        body = {"outline": [list(corner) for corner in outline]}
        return cast("SelectionAnswer", self._post("/v1/selections", body, query={"release": release}))

    def selected_samples(
        self,
        outline: Sequence[Sequence[float]],
        *,
        limit: int = 100,
        cursor: str | None = None,
        release: str | None = None,
    ) -> SamplesAnswer:
        """Return one page of the samples within a line on the map."""
        body = {"outline": [list(corner) for corner in outline]}
        query = {"limit": limit, "cursor": cursor, "release": release}
        return cast("SamplesAnswer", self._post("/v1/selections/samples", body, query=query))
