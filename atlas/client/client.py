"""One method a route; every one takes ``release`` to ask a release by name instead of the one that is served."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from atlas.client.connection import AtlasHTTPError, given, segment
from atlas.client.frames import frame as _frame
from atlas.client.maps import MapQuestions
from atlas.client.records import (
    CellsAnswer,
    ClusterAnswer,
    ClusterSummary,
    EmbeddingAnswer,
    ExplanationAnswer,
    FacetsAnswer,
    Filters,
    Job,
    KeywordsAnswer,
    LabelEditAnswer,
    LabelEditsAnswer,
    MembersAnswer,
    Mode,
    NeighborsAnswer,
    Part,
    ReleasesAnswer,
    Sample,
    SampleAnswer,
    SamplesAnswer,
    SearchAnswer,
    SeriesAnswer,
    Sort,
    TranscriptomesAnswer,
    Unit,
    UploadFilters,
)
from atlas.client.scan_records import (
    ScanAnswer,
    ScanMatrixAnswer,
    ScanSamplesAnswer,
    ScansAnswer,
    ScanTermAnswer,
    VocabulariesAnswer,
)

if TYPE_CHECKING:
    import pandas as pd

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"

Table = Mapping[str, float] | Mapping[str, Mapping[str, float]] | str | Path
"""Expression: gene -> value of one sample; sample -> gene -> value; or the path of a CSV, TSV or h5ad file."""

_OVER = frozenset({"done", "failed", "cancelled", "expired"})


class Client(MapQuestions):
    """A connection to one service; usable as a context manager, safe to share between threads.

    Parameters
    ----------
    base_url
        Address of the service, e.g. ``http://127.0.0.1:8000``.
    timeout
        Longest wait for one answer, seconds.
    token
        Token of an administrator, for edits of labels.

    Raises
    ------
    AtlasHTTPError
        From every method, if the service refuses, fails or cannot be reached.
    """

    def search(
        self,
        phrase: str,
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        k: int = 20,
        mode: Mode = "semantic",
        per_series: int | None = None,
        diversity: float = 0.0,
        facets: bool = False,
        release: str | None = None,
        **filters: Unpack[Filters],
    ) -> SearchAnswer:
        """Return the samples that answer a phrase best.

        Parameters
        ----------
        phrase
            Words, or an accession.
        plus, minus
            Further phrases or accessions, more or less of which is wanted, each with a weight if need be: ``"ischemic^0.5"``.
        k
            Number of hits.
        mode
            By meaning, by words, or both.
        per_series
            At most so many hits a series.
        diversity
            0: the best hits; towards 1: hits that differ from each other.
        facets
            Whether to count the values of every filter beside the hits.
        """
        query = {"q": phrase, "plus": plus, "minus": minus, "k": k, "mode": mode, "per_series": per_series}
        query |= {"diversity": diversity or None, "facets": facets or None, "release": release, **filters}
        return cast("SearchAnswer", self._get("/v1/search", query))

    def search_parts(
        self,
        parts: Sequence[Part | Mapping[str, Any]],
        *,
        k: int = 20,
        mode: Mode = "semantic",
        per_series: int | None = None,
        diversity: float = 0.0,
        release: str | None = None,
        **filters: Unpack[Filters],
    ) -> SearchAnswer:
        """Return the samples that answer a weighted combination best.

        Each part is a phrase or a sample with its weight, e.g. ``{"kind": "sample", "value": "GSM1", "weight": -1}``.
        """
        body = {"parts": [dict(part) for part in parts], "k": k, "mode": mode, "per_series": per_series}
        body |= {"diversity": diversity, "filters": given(filters)}
        return cast("SearchAnswer", self._post("/v1/search", body, query={"release": release}))

    def facets(self, *, release: str | None = None, **filters: Unpack[Filters]) -> FacetsAnswer:
        """Return how often each value occurs among the samples that pass; of each facet its own filter is left aside."""
        return cast("FacetsAnswer", self._get("/v1/facets", {"release": release, **filters}))

    def samples(
        self,
        *,
        sort: Sort = "row",
        limit: int = 100,
        cursor: str | None = None,
        release: str | None = None,
        **filters: Unpack[Filters],
    ) -> SamplesAnswer:
        """Return one page of the samples that pass; pass ``next_cursor`` as ``cursor`` for the next."""
        query = {"sort": sort, "limit": limit, "cursor": cursor, "release": release, **filters}
        return cast("SamplesAnswer", self._get("/v1/samples", query))

    def iter_samples(
        self, *, sort: Sort = "row", page_size: int = 1_000, release: str | None = None, **filters: Unpack[Filters]
    ) -> Iterator[Sample]:
        """Yield all samples that pass, page by page."""
        query = {"sort": sort, "limit": page_size, "release": release, **filters}
        return cast("Iterator[Sample]", self._follow("/v1/samples", query, items="samples"))

    def sample(self, accession: str, *, release: str | None = None) -> SampleAnswer:
        """Return one sample; an unknown accession raises with ``details['near_matches']``."""
        return cast("SampleAnswer", self._get(f"/v1/samples/{segment(accession)}", {"release": release}))

    def neighbors(
        self,
        accession: str,
        *,
        k: int = 20,
        exclude_same_series: bool = False,
        release: str | None = None,
        **filters: Unpack[Filters],
    ) -> NeighborsAnswer:
        """Return the samples of the atlas nearest to one of them."""
        query = {"k": k, "exclude_same_series": exclude_same_series, "release": release, **filters}
        return cast("NeighborsAnswer", self._get(f"/v1/samples/{segment(accession)}/neighbors", query))

    def explanation(
        self,
        accession: str,
        phrase: str | None = None,
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        top: int = 20,
        release: str | None = None,
    ) -> ExplanationAnswer:
        """Return the genes that carry a sample's similarity to a phrase, to another sample, or to a combination."""
        query = {"q": phrase, "plus": plus, "minus": minus, "top": top, "release": release}
        return cast("ExplanationAnswer", self._get(f"/v1/samples/{segment(accession)}/explanation", query))

    def transcriptome_neighbors(
        self,
        expression: Table,
        *,
        unit: Unit | None = None,
        k: int = 20,
        exclude_series: Sequence[str] = (),
        content: bytes | None = None,
        release: str | None = None,
        **filters: Unpack[UploadFilters],
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
        query = given({"k": k, "exclude_series": exclude_series, "release": release, **filters})
        answer = self._send_table("/v1/transcriptomes/neighbors", query, expression, unit=unit, content=content)
        return cast("TranscriptomesAnswer", answer)

    def interpret_cells(
        self,
        expression: Table,
        *,
        unit: Unit | None = None,
        label: str | None = None,
        genes: int = 10,
        text: Sequence[str] = (),
        organism: str | None = None,
        content: bytes | None = None,
    ) -> CellsAnswer:
        """Return the type of each cell of a table by the service's interpreter, and the genes that moved the answer.

        Parameters
        ----------
        expression, unit, content
            As for :meth:`transcriptome_neighbors`; a column a cell.
        label
            Label to explain; ``None``: the likeliest of each cell.
        genes
            Most genes told of a cell; 0: nothing is explained.
        text
            Labels in words, learned or not, to be scored too.
        organism
            ``human`` or ``mouse``; ``None``: whose genes the names are.
        """
        query = given({"label": label, "genes": genes, "text": text, "organism": organism})
        return cast(
            "CellsAnswer", self._send_table("/v1/cells/interpret", query, expression, unit=unit, content=content)
        )

    def _send_table(
        self, path: str, query: dict[str, Any], expression: Table, *, unit: str | None, content: bytes | None
    ) -> object:
        """Send a table, as JSON or as a file."""
        if isinstance(expression, Mapping):
            return self._ask("POST", path, params=query, json=given({**_table(expression), "unit": unit}))
        name = Path(expression)
        sent = name.read_bytes() if content is None else content
        files = {"file": (name.name, sent, "application/octet-stream")}
        return self._ask("POST", path, params=query, files=files, data=given({"unit": unit}))

    def series(self, accession: str, *, release: str | None = None) -> SeriesAnswer:
        """Return a series with its samples."""
        return cast("SeriesAnswer", self._get(f"/v1/series/{segment(accession)}", {"release": release}))

    def clusters(self, *, release: str | None = None) -> list[ClusterSummary]:
        """Return all clusters, largest first; follows the pages of the service."""
        return list(self.iter_clusters(release=release))

    def iter_clusters(self, *, page_size: int = 500, release: str | None = None) -> Iterator[ClusterSummary]:
        """Yield the clusters page by page."""
        query = {"limit": page_size, "release": release}
        return cast("Iterator[ClusterSummary]", self._follow("/v1/clusters", query, items="clusters"))

    def cluster(self, cluster_id: int, *, release: str | None = None) -> ClusterAnswer:
        """Return one cluster with its evidence, quality and composition."""
        return cast("ClusterAnswer", self._get(f"/v1/clusters/{cluster_id:d}", {"release": release}))

    def cluster_samples(
        self, cluster_id: int, *, limit: int = 100, cursor: str | None = None, release: str | None = None
    ) -> MembersAnswer:
        """Return one page of a cluster's samples, most central first."""
        query = {"limit": limit, "cursor": cursor, "release": release}
        return cast("MembersAnswer", self._get(f"/v1/clusters/{cluster_id:d}/samples", query))

    def set_label(
        self,
        cluster_id: int,
        label: str,
        *,
        author: str,
        note: str | None = None,
        token: str | None = None,
        release: str | None = None,
    ) -> LabelEditAnswer:
        """Name a cluster; the machine's label is kept beside it. Needs the administrator's token."""
        body = given({"label": label, "author": author, "note": note})
        path = f"/v1/clusters/{cluster_id:d}/label"
        answer = self._edit("PUT", path, token=token, json=body, params=given({"release": release}))
        return cast("LabelEditAnswer", answer)

    def remove_label(
        self, cluster_id: int, *, author: str, token: str | None = None, release: str | None = None
    ) -> LabelEditAnswer:
        """Take a person's label back, so that the machine's is shown again. Needs the administrator's token."""
        path = f"/v1/clusters/{cluster_id:d}/label"
        answer = self._edit("DELETE", path, token=token, params=given({"author": author, "release": release}))
        return cast("LabelEditAnswer", answer)

    def label_edits(self, *, release: str | None = None) -> LabelEditsAnswer:
        """Return the labels people gave, with how each met the clusters of the release."""
        return cast("LabelEditsAnswer", self._get("/v1/label-edits", {"release": release}))

    def vocabularies(self, *, release: str | None = None) -> VocabulariesAnswer:
        """Return the vocabularies that can be swept, and which were."""
        return cast("VocabulariesAnswer", self._get("/v1/vocabularies", {"release": release}))

    def scans(self, *, release: str | None = None) -> ScansAnswer:
        """Return the sweeps at hand."""
        return cast("ScansAnswer", self._get("/v1/scans", {"release": release}))

    def scan(self, name: str, *, release: str | None = None) -> ScanAnswer:
        """Return a sweep: its terms, best first, and the best terms of each cluster."""
        return cast("ScanAnswer", self._get(f"/v1/scans/{segment(name)}", {"release": release}))

    def scan_term(self, name: str, term: str, *, release: str | None = None) -> ScanTermAnswer:
        """Return one term of a sweep in every cluster."""
        path = f"/v1/scans/{segment(name)}/terms/{segment(term)}"
        return cast("ScanTermAnswer", self._get(path, {"release": release}))

    def scan_matrix(self, name: str, *, max_terms: int | None = None, release: str | None = None) -> ScanMatrixAnswer:
        """Return terms x clusters, similar ones beside each other."""
        query = {"max_terms": max_terms, "release": release}
        return cast("ScanMatrixAnswer", self._get(f"/v1/scans/{segment(name)}/matrix", query))

    def scan_samples(self, name: str, *, release: str | None = None) -> ScanSamplesAnswer:
        """Return per sample the sum of z over the terms of a sweep."""
        return cast("ScanSamplesAnswer", self._get(f"/v1/scans/{segment(name)}/samples", {"release": release}))

    def start_scan(
        self,
        terms: Sequence[str] | None = None,
        *,
        vocabulary: str | None = None,
        name: str | None = None,
        release: str | None = None,
    ) -> Job:
        """Sweep a list of terms, or a vocabulary at hand, as a job; wait for it with ``wait_for``."""
        body = {"terms": terms, "vocabulary": vocabulary, "name": name}
        return cast("Job", self._post("/v1/scans", body, query={"release": release}))

    def job(self, job_id: str, *, release: str | None = None) -> Job:
        """Return a job as it stands."""
        return cast("Job", self._get(f"/v1/jobs/{segment(job_id)}", {"release": release}))

    def cancel_job(self, job_id: str, *, release: str | None = None) -> Job:
        """Ask that a job be stopped; one that is over stays as it is."""
        return cast("Job", self._ask("DELETE", f"/v1/jobs/{segment(job_id)}", params=given({"release": release})))

    def wait_for(
        self, job: Job | str, *, timeout_s: float = 600.0, poll_s: float = 0.5, release: str | None = None
    ) -> Job:
        """Return a job once it is over, however it ended.

        Raises
        ------
        TimeoutError
            If it is not over within ``timeout_s``; it goes on all the same.
        """
        job_id = job if isinstance(job, str) else job["job_id"]
        deadline = time.monotonic() + timeout_s
        while (found := self.job(job_id, release=release))["status"] not in _OVER:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Job {job_id} is {found['status']} after {timeout_s:g} s; it goes on all the same.")
            time.sleep(poll_s)
        return found

    def embed_texts(self, texts: Sequence[str], *, release: str | None = None) -> EmbeddingAnswer:
        """Return texts as unit vectors of the joint space, comparable with samples of the same ``model_hash`` only."""
        return cast("EmbeddingAnswer", self._post("/v1/texts/embedding", {"texts": texts}, query={"release": release}))

    def keywords(self, accessions: Sequence[str], *, release: str | None = None) -> KeywordsAnswer:
        """Return the vocabulary terms that match a selection of samples best."""
        return cast(
            "KeywordsAnswer", self._post("/v1/keywords", {"accessions": accessions}, query={"release": release})
        )

    def table(self, path: str, *, accept: str = CSV, release: str | None = None, **query: Any) -> bytes:
        """Return any list as a table: ``accept`` is ``text/csv``, ``application/vnd.apache.parquet`` or Arrow's stream."""
        asked = given({**query, "release": release})
        return self._send("GET", path, params=asked, headers={"Accept": accept}).content

    def releases(self, *, release: str | None = None) -> ReleasesAnswer:
        """Return the releases at hand, and which is served."""
        return cast("ReleasesAnswer", self._get("/v1/releases", {"release": release}))

    def release(self, *, release: str | None = None) -> dict[str, Any]:
        """Return what a release is made of."""
        return self._get("/v1/releases/current", {"release": release})

    def health(self) -> dict[str, Any]:
        """Return the readiness report, whether the service is ready or not (``status`` says which)."""
        try:
            return self._get("/v1/health/ready")
        except AtlasHTTPError as error:
            if error.code != "not_ready":
                raise
            return error.details

    @staticmethod
    def frame(answer: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Return an answer's main table as a pandas frame: hits, samples, clusters, terms, cells, genes, keywords or map."""
        return _frame(answer)

    def _follow(self, path: str, query: Mapping[str, Any], *, items: str) -> Iterator[Any]:
        asked = dict(query)
        while True:
            page = self._get(path, asked)
            yield from page[items]
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]


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
