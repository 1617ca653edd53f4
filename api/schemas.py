"""What comes in (pydantic models that forbid what they do not know) and what goes out.

The answers are the frozen records of ``atlas.answers``, so that REST, library and command line show the same fields; the
records below only wrap them. Every answer names its release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from atlas.answers import ClusterSummary, NeighborsResult, SampleRecord, SearchMode
from atlas.catalog.filters import SampleFilter

FilterValue = Annotated[str, Field(min_length=1, max_length=200)]
FilterValues = Annotated[list[FilterValue], Field(max_length=50)]
UnitName = Literal["counts", "tpm", "fpkm", "log2", "normalised"]
GeneLabels = Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, fail_fast=True)]
Value = Annotated[FiniteFloat, Field(ge=-3.4e38, le=3.4e38)]  # the range of float32
Values = Annotated[list[Value], Field(fail_fast=True)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(_Query):
    """A route without parameters; any is refused."""


class FilterQuery(_Query):
    """Filters of ranked answers; values of one filter are alternatives, different filters are joined by *and*."""

    tissue: FilterValues = Field([], description="Whole words of the tissue or source of a sample; repeatable.")
    series: FilterValues = Field([], description="Series accession; repeatable.")
    organism: FilterValues = Field([], description="Organism, e.g. `Homo sapiens`; repeatable.")
    exclude: FilterValue | None = Field(None, description="Leave out samples whose text contains this.")

    def filters(self) -> SampleFilter:
        """Return the library's filter."""
        return SampleFilter(
            tissue=tuple(self.tissue), series=tuple(self.series), organism=tuple(self.organism), exclude=self.exclude
        )


class SearchQuery(FilterQuery):
    """Parameters of ``GET /v1/search``."""

    q: str = Field(min_length=1, description="The phrase.", examples=["cardiomyopathy"])
    k: int = Field(20, ge=1, description="Number of hits.")
    mode: SearchMode = Field("semantic", description="`lexical` and `hybrid` need the database.")


class NeighborsQuery(FilterQuery):
    """Parameters of ``GET /v1/samples/{accession}/neighbors``."""

    k: int = Field(20, ge=1, description="Number of hits.")
    exclude_same_series: bool = Field(False, description="Leave out samples that share a series with this one.")


class TranscriptomesQuery(FilterQuery):
    """Parameters of ``POST /v1/transcriptomes/neighbors``."""

    k: int = Field(20, ge=1, description="Number of hits a sample.")
    exclude_series: FilterValues = Field([], description="Series whose samples are left out; repeatable.")


class ClustersQuery(_Query):
    """Parameters of ``GET /v1/clusters``."""

    limit: int = Field(100, ge=1, le=1_000, description="Clusters on one page.")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


class MapQuery(_Query):
    """Parameters of ``GET /v1/map``."""

    q: str | None = Field(None, min_length=1, description="Score every sample against this phrase.")


class TranscriptomeQuestion(BaseModel):
    """Expression of one or more samples as JSON; every listed gene counts as measured."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"genes": ["MYH6", "TNNT2", "NPPA"], "values": [5321, 4780, 912], "unit": "counts"}]
        },
    )

    genes: GeneLabels = Field(description="Ensembl ids (a version is allowed) or symbols.")
    values: Values | Annotated[list[Values], Field(fail_fast=True)] = Field(
        description="One value a gene, or one such list a sample."
    )
    unit: UnitName | None = Field(None, description="Unit of the values; none: read counts, which is checked.")
    samples: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(fail_fast=True)] | None = Field(
        None, description="One name a sample; none: sample_1, sample_2, ..."
    )

    def rows(self) -> list[list[float]]:
        """Return the values as one list a sample, without copying them."""
        if self.values and isinstance(self.values[0], float):
            return [self.values]
        return self.values  # type: ignore[return-value]


@dataclass(frozen=True)
class SampleAnswer:
    """One sample of the named release."""

    release: str
    sample: SampleRecord


@dataclass(frozen=True)
class TranscriptomesAnswer:
    """One answer a sample of the upload, in its order."""

    release: str
    results: tuple[NeighborsResult, ...]


@dataclass(frozen=True)
class ClusterPage:
    """Clusters of the named release, largest first; ``next_cursor`` is ``null`` on the last page."""

    release: str
    n_clusters: int
    clusters: tuple[ClusterSummary, ...]
    next_cursor: str | None


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
