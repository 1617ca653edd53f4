"""Whatever is sent to any route: no 500, one error body, JSON that parses, the release named."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from api_checks import assert_error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quiet = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
names = st.sampled_from(
    ["q", "k", "mode", "tissue", "series", "organism", "exclude", "limit", "cursor", "x"]
) | st.text(max_size=5)
values = st.one_of(
    st.text(max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["heart", "semantic", "lexical", "hybrid", "true", "1", "%00", "GSM1", "null", "[]"]),
)
paths = st.sampled_from(
    [
        "search",
        "clusters",
        "map",
        "releases/current",
        "health/live",
        "health/ready",
        "samples/GSM1/neighbors",
        "samples/GSM2",
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters="/?#"), max_size=20).map(
    lambda text: f"samples/{quote(text)}"
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
labels = st.lists(
    st.sampled_from(["MYH6", "ALB", "", "ENSG00000000001.2", "<b>", "\x00", "é"]) | st.text(max_size=5), max_size=4
)
numbers = st.floats() | st.integers() | st.none() | st.text(max_size=3)
tables = st.fixed_dictionaries(
    {
        "genes": labels | json_values,
        "values": st.lists(numbers, max_size=4) | st.lists(st.lists(numbers, max_size=4)) | json_values,
    },
    optional={
        "unit": st.sampled_from(["counts", "log2", "tpm"]) | json_values,
        "samples": labels | json_values,
        "x": json_values,
    },
)


def check(response: httpx.Response) -> None:
    body = json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    if response.status_code == 200:
        assert body["release"] == "one"
    else:
        assert response.status_code in {404, 405, 413, 415, 422}
        assert_error(response, response.status_code, body["error"]["code"])
    assert response.headers["x-geo-atlas-release"] == "one"


@quiet
@given(path=paths, query=st.lists(st.tuples(names, values), max_size=5))
def test_any_query_gets_an_answer_or_one_refusal(http: httpx.Client, path: str, query: list[tuple[str, str]]) -> None:
    check(http.get(f"/v1/{path}", params=query))


@quiet
@given(table=tables | json_values)
def test_any_json_gets_an_answer_or_one_refusal(http: httpx.Client, table: Any) -> None:
    check(
        http.post(
            "/v1/transcriptomes/neighbors", content=json.dumps(table), headers={"content-type": "application/json"}
        )
    )


@quiet
@given(
    body=st.binary(max_size=200),
    media=st.sampled_from(["application/json", "multipart/form-data; boundary=b", "text/csv"]),
)
def test_any_bytes_get_an_answer_or_one_refusal(http: httpx.Client, body: bytes, media: str) -> None:
    check(http.post("/v1/transcriptomes/neighbors", content=body, headers={"content-type": media}))


@quiet
@given(
    content=st.binary(max_size=200)
    | st.text(st.sampled_from("gene,\tMYH6ALB0123456789.-\n\"'"), max_size=80).map(str.encode)
)
def test_any_file_gets_an_answer_or_one_refusal(http: httpx.Client, content: bytes) -> None:
    check(http.post("/v1/transcriptomes/neighbors", files={"file": ("own.csv", content)}))
