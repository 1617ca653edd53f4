"""Figures for Prometheus: requests by route template, places at the gates, the release and its check, jobs.

No label ever holds a person's words: routes are templates, methods and statuses are of a fixed set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Scope

from api.deps import Gates
from api.protocols import Backend
from api.serving import Serving
from atlas.errors import AtlasError

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The registry of one application; several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "geo_atlas_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "geo_atlas_request_seconds",
            "Time from the request's arrival to the end of its answer.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        ProcessCollector(namespace="geo_atlas", registry=self.registry)

    def watch(self, serving: Serving, gates: Gates, jobs: Callable[[], Mapping[str, int] | None]) -> None:
        """Report on a service from now on; ``jobs`` gives ``None`` while the database is away."""
        self.registry.register(_State(serving, gates, jobs))

    def count(self, scope: Scope, *, status: int, seconds: float) -> None:
        """Count one request."""
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = template_of(scope)
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


def template_of(scope: Scope) -> str:
    """Return the path of a request with names in place of values; ``unmatched`` where there is no such route."""
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None:
        return "unmatched"
    return f"/v1{path}" if scope["path"].startswith("/v1/") and not path.startswith("/v1/") else path


def count_jobs(backend: Backend) -> Mapping[str, int] | None:
    """Return how many jobs have which status; ``None`` while the database is away."""
    try:
        return backend.jobs.counts()
    except AtlasError:
        return None


class _State(Collector):
    """What is read at the moment of asking."""

    def __init__(self, serving: Serving, gates: Gates, jobs: Callable[[], Mapping[str, int] | None]) -> None:
        self._serving = serving
        self._gates = gates
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        yield from self._releases()
        admitted = GaugeMetricFamily("geo_atlas_gate_admitted", "Questions running or waiting.", labels=["gate"])
        capacity = GaugeMetricFamily("geo_atlas_gate_capacity", "Most of them at once.", labels=["gate"])
        for name, gate in vars(self._gates).items():
            admitted.add_metric([name], gate.admitted)
            capacity.add_metric([name], gate.capacity)
        yield from (admitted, capacity)
        counts = self._jobs()
        yield GaugeMetricFamily(
            "geo_atlas_database_up", "1 if jobs can be read from the database.", value=int(counts is not None)
        )
        jobs = GaugeMetricFamily("geo_atlas_jobs", "Jobs by status.", labels=["status"])
        for status, n in (counts or {}).items():
            jobs.add_metric([status], n)
        yield jobs

    def _releases(self) -> Iterator[Metric]:
        served = self._serving.release_name
        up = GaugeMetricFamily("geo_atlas_release_served", "1 for the served release.", labels=["release"])
        verified = GaugeMetricFamily(
            "geo_atlas_release_verified", "Share of a release's bytes that were checked.", labels=["release"]
        )
        samples = GaugeMetricFamily("geo_atlas_release_samples", "Samples of a release.", labels=["release"])
        for atlas in self._serving.atlases():
            name: Any = atlas.release.name
            up.add_metric([name], int(name == served))
            verified.add_metric([name], atlas.release.verified)
            samples.add_metric([name], atlas.release.manifest.n_samples)
        yield from (up, verified, samples)
