"""The clusters of an open release: labels with their evidence and trust, composition, members by centrality.

In: ``labels.parquet``, ``keywords.parquet`` of one release.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from atlas.answers import ClusterDetail, ClusterSummary, Hit, Keyword, LabelEdit, LabelQuality
from atlas.errors import NotFoundError
from atlas.opened.categories import most_frequent, shares
from atlas.opened.samples import SampleTable
from atlas.release import Release
from atlas.vectors.store import VectorStore

N_SHARES = 20
"""Most frequent series and tissues shown of a cluster or a series."""
_DRAWN = 32
"""Members whose mean stands for a cluster where clusters are only compared: reading all would read every vector."""
_QUALITY = ("agreement", "stability")
_Shown = tuple[Mapping[int, LabelEdit], tuple[ClusterSummary, ...]]


class ClusterTable:
    """All clusters of a release, under the names they are shown with now."""

    def __init__(self, release: Release, samples: SampleTable, store: VectorStore) -> None:
        self._release = release
        self._samples = samples
        self._store = store
        labels = sorted(release.table("labels.parquet").to_pylist(), key=lambda row: row["cluster"])
        self._labels = {row["cluster"]: row for row in labels}
        self._machine = tuple(self._summarise(row) for row in labels)
        self._shown: _Shown = ({}, self._machine)
        self._central: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._ranking = Lock()

    @property
    def summaries(self) -> tuple[ClusterSummary, ...]:
        """All clusters, largest first, with a person's label where one edited it."""
        edits = self._samples.names.edits
        made_for, shown = self._shown
        if made_for is not edits:
            shown = tuple(_edited(one, edits.get(one.cluster)) for one in self._machine)
            self._shown = (edits, shown)
        return shown

    def summary(self, cluster: int) -> ClusterSummary:
        """Return one cluster's summary, or raise ``NotFoundError``."""
        found = next((one for one in self.summaries if one.cluster == cluster), None)
        if found is None:
            raise NotFoundError(
                f"There is no cluster {cluster}; this release has clusters 0 to {len(self._machine) - 1}.",
                details={"cluster": cluster, "n_clusters": len(self._machine)},
            )
        return found

    def centroid(self, rows: np.ndarray) -> np.ndarray:
        """Return the re-normalised mean vector of some samples, (dim,) float32."""
        total = np.zeros(self._store.dim, dtype=np.float64)
        for start in range(0, len(rows), 65_536):
            total += self._store.rows(rows[start : start + 65_536]).sum(axis=0, dtype=np.float64)
        norm = float(np.linalg.norm(total))
        return (total / (norm or 1.0)).astype(np.float32)

    @cached_property
    def centres(self) -> np.ndarray:
        """About the mean of each cluster, (n_clusters, dim) float32 of unit length: of ``_DRAWN`` seeded members or all."""
        rng = np.random.default_rng(0)
        centres = np.zeros((len(self._machine), self._store.dim), dtype=np.float32)
        for cluster in range(len(centres)):
            members = self._samples.members(cluster)
            if members.size > _DRAWN:
                members = np.sort(rng.choice(members, _DRAWN, replace=False, shuffle=False))
            centres[cluster] = self.centroid(members)
        return centres

    def by_centrality(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a cluster's rows, most central first, and their cosines with its mean: (n,) int32, (n,) float32.

        Ranked once and kept; all clusters together hold 8 bytes a sample.
        """
        self.summary(cluster)
        with self._ranking:
            if cluster not in self._central:
                members = self._samples.members(cluster)
                scores = self._store.exact_scores(self.centroid(members), members)
                order = np.lexsort((members, -scores))
                self._central[cluster] = (members[order].astype(np.int32), scores[order])
            return self._central[cluster]

    def detail(self, cluster: int, *, top_samples: tuple[Hit, ...]) -> ClusterDetail:
        """Return everything known of one cluster."""
        row, members = self._labels[cluster], self._samples.members(cluster)
        tissues, series = self._samples.categories("tissue"), self._samples.series
        counts = tissues.counts(members)
        stated = [value or "not stated" for value in tissues.values]
        return ClusterDetail(
            release=self._release.name,
            summary=self.summary(cluster),
            label_method=row["method"],
            evidence=tuple(Keyword(**term) for term in json.loads(row["evidence"] or "[]")),
            keywords=_by_z(self._keyword_rows.get(cluster, [])),
            top_samples=top_samples,
            by_series=shares(most_frequent(series.values, series.counts(members), limit=N_SHARES), len(members)),
            by_tissue=shares(most_frequent(stated, counts, limit=N_SHARES), len(members)),
            quality=_quality(row),
            prompt=row.get("prompt"),
            raw_reply=row.get("raw_reply"),
        )

    @cached_property
    def _keyword_rows(self) -> dict[int, list[dict[str, Any]]]:
        rows: dict[int, list[dict[str, Any]]] = {}
        for row in self._release.table("keywords.parquet").to_pylist():
            rows.setdefault(row["cluster"], []).append(row)
        return rows

    def _summarise(self, row: Mapping[str, Any]) -> ClusterSummary:
        members = self._samples.members(int(row["cluster"]))
        agreement, stability = (_rounded(row.get(name)) for name in _QUALITY)
        return ClusterSummary(
            cluster=int(row["cluster"]),
            label=str(row["label"]),
            n_samples=int(row["n_samples"]),
            n_series=int(row["n_series"]),
            top_series=str(row["top_series"]),
            top_series_share=round(float(row["top_series_share"]), 4),
            single_study=bool(row["single_study"]),
            x=round(float(np.median(self._samples.x[members])), 4),
            y=round(float(np.median(self._samples.y[members])), 4),
            machine_label=str(row["label"]),
            agreement=agreement,
            stability=stability,
        )


def _edited(summary: ClusterSummary, edit: LabelEdit | None) -> ClusterSummary:
    if edit is None:
        return summary
    return replace(summary, label=edit.label, edited_by=edit.author, edited_at=edit.created_at)


def _quality(row: Mapping[str, Any]) -> LabelQuality | None:
    """Return what the release knows of a label's trust; ``None`` where it was built before that was measured."""
    if not any(name in row for name in _QUALITY):
        return None
    return LabelQuality(
        agreement=_rounded(row.get("agreement")),
        n_annotated=int(row.get("n_annotated") or 0),
        top_annotation=row.get("top_annotation"),
        top_annotation_share=_rounded(row.get("top_annotation_share")),
        stability=_rounded(row.get("stability")),
        stability_low=_rounded(row.get("stability_low")),
        n_resamples=int(row.get("n_resamples") or 0),
    )


def _rounded(value: float | None) -> float | None:
    """Return a share without float32 noise; not-a-number counts as not known."""
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def _by_z(rows: Iterable[Mapping[str, Any]]) -> tuple[Keyword, ...]:
    keywords = (Keyword(r["library"], r["term"], round(r["score"], 6), round(r["z"], 4)) for r in rows)
    return tuple(sorted(keywords, key=lambda keyword: -keyword.z))
