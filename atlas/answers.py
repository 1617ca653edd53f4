"""The answers an atlas gives, as frozen records: library, command line and REST show the same fields.

Scores are cosines in [-1, 1]; ``percentile`` is in [0, 100] against the null distribution of the release.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SearchMode = Literal["semantic", "lexical", "hybrid"]
PartKind = Literal["text", "sample"]


@dataclass(frozen=True)
class QueryPart:
    """One ingredient of a question: a phrase or a sample of the atlas, with its weight (negative: less of it)."""

    kind: PartKind
    value: str
    weight: float = 1.0


@dataclass(frozen=True)
class FacetValue:
    """A value of a facet, how many samples carry it, and a name for people where the value is a number."""

    value: str
    n: int
    label: str | None = None


@dataclass(frozen=True)
class FacetCounts:
    """How often each value occurs among the samples that pass; of each facet its own filter is left aside.

    ``n_samples`` counts the samples that pass all filters.
    """

    release: str
    n_samples: int
    tissue: tuple[FacetValue, ...]
    organism: tuple[FacetValue, ...]
    series: tuple[FacetValue, ...]
    cluster: tuple[FacetValue, ...]
    unit: tuple[FacetValue, ...]
    molecule: tuple[FacetValue, ...]
    id_kind: tuple[FacetValue, ...]


@dataclass(frozen=True)
class SampleRecord:
    """One sample as its source describes it, with its place in the atlas.

    ``date`` is that of its deposition, ``YYYY-MM-DD`` or ``YYYY-MM``; ``None`` where the source states none.
    """

    accession: str
    id_kind: str
    series: tuple[str, ...]
    title: str
    source_name: str
    characteristics: tuple[tuple[str, str], ...]
    organism: str
    molecule: str
    tissue: str
    caption: str
    unit: str
    n_genes_detected: int
    url: str | None
    series_urls: tuple[str | None, ...]
    cluster: int | None
    cluster_label: str | None
    x: float | None
    y: float | None
    date: str | None = None


@dataclass(frozen=True)
class Hit:
    """One sample of a ranked answer.

    ``score`` is the cosine between query and sample (``None`` for a lexical hit whose phrase was not embedded),
    ``percentile`` its place among the scores of the release's null queries.
    """

    rank: int
    sample: SampleRecord
    score: float | None
    percentile: float | None
    lexical_rank: int | None = None


@dataclass(frozen=True)
class SeriesHit:
    """A series among the hits: how many of the atlas' samples of it were returned, and the best of them."""

    series: str
    title: str
    url: str | None
    n_hits: int
    n_samples: int
    best_rank: int
    best_score: float | None


@dataclass(frozen=True)
class SearchResult:
    """The answer to a phrase.

    ``no_match`` says that the phrase lies no nearer to the vocabularies than phrases that mean nothing here; the hits are listed
    all the same. ``message`` is that sentence, or a note on how the phrase was read (accession, gene symbol).
    """

    release: str
    query: str
    mode: SearchMode
    hits: tuple[Hit, ...]
    series: tuple[SeriesHit, ...]
    n_candidates: int
    no_match: bool
    message: str | None = None
    parts: tuple[QueryPart, ...] = ()


@dataclass(frozen=True)
class Keyword:
    """A vocabulary term that matches a group of samples; ``score`` cosine, ``z`` over all terms of the release."""

    library: str
    term: str
    score: float
    z: float


@dataclass(frozen=True)
class CoverageReport:
    """How a user's genes met the model's genes."""

    n_given: int
    n_recognised: int
    n_model_genes: int
    n_covered: int
    n_duplicates: int
    identifier: str
    organism: str
    unrecognised_examples: tuple[str, ...]


@dataclass(frozen=True)
class Position:
    """A place on the map, with the cluster most of the nearest samples belong to."""

    x: float
    y: float
    cluster: int
    cluster_label: str


@dataclass(frozen=True)
class NeighborsResult:
    """The nearest samples of one transcriptome (a sample of the atlas, or one column of a user's table)."""

    release: str
    query: str
    hits: tuple[Hit, ...]
    series: tuple[SeriesHit, ...]
    n_candidates: int
    keywords: tuple[Keyword, ...] = ()
    position: Position | None = None
    coverage: CoverageReport | None = None


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster as listed; ``single_study`` marks that over 80 % of its samples come from one series.

    ``label`` is the edited label where a person has edited it; ``machine_label`` is always kept. ``agreement`` and
    ``stability`` lie in [0, 1], see ``LabelQuality``.
    """

    cluster: int
    label: str
    n_samples: int
    n_series: int
    top_series: str
    top_series_share: float
    single_study: bool
    x: float
    y: float
    machine_label: str = ""
    edited_by: str | None = None
    edited_at: str | None = None
    agreement: float | None = None
    stability: float | None = None


@dataclass(frozen=True)
class Share:
    """A value and how many samples of a group carry it."""

    value: str
    n: int
    share: float


@dataclass(frozen=True)
class LabelQuality:
    """How far a cluster and its label can be trusted.

    ``agreement`` compares the label with what the members' depositors wrote; ``stability`` is the mean Jaccard overlap with
    the best matching cluster when Leiden is repeated on resampled samples, ``stability_low`` its 5th percentile.
    """

    agreement: float | None
    n_annotated: int
    top_annotation: str | None
    top_annotation_share: float | None
    stability: float | None
    stability_low: float | None
    n_resamples: int


@dataclass(frozen=True)
class ClusterDetail:
    """One cluster with the evidence for its label, its most central samples and its composition."""

    release: str
    summary: ClusterSummary
    label_method: str
    evidence: tuple[Keyword, ...]
    keywords: tuple[Keyword, ...]
    top_samples: tuple[Hit, ...]
    by_series: tuple[Share, ...]
    by_tissue: tuple[Share, ...]
    quality: LabelQuality | None = None
    prompt: str | None = None
    raw_reply: str | None = None


@dataclass(frozen=True)
class MapColumns:
    """The map as columns of equal length, row order of the release; ``score`` only when a phrase was given."""

    release: str
    accession: list[str]
    x: list[float]
    y: list[float]
    cluster: list[int]
    score: list[float] | None = None
    clusters: tuple[ClusterSummary, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class GeneContribution:
    """A gene's part in a similarity: ``contribution`` is the score less the score without the gene."""

    symbol: str
    ensembl_id: str
    contribution: float
    weight: float


@dataclass(frozen=True)
class HitExplanation:
    """Why a sample answers a question: the genes that carry the similarity, strongest first, and those against it.

    ``kept_weight`` is the share of the sample's gene weights that the release keeps; genes beyond it are not judged.
    """

    release: str
    accession: str
    parts: tuple[QueryPart, ...]
    score: float
    genes: tuple[GeneContribution, ...]
    against: tuple[GeneContribution, ...]
    n_genes: int
    kept_weight: float
    message: str | None = None


@dataclass(frozen=True)
class SeriesRecord:
    """A series of the atlas: its samples, where they lie, what they are."""

    release: str
    accession: str
    title: str
    url: str | None
    n_samples: int
    samples: tuple[SampleRecord, ...]
    by_tissue: tuple[Share, ...]
    by_cluster: tuple[FacetValue, ...]


@dataclass(frozen=True)
class ScanCalibration:
    """How honest the p-values of a scan are, measured on background terms held out of the null.

    ``share_of_null_sweeps`` is the share of sweeps with as many random terms as the vocabulary holds in which any term has
    q < .05; ``share_of_null_terms`` the share of random terms that have a cluster with ``q_within`` < .05.
    """

    n_held_out: int
    ks_statistic: float
    ks_p_value: float
    share_below_05: float
    share_below_01: float
    share_below_001: float
    n_null_sweeps: int
    share_of_null_sweeps: float
    share_of_null_terms: float = 0.0


@dataclass(frozen=True)
class ScanSummary:
    """A sweep of a vocabulary over the atlas, as listed. ``name`` is the vocabulary's, or the key of an ad-hoc list.

    ``n_duplicates`` counts terms of the list that stood in it before and were swept once; ``duplicates`` names the first.
    """

    release: str
    name: str
    title: str
    stored: Literal["release", "home"]
    n_terms: int
    n_clusters: int
    n_samples: int
    n_significant: int
    n_background: int
    templates: tuple[str, ...]
    calibration: ScanCalibration
    created_at: str | None = None
    n_duplicates: int = 0
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScanTerm:
    """One term of a sweep. ``effect`` is the mean z of its best cluster, ``descriptive`` whether that one has few studies.

    ``p_value`` counts background terms (add-one), ``p_gaussian`` is the fitted tail beside it, ``q_value`` is
    Benjamini-Hochberg over the terms of the sweep, ``selected`` whether it is below .05. ``share_answering`` is the share of
    the atlas that answers at all.
    """

    term: str
    rank: int
    statistic: float
    effect: float
    p_value: float
    p_gaussian: float
    q_value: float
    share_answering: float
    top_cluster: int
    top_cluster_label: str
    n_background: int
    mean_similarity: float
    sd_similarity: float
    selected: bool = False
    descriptive: bool = False


@dataclass(frozen=True)
class ScanCell:
    """One term in one cluster. ``effect`` is the mean z of its samples, ``low``-``high`` its 95 % interval over studies.

    ``q_within`` is Benjamini-Hochberg over the clusters of this term, for a question about this term alone. ``q_value`` also
    pays for the choice of the term among all of the sweep, ``None`` where the term was not selected. A ``descriptive``
    cluster has fewer than 3 studies: what is found holds for those studies, and there is no interval.
    """

    term: str
    cluster: int
    cluster_label: str
    effect: float
    low: float | None
    high: float | None
    p_value: float
    p_gaussian: float
    q_value: float | None
    n_samples: int
    n_studies: int
    descriptive: bool
    share_answering: float
    q_within: float = 1.0


@dataclass(frozen=True)
class ScanReport:
    """A sweep with its terms (best first) and, of each cluster, its best terms."""

    summary: ScanSummary
    terms: tuple[ScanTerm, ...]
    top_terms_of_clusters: tuple[ScanCell, ...]


@dataclass(frozen=True)
class ScanTermReport:
    """One term of a sweep with all clusters, best first."""

    summary: ScanSummary
    term: ScanTerm
    cells: tuple[ScanCell, ...]


@dataclass(frozen=True)
class ScanMatrix:
    """Terms x clusters: mean z (``effects``), and ``q_value`` (``None`` where a term was not selected), as rows of terms.

    Terms and clusters are ordered so that similar ones stand beside each other.
    """

    summary: ScanSummary
    terms: tuple[str, ...]
    clusters: tuple[int, ...]
    cluster_labels: tuple[str, ...]
    effects: tuple[tuple[float, ...], ...]
    q_values: tuple[tuple[float | None, ...], ...]
    q_within: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class ScanSamples:
    """Per sample the sum of z over the terms of a sweep, and its percentile among sums of equally many random terms."""

    summary: ScanSummary
    accession: list[str]
    sum_z: list[float]
    percentile: list[float]


@dataclass(frozen=True)
class VocabularySummary:
    """A vocabulary of the release or of the home; ``scanned`` tells whether the release holds a sweep of it."""

    name: str
    n_terms: int
    packaged: bool
    keywords: bool
    scanned: bool


JobStatus = Literal["queued", "running", "done", "failed", "cancelled", "expired"]


@dataclass(frozen=True)
class Job:
    """A piece of work that outlives its request. ``progress`` lies in [0, 1]; times are UTC, ISO 8601.

    ``result`` names where the answer is (``{"scan": name}``), ``error`` is an error body as the API gives it.
    """

    job_id: str
    kind: str
    status: JobStatus
    release: str
    progress: float
    message: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None


@dataclass(frozen=True)
class LabelEdit:
    """A person's label of a cluster. ``carried`` tells how it met this release's clusters.

    ``exact``: the same members; ``carried``: members overlap with Jaccard ``overlap`` >= .8; ``orphaned``: no such cluster.
    An edit in force was neither superseded nor removed; history keeps the others.
    """

    edit_id: int
    label: str
    machine_label: str
    author: str
    note: str | None
    created_at: str
    made_on_release: str
    cluster: int | None
    overlap: float
    carried: Literal["exact", "carried", "orphaned"]
    superseded_by: int | None = None
    removed_at: str | None = None
    removed_by: str | None = None
