"""One example answer a route, for ``/openapi.json``; made of the real records, so that it cannot drift from them.

The accessions and numbers are invented.
"""

from __future__ import annotations

from api.schemas import (
    CellAnswer,
    CellsAnswer,
    ClusterPage,
    GeneEffectAnswer,
    KeywordList,
    LabelEditAnswer,
    LabelEditList,
    LiveReport,
    MemberPage,
    ReadyReport,
    ReleaseEntry,
    ReleaseList,
    ReleaseReport,
    SampleAnswer,
    SamplePage,
    ScanList,
    SearchAnswer,
    StageReport,
    TextVectors,
    TranscriptomesAnswer,
    VocabularyList,
)
from atlas.answers import (
    ClusterDetail,
    ClusterSummary,
    CoverageReport,
    FacetCounts,
    FacetValue,
    GeneContribution,
    Hit,
    HitExplanation,
    Job,
    Keyword,
    LabelEdit,
    LabelQuality,
    MapColumns,
    NeighborsResult,
    Position,
    QueryPart,
    SampleRecord,
    ScanCalibration,
    ScanCell,
    ScanMatrix,
    ScanReport,
    ScanSamples,
    ScanSummary,
    ScanTerm,
    ScanTermReport,
    SeriesHit,
    SeriesRecord,
    Share,
    VocabularySummary,
)
from atlas.map_answers import MapColumn, MapLayout, NearCluster, SelectedShare, Selection

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

SEARCH = SearchAnswer(
    release=_RELEASE,
    query="cardiomyopathy",
    mode="semantic",
    hits=(_HIT,),
    series=(_SERIES,),
    n_candidates=1_522,
    no_match=False,
)
FACETS = FacetCounts(
    release=_RELEASE,
    n_samples=1_522,
    tissue=(FacetValue("heart", 24),),
    organism=(FacetValue("Homo sapiens", 1_522),),
    series=(FacetValue("GSE123456", 24, "Failing human hearts"),),
    cluster=(FacetValue("4", 96, "Heart ventricle"),),
    unit=(FacetValue("counts", 1_522),),
    molecule=(FacetValue("total RNA", 1_522),),
    id_kind=(FacetValue("GSM", 1_522),),
)
SAMPLES = SamplePage(release=_RELEASE, n_samples=1, samples=(_SAMPLE,), next_cursor=None)
SERIES = SeriesRecord(
    release=_RELEASE,
    accession="GSE123456",
    title="Failing human hearts",
    url=_GEO + "GSE123456",
    n_samples=1,
    samples=(_SAMPLE,),
    by_tissue=(Share("heart", 1, 1.0),),
    by_cluster=(FacetValue("4", 1, "Heart ventricle"),),
)
EXPLANATION = HitExplanation(
    release=_RELEASE,
    accession="GSM1234567",
    parts=(QueryPart("text", "cardiomyopathy"),),
    score=0.41,
    genes=(GeneContribution("MYH7", "ENSG00000092054", 0.021, 4.4),),
    against=(),
    n_genes=256,
    kept_weight=0.62,
)
SAMPLE_ANSWER = SampleAnswer(release=_RELEASE, sample=_SAMPLE)
NEIGHBORS = NeighborsResult(
    release=_RELEASE, query="GSM1234568", hits=(_HIT,), series=(_SERIES,), n_candidates=1_521, keywords=(_KEYWORD,)
)
CELLS = CellsAnswer(
    interpreter="5f0c" * 16,
    organism="human",
    labels=("alpha", "beta"),
    cells=(
        CellAnswer(
            cell="sample_1",
            label="beta",
            probabilities={"alpha": 0.03, "beta": 0.97},
            texts={"pancreatic beta cell": 0.91, "neuron": 0.09},
            explained="beta",
            genes=(GeneEffectAnswer("ENSG00000254647", "INS", 1, 1.84),),
        ),
    ),
    notes=(),
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
    quality=LabelQuality(
        agreement=0.91,
        n_annotated=90,
        top_annotation="heart",
        top_annotation_share=0.94,
        stability=0.88,
        stability_low=0.79,
        n_resamples=20,
    ),
)
MEMBERS = MemberPage(release=_RELEASE, cluster=4, n_samples=96, hits=(_HIT,), next_cursor=None)
_EDIT = LabelEdit(
    edit_id=1,
    label="Failing left ventricle",
    machine_label="Heart ventricle",
    author="A. Curator",
    note=None,
    created_at="2026-01-01T00:00:00Z",
    made_on_release=_RELEASE,
    cluster=4,
    overlap=1.0,
    carried="exact",
)
LABEL_EDIT = LabelEditAnswer(release=_RELEASE, summary=_SUMMARY, edit=_EDIT)
LABEL_EDITS = LabelEditList(release=_RELEASE, edits=(_EDIT,))
VOCABULARIES = VocabularyList(_RELEASE, (VocabularySummary("omim_expanded", 187, True, False, True),))
_SCAN = ScanSummary(
    release=_RELEASE,
    name="omim_expanded",
    title="omim_expanded",
    stored="release",
    n_terms=187,
    n_clusters=25,
    n_samples=1_522,
    n_significant=3,
    n_background=6_000,
    templates=("{x}",),
    calibration=ScanCalibration(1_000, 0.02, 0.8, 0.05, 0.011, 0.001, 200, 0.03),
)
_CELL = ScanCell("cardiomyopathy", 4, "Heart ventricle", 2.1, 1.4, 2.8, 0.0002, 1e-5, 0.004, 96, 5, False, 0.06)
_TERM = ScanTerm("cardiomyopathy", 1, 4.4, 2.1, 0.0002, 1e-5, 0.03, 0.06, 4, "Heart ventricle", 5_400, 0.11, 0.04)
SCANS = ScanList(_RELEASE, (_SCAN,))
SCAN = ScanReport(_SCAN, (_TERM,), (_CELL,))
SCAN_TERM = ScanTermReport(_SCAN, _TERM, (_CELL,))
SCAN_MATRIX = ScanMatrix(_SCAN, ("cardiomyopathy",), (4,), ("Heart ventricle",), ((2.1,),), ((0.004,),))
SCAN_SAMPLES = ScanSamples(_SCAN, ["GSM1234567"], [12.5], [97.0])
JOB = Job(
    job_id="5f0c3c9d4f3e4b0e",
    kind="scan",
    status="done",
    release=_RELEASE,
    progress=1.0,
    message=None,
    created_at="2026-01-01T00:00:00Z",
    started_at="2026-01-01T00:00:01Z",
    finished_at="2026-01-01T00:00:21Z",
    expires_at="2026-01-31T00:00:21Z",
    request={"terms": ["dilated cardiomyopathy"], "n_terms": 1},
    result={"scan": "0123456789abcdef"},
    error=None,
)
TEXT_VECTORS = TextVectors(_RELEASE, "0" * 64, 2, [[0.6, 0.8]])
KEYWORDS = KeywordList(_RELEASE, 1, (_KEYWORD,))
MAP = MapColumns(
    release=_RELEASE, accession=["GSM1234567"], x=[3.1], y=[-7.25], cluster=[4], score=[0.41], clusters=(_SUMMARY,)
)
MAP_LAYOUT = MapLayout(
    release=_RELEASE,
    key="0" * 16,
    n_samples=1_522,
    x=(-8.2, 14.5),
    y=(-11.0, 9.3),
    n_dated=1_380,
    columns=(
        MapColumn("position", "<u2", 2, 6_088),
        MapColumn("tissue", "|u1", 1, 1_522, ("", "left ventricle", "other"), (310, 212, 1_000)),
    ),
    clusters=(_SUMMARY,),
)
SELECTION = Selection(
    release=_RELEASE,
    n_samples=212,
    n_averaged=212,
    keywords=(_KEYWORD,),
    by_cluster=(SelectedShare("4", "Heart ventricle", 200, 0.9434, 0.14),),
    by_tissue=(SelectedShare("left ventricle", "", 190, 0.8962, 0.139),),
    by_series=(SelectedShare("GSE123456", "Failing hearts", 64, 0.3019, 0.042),),
    near_clusters=(NearCluster(4, "Heart ventricle", 213, 0.993, 3.1, -7.25),),
)
RELEASE = ReleaseReport(
    release=_RELEASE,
    created_at="2026-01-01T00:00:00Z",
    schema_version="1.0",
    n_samples=1_522,
    dim=512,
    model_hash="0" * 64,
    content_key="0" * 64,
    seed=0,
    git_sha=None,
    verified=1.0,
    versions={"geo-atlas": "0.1.0"},
    stages=(StageReport(name="ingest_samples", n_in=1_600, n_out=1_522, dropped={"zero_counts": 78}, notes={}),),
)
RELEASES = ReleaseList(
    _RELEASE, (ReleaseEntry(_RELEASE, True, 1_522, "2026-01-01T00:00:00Z", None),), retired=("example-0",)
)
LIVE = LiveReport(status="live", release=_RELEASE)
READY = ReadyReport(status="ready", release=_RELEASE, verified=1.0, semantic=True, lexical=True, reasons=())
