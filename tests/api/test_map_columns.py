"""The map as binary columns: bytes against the JSON of the same question, validators, what is refused."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import numpy as np
import pytest
from api_checks import assert_error, assert_named

BOX = [[-2, -2], [2, -2], [2, 2], [-2, 2]]


def numbers(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    return np.frombuffer(response.content, response.headers["x-geo-atlas-dtype"])


def test_columns_hold_what_the_map_says(http: httpx.Client) -> None:
    layout, whole = http.get("/v1/map/columns").json(), http.get("/v1/map", params={"q": "liver"}).json()
    places = numbers(http.get("/v1/map/columns/position")).reshape(-1, 2) / 65_535
    for axis, name in enumerate("xy"):
        low, high = layout[name]
        assert low + places[:, axis] * (high - low) == pytest.approx(whole[name], abs=1e-4)
    assert numbers(http.get("/v1/map/columns/cluster")).tolist() == whole["cluster"]
    answer = http.get("/v1/map/columns/score", params={"q": "liver"})
    low, middle, high = (float(answer.headers[f"x-geo-atlas-{end}"]) for end in ("low", "middle", "high"))
    assert low + numbers(answer) / 65_535 * (high - low) == pytest.approx(whole["score"], abs=1e-4)
    assert middle == pytest.approx(np.median(whole["score"]), abs=1e-5)
    told = {one["name"]: one for one in layout["columns"]}
    tissues = numbers(http.get("/v1/map/columns/tissue"))
    assert [told["tissue"]["values"][code] for code in tissues] == [
        "heart",
        "heart muscle",
        "liver",
        "brain",
        "lung",
        "blood",
    ]
    assert layout["n_dated"] == 3
    assert numbers(http.get("/v1/map/columns/date")).tolist() == [1442, 1464, 0, 0, 0, 1442]
    for name, one in told.items():
        assert len(http.get(f"/v1/map/columns/{name}").content) == one["n_bytes"]


@pytest.mark.parametrize(
    "query", [{"scan": "omim_expanded", "term": "epilepsy"}, {"scan": "omim_expanded"}, {"plus": "heart"}]
)
def test_score_takes_the_questions_of_the_map(http: httpx.Client, query: dict[str, str]) -> None:
    answer = http.get("/v1/map/columns/score", params=query)
    whole = http.get("/v1/map", params=query).json()["score"]
    low, high = (float(answer.headers[f"x-geo-atlas-{end}"]) for end in ("low", "high"))
    assert low + numbers(answer) / 65_535 * (high - low) == pytest.approx(whole, abs=1e-3 + 1e-4 * abs(high))


def test_column_with_the_key_of_its_content_may_be_kept_and_another_key_is_gone(http: httpx.Client) -> None:
    key = http.get("/v1/map/columns").json()["key"]
    kept = http.get("/v1/map/columns/position", params={"key": key})
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    asked = http.get("/v1/map/columns/score", params={"key": key, "q": "heart"})
    assert asked.headers["cache-control"].startswith("private, ")
    plain = http.get("/v1/map/columns/position")
    assert plain.headers["cache-control"] == "no-cache"
    again = http.get("/v1/map/columns/position", headers={"if-none-match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    error = assert_error(http.get("/v1/map/columns/position", params={"key": "0" * 16}), 410, "release_retired")
    assert error["details"]["release"] == "one"


def test_codes_are_compressed_where_that_pays(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.media._GZIP_FROM_BYTES", 1)
    with http.stream("GET", "/v1/map/columns/tissue", headers={"accept-encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
        assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == http.get("/v1/map/columns/tissue", headers={"accept-encoding": "identity"}).content
    plain = http.get("/v1/map/columns/position", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/map/columns/colour", 422, "invalid_input"),
        ("/v1/map/columns/score", 422, "invalid_input"),
        ("/v1/map/columns/position?q=heart", 422, "invalid_input"),
        ("/v1/map/columns/score?q=heart&scan=omim_expanded", 422, "invalid_input"),
        ("/v1/map/columns/score?term=x", 422, "invalid_input"),
        ("/v1/map/columns/position?release=never", 404, "not_found"),
        ("/v1/map/rows/6", 404, "not_found"),
        ("/v1/map/rows/-1", 422, "invalid_input"),
        ("/v1/map?most=0", 422, "invalid_input"),
    ],
)
def test_wrong_question_is_refused(http: httpx.Client, path: str, status: int, code: str) -> None:
    assert_error(http.get(path), status, code)


def test_row_names_its_sample_and_a_map_may_be_cut(http: httpx.Client) -> None:
    answer = http.get("/v1/map/rows/2")
    assert_named(answer)
    assert answer.json()["sample"]["accession"] == "GSM3"
    assert len(http.get("/v1/map", params={"most": 4, "q": "heart"}).json()["score"]) == 4


def test_selection_and_its_samples_in_pages(http: httpx.Client) -> None:
    answer = http.post("/v1/selections", json={"outline": BOX})
    assert_named(answer)
    assert answer.json()["n_samples"] == 6
    page = http.post("/v1/selections/samples", params={"limit": 4}, json={"outline": BOX}).json()
    assert (page["n_samples"], len(page["samples"])) == (6, 4)
    query = {"limit": 4, "cursor": page["next_cursor"]}
    rest = http.post("/v1/selections/samples", params=query, json={"outline": BOX}).json()
    assert [one["accession"] for one in (*page["samples"], *rest["samples"])] == [f"GSM{n}" for n in range(1, 7)]
    assert rest["next_cursor"] is None
    other = {"outline": [[-3, -3], *BOX[1:]]}
    assert_error(http.post("/v1/selections/samples", params=query, json=other), 422, "invalid_input")
    csv = http.post("/v1/selections/samples", json={"outline": BOX}, headers={"accept": "text/csv"})
    assert csv.text.count("\n") == 7
    assert_error(http.post("/v1/selections", json={"outline": [[5, 5], [6, 5], [5, 6]]}), 404, "not_found")


@pytest.mark.parametrize(
    "outline",
    [
        [],
        [[0, 0], [1, 1]],
        [[0, 0]] * 501,
        [[0, 0], [1, 1], [2]],
        [[0, 0], [1, 1], ["NaN", 0]],
        [[0, 0], [1, 1], ["1", 0]],
        [[0, 0], [1, 1], [True, 0]],
        [[0, 0], [1, 1], [1e300, 0]],
        "x",
    ],
)
def test_hostile_outline_is_refused(http: httpx.Client, outline: Any) -> None:
    for path in ("/v1/selections", "/v1/selections/samples"):
        assert_error(http.post(path, json={"outline": outline}), 422, "invalid_input")
