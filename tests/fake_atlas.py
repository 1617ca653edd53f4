"""A small atlas with readable vectors, and a backend that opens it: real answers records, no model, no files.

Six samples on the unit circle; a phrase is embedded as the sample of the same tissue name, other phrases as [0, 1].
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from expression_files import small_gene_map
from fake_map import ANGLES, N_CLUSTERS, FakeMap, unit
from fake_workspace import FakeJobs, FakeLabels, FakeShelf

from atlas.answers import (
    ClusterDetail,
    ClusterSummary,
    CoverageReport,
    FacetCounts,
    FacetValue,
    GeneContribution,
    Hit,
    HitExplanation,
    Keyword,
    LabelEdit,
    MapColumns,
    NeighborsResult,
    Position,
    QueryPart,
    SampleRecord,
    SearchMode,
    SearchResult,
    SeriesHit,
    SeriesRecord,
    Share,
)
from atlas.catalog.filters import SampleFilter
from atlas.errors import ArtifactError, InputError, NotFoundError
from atlas.expression.genes import GeneMap
from atlas.expression.matrix import ExpressionMatrix
from atlas.manifest import Manifest, StageEntry
from atlas.search.queries import check_parts, describe_parts, read_part
from atlas.settings import Settings


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
class FakeAtlas(FakeMap):
    """Answers like an atlas; ``hold`` lets a test keep a question running."""

    release: FakeRelease
    closed: bool = False
    hold: threading.Event | None = None
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    broken: Exception | None = None
    nan: bool = False
    labels: dict[int, LabelEdit] = field(default_factory=dict)
    matrices: list[ExpressionMatrix] = field(default_factory=list)

    @property
    def genes(self) -> GeneMap:
        return small_gene_map()

    @property
    def scans(self) -> FakeShelf:
        labels = {one.cluster: one.label for one in self.clusters()}
        clusters = [row % N_CLUSTERS for row in range(len(ANGLES))]
        accessions = [f"GSM{row + 1}" for row in range(len(ANGLES))]
        return FakeShelf(self.release.name, accessions, clusters, labels, N_CLUSTERS)

    def search_text(
        self,
        phrase: str,
        *,
        k: int = 20,
        mode: SearchMode = "semantic",
        filters: SampleFilter | None = None,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        per_series: int | None = None,
        diversity: float = 0.0,
    ) -> SearchResult:
        parts = self.read_parts(phrase, plus=plus, minus=minus)
        found = self.search_parts(parts, k=k, mode=mode, filters=filters, per_series=per_series, diversity=diversity)
        return found if len(parts) > 1 else replace(found, query=phrase, parts=())

    def search_parts(
        self,
        parts: Sequence[QueryPart],
        *,
        k: int = 20,
        mode: SearchMode = "semantic",
        filters: SampleFilter | None = None,
        per_series: int | None = None,
        diversity: float = 0.0,
    ) -> SearchResult:
        self._wait()
        known = check_parts(parts, Settings())
        vectors = [part.weight * self._vector(part) for part in known]
        hits = self._hits(np.sum(vectors, axis=0), k=k, filters=filters, per_series=per_series)
        return SearchResult(
            release=self.release.name,
            query=describe_parts(known),
            mode=mode,
            hits=hits,
            series=_series(hits),
            n_candidates=len(ANGLES),
            no_match=all(part.value.lower() not in ANGLES for part in known if part.kind == "text"),
            parts=known,
        )

    def read_parts(
        self, phrase: str | None, *, plus: Sequence[str] = (), minus: Sequence[str] = ()
    ) -> tuple[QueryPart, ...]:
        first = [] if phrase is None else [QueryPart("sample" if phrase.startswith("GSM") else "text", phrase)]
        return (*first, *(read_part(one, 1) for one in plus), *(read_part(one, -1) for one in minus))

    def facets(self, filters: SampleFilter | None = None) -> FacetCounts:
        self._wait()
        records = self._passing(filters)
        return FacetCounts(
            release=self.release.name,
            n_samples=len(records),
            cluster=tuple(
                FacetValue(str(number), n, f"label {number}")
                for number, n in Counter(record.cluster for record in records).items()
            ),
            **{
                name: tuple(
                    FacetValue(value, n)
                    for value, n in Counter(
                        one
                        for record in records
                        for one in (record.series if name == "series" else [getattr(record, name)])
                    ).items()
                )
                for name in ("tissue", "organism", "series", "unit", "molecule", "id_kind")
            },
        )

    def explain(self, accession: str, parts: Sequence[QueryPart], *, top: int = 20) -> HitExplanation:
        record = self.sample(accession)
        known = check_parts(parts, Settings())
        score = float(unit(ANGLES[record.tissue]) @ np.sum([p.weight * self._vector(p) for p in known], axis=0))
        genes = (GeneContribution("MYH6", "ENSG00000197616", 0.2, 3.0), GeneContribution("MYH7", "ENSG1", 0.1, 2.0))
        against = (GeneContribution("ALB", "ENSG00000163631", -0.1, 1.0),)
        return HitExplanation(
            self.release.name, accession, known, score, genes[:top], against[:top], n_genes=3, kept_weight=0.9
        )

    def samples_page(
        self, *, filters: SampleFilter | None = None, sort: str = "row", offset: int = 0, limit: int = 100
    ) -> tuple[tuple[SampleRecord, ...], int]:
        self._wait()
        records = self._passing(filters)
        name = sort.removeprefix("-")
        if name != "row":
            records.sort(key=lambda record: getattr(record, name))
        if sort.startswith("-"):
            records.reverse()
        return tuple(records[offset : offset + limit]), len(records)

    def series(self, accession: str) -> SeriesRecord:
        self._wait()
        records = tuple(record for record in self._passing(None) if accession in record.series)
        if not records:
            raise NotFoundError(f"The atlas has no series {accession[:80]!r}.", details={"near_matches": ["GSE1"]})
        tissues = Counter(record.tissue for record in records)
        return SeriesRecord(
            release=self.release.name,
            accession=accession,
            title=f"title of {accession}",
            url=None,
            n_samples=len(records),
            samples=records,
            by_tissue=tuple(Share(tissue, n, n / len(records)) for tissue, n in tissues.items()),
            by_cluster=tuple(FacetValue(str(record.cluster), 1, record.cluster_label) for record in records),
        )

    def keywords(self, accessions: Sequence[str]) -> tuple[Keyword, ...]:
        for accession in accessions:
            self.sample(accession)
        return (Keyword("library", "Heart", 0.4, 3.0),)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        self._wait()
        return np.array([unit(ANGLES.get(text.lower(), math.pi / 2)) for text in texts], dtype=np.float32)

    def cluster_samples(self, cluster: int, *, offset: int = 0, limit: int = 50) -> tuple[tuple[Hit, ...], int]:
        self.cluster(cluster)
        hits = self._hits(unit(0.0), k=len(ANGLES), filters=SampleFilter(cluster=(cluster,)))
        return hits[offset : offset + limit], len(hits)

    def relabel(self, edits: Mapping[int, LabelEdit]) -> None:
        self.labels = dict(edits)

    def similar_samples(
        self, accession: str, *, k: int = 20, exclude_same_series: bool = False, filters: SampleFilter | None = None
    ) -> NeighborsResult:
        self._wait()
        own = self.sample(accession)
        hits = self._hits(unit(ANGLES[own.tissue]), k=len(ANGLES), filters=filters)
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
            hits = self._hits(unit(float(values[0]) % 6), k=k, filters=filters)
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
        return tuple(self._summary(number) for number in range(N_CLUSTERS))

    def cluster(self, cluster: int) -> ClusterDetail:
        if cluster >= N_CLUSTERS:
            raise NotFoundError(f"There is no cluster {cluster}.", details={"n_clusters": N_CLUSTERS})
        hits = self._hits(unit(0.0), k=2, filters=None)
        return ClusterDetail(
            release=self.release.name,
            summary=self._summary(cluster),
            label_method="deterministic",
            evidence=(Keyword("library", "Heart", 0.4, 3.0),),
            keywords=(),
            top_samples=hits,
            by_series=(Share("GSE1", 2, 1.0),),
            by_tissue=(Share("heart", 2, 1.0),),
        )

    def map(
        self,
        phrase: str | None = None,
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        scores: np.ndarray | None = None,
        most: int | None = None,
    ) -> MapColumns:
        self._wait()
        for part in self.read_parts(phrase, plus=plus, minus=minus) if plus or minus else ():
            phrase = part.value  # the last one is as good as their sum to see what was asked
        vectors = np.array([unit(angle) for angle in ANGLES.values()])
        if phrase is not None:
            scores = vectors @ unit(ANGLES.get(phrase, 1.0))
        score = None if scores is None else scores.tolist()
        if self.nan and score is not None:
            score[0] = float("nan")
        return MapColumns(
            release=self.release.name,
            accession=[f"GSM{row + 1}" for row in range(len(ANGLES))][:most],
            x=vectors[:most, 0].tolist(),
            y=vectors[:most, 1].tolist(),
            cluster=[row % N_CLUSTERS for row in range(len(ANGLES))][:most],
            score=score if score is None else score[:most],
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

    def _hits(
        self, vector: np.ndarray, *, k: int, filters: SampleFilter | None, per_series: int | None = None
    ) -> tuple[Hit, ...]:
        scored = [(float(unit(ANGLES[record.tissue]) @ vector), record) for record in self._passing(filters)]
        ranked = sorted(scored, key=lambda item: (-item[0], item[1].accession))
        kept, seen = [], Counter[str]()
        for score, record in ranked:
            seen[record.series[0]] += 1
            if per_series is None or seen[record.series[0]] <= per_series:
                kept.append((score, record))
        return tuple(
            Hit(rank, record, float("nan") if self.nan else score, 50.0)
            for rank, (score, record) in enumerate(kept[:k], start=1)
        )

    def _passing(self, filters: SampleFilter | None) -> list[SampleRecord]:
        asked = filters or SampleFilter()
        return [
            record
            for record in (_record(row, tissue) for row, tissue in enumerate(ANGLES))
            if (not asked.tissue or any(word in record.tissue for word in asked.tissue))
            and (not asked.cluster or record.cluster in asked.cluster)
            and (not asked.series or set(record.series) & set(asked.series))
            and (not asked.unit or record.unit in asked.unit)
        ]

    def _vector(self, part: QueryPart) -> np.ndarray:
        if part.kind == "sample":
            return unit(ANGLES[self.sample(part.value).tissue])
        return unit(ANGLES.get(part.value.lower(), math.pi / 2))

    def _summary(self, number: int) -> ClusterSummary:
        plain = ClusterSummary(
            number, f"label {number}", 10 - number, 2, "GSE1", 0.5, False, 0.0, 1.0, machine_label=f"label {number}"
        )
        edit = self.labels.get(number)
        return plain if edit is None else replace(plain, label=edit.label, edited_by=edit.author)


@dataclass
class FakeBackend:
    """Opens a ``FakeAtlas`` for any name; tests set what the database says and which names fail."""

    database: str | None = None
    failing: dict[str, Exception] = field(default_factory=dict)
    opened: list[FakeAtlas] = field(default_factory=list)
    closed: bool = False
    jobs: FakeJobs = field(default_factory=FakeJobs)
    labels: FakeLabels = field(default_factory=FakeLabels)

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
        self.jobs.away, self.jobs.prompt, self.labels.away = False, False, False
        self.jobs.jobs.clear()
        self.jobs.clients.clear()
        self.labels.edits.clear()
        self.labels.n_changes += 1
        atlas = self.atlas
        atlas.broken, atlas.nan, atlas.hold = None, False, None
        atlas.release.failure, atlas.release.verified = None, 1.0
        atlas.matrices.clear()


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
