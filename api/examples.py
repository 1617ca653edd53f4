"""One example answer a route, for ``/openapi.json``; made of the real records, so that it cannot drift from them.

The accessions and numbers are invented.
"""

from __future__ import annotations

from api.schemas import (
    ClusterPage,
    LiveReport,
    ReadyReport,
    ReleaseReport,
    SampleAnswer,
    StageReport,
    TranscriptomesAnswer,
)
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
    SearchResult,
    SeriesHit,
    Share,
)

_RELEASE = "example-1"
_GEO = "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc="

_SAMPLE = SampleRecord(
    accession="GSM1234567",
    id_kind="GSM",
    series=("GSE123456",),
    title="Left ventricle, dilated cardiomyopathy, patient 3",
    source_name="left ventricle",
    characteristics=(("disease", "dilated cardiomyopathy"), ("tissue", "heart")),
    organism="Homo sapiens",
    molecule="total RNA",
    tissue="heart",
    caption="Left ventricle of a patient with dilated cardiomyopathy.",
    unit="counts",
    n_genes_detected=15_210,
    url=_GEO + "GSM1234567",
    series_urls=(_GEO + "GSE123456",),
    cluster=4,
    cluster_label="Heart ventricle",
    x=3.1,
    y=-7.25,
)
_HIT = Hit(rank=1, sample=_SAMPLE, score=0.41, percentile=99.7)
_SERIES = SeriesHit(
    series="GSE123456",
    title="Failing human hearts",
    url=_GEO + "GSE123456",
    n_hits=1,
    n_samples=24,
    best_rank=1,
    best_score=0.41,
)
_KEYWORD = Keyword(library="Human_Gene_Atlas", term="Heart", score=0.38, z=4.2)
_SUMMARY = ClusterSummary(
    cluster=4,
    label="Heart ventricle",
    n_samples=96,
    n_series=5,
    top_series="GSE123456",
    top_series_share=0.25,
    single_study=False,
    x=3.0,
    y=-7.0,
)

SEARCH = SearchResult(
    release=_RELEASE,
    query="cardiomyopathy",
    mode="semantic",
    hits=(_HIT,),
    series=(_SERIES,),
    n_candidates=1_522,
    no_match=False,
)
SAMPLE_ANSWER = SampleAnswer(release=_RELEASE, sample=_SAMPLE)
NEIGHBORS = NeighborsResult(
    release=_RELEASE, query="GSM1234568", hits=(_HIT,), series=(_SERIES,), n_candidates=1_521, keywords=(_KEYWORD,)
)
TRANSCRIPTOMES = TranscriptomesAnswer(
    release=_RELEASE,
    results=(
        NeighborsResult(
            release=_RELEASE,
            query="sample_1",
            hits=(_HIT,),
            series=(_SERIES,),
            n_candidates=1_522,
            keywords=(_KEYWORD,),
            position=Position(x=3.05, y=-7.1, cluster=4, cluster_label="Heart ventricle"),
            coverage=CoverageReport(
                n_given=3,
                n_recognised=3,
                n_model_genes=19_000,
                n_covered=3,
                n_duplicates=0,
                identifier="symbol",
                organism="human",
                unrecognised_examples=(),
            ),
        ),
    ),
)
CLUSTERS = ClusterPage(release=_RELEASE, n_clusters=1, clusters=(_SUMMARY,), next_cursor=None)
CLUSTER = ClusterDetail(
    release=_RELEASE,
    summary=_SUMMARY,
    label_method="deterministic",
    evidence=(_KEYWORD,),
    keywords=(_KEYWORD,),
    top_samples=(_HIT,),
    by_series=(Share(value="GSE123456", n=24, share=0.25),),
    by_tissue=(Share(value="heart", n=90, share=0.94),),
)
MAP = MapColumns(
    release=_RELEASE, accession=["GSM1234567"], x=[3.1], y=[-7.25], cluster=[4], score=[0.41], clusters=(_SUMMARY,)
)
RELEASE = ReleaseReport(
    release=_RELEASE,
    created_at="2026-01-01T00:00:00Z",
    schema_version="1.0",
    n_samples=1_522,
    dim=384,
    model_hash="0" * 64,
    content_key="0" * 64,
    seed=0,
    git_sha=None,
    verified=1.0,
    versions={"geo-atlas": "0.1.0"},
    stages=(StageReport(name="ingest_samples", n_in=1_600, n_out=1_522, dropped={"zero_counts": 78}, notes={}),),
)
LIVE = LiveReport(status="live", release=_RELEASE)
READY = ReadyReport(status="ready", release=_RELEASE, verified=1.0, semantic=True, lexical=True, reasons=())
