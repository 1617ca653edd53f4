"""A person's own expression: JSON and files, bounds, and that nothing of it stays anywhere."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from api_checks import assert_error
from api_server import served
from fake_atlas import FakeBackend

from api.main import create_app
from api.uploads import parse_form
from atlas.errors import InputError
from atlas.settings import Settings

URL = "/v1/transcriptomes/neighbors"
CSV = b"gene,s1,s2\nMYH6,3,0\nALB,4,9\n"


def upload(http: httpx.Client, content: bytes = CSV, *, name: str = "own.csv", **data: str) -> httpx.Response:
    return http.post(URL, files={"file": (name, content)}, data=data)


def test_json_of_one_sample_is_read_as_given(http: httpx.Client, backend: FakeBackend) -> None:
    answer = http.post(URL, json={"genes": ["MYH6", "ALB"], "values": [3, 0.5], "unit": "tpm"})
    assert answer.status_code == 200
    matrix = backend.atlas.matrices[-1]
    np.testing.assert_array_equal(matrix.values, np.array([[3, 0.5]], dtype=np.float32))
    assert (matrix.genes, matrix.sample_ids, matrix.units) == (("MYH6", "ALB"), ("sample_1",), ("tpm",))
    assert [result["query"] for result in answer.json()["results"]] == ["sample_1"]


def test_json_of_many_samples_is_answered_in_order(http: httpx.Client, backend: FakeBackend) -> None:
    table = {"genes": ["MYH6", "ALB"], "values": [[3, 0], [4, 9]], "samples": ["b", "a"]}
    answer = http.post(URL, json=table, params={"k": 2, "exclude_series": ["GSE1", "GSE2"]})
    results = answer.json()["results"]
    assert [result["query"] for result in results] == ["b", "a"]
    np.testing.assert_array_equal(backend.atlas.matrices[-1].values, [[3, 0], [4, 9]])
    assert not {"GSE1", "GSE2"} & {s for result in results for hit in result["hits"] for s in hit["sample"]["series"]}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("content", [CSV, gzip.compress(CSV, mtime=0), CSV.replace(b",", b"\t")])
def test_file_gives_the_same_matrix_as_json(http: httpx.Client, backend: FakeBackend, content: bytes) -> None:
    assert upload(http, content).status_code == 200
    by_file = backend.atlas.matrices[-1]
    http.post(URL, json={"genes": ["MYH6", "ALB"], "values": [[3, 4], [0, 9]], "samples": ["s1", "s2"]})
    by_json = backend.atlas.matrices[-1]
    np.testing.assert_array_equal(by_file.values, by_json.values)
    assert (by_file.genes, by_file.sample_ids, by_file.units) == (by_json.genes, by_json.sample_ids, by_json.units)


def test_unit_of_a_file_is_honoured(http: httpx.Client, backend: FakeBackend) -> None:
    fractional = CSV.replace(b"4", b"4.5")
    error = assert_error(upload(http, fractional), 422, "invalid_input")
    assert "unit" in error["message"]
    assert upload(http, fractional, unit="tpm").status_code == 200
    assert backend.atlas.matrices[-1].units == ("tpm", "tpm")
    assert_error(upload(http, fractional, unit="furlongs"), 422, "invalid_input")


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"genes": [], "values": []},
        {"genes": ["MYH6"], "values": []},
        {"genes": ["MYH6"], "values": [[]]},
        {"genes": ["MYH6"], "values": [[1], [1, 2]]},
        {"genes": ["MYH6"], "values": [1, 2]},
        {"genes": ["MYH6"], "values": ["1e"]},
        {"genes": ["MYH6"], "values": [None]},
        {"genes": ["MYH6"], "values": [-1]},
        {"genes": ["MYH6"], "values": [0.5]},
        {"genes": ["MYH6"], "values": [1e39]},
        {"genes": ["MYH6"], "values": [1], "unit": "furlongs"},
        {"genes": ["MYH6"], "values": [1], "samples": ["a", "b"]},
        {"genes": ["MYH6"], "values": [[1], [1]], "samples": ["a", "a"]},
        {"genes": ["MYH6"], "values": [1], "organism": "mouse"},
        {"genes": "MYH6", "values": 1},
        {"genes": ["unknown"], "values": [1]},
        [],
        "MYH6",
    ],
)
def test_unusable_json_table_is_422(http: httpx.Client, table: Any) -> None:
    assert_error(http.post(URL, json=table), 422, "invalid_input")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b"\xff\xfe",
        b'{"genes":["MYH6"],"values":[NaN]}',
        b'{"genes":["\\ud800"],"values":[1]}',
        b"[" * 9_000,
    ],
)
def test_malformed_json_is_422(http: httpx.Client, body: bytes) -> None:
    assert_error(http.post(URL, content=body, headers={"content-type": "application/json"}), 422, "invalid_input")


def test_refused_body_is_never_quoted(http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="api"):
        response = http.post(URL, json={"genes": ["MYH6"], "values": ["secret-17.25"]})
    assert_error(response, 422, "invalid_input")
    assert "17.25" not in response.text + caplog.text


@pytest.mark.parametrize("content_type", ["", "text/csv", "multipart/form-data", "application/x-www-form-urlencoded"])
def test_other_media_type_is_415(http: httpx.Client, content_type: str) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert_error(http.post(URL, content=CSV, headers=headers), 415, "unsupported_media_type")


def test_form_without_file_is_422(http: httpx.Client) -> None:
    assert_error(http.post(URL, files={"table": ("own.csv", CSV)}), 422, "invalid_input")
    assert_error(http.post(URL, files={"file": (None, CSV)}), 422, "invalid_input")
    assert_error(http.post(URL, files=[("file", ("a.csv", CSV)), ("file", ("b.csv", CSV))]), 422, "invalid_input")
    assert_error(http.post(URL, files=[(f"f{n}", ("a.csv", CSV)) for n in range(20)]), 422, "invalid_input")


def test_cut_form_is_422(http: httpx.Client) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="own.csv"\r\n\r\n' + CSV
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert_error(http.post(URL, content=body, headers=headers), 422, "invalid_input")
    assert_error(http.post(URL, content=b"no form at all", headers=headers), 422, "invalid_input")


def test_form_parts_come_back_byte_for_byte() -> None:
    content = bytes(range(256)) * 50 + b"\r\n--"
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a b.h5ad"\r\n\r\n'
    parts = parse_form(head + content + b"\r\n--xyz--\r\n", boundary=b"xyz")
    assert (parts["file"].filename, bytes(parts["file"].content)) == ("a b.h5ad", content)
    with pytest.raises(InputError, match="cut short"):
        parse_form(head + content, boundary=b"xyz")


@pytest.mark.parametrize("content", [b"", b"gene\n", b"gene,s1\n", b"\x89HDF\r\n\x1a\n truncated", b"\x1f\x8b cut"])
def test_unusable_file_is_422(http: httpx.Client, content: bytes) -> None:
    assert_error(upload(http, content), 422, "invalid_input")


def test_too_many_samples_are_413(http: httpx.Client) -> None:
    assert_error(http.post(URL, json={"genes": ["MYH6"], "values": [[1]] * 4}), 413, "too_large")
    assert_error(upload(http, b"gene,a,b,c,d\nMYH6,1,2,3,4\n"), 413, "too_large")


def test_upload_over_the_limit_is_413_when_announced(http: httpx.Client, backend: FakeBackend) -> None:
    error = assert_error(upload(http, b"x" * 30_000), 413, "too_large")
    assert error["details"]["max_bytes"] == 20_000
    assert backend.atlas.matrices == []


def test_upload_over_the_limit_is_413_when_chunked(http: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(300):
            yield b"x" * 1_000

    for media_type in ("application/json", "multipart/form-data; boundary=b"):
        response = http.post(URL, content=pieces(), headers={"content-type": media_type})
        assert_error(response, 413, "too_large")


def test_announced_size_is_refused_before_a_byte_of_it_arrives(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits._DRAIN_S", 0.05)
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_stalled_upload_is_408(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits.IDLE_BODY_S", 0.05)
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_zip_bomb_is_413(settings: Settings) -> None:
    bomb = gzip.compress(b"gene,s1\n" + b"MYH6,0\n" * 3_000_000)
    small = settings.model_copy(update={"upload_max_bytes": 2**20, "upload_max_expanded_bytes": 2**20})
    assert len(bomb) < 2**20
    with served(create_app(small, lambda _: FakeBackend())) as url, httpx.Client(base_url=url, timeout=20) as http:
        assert_error(upload(http, bomb, name="own.csv.gz"), 413, "too_large")


def test_upload_never_touches_the_disk_or_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a temporary file was made")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    rows = b"".join(b"ENSG%011d,%d\n" % (n, 77_000_000 + n) for n in range(80_000))
    large = settings.model_copy(update={"upload_max_bytes": 2**22})
    backend = FakeBackend()
    with (
        caplog.at_level(logging.DEBUG),
        served(create_app(large, lambda _: backend)) as url,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        assert len(rows) > 2**20
        assert upload(http, b"gene,patient\n" + rows).status_code == 200
    assert backend.atlas.matrices[-1].n_genes == 80_000
    assert "77000001" not in caplog.text
    assert "own.csv" not in caplog.text
    assert any('path="/v1/transcriptomes/neighbors"' in record.message for record in caplog.records)


def test_json_limit_is_smaller_than_the_file_limit(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routes.transcriptomes.JSON_MAX_BYTES", 1_000)
    with (
        served(create_app(settings, lambda _: FakeBackend())) as url,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        table = json.dumps({"genes": ["MYH6"], "values": [1], "samples": ["x" * 1_000]})
        response = http.post(URL, content=table, headers={"content-type": "application/json"})
        assert_error(response, 413, "too_large")
