"""A small atlas with readable vectors, and a backend that opens it: real answers records, no model, no files.

Six samples on the unit circle; a phrase is embedded as the sample of the same tissue name, other phrases as [0, 1].
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from expression_files import small_gene_map

from atlas.answers import (
    ClusterDetail,
    ClusterSummary,
    CoverageReport,
    Hit,
    Keyword,
    MapColumns,
    NeighborsResult,
    Position,
    SampleRecord,
    SearchMode,
    SearchResult,
    SeriesHit,
    Share,
)
from atlas.catalog.filters import SampleFilter
from atlas.errors import ArtifactError, InputError, NotFoundError
from atlas.expression.genes import GeneMap
from atlas.expression.matrix import ExpressionMatrix
from atlas.manifest import Manifest, StageEntry

ANGLES = {"heart": 0.0, "heart muscle": 0.1, "liver": 1.5, "brain": 3.0, "lung": 4.0, "blood": 5.0}
N_CLUSTERS = 5


def manifest(name: str) -> Manifest:
    stage = StageEntry(
        name="ingest_samples",
        version=1,
        key="k",
        params={},
        inputs=[],
        outputs=[],
        n_in=7,
        n_out=6,
        dropped={"zero_counts": 1},
        notes={"recall": 1.0},
        started_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:00:01Z",
        wall_s=1.0,
        peak_rss_bytes=1,
    )
    return Manifest(
        schema_version="1.0",
        name=name,
        created_at="2026-01-01T00:00:02Z",
        seed=0,
        n_samples=6,
        dim=2,
        model_hash="m" * 64,
        content_key="c" * 64,
        git_sha=None,
        versions={"geo-atlas": "0"},
        files=[],
        stages=[stage],
    )


@dataclass
class FakeRelease:
    name: str
    verified: float = 1.0
    failure: ArtifactError | None = None

    @property
    def manifest(self) -> Manifest:
        return manifest(self.name)

    def raise_if_corrupt(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeAtlas:
    """Answers like an atlas; ``hold`` lets a test keep a question running."""

    release: FakeRelease
    closed: bool = False
    hold: threading.Event | None = None
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    broken: Exception | None = None
    nan: bool = False
    matrices: list[ExpressionMatrix] = field(default_factory=list)

    @property
    def genes(self) -> GeneMap:
        return small_gene_map()

    def search_text(
        self, phrase: str, *, k: int = 20, mode: SearchMode = "semantic", filters: SampleFilter | None = None
    ) -> SearchResult:
        self._wait()
        vector = _unit(ANGLES.get(phrase.lower(), math.pi / 2))
        hits = self._hits(vector, k=k, filters=filters)
        return SearchResult(
            release=self.release.name,
            query=phrase,
            mode=mode,
            hits=hits,
            series=_series(hits),
            n_candidates=len(ANGLES),
            no_match=phrase.lower() not in ANGLES,
        )

    def similar_samples(
        self, accession: str, *, k: int = 20, exclude_same_series: bool = False, filters: SampleFilter | None = None
    ) -> NeighborsResult:
        self._wait()
        own = self.sample(accession)
        hits = self._hits(_unit(ANGLES[own.tissue]), k=len(ANGLES), filters=filters)
        kept = [
            hit
            for hit in hits
            if hit.sample.accession != accession
            and not (exclude_same_series and set(hit.sample.series) & set(own.series))
        ][:k]
        return NeighborsResult(
            release=self.release.name, query=accession, hits=tuple(kept), series=_series(kept), n_candidates=5
        )

    def search_expression(
        self,
        matrix: ExpressionMatrix,
        *,
        k: int = 20,
        exclude_series: Sequence[str] = (),
        filters: SampleFilter | None = None,
    ) -> tuple[NeighborsResult, ...]:
        self._wait()
        self.matrices.append(matrix)
        known = [gene for gene in matrix.genes if gene.startswith(("MYH", "ALB", "ENSG"))]
        if not known:
            raise InputError("No gene is recognised.", details={"n_given": matrix.n_genes})
        coverage = CoverageReport(matrix.n_genes, len(known), 3, len(known), 0, "symbol", "human", ())
        results = []
        for name, values in zip(matrix.sample_ids, matrix.values, strict=True):
            hits = self._hits(_unit(float(values[0]) % 6), k=k, filters=filters)
            kept = tuple(hit for hit in hits if not set(hit.sample.series) & set(exclude_series))
            results.append(
                NeighborsResult(
                    release=self.release.name,
                    query=name,
                    hits=kept,
                    series=_series(kept),
                    n_candidates=6,
                    keywords=(Keyword("library", "Heart", 0.4, 3.0),),
                    position=Position(0.0, 1.0, 0, "label 0"),
                    coverage=coverage,
                )
            )
        return tuple(results)

    def sample(self, accession: str) -> SampleRecord:
        self._wait()
        for row, tissue in enumerate(ANGLES):
            if accession == f"GSM{row + 1}":
                return _record(row, tissue)
        raise NotFoundError(
            f"The atlas has no sample {accession[:80]!r}.",
            details={"accession": accession[:80], "near_matches": ["GSM1", "GSM2"]},
        )

    def clusters(self) -> tuple[ClusterSummary, ...]:
        return tuple(_cluster(number) for number in range(N_CLUSTERS))

    def cluster(self, cluster: int) -> ClusterDetail:
        if cluster >= N_CLUSTERS:
            raise NotFoundError(f"There is no cluster {cluster}.", details={"n_clusters": N_CLUSTERS})
        hits = self._hits(_unit(0.0), k=2, filters=None)
        return ClusterDetail(
            release=self.release.name,
            summary=_cluster(cluster),
            label_method="deterministic",
            evidence=(Keyword("library", "Heart", 0.4, 3.0),),
            keywords=(),
            top_samples=hits,
            by_series=(Share("GSE1", 2, 1.0),),
            by_tissue=(Share("heart", 2, 1.0),),
        )

    def map(self, phrase: str | None = None) -> MapColumns:
        self._wait()
        vectors = np.array([_unit(angle) for angle in ANGLES.values()])
        score = None if phrase is None else (vectors @ _unit(ANGLES.get(phrase, 1.0))).tolist()
        if self.nan and score is not None:
            score[0] = float("nan")
        return MapColumns(
            release=self.release.name,
            accession=[f"GSM{row + 1}" for row in range(len(ANGLES))],
            x=vectors[:, 0].tolist(),
            y=vectors[:, 1].tolist(),
            cluster=[row % N_CLUSTERS for row in range(len(ANGLES))],
            score=score,
            clusters=self.clusters(),
        )

    def close(self) -> None:
        self.closed = True

    def _wait(self) -> None:
        if self.hold is not None:
            self.held.release()
            self.hold.wait(20)
        if self.broken is not None:
            raise self.broken
        if self.closed:
            raise RuntimeError("asked after it was closed")

    def _hits(self, vector: np.ndarray, *, k: int, filters: SampleFilter | None) -> tuple[Hit, ...]:
        scored = [
            (float(_unit(angle) @ vector), row, tissue)
            for row, (tissue, angle) in enumerate(ANGLES.items())
            if filters is None or not filters.tissue or any(word in tissue for word in filters.tissue)
        ]
        ranked = sorted(scored, key=lambda item: (-item[0], item[1]))[:k]
        return tuple(
            Hit(rank, _record(row, tissue), float("nan") if self.nan else score, 50.0)
            for rank, (score, row, tissue) in enumerate(ranked, start=1)
        )


@dataclass
class FakeBackend:
    """Opens a ``FakeAtlas`` for any name; tests set what the database says and which names fail."""

    database: str | None = None
    failing: dict[str, Exception] = field(default_factory=dict)
    opened: list[FakeAtlas] = field(default_factory=list)
    closed: bool = False

    def open(self, release: str) -> FakeAtlas:
        if release in self.failing:
            raise self.failing[release]
        self.opened.append(FakeAtlas(FakeRelease(release)))
        return self.opened[-1]

    def database_problem(self, release: str) -> str | None:
        return self.database

    def close(self) -> None:
        self.closed = True

    @property
    def atlas(self) -> FakeAtlas:
        return self.opened[-1]

    def reset(self) -> None:
        """Heal what a test has broken."""
        self.database = None
        self.failing.clear()
        atlas = self.atlas
        atlas.broken, atlas.nan, atlas.hold = None, False, None
        atlas.release.failure, atlas.release.verified = None, 1.0
        atlas.matrices.clear()


def _unit(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


def _record(row: int, tissue: str) -> SampleRecord:
    series = "GSE1" if row < 2 else f"GSE{row}"
    return SampleRecord(
        accession=f"GSM{row + 1}",
        id_kind="GSM",
        series=(series,),
        title=f"<b>{tissue}</b> 'sample'",
        source_name=tissue,
        characteristics=(("tissue", tissue),),
        organism="Homo sapiens",
        molecule="total RNA",
        tissue=tissue,
        caption=f"A sample of {tissue}.",
        unit="counts",
        n_genes_detected=100 + row,
        url=f"https://example.org/GSM{row + 1}",
        series_urls=(None,),
        cluster=row % N_CLUSTERS,
        cluster_label=f"label {row % N_CLUSTERS}",
        x=0.0,
        y=1.0,
    )


def _series(hits: Sequence[Hit]) -> tuple[SeriesHit, ...]:
    names = list(dict.fromkeys(hit.sample.series[0] for hit in hits))
    return tuple(SeriesHit(name, f"title of {name}", None, 1, 2, 1, 0.5) for name in names)


def _cluster(number: int) -> ClusterSummary:
    return ClusterSummary(number, f"label {number}", 10 - number, 2, "GSE1", 0.5, False, 0.0, 1.0)
