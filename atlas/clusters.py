"""The clusters of an open release: labels with their evidence, composition, and keywords of any vector.

In: ``labels.parquet``, ``keywords.parquet``, ``terms.parquet``, ``term_vectors.npy`` of one release.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.answers import ClusterDetail, ClusterSummary, Hit, Keyword, Share
from atlas.errors import NotFoundError
from atlas.landscape.keywords import match_keywords
from atlas.release import Release
from atlas.samples import SampleTable
from atlas.vocabulary import readable_term

if TYPE_CHECKING:
    from atlas.vectors.store import VectorStore

N_SHARES = 20
"""Most frequent series and tissues shown of a cluster."""


@dataclass(frozen=True)
class _Terms:
    """Every term of the release: its library, its name, the text it was embedded as."""

    libraries: list[str]
    names: list[str]
    texts: list[str]


class ClusterTable:
    """All clusters of a release."""

    def __init__(self, release: Release, samples: SampleTable, store: VectorStore) -> None:
        self._release = release
        self._samples = samples
        self._store = store
        labels = release.table("labels.parquet").to_pylist()
        self._labels = {row["cluster"]: row for row in labels}
        self.summaries = tuple(self._summarise(row) for row in sorted(labels, key=lambda row: row["cluster"]))
        self._by_id = {summary.cluster: summary for summary in self.summaries}

    def summary(self, cluster: int) -> ClusterSummary:
        """Return one cluster's summary, or raise ``NotFoundError``."""
        try:
            return self._by_id[cluster]
        except KeyError:
            raise NotFoundError(
                f"There is no cluster {cluster}; this release has clusters 0 to {len(self.summaries) - 1}.",
                details={"cluster": cluster, "n_clusters": len(self.summaries)},
            ) from None

    def centroid(self, rows: np.ndarray) -> np.ndarray:
        """Return the re-normalised mean vector of some samples, (dim,) float32."""
        total = np.zeros(self._store.dim, dtype=np.float64)
        for start in range(0, len(rows), 65_536):
            total += self._store.rows(rows[start : start + 65_536]).sum(axis=0, dtype=np.float64)
        norm = float(np.linalg.norm(total))
        return (total / (norm or 1.0)).astype(np.float32)

    def detail(self, summary: ClusterSummary, members: np.ndarray, *, top_samples: tuple[Hit, ...]) -> ClusterDetail:
        """Return everything known of one cluster."""
        row = self._labels[summary.cluster]
        table = self._samples.table
        tissues = table["tissue"].take(members).to_pylist()
        series = [one for many in table["series_ids"].take(members).to_pylist() for one in many]
        return ClusterDetail(
            release=self._release.name,
            summary=summary,
            label_method=row["method"],
            evidence=tuple(Keyword(**term) for term in json.loads(row["evidence"] or "[]")),
            keywords=_by_z(self._keyword_rows.get(summary.cluster, [])),
            top_samples=top_samples,
            by_series=_shares(series, len(members)),
            by_tissue=_shares((tissue or "not stated" for tissue in tissues), len(members)),
        )

    def keywords_of(self, vector: np.ndarray) -> tuple[Keyword, ...]:
        """Return the best positive terms of every library for one unit vector, by z over all terms."""
        terms = self._terms
        found = match_keywords(
            vector[None], self._term_vectors, libraries=terms.libraries, terms=terms.names, same_text=terms.texts
        )
        return _by_z(found.to_pylist())

    @cached_property
    def _term_vectors(self) -> np.ndarray:
        vectors: np.ndarray = np.load(self._release.checked("term_vectors.npy"), mmap_mode="r").astype(np.float32)
        return vectors

    @cached_property
    def _terms(self) -> _Terms:
        table = self._release.table("terms.parquet", columns=["library", "term"]).to_pydict()
        return _Terms(table["library"], table["term"], [readable_term(term) for term in table["term"]])

    @cached_property
    def _keyword_rows(self) -> dict[int, list[dict[str, Any]]]:
        rows: dict[int, list[dict[str, Any]]] = {}
        for row in self._release.table("keywords.parquet").to_pylist():
            rows.setdefault(row["cluster"], []).append(row)
        return rows

    def _summarise(self, row: dict[str, object]) -> ClusterSummary:
        cluster = int(str(row["cluster"]))
        members = np.flatnonzero(self._samples.cluster == cluster)
        return ClusterSummary(
            cluster=cluster,
            label=str(row["label"]),
            n_samples=int(str(row["n_samples"])),
            n_series=int(str(row["n_series"])),
            top_series=str(row["top_series"]),
            top_series_share=round(float(str(row["top_series_share"])), 4),
            single_study=bool(row["single_study"]),
            x=round(float(np.median(self._samples.x[members])), 4),
            y=round(float(np.median(self._samples.y[members])), 4),
        )


def _by_z(rows: Iterable[dict[str, Any]]) -> tuple[Keyword, ...]:
    keywords = (Keyword(r["library"], r["term"], round(r["score"], 6), round(r["z"], 4)) for r in rows)
    return tuple(sorted(keywords, key=lambda keyword: -keyword.z))


def _shares(values: Iterable[str], total: int) -> tuple[Share, ...]:
    counted = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    return tuple(Share(value, n, round(n / max(total, 1), 4)) for value, n in counted[:N_SHARES])
