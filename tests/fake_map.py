"""The map of the small atlas of ``fake_atlas``: six samples on the unit circle, as columns and as what lies within a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.answers import Keyword, SampleRecord
from atlas.errors import NotFoundError
from atlas.map_answers import MapLayout, NearCluster, SelectedShare, Selection
from atlas.opened.categories import Categories
from atlas.opened.map_table import MapTable

ANGLES = {"heart": 0.0, "heart muscle": 0.1, "liver": 1.5, "brain": 3.0, "lung": 4.0, "blood": 5.0}
N_CLUSTERS = 5


def unit(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


class FakeMap:
    """The part of the fake atlas that answers for the map."""

    release: Any
    map: Any
    sample: Any
    clusters: Any
    _wait: Any

    def map_scores(
        self, phrase: str | None = None, *, plus: Sequence[str] = (), minus: Sequence[str] = ()
    ) -> np.ndarray:
        score = self.map(phrase, plus=plus, minus=minus).score
        return np.asarray([0.0] * len(ANGLES) if score is None else score, dtype=np.float32)

    def map_layout(self) -> MapLayout:
        self._wait()
        table = self._table
        return MapLayout(
            release=self.release.name,
            key="c" * 16,
            n_samples=len(ANGLES),
            x=table.x_range,
            y=table.y_range,
            n_dated=table.n_dated,
            columns=table.columns,
            clusters=self.clusters(),
        )

    def map_column(self, name: str) -> np.ndarray:
        self._wait()
        return self._table.column(name)

    def sample_at(self, row: int) -> SampleRecord:
        return self.sample(f"GSM{row + 1}")

    def select(self, polygon: np.ndarray) -> Selection:
        rows = self._inside(polygon)
        if not rows:
            raise NotFoundError("No sample lies within this outline.")
        return Selection(
            release=self.release.name,
            n_samples=len(rows),
            n_averaged=len(rows),
            keywords=(Keyword("library", "Heart", 0.4, 3.0),),
            by_cluster=(SelectedShare("0", "label 0", len(rows), 1.0, 0.3),),
            by_tissue=(),
            by_series=(),
            near_clusters=(NearCluster(0, "label 0", 10, 0.9, 0.0, 1.0),),
        )

    def selected_samples(
        self, polygon: np.ndarray, *, offset: int = 0, limit: int = 50
    ) -> tuple[tuple[SampleRecord, ...], int]:
        rows = self._inside(polygon)
        return tuple(self.sample_at(row) for row in rows[offset : offset + limit]), len(rows)

    def _inside(self, polygon: np.ndarray) -> list[int]:
        self._wait()
        return self._table.inside(polygon).tolist()

    @property
    def _table(self) -> MapTable:
        vectors = np.array([unit(angle) for angle in ANGLES.values()])
        return MapTable(
            vectors[:, 0],
            vectors[:, 1],
            cluster=np.arange(len(ANGLES)) % N_CLUSTERS,
            tissue=Categories.of(pa.chunked_array([list(ANGLES)])),
            date=pa.chunked_array([["2020-02-01", "2021-12", None, "", "soon", "2020-02"]]),
        )
