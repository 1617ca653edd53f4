"""What goes out: the frozen records of ``atlas.answers``, so that REST, library and command line show the same fields.

The records below only wrap them. Every answer names its release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from atlas.answers import (
    ClusterSummary,
    FacetCounts,
    Hit,
    Keyword,
    LabelEdit,
    NeighborsResult,
    SampleRecord,
    ScanSummary,
    SearchResult,
    VocabularySummary,
)


@dataclass(frozen=True)
class SearchAnswer(SearchResult):
    """The answer to a phrase or a combination, with the counts of every filter if they were asked for."""

    facets: FacetCounts | None = None


@dataclass(frozen=True)
class SampleAnswer:
    """One sample of the named release."""

    release: str
    sample: SampleRecord


@dataclass(frozen=True)
class SamplePage:
    """Samples that pass; ``n_samples`` counts all of them, ``next_cursor`` is ``null`` on the last page."""

    release: str
    n_samples: int
    samples: tuple[SampleRecord, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class MemberPage:
    """Samples of a cluster, most central first."""

    release: str
    cluster: int
    n_samples: int
    hits: tuple[Hit, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class TranscriptomesAnswer:
    """One answer a sample of the upload, in its order."""

    release: str
    results: tuple[NeighborsResult, ...]


@dataclass(frozen=True)
class GeneEffectAnswer:
    """What one gene did: ``effect`` is the log-probability of the explained label less that without the gene."""

    ensembl_id: str
    symbol: str
    rank: int
    effect: float


@dataclass(frozen=True)
class CellAnswer:
    """One cell: ``label`` is ``null`` where no gene of it can be read; ``explained`` names the label that ``genes`` moved."""

    cell: str
    label: str | None
    probabilities: dict[str, float]
    texts: dict[str, float]
    explained: str | None
    genes: tuple[GeneEffectAnswer, ...]


@dataclass(frozen=True)
class CellsAnswer:
    """One answer a cell of the upload, in its order, by the interpreter of this hash; of no release."""

    interpreter: str
    organism: str
    labels: tuple[str, ...]
    cells: tuple[CellAnswer, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClusterPage:
    """Clusters of the named release, largest first; ``next_cursor`` is ``null`` on the last page."""

    release: str
    n_clusters: int
    clusters: tuple[ClusterSummary, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class LabelEditAnswer:
    """A cluster after its label was edited; ``edit`` is ``null`` once the machine's label is back."""

    release: str
    summary: ClusterSummary
    edit: LabelEdit | None


@dataclass(frozen=True)
class LabelEditList:
    """The labels in force, and those that met no cluster of the release."""

    release: str
    edits: tuple[LabelEdit, ...]


@dataclass(frozen=True)
class VocabularyList:
    """The vocabularies at hand."""

    release: str
    vocabularies: tuple[VocabularySummary, ...]


@dataclass(frozen=True)
class ScanList:
    """The sweeps at hand."""

    release: str
    scans: tuple[ScanSummary, ...]


@dataclass(frozen=True)
class TextVectors:
    """Texts as unit vectors of the joint space, one row a text; comparable within one ``model_hash`` only."""

    release: str
    model_hash: str
    dim: int
    vectors: list[list[float]]


@dataclass(frozen=True)
class KeywordList:
    """The vocabulary terms that match a selection of samples best."""

    release: str
    n_samples: int
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True)
class ReleaseEntry:
    """A release at hand; ``problem`` says why its manifest cannot be read."""

    name: str
    current: bool
    n_samples: int | None
    created_at: str | None
    problem: str | None


@dataclass(frozen=True)
class ReleaseList:
    """The releases at hand, and the names of those that were removed."""

    release: str
    releases: tuple[ReleaseEntry, ...]
    retired: tuple[str, ...]


@dataclass(frozen=True)
class StageReport:
    """What one stage of the build took in, gave out and dropped under which reason."""

    name: str
    n_in: int
    n_out: int
    dropped: dict[str, int]
    notes: dict[str, Any]


@dataclass(frozen=True)
class ReleaseReport:
    """What the served release is made of; ``verified`` is the share of its bytes checked since it was opened."""

    release: str
    created_at: str
    schema_version: str
    n_samples: int
    dim: int
    model_hash: str
    content_key: str
    seed: int
    git_sha: str | None
    verified: float
    versions: dict[str, str]
    stages: tuple[StageReport, ...]


@dataclass(frozen=True)
class LiveReport:
    """The process answers; ``release`` is ``null`` while none is served."""

    status: Literal["live"]
    release: str | None


@dataclass(frozen=True)
class ReadyReport:
    """Model, index and database serve the same release; ``reasons`` may tell of a newer one that could not be opened."""

    status: Literal["ready", "degraded", "unavailable"]
    release: str | None
    verified: float
    semantic: bool
    lexical: bool
    reasons: tuple[str, ...]


class ErrorDetail(BaseModel):
    """What is wrong: a stable code, a sentence for a person, the facts for a program."""

    code: str = Field(examples=["not_found"])
    message: str
    details: dict[str, Any]
    request_id: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorDetail
