"""The questions of an open atlas that are about its map: columns, colours, outlines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from atlas.answers import MapColumns, SampleRecord
from atlas.errors import InputError, NotFoundError
from atlas.map_answers import MapLayout, Selection
from atlas.opened.parts import Opened
from atlas.search.phrases import read_query, read_sides


class MapQuestions:
    """What ``Atlas`` answers of its map."""

    opened: Opened

    def map(
        self,
        phrase: str | None = None,
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        scores: np.ndarray | None = None,
        most: int | None = None,
    ) -> MapColumns:
        """Return the map as columns in row order; with a question, every sample's score for it.

        Parameters
        ----------
        phrase
            Free text; scores are cosines.
        plus, minus
            As in :meth:`search_text`; scores are cosines to the combination.
        scores
            (n_samples,) scores to show instead, such as those of a disease scan.
        most
            At most this many samples, evenly spaced rows; default: all.

        Raises
        ------
        InputError
            If both are given, the scores are not one a sample, or the parts cancel out.
        NotFoundError
            If the atlas lacks a sample that is part of the question.
        """
        self.opened.release.raise_if_corrupt()
        asked = phrase is not None or bool(plus or minus)
        if scores is not None and asked:
            raise InputError("The map shows a question or given scores: give one of the two.")
        if asked:
            scores = self.map_scores(phrase, plus=plus, minus=minus)
        if scores is not None and scores.shape != (len(self.opened.samples),):
            raise InputError(f"The scores have shape {scores.shape}; expected ({len(self.opened.samples)},).")
        n = len(self.opened.samples)
        rows = None if most is None or n <= most else np.linspace(0, n - 1, most).astype(np.int64)
        accession, x, y, cluster = self._map_lists if rows is None else self._lists_of(rows)
        if scores is not None and rows is not None:
            scores = scores[rows]
        return MapColumns(
            release=self.opened.release.name,
            accession=accession,
            x=x,
            y=y,
            cluster=cluster,
            score=None if scores is None else np.round(scores.astype(np.float64), 5).tolist(),
            clusters=self.opened.clusters.summaries,
        )

    def map_scores(
        self, phrase: str | None = None, *, plus: Sequence[str] = (), minus: Sequence[str] = ()
    ) -> np.ndarray:
        """Return every sample's cosine to a question as in :meth:`search_text`, (n_samples,) float32, for colours."""
        self.opened.release.raise_if_corrupt()
        query = read_query(self.opened, read_sides(self.opened, phrase, plus=plus, minus=minus))
        return self.opened.colour_scores(query.vector)

    def map_layout(self) -> MapLayout:
        """Return what the columns of the map mean: bounds, codes, clusters."""
        table = self.opened.map_table
        return MapLayout(
            release=self.opened.release.name,
            key=self.opened.release.manifest.content_key[:16],
            n_samples=len(self.opened.samples),
            x=table.x_range,
            y=table.y_range,
            n_dated=table.n_dated,
            columns=table.columns,
            clusters=self.opened.clusters.summaries,
        )

    def map_column(self, name: str) -> np.ndarray:
        """Return a column of the map, see :class:`atlas.opened.map_table.MapTable`; an unknown name is a ``NotFoundError``."""
        self.opened.release.raise_if_corrupt()
        return self.opened.map_table.column(name)

    def sample_at(self, row: int) -> SampleRecord:
        """Return the sample of a row of the map, or raise ``NotFoundError``."""
        if not 0 <= row < len(self.opened.samples):
            raise NotFoundError(f"There is no row {row}; this atlas has rows 0 to {len(self.opened.samples) - 1}.")
        return self.opened.samples.record(row)

    def select(self, polygon: np.ndarray) -> Selection:
        """Return what the samples within an outline on the map have in common.

        Parameters
        ----------
        polygon
            (n_corners, 2) corners in the map's coordinates; the line closes itself, inside is by the even-odd rule.

        Raises
        ------
        InputError
            If it has fewer than three corners, or one that is no number.
        NotFoundError
            If no sample lies within.
        """
        from atlas.search.selection import describe

        self.opened.release.raise_if_corrupt()
        return describe(self.opened, polygon)

    def selected_samples(
        self, polygon: np.ndarray, *, offset: int = 0, limit: int = 50
    ) -> tuple[tuple[SampleRecord, ...], int]:
        """Return one page of the samples within an outline, in row order, and how many there are."""
        self.opened.release.raise_if_corrupt()
        rows = self.opened.map_table.inside(polygon)
        return self.opened.samples.records(rows[offset : offset + limit]), int(rows.size)

    @cached_property
    def _map_lists(self) -> tuple[list[str], list[float], list[float], list[int]]:
        return self._lists_of(slice(None))

    def _lists_of(self, rows: slice | np.ndarray) -> tuple[list[str], list[float], list[float], list[int]]:
        samples = self.opened.samples
        x, y = (np.round(axis[rows].astype(np.float64), 4).tolist() for axis in (samples.x, samples.y))
        names = samples.table["sample_id"]
        kept = names if isinstance(rows, slice) else names.take(rows)
        return kept.to_pylist(), x, y, samples.cluster[rows].tolist()
