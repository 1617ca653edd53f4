"""What comes in: pydantic models that refuse what they do not know."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from atlas.answers import PartKind, QueryPart, SearchMode
from atlas.catalog.filters import SampleFilter

MAX_PARTS = 16
MAX_TEXTS = 256
MAX_SELECTED = 10_000
MAX_PAGE = 1_000
MAX_CORNERS = 500

FilterValue = Annotated[str, Field(min_length=1, max_length=200)]
FilterValues = Annotated[list[FilterValue], Field(max_length=50)]
ClusterIds = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(max_length=50)]
PartTexts = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_PARTS)]
LabelTexts = Annotated[list[Annotated[str, Field(min_length=1, max_length=500)]], Field(max_length=100, fail_fast=True)]
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
UnitName = Literal["counts", "tpm", "fpkm", "log2", "normalised"]
GeneLabels = Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, fail_fast=True)]
Value = Annotated[FiniteFloat, Field(ge=-3.4e38, le=3.4e38)]  # the range of float32
Coordinate = Annotated[FiniteFloat, Field(ge=-1e9, le=1e9, strict=True)]  # no "1", no true
Outline = Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=3, max_length=MAX_CORNERS, fail_fast=True)]
Values = Annotated[list[Value], Field(fail_fast=True)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(_Query):
    """A route without parameters; any is refused."""


class PinnedQuery(_Query):
    """A question to one release."""

    release: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Answer from this release; default: the one that is served. A removed one is 410 `release_retired`.",
    )


class _Filters(BaseModel):
    """Filters of samples; values of one filter are alternatives, different filters are joined by *and*."""

    tissue: FilterValues = Field([], description="Whole words of the tissue or source of a sample; repeatable.")
    series: FilterValues = Field([], description="Series accession; repeatable.")
    organism: FilterValues = Field([], description="Organism, e.g. `Homo sapiens`; repeatable.")
    cluster: ClusterIds = Field([], description="Number of a cluster; repeatable.")
    unit: FilterValues = Field([], description="Unit of the counts, e.g. `counts`; repeatable.")
    molecule: FilterValues = Field([], description="Molecule, e.g. `total RNA`; repeatable.")
    id_kind: FilterValues = Field([], description="Kind of accession: `GSM`, `run`, `TCGA` or `made`; repeatable.")
    exclude: FilterValue | None = Field(None, description="Leave out samples whose text contains this.")

    def filters(self) -> SampleFilter:
        """Return the library's filter."""
        return SampleFilter(
            tissue=tuple(self.tissue),
            series=tuple(self.series),
            organism=tuple(self.organism),
            cluster=tuple(self.cluster),
            unit=tuple(self.unit),
            molecule=tuple(self.molecule),
            id_kind=tuple(self.id_kind),
            exclude=self.exclude,
        )


class FilterQuery(_Filters, PinnedQuery):
    """Parameters of ``GET /v1/facets``, and filters of other routes."""


class FilterBody(_Filters):
    """Filters inside a JSON body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchQuery(FilterQuery):
    """Parameters of ``GET /v1/search``."""

    q: str = Field(min_length=1, description="The phrase, or an accession.", examples=["cardiomyopathy"])
    plus: PartTexts = Field([], description="A phrase or accession to add, `phrase^weight` if need be; repeatable.")
    minus: PartTexts = Field([], description="A phrase or accession to take away, `ischemic^0.5`; repeatable.")
    k: int = Field(20, ge=1, description="Number of hits.")
    mode: SearchMode = Field("semantic", description="`lexical` and `hybrid` need the database.")
    per_series: int | None = Field(None, ge=1, le=100_000, description="Most hits a series.")
    diversity: float = Field(0.0, ge=0, le=1, description="0: the best hits; towards 1: hits that differ.")
    facets: bool = Field(False, description="Count the values of every filter as well.")


class SearchPart(BaseModel):
    """One ingredient of a question."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: PartKind
    value: str = Field(min_length=1)
    weight: Annotated[FiniteFloat, Field(ge=-10, le=10)] = Field(1.0, description="Negative: less of it; never 0.")

    def part(self) -> QueryPart:
        """Return the library's record."""
        return QueryPart(kind=self.kind, value=self.value, weight=self.weight)


class SearchQuestion(BaseModel):
    """Body of ``POST /v1/search``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: Annotated[list[SearchPart], Field(min_length=1, max_length=MAX_PARTS)] = Field(
        examples=[[{"kind": "text", "value": "heart failure"}, {"kind": "text", "value": "ischemic", "weight": -0.5}]]
    )
    k: int = Field(20, ge=1, description="Number of hits.")
    mode: SearchMode = "semantic"
    per_series: int | None = Field(None, ge=1, le=100_000)
    diversity: float = Field(0.0, ge=0, le=1)
    facets: bool = False
    filters: FilterBody = FilterBody()


class SamplesQuery(FilterQuery):
    """Parameters of ``GET /v1/samples``."""

    sort: Sort = Field("row", description="Column; with `-` in front, descending.")
    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Samples on one page.")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


class NeighborsQuery(FilterQuery):
    """Parameters of ``GET /v1/samples/{accession}/neighbors``."""

    k: int = Field(20, ge=1, description="Number of hits.")
    exclude_same_series: bool = Field(False, description="Leave out samples that share a series with this one.")


class ExplanationQuery(PinnedQuery):
    """Parameters of ``GET /v1/samples/{accession}/explanation``; at least one of ``q``, ``plus``, ``minus``."""

    q: str | None = Field(None, min_length=1, description="The phrase, or an accession.", examples=["cardiomyopathy"])
    plus: PartTexts = Field([], description="A phrase or accession to add, `phrase^weight` if need be; repeatable.")
    minus: PartTexts = Field([], description="A phrase or accession to take away; repeatable.")
    top: int = Field(20, ge=1, le=64, description="Most genes listed for, and most against.")


class TranscriptomesQuery(FilterQuery):
    """Parameters of ``POST /v1/transcriptomes/neighbors``."""

    k: int = Field(20, ge=1, description="Number of hits a sample.")
    exclude_series: FilterValues = Field([], description="Series whose samples are left out; repeatable.")


class CellsQuery(BaseModel):
    """Parameters of ``POST /v1/cells/interpret``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str | None = Field(
        None, min_length=1, max_length=500, description="Label to explain; default: the likeliest."
    )
    genes: int = Field(10, ge=0, le=1_000, description="Most genes told of a cell; 0: nothing is explained.")
    text: LabelTexts = Field([], description="A label in words, learned or not, to be scored too; repeatable.")
    organism: Literal["human", "mouse"] | None = Field(None, description="Default: whose genes the names are.")


class PageQuery(PinnedQuery):
    """Parameters of a list in pages."""

    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Entries on one page.")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


class ScoreQuery(PinnedQuery):
    """What the map is scored by: a question as in search, or ``scan``, not both."""

    q: str | None = Field(None, min_length=1, description="Score every sample against this phrase.")
    plus: PartTexts = Field([], description="A phrase or accession to add, `phrase^weight` if need be; repeatable.")
    minus: PartTexts = Field([], description="A phrase or accession to take away, likewise; repeatable.")
    scan: str | None = Field(None, min_length=1, max_length=200, description="Score by this sweep: the sum of z.")
    term: str | None = Field(None, min_length=1, max_length=1_000, description="With `scan`: the z of this term alone.")


class MapQuery(ScoreQuery):
    """Parameters of ``GET /v1/map``."""

    most: int | None = Field(None, ge=1, le=2**31 - 1, description="At most this many samples, evenly spaced rows.")


class ColumnQuery(ScoreQuery):
    """Parameters of ``GET /v1/map/columns/{name}``."""

    key: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="`key` of the layout: the answer is then that of no other content.",
    )


class SelectionQuestion(BaseModel):
    """Body of ``POST /v1/selections``: a line on the map that closes itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outline: Outline = Field(
        description="Corners x, y in the map's coordinates; inside is by the even-odd rule.",
        examples=[[[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6]]],
    )


class SelectedQuery(PinnedQuery):
    """Parameters of ``POST /v1/selections/samples``."""

    limit: int = Field(100, ge=1, le=MAX_SELECTED, description="Samples on one page.")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


class MatrixQuery(PinnedQuery):
    """Parameters of ``GET /v1/scans/{name}/matrix``."""

    max_terms: int = Field(60, ge=1, le=2_000, description="Most terms, best first.")


class LabelQuestion(BaseModel):
    """Body of ``PUT /v1/clusters/{cluster_id}/label``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=120, examples=["Failing left ventricle"])
    author: str = Field(min_length=1, max_length=120, examples=["A. Curator"])
    note: str | None = Field(None, max_length=2_000)


class LabelRemovalQuery(PinnedQuery):
    """Parameters of ``DELETE /v1/clusters/{cluster_id}/label``."""

    author: str = Field(min_length=1, max_length=120, description="Who takes the label back.")


class ScanQuestion(BaseModel):
    """Body of ``POST /v1/scans``: a list of terms, or the name of a vocabulary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terms: Annotated[list[Annotated[str, Field(max_length=1_000)]], Field(min_length=1, fail_fast=True)] | None = Field(
        None, examples=[["dilated cardiomyopathy", "hypertrophic cardiomyopathy"]]
    )
    vocabulary: str | None = Field(None, min_length=1, max_length=100)
    name: str | None = Field(None, min_length=1, max_length=120, description="Title of the sweep.")


class TextsQuestion(BaseModel):
    """Body of ``POST /v1/texts/embedding``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MAX_TEXTS)] = Field(
        examples=[["cardiomyopathy"]]
    )


class KeywordsQuestion(BaseModel):
    """Body of ``POST /v1/keywords``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accessions: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=MAX_SELECTED)
    ] = Field(examples=[["GSM1234567"]])


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
