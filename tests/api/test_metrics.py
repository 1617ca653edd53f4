"""Figures for Prometheus: right, by template, and free of what people typed."""

from __future__ import annotations

import httpx
import pytest
from fake_atlas import FakeBackend
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Metrics


def figures(http: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    response = http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def requests_of(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], **labels: str) -> float:
    return found.get(("geo_atlas_requests_total", tuple(sorted(labels.items()))), 0.0)


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/v1/samples/GSM1", "/v1/samples/{accession}", "200"),
        ("GET", "/v1/scans/omim_expanded/terms/hepatitis%20A%2FB", "/v1/scans/{name}/terms/{term:path}", "200"),
        ("GET", "/v1/samples/private-words", "/v1/samples/{accession}", "404"),
        ("GET", "/v1/search?q=&private-words=1", "/v1/search", "422"),
        ("GET", "/private-words", "unmatched", "404"),
        ("GET", "/v1/private-words", "unmatched", "404"),
        ("PRIVATE", "/v1/search", "/v1/search", "405"),
    ],
)
def test_request_is_counted_under_its_template(
    http: httpx.Client, method: str, path: str, route: str, status: str
) -> None:
    labels = {"method": method if method == "GET" else "OTHER", "route": route, "status": status}
    before = requests_of(figures(http), **labels)
    assert http.request(method, path).status_code == int(status)
    assert requests_of(figures(http), **labels) == before + 1
    text = http.get("/metrics").text
    assert "private-words" not in text
    assert "PRIVATE" not in text


def test_state_of_the_service_is_told(http: httpx.Client, backend: FakeBackend) -> None:
    http.post("/v1/scans", json={"terms": ["a"]})
    backend.atlas.release.verified = 0.25
    found = figures(http)
    assert found["geo_atlas_release_served", (("release", "one"),)] == 1
    assert found["geo_atlas_release_verified", (("release", "one"),)] == 0.25
    assert found["geo_atlas_release_samples", (("release", "one"),)] == 6
    assert found["geo_atlas_jobs", (("status", "queued"),)] == 1
    assert found["geo_atlas_database_up", ()] == 1
    assert found["geo_atlas_gate_capacity", (("gate", "uploads"),)] == 4
    assert found["geo_atlas_gate_admitted", (("gate", "questions"),)] == 0
    assert found["geo_atlas_gate_admitted", (("gate", "health"),)] == 1  # the one who asks
    assert found["geo_atlas_process_resident_memory_bytes", ()] > 0


def test_database_that_is_away_is_told(http: httpx.Client, backend: FakeBackend) -> None:
    backend.jobs.away = True
    found = figures(http)
    assert found["geo_atlas_database_up", ()] == 0
    assert not [name for name, _ in found if name == "geo_atlas_jobs"]


def test_two_services_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.count({"method": "GET", "path": "/x"}, status=200, seconds=0.1)
    labels = {"method": "GET", "route": "unmatched", "status": "200"}
    assert one.registry.get_sample_value("geo_atlas_requests_total", labels) == 1
    assert two.registry.get_sample_value("geo_atlas_requests_total", labels) is None
