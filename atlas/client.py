"""Typed HTTP client of the REST service, for notebooks and for the pages; needs httpx and the standard library only.

>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     for hit in client.search("cardiomyopathy", k=5)["hits"]:
...         print(hit["rank"], hit["sample"]["accession"], hit["score"])

Answers are plain dictionaries with the fields that ``/openapi.json`` describes; fields may be added, never renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, cast
from urllib.parse import quote

import httpx

Mode = Literal["semantic", "lexical", "hybrid"]
Unit = Literal["counts", "tpm", "fpkm", "log2", "normalised"]


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


class Hit(TypedDict):
    """One sample of a ranked answer; ``score`` is a cosine, ``percentile`` lies in [0, 100]."""

    rank: int
    sample: Sample
    score: float | None
    percentile: float | None
    lexical_rank: int | None


class SeriesHit(TypedDict):
    """A series among the hits."""

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
    mode: str
    hits: list[Hit]
    series: list[SeriesHit]
    n_candidates: int
    no_match: bool
    message: str | None


class SampleAnswer(TypedDict):
    """One sample of the named release."""

    release: str
    sample: Sample


class Keyword(TypedDict):
    """A vocabulary term; ``score`` cosine, ``z`` over all terms of the release."""

    library: str
    term: str
    score: float
    z: float


class NeighborsAnswer(TypedDict):
    """The nearest samples of one transcriptome."""

    release: str
    query: str
    hits: list[Hit]
    series: list[SeriesHit]
    n_candidates: int
    keywords: list[Keyword]
    position: dict[str, Any] | None
    coverage: dict[str, Any] | None


class TranscriptomesAnswer(TypedDict):
    """One ``NeighborsAnswer`` a sample of the upload, in its order."""

    release: str
    results: list[NeighborsAnswer]


class ClusterSummary(TypedDict):
    """One cluster as listed."""

    cluster: int
    label: str
    n_samples: int
    n_series: int
    top_series: str
    top_series_share: float
    single_study: bool
    x: float
    y: float


class ClusterAnswer(TypedDict):
    """One cluster with evidence, keywords, central samples and composition."""

    release: str
    summary: ClusterSummary
    label_method: str
    evidence: list[Keyword]
    keywords: list[Keyword]
    top_samples: list[Hit]
    by_series: list[dict[str, Any]]
    by_tissue: list[dict[str, Any]]


class MapAnswer(TypedDict):
    """The map as columns of equal length; ``score`` only when a phrase was given."""

    release: str
    accession: list[str]
    x: list[float]
    y: list[float]
    cluster: list[int]
    score: list[float] | None
    clusters: list[ClusterSummary]


class AtlasHTTPError(Exception):
    """The service refused, failed or could not be reached.

    Attributes
    ----------
    status
        HTTP status; 0 if no answer came.
    code, message, details, request_id
        The fields of the error body (``docs/errors.md``); ``code`` is ``unreachable`` if no answer came and
        ``unexpected_answer`` if the answer was not one of this service.
    retry_after_s
        Seconds after which trying again may help, if the service named them.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.details: dict[str, Any] = dict(details or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class Client:
    """A connection to one service; usable as a context manager, safe to share between threads.

    Parameters
    ----------
    base_url
        Address of the service, e.g. ``http://127.0.0.1:8000``.
    timeout
        Longest wait for one answer, seconds.
    """

    def __init__(self, base_url: str, timeout: float = 60.0, *, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(base_url=base_url.rstrip("/"), timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def search(
        self,
        phrase: str,
        *,
        k: int = 20,
        mode: Mode = "semantic",
        tissue: Sequence[str] = (),
        series: Sequence[str] = (),
        organism: Sequence[str] = (),
        exclude: str | None = None,
    ) -> SearchAnswer:
        """Return the samples that answer a phrase best."""
        filters = _filters(tissue=tissue, series=series, organism=organism, exclude=exclude)
        return cast("SearchAnswer", self._get("/v1/search", {"q": phrase, "k": k, "mode": mode, **filters}))

    def sample(self, accession: str) -> SampleAnswer:
        """Return one sample; an unknown accession raises with ``details['near_matches']``."""
        return cast("SampleAnswer", self._get(f"/v1/samples/{_segment(accession)}"))

    def neighbors(
        self,
        accession: str,
        *,
        k: int = 20,
        exclude_same_series: bool = False,
        tissue: Sequence[str] = (),
        series: Sequence[str] = (),
        organism: Sequence[str] = (),
        exclude: str | None = None,
    ) -> NeighborsAnswer:
        """Return the samples of the atlas nearest to one of them."""
        filters = _filters(tissue=tissue, series=series, organism=organism, exclude=exclude)
        query = {"k": k, "exclude_same_series": str(exclude_same_series).lower(), **filters}
        return cast("NeighborsAnswer", self._get(f"/v1/samples/{_segment(accession)}/neighbors", query))

    def transcriptome_neighbors(
        self,
        expression: Mapping[str, float] | Mapping[str, Mapping[str, float]] | str | Path,
        *,
        unit: Unit | None = None,
        k: int = 20,
        exclude_series: Sequence[str] = (),
        content: bytes | None = None,
    ) -> TranscriptomesAnswer:
        """Return the samples nearest to a person's own expression.

        Parameters
        ----------
        expression
            A mapping gene -> value (one sample), a mapping sample -> mapping gene -> value (the same genes in each), or the
            path of a CSV, TSV or h5ad file. The values are sent, answered and forgotten; the service stores nothing.
        unit
            Unit of the values; ``None``: read counts (the service refuses values that cannot be counts).
        k
            Hits per sample.
        exclude_series
            Series whose samples are left out of the answer.
        content
            Bytes of the file, if it is not on disk; of ``expression`` only the name is then used.
        """
        query: dict[str, Any] = {"k": k, "exclude_series": list(exclude_series)}
        if isinstance(expression, Mapping):
            payload: dict[str, Any] = _table(expression)
            if unit is not None:
                payload["unit"] = unit
            answer = self._ask("POST", "/v1/transcriptomes/neighbors", params=query, json=payload)
        else:
            path = Path(expression)
            body = path.read_bytes() if content is None else content
            answer = self._ask(
                "POST",
                "/v1/transcriptomes/neighbors",
                params=query,
                files={"file": (path.name, body, "application/octet-stream")},
                data={} if unit is None else {"unit": unit},
            )
        return cast("TranscriptomesAnswer", answer)

    def clusters(self) -> list[ClusterSummary]:
        """Return all clusters, largest first; follows the pages of the service."""
        return list(self.iter_clusters())

    def iter_clusters(self, *, page_size: int = 500) -> Iterator[ClusterSummary]:
        """Yield the clusters page by page."""
        query: dict[str, Any] = {"limit": page_size}
        while True:
            page = self._get("/v1/clusters", query)
            yield from page["clusters"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def cluster(self, cluster_id: int) -> ClusterAnswer:
        """Return one cluster with its evidence and composition."""
        return cast("ClusterAnswer", self._get(f"/v1/clusters/{cluster_id:d}"))

    def map(self, phrase: str | None = None) -> MapAnswer:
        """Return the map as columns, with a score for each sample if a phrase is given."""
        return cast("MapAnswer", self._get("/v1/map", {} if phrase is None else {"q": phrase}))

    def release(self) -> dict[str, Any]:
        """Return what the served release is made of."""
        return self._get("/v1/releases/current")

    def health(self) -> dict[str, Any]:
        """Return the readiness report, whether the service is ready or not (``status`` says which)."""
        try:
            return self._get("/v1/health/ready")
        except AtlasHTTPError as error:
            if error.code != "not_ready":
                raise
            return error.details

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._ask("GET", path, params=query or {})

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise AtlasHTTPError(
                f"No answer from {self._http.base_url}: {error or type(error).__name__}. Is the service running there?",
                status=0,
                code="unreachable",
            ) from error
        payload = _object(response)
        if response.is_success and payload is not None:
            return payload
        raise _error(response, payload)


def _filters(
    *, tissue: Sequence[str], series: Sequence[str], organism: Sequence[str], exclude: str | None
) -> dict[str, Any]:
    query: dict[str, Any] = {"tissue": list(tissue), "series": list(series), "organism": list(organism)}
    return query if exclude is None else {**query, "exclude": exclude}


def _segment(accession: str) -> str:
    """One path segment: a slash in an accession must not change the route."""
    return quote(accession, safe="")


def _table(expression: Mapping[str, Any]) -> dict[str, Any]:
    first = next(iter(expression.values()), None)
    if not isinstance(first, Mapping):
        return {"genes": list(expression), "values": [float(value) for value in expression.values()]}
    genes = list(first)
    for sample, values in expression.items():
        if set(values) != set(genes):
            raise ValueError(f"sample {sample!r} lists other genes than the first sample; give each the same genes")
    rows = [[float(values[gene]) for gene in genes] for values in expression.values()]
    return {"genes": genes, "values": rows, "samples": list(expression)}


def _object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        payload = response.json()
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def _error(response: httpx.Response, payload: dict[str, Any] | None) -> AtlasHTTPError:
    body = (payload or {}).get("error")
    retry = response.headers.get("retry-after", "")
    retry_after_s = float(retry) if retry.isdigit() else None
    if not isinstance(body, dict):
        return AtlasHTTPError(
            f"{response.url.copy_with(query=None)} answered {response.status_code} without the body of this service. "
            "Check the address.",
            status=response.status_code,
            code="unexpected_answer",
            retry_after_s=retry_after_s,
        )
    return AtlasHTTPError(
        str(body.get("message", "")),
        status=response.status_code,
        code=str(body.get("code", "")),
        details=body.get("details"),
        request_id=body.get("request_id"),
        retry_after_s=retry_after_s,
    )
