"""The HTTP client against a served application, and against answers that are not of this service."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from api_server import served
from fake_atlas import ANGLES, FakeBackend

from api.main import create_app
from atlas.client import AtlasHTTPError, Client
from atlas.errors import DatabaseUnavailableError
from atlas.release import write_pointer
from atlas.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeBackend, str]]:
    home = tmp_path_factory.mktemp("home")
    write_pointer(home / "current", "one")
    backend = FakeBackend()
    with served(create_app(Settings(home=home), lambda _: backend)) as url:
        yield backend, url


@pytest.fixture
def backend(running: tuple[FakeBackend, str]) -> FakeBackend:
    running[0].reset()
    return running[0]


@pytest.fixture
def client(running: tuple[FakeBackend, str], backend: FakeBackend) -> Iterator[Client]:
    with Client(running[1] + "/", timeout=20) as client:
        yield client


def answering(response: httpx.Response) -> Client:
    return Client("http://service.example", transport=httpx.MockTransport(lambda _: response))


def test_client_imports_httpx_and_the_standard_library_only() -> None:
    code = (
        "import sys, httpx; before = set(sys.modules); import atlas.client;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "rooms = sorted(n for n in sys.modules if n[:6] == 'atlas.' and n[:12] != 'atlas.client');"
        "print(sorted(new - sys.stdlib_module_names - {'atlas', 'httpx'}), rooms)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_search_returns_hits_and_passes_every_option(client: Client) -> None:
    answer = client.search("heart", k=2, tissue=["liver", "brain"], exclude="cell line")
    assert [hit["sample"]["tissue"] for hit in answer["hits"]] == ["liver", "brain"]
    assert (answer["release"], answer["mode"]) == ("one", "semantic")
    assert client.search("heart", mode="hybrid")["mode"] == "hybrid"


def test_sample_and_neighbors(client: Client) -> None:
    assert client.sample("GSM2")["sample"]["tissue"] == "heart muscle"
    near = client.neighbors("GSM1", k=1)
    far = client.neighbors("GSM1", k=1, exclude_same_series=True)
    assert near["hits"][0]["sample"]["accession"] == "GSM2"
    assert far["hits"][0]["sample"]["accession"] != "GSM2"


def test_unknown_accession_raises_with_near_matches(client: Client) -> None:
    with pytest.raises(AtlasHTTPError, match="no sample 'GSM99'") as caught:
        client.sample("GSM99")
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert caught.value.details["near_matches"] == ["GSM1", "GSM2"]
    assert caught.value.request_id


@pytest.mark.parametrize("accession", ["a/b", "../clusters", "a?k=1", "a#b", "é"])
def test_accession_cannot_change_the_route(client: Client, accession: str) -> None:
    with pytest.raises(AtlasHTTPError) as caught:
        client.sample(accession)
    assert caught.value.status == 404


def test_mapping_of_one_sample_is_sent(client: Client, backend: FakeBackend) -> None:
    answer = client.transcriptome_neighbors({"MYH6": 3, "ALB": 0.5}, unit="tpm", k=1, exclude_series=["GSE1"])
    matrix = backend.atlas.matrices[-1]
    assert (matrix.genes, matrix.units) == (("MYH6", "ALB"), ("tpm",))
    assert len(answer["results"]) == 1


def test_mapping_of_many_samples_is_aligned_by_gene(client: Client, backend: FakeBackend) -> None:
    client.transcriptome_neighbors({"a": {"MYH6": 1, "ALB": 2}, "b": {"ALB": 4, "MYH6": 3}})
    matrix = backend.atlas.matrices[-1]
    assert matrix.sample_ids == ("a", "b")
    np.testing.assert_array_equal(matrix.values, [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="sample 'b' lists other genes"):
        client.transcriptome_neighbors({"a": {"MYH6": 1}, "b": {"ALB": 4}})


def test_file_is_sent_from_disk_or_from_memory(client: Client, backend: FakeBackend, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("gene,s1\nMYH6,3\nALB,4.5\n", encoding="utf-8")
    on_disk = client.transcriptome_neighbors(path, unit="tpm")
    in_memory = client.transcriptome_neighbors("own.csv", content=path.read_bytes(), unit="tpm")
    assert on_disk == in_memory
    assert backend.atlas.matrices[-1].units == ("tpm",)


def test_clusters_follow_all_pages(client: Client) -> None:
    assert [cluster["cluster"] for cluster in client.iter_clusters(page_size=2)] == [0, 1, 2, 3, 4]
    assert client.clusters() == list(client.iter_clusters(page_size=1))
    assert client.cluster(3)["summary"]["cluster"] == 3


def test_map_with_and_without_phrase(client: Client) -> None:
    assert client.map()["score"] is None
    scores = client.map("heart")["score"]
    assert scores is not None
    assert len(scores) == len(ANGLES)


def test_release_and_health(client: Client, backend: FakeBackend) -> None:
    assert client.release()["n_samples"] == 6
    assert client.health()["status"] == "ready"
    backend.database = "away"
    assert client.health()["status"] == "degraded"


def test_retry_after_is_told(client: Client, backend: FakeBackend) -> None:
    backend.atlas.broken = DatabaseUnavailableError("away")
    with pytest.raises(AtlasHTTPError) as caught:
        client.search("heart")
    assert (caught.value.code, caught.value.retry_after_s) == ("database_unavailable", 5.0)


def test_unreachable_service_is_said_so() -> None:
    with (
        Client("http://127.0.0.1:9", timeout=2) as client,
        pytest.raises(AtlasHTTPError, match="No answer from") as caught,
    ):
        client.release()
    assert (caught.value.status, caught.value.code) == (0, "unreachable")


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>bad gateway</html>", headers={"retry-after": "soon"}),
        httpx.Response(200, text="hello"),
        httpx.Response(200, json=["list"]),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(500, json={"error": "text"}),
    ],
)
def test_answer_of_another_service_is_said_so(response: httpx.Response) -> None:
    with answering(response) as client, pytest.raises(AtlasHTTPError, match="Check the address") as caught:
        client.search("private words")
    assert caught.value.code == "unexpected_answer"
    assert "private" not in str(caught.value)
