"""Routes that read sweeps, begin jobs and edit labels; who may; and what goes on without the database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from api_checks import AS_ADMINISTRATOR, TOKEN, assert_error, assert_named
from api_server import served
from fake_atlas import FakeAtlas, FakeBackend, FakeRelease
from fake_workspace import TERMS
from pydantic import TypeAdapter

from api.main import create_app
from api.overlay import LabelOverlay
from api.schemas import KeywordList, LabelEditAnswer, LabelEditList, ScanList, TextVectors, VocabularyList
from atlas.answers import Job, ScanMatrix, ScanReport, ScanSamples, ScanTermReport
from atlas.settings import Settings

LABEL = {"label": "Hearts", "author": "A. Curator"}


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("/v1/vocabularies", VocabularyList),
        ("/v1/scans", ScanList),
        ("/v1/scans/omim_expanded", ScanReport),
        ("/v1/scans/omim_expanded/terms/epilepsy", ScanTermReport),
        ("/v1/scans/omim_expanded/matrix", ScanMatrix),
        ("/v1/scans/omim_expanded/samples", ScanSamples),
        ("/v1/label-edits", LabelEditList),
    ],
)
def test_route_answers_with_its_record(http: httpx.Client, path: str, record: type) -> None:
    response = http.get(path)
    assert response.status_code == 200, response.text
    TypeAdapter(record).validate_json(response.content)
    assert response.headers["x-geo-atlas-release"] == "one"


def test_vocabularies_tell_which_were_swept(http: httpx.Client, settings: Settings) -> None:
    own = settings.home_path / "vocabularies" / "mine.txt"
    own.parent.mkdir(exist_ok=True)
    own.write_text("one\ntwo\n", encoding="utf-8")
    found = {entry["name"]: entry for entry in http.get("/v1/vocabularies").json()["vocabularies"]}
    assert found["omim_expanded"]["scanned"]
    assert (found["mine"]["n_terms"], found["mine"]["packaged"], found["mine"]["scanned"]) == (2, False, False)
    own.write_text("one\ntwo\nthree\n", encoding="utf-8")
    found = {entry["name"]: entry for entry in http.get("/v1/vocabularies").json()["vocabularies"]}
    assert found["mine"]["n_terms"] == 3


def test_unknown_sweep_and_term_are_404(http: httpx.Client) -> None:
    for rest in ("", "/matrix", "/samples", "/terms/epilepsy"):
        error = assert_error(http.get(f"/v1/scans/none{rest}"), 404, "not_found")
        assert error["details"]["known"] == ["omim_expanded"]
    error = assert_error(http.get("/v1/scans/omim_expanded/terms/nothing"), 404, "not_found")
    assert error["details"]["near_matches"]


def test_term_with_a_slash_and_other_case_is_found(http: httpx.Client) -> None:
    found = http.get("/v1/scans/omim_expanded/terms/HEPATITIS%20a%2Fb").json()
    assert found["term"]["term"] == "hepatitis A/B"


def test_map_is_scored_by_a_term_or_by_the_sum(http: httpx.Client) -> None:
    by_term = http.get("/v1/map?scan=omim_expanded&term=cardiomyopathy").json()["score"]
    assert by_term == [2.0, 0.0, 0.0, 0.0, 0.0, 2.0]
    assert http.get("/v1/map?scan=omim_expanded").json()["score"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    for bad in ("q=heart&scan=omim_expanded", "term=epilepsy", "scan="):
        assert_error(http.get(f"/v1/map?{bad}"), 422, "invalid_input")
    assert_error(http.get("/v1/map?scan=none"), 404, "not_found")


def test_list_of_terms_becomes_a_job_that_can_be_asked_and_cancelled(http: httpx.Client, backend: FakeBackend) -> None:
    begun = http.post("/v1/scans", json={"terms": list(TERMS), "name": "mine"})
    assert begun.status_code == 202
    job = TypeAdapter(Job).validate_json(begun.content)
    assert (job.status, job.release, job.request["n_terms"], job.request["title"]) == ("queued", "one", 3, "mine")
    assert begun.headers["location"] == f"/v1/jobs/{job.job_id}"
    assert http.get(begun.headers["location"]).json()["status"] == "queued"
    assert http.delete(begun.headers["location"]).json()["status"] == "cancelled"
    assert http.get(begun.headers["location"]).json()["status"] == "cancelled"
    assert_error(http.get("/v1/jobs/nope"), 404, "not_found")
    assert http.get(f"/v1/jobs/{job.job_id}?release=one").status_code == 200
    for method in ("GET", "DELETE"):
        assert_error(http.request(method, f"/v1/jobs/{job.job_id}?release=two"), 404, "not_found")


def test_title_of_a_sweep_decides_nothing_about_its_background(http: httpx.Client) -> None:
    """The name leaves a vocabulary out of the background: it is that of the vocabulary swept, never what people call it."""
    titled = http.post("/v1/scans", json={"vocabulary": "omim_expanded", "name": "My diseases"}).json()["request"]
    assert (titled["name"], titled["title"]) == ("omim_expanded", "My diseases")
    own = http.post("/v1/scans", json={"terms": ["a"], "name": "omim_expanded"}).json()["request"]
    assert (own["name"], own["title"]) == ("", "omim_expanded")


def test_vocabulary_becomes_a_job_with_its_terms(http: httpx.Client) -> None:
    job = http.post("/v1/scans", json={"vocabulary": "omim_expanded"}).json()
    assert job["request"]["name"] == "omim_expanded"
    assert job["request"]["n_terms"] > 100
    error = assert_error(http.post("/v1/scans", json={"vocabulary": "omim_expandd"}), 404, "not_found")
    assert "omim_expanded" in error["details"]["near_matches"]
    for path in ("../../etc/passwd", "a/b", "."):
        assert_error(http.post("/v1/scans", json={"vocabulary": path}), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"terms": []},
        {"terms": ["a"], "vocabulary": "omim_expanded"},
        {"terms": "heart"},
        {"terms": [1]},
        {"terms": ["x" * 1_001]},
        {"terms": ["a"], "colour": "red"},
        {"terms": ["a"], "name": "x" * 121},
        [],
    ],
)
def test_unusable_list_is_422(http: httpx.Client, body: object) -> None:
    assert_error(http.post("/v1/scans", json=body), 422, "invalid_input")


def test_client_has_a_few_jobs_and_the_administrator_as_many_as_needed(http: httpx.Client) -> None:
    body = {"terms": ["a"]}
    assert [http.post("/v1/scans", json=body).status_code for _ in range(3)] == [202, 202, 409]
    assert_error(http.post("/v1/scans", json=body), 409, "busy")
    assert http.post("/v1/scans", json=body, headers=AS_ADMINISTRATOR).status_code == 202
    assert_error(http.post("/v1/scans", json=body, headers={"authorization": "Bearer wrong"}), 401, "unauthorized")


def test_address_of_a_client_is_not_kept(http: httpx.Client, backend: FakeBackend) -> None:
    http.post("/v1/scans", json={"terms": ["a"]})
    (client,) = backend.jobs.clients.values()
    assert len(client) == 32
    assert "127.0.0.1" not in client


def test_label_is_edited_and_taken_back_everywhere(http: httpx.Client, backend: FakeBackend) -> None:
    made = http.put("/v1/clusters/2/label", json=LABEL | {"note": "see paper"}, headers=AS_ADMINISTRATOR)
    answer = TypeAdapter(LabelEditAnswer).validate_json(made.content)
    assert_named(made)
    assert answer.edit is not None
    assert (answer.edit.label, answer.edit.machine_label, answer.edit.note) == ("Hearts", "label 2", "see paper")
    assert (answer.summary.label, answer.summary.machine_label, answer.summary.edited_by) == (
        "Hearts",
        "label 2",
        "A. Curator",
    )
    assert http.get("/v1/clusters/2").json()["summary"]["label"] == "Hearts"
    again = http.put("/v1/clusters/2/label", json=LABEL | {"label": "Livers"}, headers=AS_ADMINISTRATOR).json()
    assert again["edit"]["machine_label"] == "label 2"
    assert [edit["label"] for edit in http.get("/v1/label-edits").json()["edits"]] == ["Livers"]
    removed = http.delete("/v1/clusters/2/label?author=B", headers=AS_ADMINISTRATOR).json()
    assert (removed["edit"], removed["summary"]["label"]) == (None, "label 2")
    assert http.get("/v1/label-edits").json()["edits"] == []
    assert_error(http.delete("/v1/clusters/2/label?author=B", headers=AS_ADMINISTRATOR), 404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
    ],
)
def test_edit_without_the_token_is_401(http: httpx.Client, backend: FakeBackend, headers: dict[str, str]) -> None:
    for response in (
        http.put("/v1/clusters/0/label", json=LABEL, headers=headers),
        http.delete("/v1/clusters/0/label?author=A", headers=headers),
    ):
        assert_error(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.text
    assert backend.labels.edits == {}


def test_edits_are_off_where_no_token_is_set(settings: Settings) -> None:
    off = settings.model_copy(update={"admin_token": None})
    with served(create_app(off, lambda _: FakeBackend())) as url, httpx.Client(base_url=url, timeout=20) as http:
        assert_error(http.put("/v1/clusters/0/label", json=LABEL, headers=AS_ADMINISTRATOR), 403, "forbidden")
        assert_error(http.delete("/v1/clusters/0/label?author=A"), 403, "forbidden")
        assert http.post("/v1/scans", json={"terms": ["a"]}).status_code == 202
        assert http.get("/v1/label-edits").status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"label": "", "author": "A"}, {"label": "x" * 121, "author": "A"}, {"label": "x"}, LABEL | {"machine": 1}],
)
def test_unusable_label_is_422(http: httpx.Client, body: object) -> None:
    assert_error(http.put("/v1/clusters/0/label", json=body, headers=AS_ADMINISTRATOR), 422, "invalid_input")


def test_label_of_an_unknown_cluster_is_404(http: httpx.Client) -> None:
    assert_error(http.put("/v1/clusters/99/label", json=LABEL, headers=AS_ADMINISTRATOR), 404, "not_found")


def test_without_the_database_work_waits_and_all_else_goes_on(http: httpx.Client, backend: FakeBackend) -> None:
    backend.jobs.away = backend.labels.away = True
    for response in (
        http.get("/v1/jobs/job0"),
        http.delete("/v1/jobs/job0"),
        http.post("/v1/scans", json={"terms": ["a"]}),
        http.get("/v1/label-edits"),
        http.put("/v1/clusters/0/label", json=LABEL, headers=AS_ADMINISTRATOR),
    ):
        assert_error(response, 503, "database_unavailable")
        assert response.headers["retry-after"] == "5"
    for path in ("/v1/scans/omim_expanded", "/v1/clusters", "/v1/map?q=heart", "/v1/search?q=heart", "/v1/samples"):
        assert http.get(path).status_code == 200


def test_overlay_follows_edits_made_elsewhere_and_keeps_them_while_the_database_is_away() -> None:
    backend = FakeBackend()
    atlas = backend.open("one")
    overlay = LabelOverlay(backend.labels)
    overlay.refresh([atlas])
    assert overlay.version_of("one") == ""
    backend.labels.set(atlas.release, 1, label="Hearts", machine_label="label 1", author="A", note=None)
    overlay.refresh([atlas])
    shown = overlay.version_of("one")
    assert shown
    assert atlas.clusters()[1].label == "Hearts"
    backend.labels.away = True
    overlay.refresh([atlas])
    assert (atlas.clusters()[1].label, overlay.version_of("one")) == ("Hearts", shown)
    backend.labels.away = False
    reopened = backend.open("one")
    overlay.refresh([reopened])
    assert reopened.clusters()[1].label == "Hearts"
    backend.labels.remove(backend.labels.edits[1].edit_id, author="B")
    overlay.refresh([reopened])
    assert (reopened.clusters()[1].label, overlay.version_of("one")) == ("label 1", "")


def test_labels_in_change_have_a_name_that_never_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer made while labels are exchanged must not be kept under the name of those before or after."""
    backend = FakeBackend()
    atlas = backend.open("one")
    overlay = LabelOverlay(backend.labels)
    overlay.refresh([atlas])
    meanwhile: list[str] = []
    monkeypatch.setattr(FakeAtlas, "relabel", lambda self, edits: meanwhile.append(overlay.version_of("one")))
    edit = backend.labels.set(atlas.release, 1, label="Hearts", machine_label="label 1", author="A", note=None)
    overlay.refresh([atlas])
    settled = ["", overlay.version_of("one")]
    backend.labels.remove(edit.edit_id, author="A")
    overlay.refresh([atlas])
    assert overlay.version_of("one") == ""
    assert len({*meanwhile, *settled}) == 4


def test_answer_that_outlived_an_edit_has_no_validator(http: httpx.Client, backend: FakeBackend) -> None:
    backend.atlas.hold = threading.Event()
    with ThreadPoolExecutor() as pool:
        begun = pool.submit(http.get, "/v1/search?q=heart")
        assert backend.atlas.held.acquire(timeout=10)
        assert http.put("/v1/clusters/0/label", json=LABEL, headers=AS_ADMINISTRATOR).status_code == 200
        backend.atlas.hold.set()
        answered = begun.result(20)
    assert answered.status_code == 200
    assert "etag" not in answered.headers
    assert "etag" in http.get("/v1/search?q=heart").headers


def test_sweep_of_a_persons_list_has_no_validator_for_it_may_be_removed(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = type(FakeAtlas(FakeRelease("one")).scans)
    for name in ("report", "term", "matrix", "samples"):
        real = getattr(shelf, name)
        asked = lambda self, name, *more, real=real, **options: real(self, "omim_expanded", *more, **options)  # noqa: E731
        monkeypatch.setattr(shelf, name, asked)
    for rest in ("", "/terms/epilepsy", "/matrix", "/samples"):
        for name, kept in (("omim_expanded", True), ("0123456789abcdef", False)):
            response = http.get(f"/v1/scans/{name}{rest}")
            assert (response.status_code, "etag" in response.headers) == (200, kept)
    assert "etag" in http.get("/v1/map?scan=omim_expanded").headers
    assert "etag" not in http.get("/v1/map?scan=0123456789abcdef").headers


def test_question_may_be_two_mebibytes_and_a_list_of_terms_sixteen(http: httpx.Client) -> None:
    """JSON is read in one piece: a large body that is no question would hold up everybody."""
    form = {"content-type": "application/json"}
    body = b'{"unknown": "' + b"x" * (3 * 2**20) + b'"}'
    for path in ("/v1/search", "/v1/texts/embedding", "/v1/keywords"):
        assert_error(http.post(path, content=body, headers=form), 413, "too_large")
    label = http.put("/v1/clusters/0/label", content=body, headers=form | AS_ADMINISTRATOR)
    assert_error(label, 413, "too_large")
    assert_error(http.post("/v1/scans", content=body, headers=form), 422, "invalid_input")


def test_texts_become_vectors(http: httpx.Client) -> None:
    response = http.post("/v1/texts/embedding", json={"texts": ["heart", "  heart "]})
    answer = TypeAdapter(TextVectors).validate_json(response.content)
    assert (answer.dim, answer.model_hash) == (2, "m" * 64)
    assert answer.vectors == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("texts", [[], ["x"] * 257, [" "], ["x" * 201], [""], [1], "heart"])
def test_unusable_texts_are_422(http: httpx.Client, texts: object) -> None:
    assert_error(http.post("/v1/texts/embedding", json={"texts": texts}), 422, "invalid_input")


def test_selection_becomes_keywords_and_counts_a_sample_once(http: httpx.Client) -> None:
    response = http.post("/v1/keywords", json={"accessions": ["GSM1", "GSM1", "GSM2"]})
    answer = TypeAdapter(KeywordList).validate_json(response.content)
    assert (answer.n_samples, answer.keywords[0].term) == (2, "Heart")
    assert_error(http.post("/v1/keywords", json={"accessions": ["GSM99"]}), 404, "not_found")
    assert_error(http.post("/v1/keywords", json={"accessions": []}), 422, "invalid_input")


@pytest.mark.parametrize("path", ["/v1/search", "/v1/scans", "/v1/texts/embedding", "/v1/keywords"])
def test_body_of_another_type_or_size_is_refused(
    http: httpx.Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = {"content-type": "text/plain"}
    assert_error(http.post(path, content=b"{}", headers=form), 415, "unsupported_media_type")
    assert_error(http.post(path), 415, "unsupported_media_type")
    for broken in (b"", b"{", b"\xff", b"[" * 5_000, b"null"):
        response = http.post(path, content=broken, headers={"content-type": "application/json"})
        assert_error(response, 422, "invalid_input")
    huge = b'{"texts": ["' + b"x" * (17 * 2**20) + b'"]}'
    assert_error(http.post(path, content=huge, headers={"content-type": "application/json"}), 413, "too_large")


def test_combination_is_asked_by_address_or_by_body(http: httpx.Client) -> None:
    by_address = http.get("/v1/search", params={"q": "heart", "minus": ["brain^0.5"], "k": 3}).json()
    parts = [{"kind": "text", "value": "heart"}, {"kind": "text", "value": "brain", "weight": -0.5}]
    by_body = http.post("/v1/search", json={"parts": parts, "k": 3}).json()
    assert by_address == by_body
    assert by_body["parts"][1] == {"kind": "text", "value": "brain", "weight": -0.5}
    assert by_body["facets"] is None
    counted = http.post("/v1/search", json={"parts": parts, "facets": True, "filters": {"cluster": [0]}}).json()
    assert counted["facets"]["n_samples"] == 2
    assert {hit["sample"]["cluster"] for hit in counted["hits"]} == {0}
    spread = http.get("/v1/search?q=heart&per_series=1").json()
    assert len({hit["sample"]["series"][0] for hit in spread["hits"]}) == len(spread["hits"])


@pytest.mark.parametrize(
    "body",
    [
        {"parts": []},
        {"parts": [{"kind": "text", "value": "a"}] * 17},
        {"parts": [{"kind": "text", "value": ""}]},
        {"parts": [{"kind": "gene", "value": "MYH7"}]},
        {"parts": [{"kind": "text", "value": "a", "weight": 0}]},
        {"parts": [{"kind": "text", "value": "a", "weight": 11}]},
        {"parts": [{"kind": "text", "value": "a"}], "diversity": 1.5},
        {"parts": [{"kind": "text", "value": "a"}], "per_series": 0},
        {"parts": [{"kind": "text", "value": "a"}], "k": 51},
        {"parts": [{"kind": "text", "value": "a"}], "filters": {"colour": ["red"]}},
        {"parts": [{"kind": "text", "value": "x" * 2_001}]},
    ],
)
def test_unusable_combination_is_422(http: httpx.Client, body: object) -> None:
    assert_error(http.post("/v1/search", json=body), 422, "invalid_input")


@pytest.mark.parametrize("query", ["", "?top=3", "?q=", "?q=heart&top=0", "?q=heart&top=65", "?plus=heart^99"])
def test_explanation_needs_a_question(http: httpx.Client, query: str) -> None:
    assert_error(http.get(f"/v1/samples/GSM1/explanation{query}"), 422, "invalid_input")


def test_explanation_of_a_minus_alone_is_answered(http: httpx.Client) -> None:
    found = http.get("/v1/samples/GSM1/explanation?minus=liver&top=1").json()
    assert found["parts"] == [{"kind": "text", "value": "liver", "weight": -1.0}]
    assert len(found["genes"]) == 1
