"""The forms of an answer: JSON, CSV, Parquet and Arrow by ``Accept``; validators; the next page."""

from __future__ import annotations

import csv
import gzip
import io

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from api_checks import AS_ADMINISTRATOR, assert_error
from fake_atlas import FakeBackend

from api.media import ARROW, CSV, JSON, PARQUET
from api.tables import encode, table_of
from atlas.answers import NeighborsResult

LISTS = (
    "/v1/search?q=heart",
    "/v1/facets",
    "/v1/samples",
    "/v1/samples/GSM1/neighbors",
    "/v1/samples/GSM1/explanation?q=heart",
    "/v1/series/GSE1",
    "/v1/clusters",
    "/v1/clusters/0/samples",
    "/v1/label-edits",
    "/v1/vocabularies",
    "/v1/scans",
    "/v1/scans/omim_expanded",
    "/v1/scans/omim_expanded/terms/epilepsy",
    "/v1/scans/omim_expanded/matrix",
    "/v1/scans/omim_expanded/samples",
    "/v1/map?q=heart",
    "/v1/releases",
)
OBJECTS = ("/v1/samples/GSM1", "/v1/clusters/0", "/v1/releases/current", "/v1/search/none")
LASTING = [path for path in LISTS if path not in ("/v1/label-edits", "/v1/vocabularies", "/v1/scans", "/v1/releases")]


def read_csv(response: httpx.Response) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text)))


@pytest.mark.parametrize("path", LISTS)
def test_list_is_the_same_table_in_every_form(http: httpx.Client, path: str) -> None:
    rows = read_csv(http.get(path, headers={"accept": CSV}))
    parquet = pq.read_table(io.BytesIO(http.get(path, headers={"accept": PARQUET}).content))
    arrow = pa.ipc.open_stream(http.get(path, headers={"accept": ARROW}).content).read_all()
    assert arrow.equals(parquet)
    assert arrow.schema.metadata == {b"release": b"one"}
    assert len(rows) == arrow.num_rows
    if rows:
        assert list(rows[0]) == arrow.column_names


def test_hits_are_the_json_with_the_sample_spread(http: httpx.Client) -> None:
    hits = http.get("/v1/search?q=heart&k=3").json()["hits"]
    rows = read_csv(http.get("/v1/search?q=heart&k=3", headers={"accept": CSV}))
    for hit, row in zip(hits, rows, strict=True):
        assert int(row["rank"]) == hit["rank"]
        assert float(row["score"]) == pytest.approx(hit["score"])
        assert row["accession"] == hit["sample"]["accession"]
        assert row["title"] == hit["sample"]["title"]
        assert row["series"] == "; ".join(hit["sample"]["series"])
        assert row["characteristics"] == "; ".join(": ".join(pair) for pair in hit["sample"]["characteristics"])
        assert row["series_urls"] == ""


def test_empty_answer_has_the_columns_of_a_full_one() -> None:
    empty = table_of(NeighborsResult(release="one", query="q", hits=(), series=(), n_candidates=0))
    assert empty.num_rows == 0
    assert {"rank", "score", "accession", "series"} <= set(empty.column_names)
    assert encode(empty, media=CSV).decode().startswith('"rank","score"')


def test_nan_is_an_empty_cell(http: httpx.Client, backend: FakeBackend) -> None:
    backend.atlas.nan = True
    assert read_csv(http.get("/v1/search?q=heart", headers={"accept": CSV}))[0]["score"] == ""


def test_posted_questions_have_tables_too(http: httpx.Client) -> None:
    table = {"genes": ["MYH6", "ALB"], "values": [[1, 2], [3, 4]], "samples": ["a", "b"]}
    rows = read_csv(http.post("/v1/transcriptomes/neighbors?k=2", json=table, headers={"accept": CSV}))
    assert [row["query"] for row in rows] == ["a", "a", "b", "b"]
    parts = {"parts": [{"kind": "text", "value": "heart"}], "k": 2}
    assert len(read_csv(http.post("/v1/search", json=parts, headers={"accept": CSV}))) == 2
    chosen = {"accessions": ["GSM1"]}
    assert read_csv(http.post("/v1/keywords", json=chosen, headers={"accept": CSV}))[0]["term"] == "Heart"


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("*/*", JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("application/json;q=0.5, text/csv", CSV),
        ("TEXT/CSV; charset=utf-8", CSV),
        (f"{PARQUET};q=0.9, {ARROW}", ARROW),
        ("text/csv;q=0, */*", JSON),
    ],
)
def test_accept_chooses_the_form(http: httpx.Client, accept: str, given: str) -> None:
    response = http.get("/v1/clusters", headers={"accept": accept})
    assert response.headers["content-type"].split(";")[0] == given
    assert response.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    "accept", ["text/html", "image/png, text/html;q=0.3", "text/csv;q=0", "application/json;q=x", ";"]
)
def test_form_that_is_not_offered_is_406(http: httpx.Client, accept: str) -> None:
    error = assert_error(http.get("/v1/clusters", headers={"accept": accept}), 406, "not_acceptable")
    assert error["details"]["expected"][0] == JSON


@pytest.mark.parametrize("path", OBJECTS[:3])
def test_single_record_is_json_alone(http: httpx.Client, path: str) -> None:
    assert_error(http.get(path, headers={"accept": CSV}), 406, "not_acceptable")


@pytest.mark.parametrize("path", [*LASTING, "/v1/samples/GSM1", "/v1/clusters/0"])
def test_unchanged_answer_is_304_without_body(http: httpx.Client, path: str) -> None:
    first = http.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    for claim in (tag, f'"other", {tag}', f"W/{tag}"):
        again = http.get(path, headers={"if-none-match": claim})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["x-geo-atlas-release"] == "one"
    for claim in ("*", '"other"', "", "junk"):
        assert http.get(path, headers={"if-none-match": claim}).content == first.content


@pytest.mark.parametrize("path", [*sorted(set(LISTS) - set(LASTING)), "/v1/releases/current", "/v1/health/ready"])
def test_answer_that_may_change_has_no_validator(http: httpx.Client, path: str) -> None:
    assert "etag" not in http.get(path).headers


def test_validator_tells_questions_forms_and_encodings_apart(http: httpx.Client) -> None:
    asked = [
        ("/v1/search?q=heart&k=2", JSON, "gzip"),
        ("/v1/search?q=heart&k=2", JSON, "identity"),
        ("/v1/search?q=heart&k=2", CSV, "identity"),
        ("/v1/search?q=heart&k=3", JSON, "gzip"),
        ("/v1/map?q=heart&k=2".replace("&k=2", ""), JSON, "gzip"),
    ]
    tags = [http.get(p, headers={"accept": a, "accept-encoding": e}).headers["etag"] for p, a, e in asked]
    assert len(set(tags)) == len(tags)
    swapped = http.get("/v1/search?k=2&q=heart", headers={"accept": JSON, "accept-encoding": "gzip"})
    assert swapped.headers["etag"] == tags[0]


def test_edited_label_changes_the_validator(http: httpx.Client) -> None:
    before = http.get("/v1/clusters").headers["etag"]
    body = {"label": "Hearts", "author": "A"}
    assert http.put("/v1/clusters/0/label", json=body, headers=AS_ADMINISTRATOR).status_code == 200
    changed = http.get("/v1/clusters", headers={"if-none-match": before})
    assert changed.status_code == 200
    assert changed.headers["etag"] != before
    http.delete("/v1/clusters/0/label?author=A", headers=AS_ADMINISTRATOR)
    assert http.get("/v1/clusters").headers["etag"] == before


def test_next_page_is_linked_in_every_form(http: httpx.Client) -> None:
    seen: list[str] = []
    path: str | None = "/v1/samples?limit=4&sort=-accession"
    while path is not None:
        response = http.get(path, headers={"accept": CSV})
        seen += [row["accession"] for row in read_csv(response)]
        link = response.links.get("next")
        path = None if link is None else link["url"]
    assert seen == [f"GSM{n}" for n in (6, 5, 4, 3, 2, 1)]


def test_tables_are_compressed_but_parquet_is_already(http: httpx.Client) -> None:
    with httpx.Client(base_url=http.base_url, headers={"accept-encoding": "gzip;q=0.5, br"}) as client:
        packed = client.send(client.build_request("GET", "/v1/samples", headers={"accept": CSV}), stream=True)
        body = b"".join(packed.iter_raw())
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(body).startswith(b'"accession"')
        assert "content-encoding" not in client.get("/v1/samples", headers={"accept": PARQUET}).headers
    for refused in ("gzip;q=0", "identity", "*;q=0", "br"):
        assert "content-encoding" not in http.get("/v1/samples", headers={"accept-encoding": refused}).headers
