"""What the service asks of the rest of the house: an open atlas, its sweeps, jobs, label edits. Tests bring their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from atlas.answers import (
    ClusterDetail,
    ClusterSummary,
    FacetCounts,
    Hit,
    HitExplanation,
    Job,
    Keyword,
    LabelEdit,
    MapColumns,
    NeighborsResult,
    QueryPart,
    SampleRecord,
    ScanMatrix,
    ScanReport,
    ScanSamples,
    ScanSummary,
    ScanTermReport,
    SearchMode,
    SearchResult,
    SeriesRecord,
)
from atlas.catalog.filters import SampleFilter
from atlas.manifest import Manifest
from atlas.map_answers import MapLayout, Selection
from atlas.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from atlas.expression.genes import GeneMap
    from atlas.expression.matrix import ExpressionMatrix


class OpenRelease(Protocol):
    """What is asked of the release an atlas has opened."""

    name: str
    manifest: Manifest

    @property
    def verified(self) -> float:
        """Share of the release's bytes that were checked, in [0, 1]."""

    def raise_if_corrupt(self) -> None:
        """Raise the failure that a background check found, if any."""


class Shelf(Protocol):
    """The sweeps at hand; ``atlas.scans.shelf.ScanShelf`` answers."""

    def names(self) -> tuple[str, ...]:
        """Return the names of all sweeps."""

    def summaries(self) -> tuple[ScanSummary, ...]:
        """Return all sweeps."""

    def report(self, name: str, /) -> ScanReport:
        """Return a sweep."""

    def term(self, name: str, term: str, /) -> ScanTermReport:
        """Return one term of a sweep."""

    def matrix(self, name: str, /, *, max_terms: int = ...) -> ScanMatrix:
        """Return terms x clusters."""

    def samples(self, name: str, /) -> ScanSamples:
        """Return the sum of z of every sample."""

    def sums(self, name: str, /) -> tuple[np.ndarray, np.ndarray]:
        """Return sum of z and percentile of every sample as arrays."""

    def term_scores(self, name: str, term: str, /) -> np.ndarray:
        """Return the z of one term for every sample, (n_samples,) float32."""


class OpenAtlas(Protocol):
    """The questions the routes ask; ``atlas.atlas.Atlas`` answers them."""

    @property
    def release(self) -> OpenRelease:
        """The release it has opened."""

    @property
    def genes(self) -> GeneMap:
        """The genes its model knows."""

    @property
    def scans(self) -> Shelf:
        """The sweeps at hand."""

    def search_text(
        self,
        phrase: str,
        /,
        *,
        k: int = ...,
        mode: SearchMode = ...,
        filters: SampleFilter | None = ...,
        plus: Sequence[str] = ...,
        minus: Sequence[str] = ...,
        per_series: int | None = ...,
        diversity: float = ...,
    ) -> SearchResult:
        """Return the samples that answer a phrase."""

    def search_parts(
        self,
        parts: Sequence[QueryPart],
        /,
        *,
        k: int = ...,
        mode: SearchMode = ...,
        filters: SampleFilter | None = ...,
        per_series: int | None = ...,
        diversity: float = ...,
    ) -> SearchResult:
        """Return the samples that answer a weighted combination."""

    def facets(self, filters: SampleFilter | None = ..., /) -> FacetCounts:
        """Count the values of every filter."""

    def similar_samples(
        self, accession: str, /, *, k: int = ..., exclude_same_series: bool = ..., filters: SampleFilter | None = ...
    ) -> NeighborsResult:
        """Return the samples nearest to one of the atlas."""

    def search_expression(
        self,
        matrix: ExpressionMatrix,
        *,
        k: int = ...,
        exclude_series: Sequence[str] = ...,
        filters: SampleFilter | None = ...,
    ) -> tuple[NeighborsResult, ...]:
        """Return the samples nearest to each row of a person's own table."""

    def read_parts(
        self, phrase: str | None, /, *, plus: Sequence[str] = ..., minus: Sequence[str] = ...
    ) -> tuple[QueryPart, ...]:
        """Return a question as parts."""

    def explain(self, accession: str, parts: Sequence[QueryPart], /, *, top: int = ...) -> HitExplanation:
        """Return the genes that carry a similarity."""

    def sample(self, accession: str, /) -> SampleRecord:
        """Return one sample."""

    def samples_page(
        self, *, filters: SampleFilter | None = ..., sort: str = ..., offset: int = ..., limit: int = ...
    ) -> tuple[tuple[SampleRecord, ...], int]:
        """Return samples that pass, and how many do in all."""

    def series(self, accession: str, /) -> SeriesRecord:
        """Return one series."""

    def clusters(self) -> tuple[ClusterSummary, ...]:
        """Return all clusters."""

    def cluster(self, cluster: int, /) -> ClusterDetail:
        """Return one cluster."""

    def cluster_samples(self, cluster: int, /, *, offset: int = ..., limit: int = ...) -> tuple[tuple[Hit, ...], int]:
        """Return samples of a cluster, most central first, and how many it has."""

    def keywords(self, accessions: Sequence[str], /) -> tuple[Keyword, ...]:
        """Return the terms that match a selection best."""

    def embed_texts(self, texts: Sequence[str], /) -> np.ndarray:
        """Return unit vectors, (n_texts, dim) float32."""

    def map(
        self,
        phrase: str | None = None,
        /,
        *,
        plus: Sequence[str] = ...,
        minus: Sequence[str] = ...,
        scores: np.ndarray | None = None,
        most: int | None = None,
    ) -> MapColumns:
        """Return the map."""

    def map_scores(
        self, phrase: str | None = None, /, *, plus: Sequence[str] = ..., minus: Sequence[str] = ...
    ) -> np.ndarray:
        """Return every sample's score for a question, (n_samples,) float32."""

    def map_layout(self) -> MapLayout:
        """Return what the columns of the map mean."""

    def map_column(self, name: str, /) -> np.ndarray:
        """Return a column of the map."""

    def sample_at(self, row: int, /) -> SampleRecord:
        """Return the sample of a row of the map."""

    def select(self, polygon: np.ndarray, /) -> Selection:
        """Return what the samples within an outline have in common."""

    def selected_samples(
        self, polygon: np.ndarray, /, *, offset: int = ..., limit: int = ...
    ) -> tuple[tuple[SampleRecord, ...], int]:
        """Return samples within an outline, in row order, and how many there are."""

    def relabel(self, edits: Mapping[int, LabelEdit], /) -> None:
        """Show people's labels of clusters instead of the machine's."""

    def close(self) -> None:
        """Give back what it holds."""


class JobDesk(Protocol):
    """The jobs of the database; ``atlas.workspace.jobs.Jobs`` answers."""

    def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        release: str,
        client: str,
        settings: Settings,
        unlimited: bool = ...,
    ) -> Job:
        """Put work into the queue."""

    def get(self, job_id: str) -> Job:
        """Return one job."""

    def cancel(self, job_id: str) -> Job:
        """Cancel one job."""

    def counts(self) -> Mapping[str, int]:
        """Return how many jobs have which status."""


class LabelDesk(Protocol):
    """People's labels of clusters, found again in any release."""

    def version(self) -> str:
        """Return a token that changes with every edit; cheap."""

    def for_release(self, release: OpenRelease) -> tuple[LabelEdit, ...]:
        """Return the edits in force with the cluster of this release each of them meets."""

    def set(
        self, release: OpenRelease, cluster: int, *, label: str, machine_label: str, author: str, note: str | None
    ) -> LabelEdit:
        """Label a cluster."""

    def remove(self, edit_id: int, *, author: str) -> None:
        """Take an edit out of force."""


class Backend(Protocol):
    """Opens releases and knows the database."""

    @property
    def jobs(self) -> JobDesk:
        """The jobs."""

    @property
    def labels(self) -> LabelDesk:
        """The label edits."""

    def open(self, release: str) -> OpenAtlas:
        """Open a published release by name."""

    def database_problem(self, release: str) -> str | None:
        """Say why lexical search of a release cannot be answered now; ``None`` if it can."""

    def close(self) -> None:
        """Give back what it holds."""
