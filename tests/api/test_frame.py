"""What surrounds every request: ids, headers, the log line, the description, the cost of importing."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from api_checks import assert_error
from fake_atlas import FakeBackend
from pydantic import TypeAdapter

from api import examples
from api.cursors import make_cursor, read_cursor
from api.errors import STATUS, CursorExpiredError
from api.main import SERVER_OPTIONS, create_app
from atlas import errors
from atlas.errors import ArtifactError
from atlas.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_importing_the_service_loads_no_heavy_library() -> None:
    code = (
        "import sys, api.main, atlas.client; heavy = {'torch', 'faiss', 'transformers', 'pandas', 'umap', 'igraph', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_creating_the_app_opens_nothing(tmp_path: Path) -> None:
    create_app(Settings(home=tmp_path / "absent"))
    assert list(tmp_path.iterdir()) == []


def test_request_id_is_kept_if_sane_and_made_if_not(http: httpx.Client) -> None:
    assert http.get("/v1/health/live", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, 'a"b', ""):
        made = http.get("/v1/health/live", headers={"x-request-id": bad}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)


def test_no_origin_is_allowed(http: httpx.Client) -> None:
    response = http.get("/v1/health/live", headers={"origin": "https://elsewhere.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.fixture
def as_served(http: httpx.Client) -> httpx.Client:
    """A client of a server whose loggers are as its options set them, whatever tests of this process did to them since."""
    uvicorn.Config("none", log_config=None, **SERVER_OPTIONS)
    return http


def test_access_log_names_neither_a_term_nor_the_number_that_opens_a_job(
    as_served: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    http = as_served
    with caplog.at_level(logging.INFO, logger="api.access"):
        http.get("/v1/scans/omim_expanded/terms/private-words")
        http.get("/v1/jobs/0123456789abcdef")
        http.delete("/v1/jobs/0123456789abcdef")
        http.post("/v1/jobs/0123456789abcdef")
    paths = [record.fields["path"] for record in caplog.records if record.name == "api.access"]  # type: ignore[attr-defined]
    assert paths == ["/v1/scans/{name}/terms/{term:path}", *["/v1/jobs/{job_id}"] * 3]
    assert "private-words" not in caplog.text
    assert "0123456789abcdef" not in caplog.text


def test_refusal_does_not_tell_where_the_home_lies(
    http: httpx.Client, backend: FakeBackend, settings: Settings
) -> None:
    broken = ArtifactError(
        f"{settings.home_path}/releases/one/x is damaged.", kind="corrupt", details={"at": [f"{settings.home_path}/x"]}
    )
    backend.atlas.release.failure = broken
    error = http.get("/v1/clusters").json()["error"]
    assert error["message"] == "HOME/releases/one/x is damaged."
    assert error["details"]["at"] == ["HOME/x"]
    assert str(settings.home_path) not in http.get("/v1/health/ready").text
    backend.reset()
    job = http.post("/v1/scans", json={"terms": ["a"]}).json()["job_id"]
    failed = {"code": "resource", "message": f"No room in {settings.home_path}/scans.", "details": {}}
    backend.jobs.jobs[job] = replace(backend.jobs.jobs[job], status="failed", error=failed)
    assert http.get(f"/v1/jobs/{job}").json()["error"]["message"] == "No room in HOME/scans."


def test_access_log_has_one_line_without_the_query(as_served: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    http = as_served
    with caplog.at_level(logging.INFO, logger="api.access"):
        http.get("/v1/search", params={"q": "private-words"}, headers={"x-request-id": "r1"})
        http.get("/v1/health/live")  # the server answers in order, so the first line is there now
    records = [record for record in caplog.records if record.name == "api.access"]
    line = next(record.fields for record in records if record.fields["request_id"] == "r1")  # type: ignore[attr-defined]
    assert (line["method"], line["path"], line["status"], line["release"]) == ("GET", "/v1/search", 200, "one")
    assert line["ms"] >= 0
    assert "private-words" not in caplog.text


def test_failure_log_has_frames_but_not_the_message(
    http: httpx.Client, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.atlas.broken = ValueError("17.25 is secret")
    with caplog.at_level(logging.ERROR, logger="api"):
        assert_error(http.get("/v1/search?q=heart"), 500, "internal")
    assert "ValueError" in caplog.text
    assert "fake_atlas.py" in caplog.text
    assert "17.25" not in caplog.text


def test_large_answers_are_compressed_for_those_who_read_gzip(http: httpx.Client) -> None:
    packed = http.get("/v1/search?q=heart", headers={"accept-encoding": "gzip"})
    plain = http.get("/v1/search?q=heart", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()


def test_cursor_of_another_release_is_410(http: httpx.Client) -> None:
    error = assert_error(
        http.get("/v1/clusters", params={"cursor": make_cursor("two", offset=2)}), 410, "cursor_expired"
    )
    assert error["details"] == {"seen": "two", "expected": "one"}


def test_cursor_of_another_question_is_refused(http: httpx.Client) -> None:
    cursor = http.get("/v1/samples", params={"limit": 2}).json()["next_cursor"]
    assert http.get("/v1/samples", params={"limit": 2, "cursor": cursor}).status_code == 200
    for other in ("/v1/samples?sort=title", "/v1/samples?tissue=heart", "/v1/clusters?limit=2"):
        assert_error(http.get(f"{other}&cursor={cursor}"), 422, "invalid_input")


def test_cursor_round_trip_and_forgeries() -> None:
    assert read_cursor(make_cursor("one", offset=7, question="q"), release="one", question="q") == 7
    assert read_cursor(None, release="one") == 0
    with pytest.raises(CursorExpiredError):
        read_cursor(make_cursor("one", offset=7), release="two")
    for bad in ("", "%%%", "e30", "bnVsbA", "W10", make_cursor("one", offset=-1), make_cursor("one", offset=True)):
        with pytest.raises(errors.InputError):
            read_cursor(bad, release="one")


def test_every_error_type_has_a_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AtlasError)]
    for kind in kinds:
        assert any(base in STATUS for base in kind.__mro__)


def test_openapi_has_stable_operation_ids_and_the_limits_in_force(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()
    operations = {
        (method, path): operation for path, item in schema["paths"].items() for method, operation in item.items()
    }
    assert {operation["operationId"] for operation in operations.values()} == {
        "search-phrase",
        "search-parts",
        "search-facets",
        "samples-list",
        "samples-get",
        "samples-neighbors",
        "samples-explanation",
        "series-get",
        "transcriptomes-neighbors",
        "cells-interpret",
        "clusters-list",
        "clusters-get",
        "clusters-samples",
        "labels-set",
        "labels-remove",
        "labels-list",
        "scans-vocabularies",
        "scans-list",
        "scans-start",
        "scans-report",
        "scans-term",
        "scans-matrix",
        "scans-samples",
        "jobs-get",
        "jobs-cancel",
        "texts-embedding",
        "texts-keywords",
        "map-columns",
        "map-layout",
        "map-column",
        "map-sample",
        "map-selection",
        "map-selected",
        "releases-list",
        "releases-current",
        "health-live",
        "health-ready",
    }
    limits = {parameter["name"]: parameter["schema"] for parameter in operations["get", "/v1/search"]["parameters"]}
    assert limits["k"]["maximum"] == 50
    assert limits["q"]["maxLength"] == 200
    for operation in operations.values():
        answered = operation["responses"].get("200") or operation["responses"]["202"]
        if operation["operationId"] == "map-column":
            assert set(answered["content"]) == {"application/octet-stream"}
        else:
            assert "example" in answered["content"]["application/json"]
        for code in ("422", "503"):
            body = operation["responses"][code]["content"]["application/json"]["schema"]
            assert body == {"$ref": "#/components/schemas/ErrorBody"}
    body = operations["post", "/v1/transcriptomes/neighbors"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}


def test_openapi_references_all_resolve(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()
    found = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(schema))
    assert found
    assert set(found) <= set(schema["components"]["schemas"])
    assert '"#/$defs' not in json.dumps(schema)


def test_examples_are_valid_answers() -> None:
    shown = [value for name, value in vars(examples).items() if name.isupper() and not name.startswith("_")]
    assert len(shown) == 30
    for value in shown:
        adapter = TypeAdapter(type(value))
        assert adapter.validate_json(adapter.dump_json(value)) == value
