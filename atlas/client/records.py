"""What the service answers, as typed dictionaries: the fields of the library's records, as JSON writes them.

Fields may be added, never renamed. Scores are cosines in [-1, 1], percentiles lie in [0, 100].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

Mode = Literal["semantic", "lexical", "hybrid"]
Unit = Literal["counts", "tpm", "fpkm", "log2", "normalised"]
Sort = Literal[
    "row",
    "-row",
    "accession",
    "-accession",
    "title",
    "-title",
    "tissue",
    "-tissue",
    "series",
    "-series",
    "cluster",
    "-cluster",
    "n_genes_detected",
    "-n_genes_detected",
]


class UploadFilters(TypedDict, total=False):
    """Which samples a question about an upload is about; values of one filter are alternatives, filters are joined by *and*."""

    tissue: Sequence[str]
    series: Sequence[str]
    organism: Sequence[str]
    cluster: Sequence[int]
    molecule: Sequence[str]
    id_kind: Sequence[str]
    exclude: str | None


class Filters(UploadFilters, total=False):
    """Which samples a question is about: as for an upload, and the unit of the samples."""

    unit: Sequence[str]


class Part(TypedDict):
    """One ingredient of a question: a phrase or a sample of the atlas, with its weight (negative: less of it)."""

    kind: Literal["text", "sample"]
    value: str
    weight: float


class FacetValue(TypedDict):
    """A value of a facet, how many samples carry it, and a name for people where the value is a number."""

    value: str
    n: int
    label: str | None


class FacetsAnswer(TypedDict):
    """How often each value occurs among the samples that pass; of each facet its own filter is left aside."""

    release: str
    n_samples: int
    tissue: list[FacetValue]
    organism: list[FacetValue]
    series: list[FacetValue]
    cluster: list[FacetValue]
    unit: list[FacetValue]
    molecule: list[FacetValue]
    id_kind: list[FacetValue]


class Sample(TypedDict):
    """One sample as its source describes it, with its place in the atlas."""

    accession: str
    id_kind: str
    series: list[str]
    title: str
    source_name: str
    characteristics: list[list[str]]
    organism: str
    molecule: str
    tissue: str
    caption: str
    unit: str
    n_genes_detected: int
    url: str | None
    series_urls: list[str | None]
    cluster: int | None
    cluster_label: str | None
    x: float | None
    y: float | None
    date: str | None


class Hit(TypedDict):
    """One sample of a ranked answer."""

    rank: int
    sample: Sample
    score: float | None
    percentile: float | None
    lexical_rank: int | None


class SeriesHit(TypedDict):
    """A series among the hits: how many of the atlas' samples of it were returned, and the best of them."""

    series: str
    title: str
    url: str | None
    n_hits: int
    n_samples: int
    best_rank: int
    best_score: float | None


class SearchAnswer(TypedDict):
    """The answer to a phrase."""

    release: str
    query: str
    mode: Literal["semantic", "lexical", "hybrid"]
    hits: list[Hit]
    series: list[SeriesHit]
    n_candidates: int
    no_match: bool
    message: str | None
    parts: list[Part]
    facets: FacetsAnswer | None


class Keyword(TypedDict):
    """A vocabulary term that matches a group of samples; ``score`` cosine, ``z`` over all terms of the release."""

    library: str
    term: str
    score: float
    z: float


class Coverage(TypedDict):
    """How a user's genes met the model's genes."""

    n_given: int
    n_recognised: int
    n_model_genes: int
    n_covered: int
    n_duplicates: int
    identifier: str
    organism: str
    unrecognised_examples: list[str]


class Position(TypedDict):
    """A place on the map, with the cluster most of the nearest samples belong to."""

    x: float
    y: float
    cluster: int
    cluster_label: str


class NeighborsAnswer(TypedDict):
    """The nearest samples of one transcriptome (a sample of the atlas, or one column of a user's table)."""

    release: str
    query: str
    hits: list[Hit]
    series: list[SeriesHit]
    n_candidates: int
    keywords: list[Keyword]
    position: Position | None
    coverage: Coverage | None


class ClusterSummary(TypedDict):
    """One cluster as listed; ``single_study`` marks that over 80 % of its samples come from one series."""

    cluster: int
    label: str
    n_samples: int
    n_series: int
    top_series: str
    top_series_share: float
    single_study: bool
    x: float
    y: float
    machine_label: str
    edited_by: str | None
    edited_at: str | None
    agreement: float | None
    stability: float | None


class Share(TypedDict):
    """A value and how many samples of a group carry it."""

    value: str
    n: int
    share: float


class LabelQuality(TypedDict):
    """How far a cluster and its label can be trusted."""

    agreement: float | None
    n_annotated: int
    top_annotation: str | None
    top_annotation_share: float | None
    stability: float | None
    stability_low: float | None
    n_resamples: int


class ClusterAnswer(TypedDict):
    """One cluster with the evidence for its label, its most central samples and its composition."""

    release: str
    summary: ClusterSummary
    label_method: str
    evidence: list[Keyword]
    keywords: list[Keyword]
    top_samples: list[Hit]
    by_series: list[Share]
    by_tissue: list[Share]
    quality: LabelQuality | None
    prompt: str | None
    raw_reply: str | None


class MapAnswer(TypedDict):
    """The map as columns of equal length, row order of the release; ``score`` only when a phrase was given."""

    release: str
    accession: list[str]
    x: list[float]
    y: list[float]
    cluster: list[int]
    score: list[float] | None
    clusters: list[ClusterSummary]


class GeneContribution(TypedDict):
    """A gene's part in a similarity: ``contribution`` is the score less the score without the gene."""

    symbol: str
    ensembl_id: str
    contribution: float
    weight: float


class ExplanationAnswer(TypedDict):
    """Why a sample answers a question: the genes that carry the similarity, strongest first, and those against it."""

    release: str
    accession: str
    parts: list[Part]
    score: float
    genes: list[GeneContribution]
    against: list[GeneContribution]
    n_genes: int
    kept_weight: float
    message: str | None


class SeriesAnswer(TypedDict):
    """A series of the atlas: its samples, where they lie, what they are."""

    release: str
    accession: str
    title: str
    url: str | None
    n_samples: int
    samples: list[Sample]
    by_tissue: list[Share]
    by_cluster: list[FacetValue]


class Job(TypedDict):
    """A piece of work that outlives its request. ``progress`` lies in [0, 1]; times are UTC, ISO 8601."""

    job_id: str
    kind: str
    status: Literal["queued", "running", "done", "failed", "cancelled", "expired"]
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


class LabelEdit(TypedDict):
    """A person's label of a cluster. ``carried`` tells how it met this release's clusters."""

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
    superseded_by: int | None
    removed_at: str | None
    removed_by: str | None


class SampleAnswer(TypedDict):
    """One sample of the named release."""

    release: str
    sample: Sample


class SamplesAnswer(TypedDict):
    """One page of the samples that pass; ``next_cursor`` is ``None`` on the last."""

    release: str
    n_samples: int
    samples: list[Sample]
    next_cursor: str | None


class MembersAnswer(TypedDict):
    """One page of a cluster's samples, most central first."""

    release: str
    cluster: int
    n_samples: int
    hits: list[Hit]
    next_cursor: str | None


class TranscriptomesAnswer(TypedDict):
    """One ``NeighborsAnswer`` a sample of the upload, in its order."""

    release: str
    results: list[NeighborsAnswer]


class GeneEffect(TypedDict):
    """What one gene did: log-probability of the explained label less that without the gene."""

    ensembl_id: str
    symbol: str
    rank: int
    effect: float


class CellAnswer(TypedDict):
    """One cell; ``label`` is ``None`` where no gene of it can be read."""

    cell: str
    label: str | None
    probabilities: dict[str, float]
    texts: dict[str, float]
    explained: str | None
    genes: list[GeneEffect]


class CellsAnswer(TypedDict):
    """One answer a cell of the upload, in its order, by the interpreter of this hash."""

    interpreter: str
    organism: str
    labels: list[str]
    cells: list[CellAnswer]
    notes: list[str]


class LabelEditAnswer(TypedDict):
    """A cluster after its label was edited; ``edit`` is ``None`` once the machine's label is back."""

    release: str
    summary: ClusterSummary
    edit: LabelEdit | None


class LabelEditsAnswer(TypedDict):
    """Every label in force, and those that met no cluster of the release."""

    release: str
    edits: list[LabelEdit]


class EmbeddingAnswer(TypedDict):
    """Texts as unit vectors of the release's joint space, one row a text."""

    release: str
    model_hash: str
    dim: int
    vectors: list[list[float]]


class KeywordsAnswer(TypedDict):
    """The vocabulary terms that match a selection of samples best."""

    release: str
    n_samples: int
    keywords: list[Keyword]


class ReleaseEntry(TypedDict):
    """A release at hand; ``problem`` says why it cannot be used."""

    name: str
    current: bool
    n_samples: int | None
    created_at: str | None
    problem: str | None


class ReleasesAnswer(TypedDict):
    """The releases at hand, and the names of those that were removed."""

    release: str
    releases: list[ReleaseEntry]
    retired: list[str]
