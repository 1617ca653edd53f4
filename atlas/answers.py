"""The answers an atlas gives, as frozen records: library, command line and REST show the same fields.

Scores are cosines in [-1, 1]; ``percentile`` is in [0, 100] against the null distribution of the release.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

SearchMode = Literal["semantic", "lexical", "hybrid"]


@dataclass(frozen=True)
class SampleRecord:
    """One sample as its source describes it, with its place in the atlas."""

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

    ``no_match`` says that no sample answers better than it answers phrases that mean nothing here; the hits are listed all
    the same. ``message`` is that sentence, or a note on how the phrase was read (accession, gene symbol).
    """

    release: str
    query: str
    mode: SearchMode
    hits: tuple[Hit, ...]
    series: tuple[SeriesHit, ...]
    n_candidates: int
    no_match: bool
    message: str | None = None


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


@dataclass(frozen=True)
class Share:
    """A value and how many samples of a group carry it."""

    value: str
    n: int
    share: float


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
