"""The service over a real release, a real index and a real Postgres: the library's answers, and what survives a crash."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from api_checks import AS_ADMINISTRATOR, TOKEN, assert_error
from api_server import served
from catalog_fixtures import reachable_folder
from pydantic import SecretStr, TypeAdapter

from api.backend import ReleaseBackend
from api.main import create_app
from api.schemas import KeywordList, MemberPage, SampleAnswer, SamplePage, TranscriptomesAnswer
from atlas.answers import (
    ClusterDetail,
    FacetCounts,
    HitExplanation,
    MapColumns,
    NeighborsResult,
    SearchResult,
    SeriesRecord,
)
from atlas.atlas import Atlas
from atlas.catalog.database import open_database
from atlas.catalog.filters import SampleFilter
from atlas.errors import ArtifactError, MissingExtraError
from atlas.release import write_pointer
from atlas.resources import resource_path
from atlas.settings import Settings

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def own_home(tiny_home: Path) -> Iterator[Path]:
    """A copy of the tiny home with a database of its own."""
    with reachable_folder() as folder:
        home = folder / "home"
        shutil.copytree(tiny_home, home, ignore=shutil.ignore_patterns("postgres"))  # other tests may have given it one
        home.chmod(0o755)
        yield home


@pytest.fixture(scope="module")
def real_settings(own_home: Path) -> Settings:
    return Settings(home=own_home, admin_token=SecretStr(TOKEN))


@pytest.fixture(scope="module")
def url(real_settings: Settings) -> Iterator[str]:
    """The service, started before the database holds the release, which is loaded later."""
    from indexer.stages.load_catalog import load_release

    with served(create_app(real_settings)) as base:
        with httpx.Client(base_url=base, timeout=60) as http:
            await_status(http, "degraded")
            assert http.get("/v1/search?q=heart").status_code == 200
            assert_error(http.get("/v1/search?q=heart&mode=lexical"), 503, "database_unavailable")
            try:
                with open_database(real_settings) as database:
                    load_release(database, real_settings.home_path / "releases" / "tiny", "tiny")
            except MissingExtraError as error:
                pytest.skip(error.message)
            await_status(http, "ready")
        yield base


@pytest.fixture
def real(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def library(url: str, real_settings: Settings) -> Iterator[Atlas]:
    with open_database(real_settings) as database:
        atlas = Atlas.open(real_settings, database=database)
        yield atlas
        atlas.close()


def await_status(http: httpx.Client, wanted: str, *, patience_s: float = 60) -> dict[str, object]:
    """Poll readiness until it is ``wanted``."""
    until = time.monotonic() + patience_s
    while True:
        body = http.get("/v1/health/ready").json()
        report = body.get("error", {}).get("details") or body
        if report.get("status") == wanted:
            return dict(report)
        if time.monotonic() > until:
            raise TimeoutError(f"still {report}")
        time.sleep(0.1)


@pytest.mark.parametrize("mode", ["semantic", "lexical", "hybrid"])
def test_search_gives_the_answer_of_the_library(real: httpx.Client, library: Atlas, mode: str) -> None:
    response = real.get("/v1/search", params={"q": "heart", "k": 20, "mode": mode, "organism": "homo sapiens"})
    answer = TypeAdapter(SearchResult).validate_json(response.content)
    assert answer == library.search_text("heart", k=20, mode=mode, filters=SampleFilter(organism=("homo sapiens",)))
    assert len(answer.hits) == 20
    if mode == "lexical":
        assert {hit.sample.tissue for hit in answer.hits[:16]} == {"heart"}


def test_filters_and_huge_k_give_every_candidate(real: httpx.Client) -> None:
    answer = real.get("/v1/search", params={"q": "anything", "k": 10_000, "tissue": ["heart", "liver"]}).json()
    assert len(answer["hits"]) == 32
    assert {hit["sample"]["tissue"] for hit in answer["hits"]} == {"heart", "liver"}
    assert_error(real.get("/v1/search?q=heart&k=10001"), 422, "invalid_input")
    assert_error(real.get("/v1/search", params={"q": "x" * 10_000}), 422, "invalid_input")
    assert_error(real.get("/v1/search", params={"q": "心" * 2_001}), 422, "invalid_input")
    assert real.get("/v1/search", params={"q": "心" * 2_000}).status_code == 200


@pytest.mark.parametrize("mode", ["semantic", "lexical", "hybrid"])
@pytest.mark.parametrize(
    "phrase", ["'; DROP TABLE atlas.samples; --", "<b>heart</b>", "%_\\ & | ! :*", '"', "\x00", "-"]
)
def test_hostile_phrases_are_only_text(real: httpx.Client, mode: str, phrase: str) -> None:
    response = real.get("/v1/search", params={"q": phrase + " heart", "mode": mode, "exclude": phrase + "x"})
    assert response.status_code == 200
    assert len(response.json()["hits"]) == 20


def test_other_routes_give_the_answers_of_the_library(real: httpx.Client, library: Atlas) -> None:
    accession = library.map().accession[3]
    sample = TypeAdapter(SampleAnswer).validate_json(real.get(f"/v1/samples/{accession}").content)
    assert sample.sample == library.sample(accession)
    near = real.get(f"/v1/samples/{accession}/neighbors", params={"k": 7, "exclude_same_series": "true"})
    expected = library.similar_samples(accession, k=7, exclude_same_series=True)
    assert TypeAdapter(NeighborsResult).validate_json(near.content) == expected
    assert TypeAdapter(ClusterDetail).validate_json(real.get("/v1/clusters/0").content) == library.cluster(0)
    assert TypeAdapter(MapColumns).validate_json(real.get("/v1/map?q=liver").content) == library.map("liver")
    assert len(real.get("/v1/clusters").json()["clusters"]) == len(library.clusters())


def test_further_routes_give_the_answers_of_the_library(real: httpx.Client, library: Atlas) -> None:
    accession = library.map().accession[3]
    page = TypeAdapter(SamplePage).validate_json(real.get("/v1/samples?sort=-title&limit=5&tissue=heart").content)
    expected, n_samples = library.samples_page(
        filters=SampleFilter(tissue=("heart",)), sort="-title", offset=0, limit=5
    )
    assert (page.samples, page.n_samples) == (expected, n_samples)
    assert TypeAdapter(FacetCounts).validate_json(real.get("/v1/facets?cluster=0").content) == library.facets(
        SampleFilter(cluster=(0,))
    )
    series = library.sample(accession).series[0]
    assert TypeAdapter(SeriesRecord).validate_json(real.get(f"/v1/series/{series}").content) == library.series(series)
    members = TypeAdapter(MemberPage).validate_json(real.get("/v1/clusters/0/samples?limit=3").content)
    assert (members.hits, members.n_samples) == library.cluster_samples(0, offset=0, limit=3)
    found = real.get(f"/v1/samples/{accession}/explanation?q=heart&minus=liver^0.5&top=5")
    parts = library.read_parts("heart", minus=["liver^0.5"])
    told, expected_reasons = (
        TypeAdapter(HitExplanation).validate_json(found.content),
        library.explain(accession, parts, top=5),
    )
    assert [gene.symbol for gene in told.genes] == [gene.symbol for gene in expected_reasons.genes]
    # the service keeps to fewer threads than the library, which moves the last digits of a phrase's vector
    assert [gene.contribution for gene in told.genes] == pytest.approx(
        [gene.contribution for gene in expected_reasons.genes], abs=1e-5
    )
    assert told.score == pytest.approx(expected_reasons.score, abs=1e-5)
    combined = real.get("/v1/search", params={"q": "heart", "minus": ["liver^0.5"], "k": 5, "per_series": 2})
    answered = TypeAdapter(SearchResult).validate_json(combined.content)
    direct = library.search_text("heart", minus=["liver^0.5"], k=5, per_series=2)
    assert [hit.sample for hit in answered.hits] == [hit.sample for hit in direct.hits]
    assert [hit.score for hit in answered.hits] == pytest.approx([hit.score for hit in direct.hits], abs=1e-5)
    assert (answered.parts, answered.n_candidates, answered.message) == (
        direct.parts,
        direct.n_candidates,
        direct.message,
    )
    words = TypeAdapter(KeywordList).validate_json(real.post("/v1/keywords", json={"accessions": [accession]}).content)
    assert words.keywords == library.keywords([accession])
    vectors = real.post("/v1/texts/embedding", json={"texts": ["heart"]}).json()["vectors"]
    np.testing.assert_allclose(vectors, library.embed_texts(["heart"]), atol=1e-6)


def test_edited_label_is_shown_everywhere_and_taken_back(real: httpx.Client) -> None:
    machine = real.get("/v1/clusters/0").json()["summary"]["label"]
    tag = real.get("/v1/clusters").headers["etag"]
    body = {"label": "Mine", "author": "A. Curator", "note": "why"}
    made = real.put("/v1/clusters/0/label", json=body, headers=AS_ADMINISTRATOR)
    assert made.status_code == 200, made.text
    summary = made.json()["summary"]
    assert (summary["label"], summary["machine_label"], summary["edited_by"]) == ("Mine", machine, "A. Curator")
    accession = real.get("/v1/clusters/0/samples?limit=1").json()["hits"][0]["sample"]["accession"]
    assert real.get(f"/v1/samples/{accession}").json()["sample"]["cluster_label"] == "Mine"
    assert real.get("/v1/clusters", headers={"if-none-match": tag}).status_code == 200
    (edit,) = real.get("/v1/label-edits").json()["edits"]
    assert (edit["carried"], edit["overlap"], edit["note"]) == ("exact", 1.0, "why")
    real.delete("/v1/clusters/0/label?author=B", headers=AS_ADMINISTRATOR)
    assert real.get("/v1/clusters/0").json()["summary"]["label"] == machine
    assert real.get("/v1/clusters").headers["etag"] == tag


def test_job_is_kept_counted_and_cancelled(real: httpx.Client) -> None:
    begun = real.post("/v1/scans", json={"terms": ["heart failure", "hepatitis"], "name": "mine"})
    assert begun.status_code == 202, begun.text
    address = begun.headers["location"]
    assert real.get(address).json()["status"] == "queued"
    assert 'geo_atlas_jobs{status="queued"} 1.0' in real.get("/metrics").text
    assert real.post("/v1/scans", json={"terms": ["other"]}).status_code == 202
    assert_error(real.post("/v1/scans", json={"terms": ["third"]}), 409, "busy")
    privileged = real.post("/v1/scans", json={"terms": ["third"]}, headers=AS_ADMINISTRATOR)
    assert privileged.status_code == 202
    assert real.delete(address).json()["status"] == "cancelled"
    assert_error(real.post("/v1/scans", json={"terms": ["a\x00b"]}), 422, "invalid_input")


def test_unknown_accession_has_near_matches(real: httpx.Client, library: Atlas) -> None:
    known = library.map().accession[0]
    error = assert_error(real.get(f"/v1/samples/{known}9"), 404, "not_found")
    assert known in error["details"]["near_matches"]


def test_words_are_not_answered_from_a_database_that_holds_other_files(
    library: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = library.release.manifest.model_copy(update={"model_hash": "0" * 64})
    monkeypatch.setattr(library.release, "manifest", other)
    with pytest.raises(ArtifactError, match="geo-atlas release load tiny") as caught:
        library.search_text("heart", mode="lexical")
    assert caught.value.kind == "stale"


def test_table_with_samples_as_rows_is_read_like_one_with_genes_as_rows(real: httpx.Client) -> None:
    symbols = [
        name for name in pq.read_table(resource_path("starter/model/genes.parquet"))["symbol"].to_pylist() if name
    ]
    genes = dict.fromkeys(symbols[:60], 1) | {"MYH6": 900, "MYH7": 800, "TNNT2": 700, "ALB": 3, "GAPDH": 50}
    tall = "gene,own\n" + "".join(f"{gene},{n}\n" for gene, n in genes.items())
    wide = f"sample,{','.join(genes)}\nown,{','.join(map(str, genes.values()))}\n"
    url = "/v1/transcriptomes/neighbors?k=3"
    first, second = (real.post(url, files={"file": ("own.csv", text.encode())}) for text in (tall, wide))
    assert first.status_code == 200
    assert second.json() == first.json()


def test_a_sample_of_the_atlas_finds_itself_by_its_counts(
    real: httpx.Client, library: Atlas, tiny_counts: Path
) -> None:
    with h5py.File(tiny_counts) as h5:
        genes = [gene.decode() for gene in h5["meta/genes/ensembl_gene"][:]]
        counts = h5["data/expression"][:, 5].tolist()
        accession = h5["meta/samples/geo_accession"][5].decode()
    as_json = real.post("/v1/transcriptomes/neighbors?k=3", json={"genes": genes, "values": counts, "samples": ["own"]})
    table = "gene,own\n" + "\n".join(f"{gene},{count}" for gene, count in zip(genes, counts, strict=True))
    as_file = real.post("/v1/transcriptomes/neighbors?k=3", files={"file": ("own.csv", table.encode())})
    assert as_json.json() == as_file.json()
    answer = TypeAdapter(TranscriptomesAnswer).validate_json(as_json.content).results[0]
    assert answer.hits[0].sample.accession == accession
    assert answer.hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert answer.coverage is not None
    assert answer.coverage.n_recognised == len(genes)


@pytest.mark.parametrize(
    "table",
    [
        {"genes": ["NOGENE1", "NOGENE2"], "values": [1, 2]},
        {"genes": ["MYH6"], "values": []},
        {"genes": ["MYH6", "ALB"], "values": [0, 0]},
        {"genes": ["Myh6", "Alb", "Ttn", "Gapdh"], "values": [10, 20, 3, 4]},
    ],
)
def test_unusable_expression_is_422(real: httpx.Client, table: dict[str, object]) -> None:
    assert_error(real.post("/v1/transcriptomes/neighbors", json=table), 422, "invalid_input")


def test_release_with_a_changed_file_is_not_followed(real: httpx.Client, own_home: Path) -> None:
    shutil.copytree(own_home / "releases" / "tiny", own_home / "releases" / "changed")
    damaged = own_home / "releases" / "changed" / "samples.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    write_pointer(own_home / "current", "changed")
    try:
        until = time.monotonic() + 30
        while not (reasons := real.get("/v1/health/ready").json().get("reasons")) and time.monotonic() < until:
            time.sleep(0.1)
        assert "changed" in reasons[0]
        assert real.get("/v1/search?q=heart").json()["release"] == "tiny"
    finally:
        write_pointer(own_home / "current", "tiny")
    await_status(real, "ready")


def test_killed_postmaster_is_503_at_worst_and_comes_back(real: httpx.Client, own_home: Path) -> None:
    await_status(real, "ready")
    pid_file = next((own_home / "postgres").rglob("postmaster.pid"))
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
    until = time.monotonic() + 60
    while True:
        assert real.get("/v1/search?q=heart").status_code == 200
        response = real.get("/v1/search?q=heart&mode=lexical")
        if response.status_code == 200:
            break
        assert_error(response, 503, "database_unavailable")
        assert response.headers["retry-after"]
        assert time.monotonic() < until
    await_status(real, "ready")


def test_nobody_imports_the_text_libraries_while_they_are_imported(
    tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, warmed = threading.Event(), []
    monkeypatch.setattr("api.backend.import_text_libraries", lambda: done.wait(0.3) or done.set())
    monkeypatch.setattr("atlas.atlas.Atlas.warm", lambda self: warmed.append(done.is_set()))
    monkeypatch.setattr("atlas.atlas.Atlas.finish", lambda self: None)
    backend = ReleaseBackend(tiny_settings)
    try:
        backend.open("tiny").close()
    finally:
        backend.close()
    assert warmed == [True]
