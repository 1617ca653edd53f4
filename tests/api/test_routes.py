"""Each route: its answer, and each refusal in the one error body."""

from __future__ import annotations

import json

import httpx
import pytest
from api_checks import assert_error, assert_named
from fake_atlas import ANGLES, FakeBackend
from pydantic import TypeAdapter

from api.schemas import ClusterPage, LiveReport, ReadyReport, ReleaseReport, SampleAnswer, TranscriptomesAnswer
from atlas.answers import ClusterDetail, MapColumns, NeighborsResult, SearchResult
from atlas.errors import ArtifactError, ConfigError, DatabaseUnavailableError

ANSWERS = {
    "/v1/search?q=heart": SearchResult,
    "/v1/samples/GSM1": SampleAnswer,
    "/v1/samples/GSM1/neighbors": NeighborsResult,
    "/v1/clusters": ClusterPage,
    "/v1/clusters/0": ClusterDetail,
    "/v1/map": MapColumns,
    "/v1/map?q=heart": MapColumns,
    "/v1/releases/current": ReleaseReport,
    "/v1/health/live": LiveReport,
    "/v1/health/ready": ReadyReport,
}


@pytest.mark.parametrize(("path", "record"), ANSWERS.items())
def test_route_answers_with_its_record_and_names_the_release(http: httpx.Client, path: str, record: type) -> None:
    response = http.get(path)
    assert response.status_code == 200
    TypeAdapter(record).validate_json(response.content)
    assert_named(response)


def test_search_ranks_by_score_and_rolls_up_series(http: httpx.Client) -> None:
    body = http.get("/v1/search", params={"q": "heart", "k": 3}).json()
    assert [hit["sample"]["accession"] for hit in body["hits"]] == ["GSM1", "GSM2", "GSM6"]
    assert [hit["rank"] for hit in body["hits"]] == [1, 2, 3]
    assert [series["series"] for series in body["series"]] == ["GSE1", "GSE5"]
    assert body["no_match"] is False


def test_search_passes_filters_on(http: httpx.Client) -> None:
    body = http.get("/v1/search", params={"q": "heart", "tissue": ["liver", "brain"]}).json()
    assert {hit["sample"]["tissue"] for hit in body["hits"]} == {"liver", "brain"}


@pytest.mark.parametrize(
    "phrase", ["'; DROP TABLE samples; --", "<script>alert(1)</script>", "100%_\\", "心臓", "a\x00b"]
)
def test_search_takes_any_text_as_text(http: httpx.Client, phrase: str) -> None:
    response = http.get("/v1/search", params={"q": phrase})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.json()["query"] == phrase.replace("\x00", " ")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/search",
        "/v1/search?q=",
        "/v1/search?q=%20%20",
        "/v1/search?q=%00",
        "/v1/search?q=" + "x" * 10_000,
        "/v1/search?q=heart&k=0",
        "/v1/search?q=heart&k=-1",
        "/v1/search?q=heart&k=51",
        "/v1/search?q=heart&k=1e3",
        "/v1/search?q=heart&k=" + "9" * 400,
        "/v1/search?q=heart&k=1&k=2",
        "/v1/search?q=heart&q=liver",
        "/v1/search?q=heart&mode=magic",
        "/v1/search?q=heart&colour=red",
        "/v1/search?q=heart&tissue=",
        "/v1/search?q=heart&exclude=" + "x" * 201,
        "/v1/search?q=heart" + "&tissue=a" * 51,
        "/v1/samples/GSM1?verbose=1",
        "/v1/samples/" + "x" * 201,
        "/v1/samples/GSM1/neighbors?k=51",
        "/v1/samples/GSM1/neighbors?exclude_same_series=perhaps",
        "/v1/clusters?limit=0",
        "/v1/clusters?limit=1001",
        "/v1/clusters?cursor=junk",
        "/v1/clusters?cursor=" + "A" * 501,
        "/v1/clusters/heart",
        "/v1/clusters/-1",
        "/v1/clusters/99999999999999999999",
        "/v1/map?q=",
        "/v1/map?k=3",
        "/v1/releases/current?x=1",
        "/v1/health/live?x=1",
        "/v1/health/ready?x=1",
    ],
)
def test_invalid_parameter_is_422(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert_error(response, 422, "invalid_input")


def test_invalid_parameter_names_place_and_value(http: httpx.Client) -> None:
    error = assert_error(http.get("/v1/search?q=heart&k=0"), 422, "invalid_input")
    assert error["details"]["problems"][0]["where"] == "query.k"
    assert error["details"]["problems"][0]["seen"] == "0"


def test_unknown_accession_is_404_with_near_matches(http: httpx.Client) -> None:
    for path in ("/v1/samples/GSM99", "/v1/samples/GSM99/neighbors"):
        error = assert_error(http.get(path), 404, "not_found")
        assert error["details"]["near_matches"] == ["GSM1", "GSM2"]


def test_unknown_cluster_is_404(http: httpx.Client) -> None:
    assert_error(http.get("/v1/clusters/99"), 404, "not_found")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/search/", "/v2/search", "/v1/samples/", "/v1/samples/a/b/c"])
def test_unknown_address_is_404(http: httpx.Client, path: str) -> None:
    assert_error(http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/facets"), ("GET", "/v1/transcriptomes/neighbors"), ("DELETE", "/v1/clusters/0")]
)
def test_wrong_method_is_405_and_names_the_right_one(http: httpx.Client, method: str, path: str) -> None:
    response = http.request(method, path)
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] in ("GET", "POST")


def test_neighbors_leave_out_the_same_series(http: httpx.Client) -> None:
    every = http.get("/v1/samples/GSM1/neighbors", params={"k": 10}).json()
    others = http.get("/v1/samples/GSM1/neighbors", params={"k": 10, "exclude_same_series": "true"}).json()
    assert [hit["sample"]["accession"] for hit in every["hits"]][0] == "GSM2"
    assert "GSM2" not in [hit["sample"]["accession"] for hit in others["hits"]]


def test_clusters_are_paged_to_the_end_without_gap(http: httpx.Client) -> None:
    seen, cursor = [], None
    for _ in range(10):
        page = http.get("/v1/clusters", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [cluster["cluster"] for cluster in page["clusters"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [0, 1, 2, 3, 4]
    assert page["n_clusters"] == 5


def test_map_columns_have_equal_length_and_scores_only_with_a_phrase(http: httpx.Client) -> None:
    plain, scored = http.get("/v1/map").json(), http.get("/v1/map", params={"q": "heart"}).json()
    assert plain["score"] is None
    assert {len(scored[name]) for name in ("accession", "x", "y", "cluster", "score")} == {len(ANGLES)}


def test_map_is_scored_by_a_combination_or_a_sweep_but_not_both(http: httpx.Client) -> None:
    assert http.get("/v1/map", params={"plus": ["heart^2", "liver"]}).json()["score"] is not None
    refused = http.get("/v1/map", params={"minus": "heart", "scan": "omim_expanded"})
    assert refused.status_code == 422
    assert "not by both" in refused.json()["error"]["message"]


def test_nan_never_reaches_the_json(http: httpx.Client, backend: FakeBackend) -> None:
    backend.atlas.nan = True
    for path in ("/v1/search?q=heart", "/v1/map?q=heart"):
        response = http.get(path)
        assert response.status_code == 200
        json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert http.get("/v1/search?q=heart").json()["hits"][0]["score"] is None


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry"),
    [
        (DatabaseUnavailableError("away"), 503, "database_unavailable", True),
        (ArtifactError("changed", kind="corrupt"), 503, "artifact", False),
        (ConfigError("no database"), 400, "config", False),
        (ValueError("MYH6=17.25 is secret"), 500, "internal", False),
    ],
)
def test_failure_of_the_atlas_has_its_status(
    http: httpx.Client, backend: FakeBackend, failure: Exception, status: int, code: str, retry: bool
) -> None:
    backend.atlas.broken = failure
    response = http.get("/v1/search?q=heart")
    assert_error(response, status, code)
    assert ("retry-after" in response.headers) is retry
    assert "17.25" not in response.text


def test_lexical_search_without_database_is_503_and_recovers(http: httpx.Client, backend: FakeBackend) -> None:
    backend.database = "the server cannot be reached"
    for mode in ("lexical", "hybrid"):
        response = http.get("/v1/search", params={"q": "heart", "mode": mode})
        assert_error(response, 503, "database_unavailable")
        assert int(response.headers["retry-after"]) > 0
    assert http.get("/v1/search?q=heart").status_code == 200
    error = assert_error(http.get("/v1/health/ready"), 503, "not_ready")
    assert (error["details"]["status"], error["details"]["semantic"], error["details"]["lexical"]) == (
        "degraded",
        True,
        False,
    )
    backend.database = None
    assert http.get("/v1/search", params={"q": "heart", "mode": "lexical"}).status_code == 200
    assert http.get("/v1/health/ready").json()["status"] == "ready"


def test_changed_file_stops_answers_and_readiness(http: httpx.Client, backend: FakeBackend) -> None:
    backend.atlas.release.failure = ArtifactError("vectors.npy was changed", kind="corrupt")
    backend.atlas.release.verified = 0.5
    assert_error(http.get("/v1/search?q=heart"), 503, "artifact")
    error = assert_error(http.get("/v1/health/ready"), 503, "not_ready")
    assert error["details"]["status"] == "unavailable"
    assert error["details"]["verified"] == 0.5
    assert http.get("/v1/health/live").status_code == 200


def test_transcriptomes_answer_matches_its_record(http: httpx.Client) -> None:
    response = http.post("/v1/transcriptomes/neighbors?k=2", json={"genes": ["MYH6", "ALB"], "values": [1, 2]})
    assert response.status_code == 200
    answer = TypeAdapter(TranscriptomesAnswer).validate_json(response.content)
    assert len(answer.results[0].hits) == 2
    assert_named(response)
