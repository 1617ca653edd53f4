"""What the service answers about sweeps of vocabularies, as typed dictionaries."""

from __future__ import annotations

from typing import Literal, TypedDict


class ScanCalibration(TypedDict):
    """How honest the p-values of a scan are, measured on background terms held out of the null."""

    n_held_out: int
    ks_statistic: float
    ks_p_value: float
    share_below_05: float
    share_below_01: float
    share_below_001: float
    n_null_sweeps: int
    share_of_null_sweeps: float
    share_of_null_terms: float


class ScanSummary(TypedDict):
    """A sweep of a vocabulary over the atlas, as listed. ``name`` is the vocabulary's, or the key of an ad-hoc list."""

    release: str
    name: str
    title: str
    stored: Literal["release", "home"]
    n_terms: int
    n_clusters: int
    n_samples: int
    n_significant: int
    n_background: int
    templates: list[str]
    calibration: ScanCalibration
    created_at: str | None
    n_duplicates: int
    duplicates: list[str]


class ScanTerm(TypedDict):
    """One term of a sweep. ``effect`` is the mean z of its best cluster, ``descriptive`` whether that one has few studies."""

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
    selected: bool
    descriptive: bool


class ScanCell(TypedDict):
    """One term in one cluster. ``effect`` is the mean z of its samples, ``low``-``high`` its 95 % interval over studies.

    ``q_within`` answers a question about this term alone; ``q_value`` also pays for the choice of the term in the sweep.
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
    q_within: float


class ScanAnswer(TypedDict):
    """A sweep with its terms (best first) and, of each cluster, its best terms."""

    summary: ScanSummary
    terms: list[ScanTerm]
    top_terms_of_clusters: list[ScanCell]


class ScanTermAnswer(TypedDict):
    """One term of a sweep with all clusters, best first."""

    summary: ScanSummary
    term: ScanTerm
    cells: list[ScanCell]


class ScanMatrixAnswer(TypedDict):
    """Terms x clusters: mean z (``effects``), and ``q_value`` (``None`` where a term was not selected), as rows of terms."""

    summary: ScanSummary
    terms: list[str]
    clusters: list[int]
    cluster_labels: list[str]
    effects: list[list[float]]
    q_values: list[list[float | None]]
    q_within: list[list[float]]


class ScanSamplesAnswer(TypedDict):
    """Per sample the sum of z over the terms of a sweep, and its percentile among sums of equally many random terms."""

    summary: ScanSummary
    accession: list[str]
    sum_z: list[float]
    percentile: list[float]


class Vocabulary(TypedDict):
    """A vocabulary of the release or of the home; ``scanned`` tells whether the release holds a sweep of it."""

    name: str
    n_terms: int
    packaged: bool
    keywords: bool
    scanned: bool


class VocabulariesAnswer(TypedDict):
    """The vocabularies at hand."""

    release: str
    vocabularies: list[Vocabulary]


class ScansAnswer(TypedDict):
    """The sweeps at hand."""

    release: str
    scans: list[ScanSummary]
