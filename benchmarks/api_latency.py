"""How long the service takes to answer, seen by a client on the same machine, over HTTP, one question at a time.

Run: python -m benchmarks.api_latency --home HOME [--n 100] [--out docs/measurements-api.md]

The service runs in a process of its own. Every route is asked ``--n`` times after ten questions that are not counted;
questions of one route differ (other samples, other clusters), so nothing is answered from a cache of the service.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

BAR_MS = 20.0
_WARM = 10
_PHRASES = (
    "cardiomyopathy", "liver cirrhosis", "T cell activation", "glioblastoma", "whole blood sepsis", "breast tumour",
    "kidney", "skeletal muscle", "melanoma", "monocyte", "heart failure", "lung adenocarcinoma",
)  # fmt: skip
Ask = Callable[[int], httpx.Request]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with served(arguments.home) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        page = report(http, n=arguments.n)
    if arguments.out is None:
        print(page)
    else:
        arguments.out.write_text(page + "\n", encoding="utf-8")


@contextmanager
def served(home: Path) -> Iterator[str]:
    """Serve a home in a process of its own; yields the address once it answers from a release."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GEO_ATLAS_HOME": str(home.resolve()), "GEO_ATLAS_API_PORT": str(port)}
    child = subprocess.Popen([sys.executable, "-m", "cli.children", "api"], env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait(url)
        yield url
    finally:
        child.terminate()
        child.wait(30)


def wait(url: str, *, patience_s: float = 180) -> None:
    """Wait until a release is served."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/v1/health/live", trust_env=False).json()["release"] is not None:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def questions(http: httpx.Client) -> dict[str, tuple[bool, Ask]]:
    """Return by route whether it embeds text, and what makes its n-th question."""
    columns = http.get("/v1/map").json()
    accessions, clusters = columns["accession"], [one["cluster"] for one in columns["clusters"]]
    series = [one["value"] for one in http.get("/v1/facets").json()["series"]]
    scans = [one["name"] for one in http.get("/v1/scans").json()["scans"]]

    def get(path: str, **query: Any) -> httpx.Request:
        return http.build_request("GET", path, params=query)

    asked: dict[str, tuple[bool, Ask]] = {
        "GET /v1/samples/{accession}": (False, lambda n: get(f"/v1/samples/{one(accessions, n)}")),
        "GET /v1/samples/{accession}/neighbors": (False, lambda n: get(f"/v1/samples/{one(accessions, n)}/neighbors")),
        "GET /v1/samples": (False, lambda n: get("/v1/samples", sort="title", cluster=one(clusters, n))),
        "GET /v1/facets": (False, lambda n: get("/v1/facets", cluster=one(clusters, n))),
        "GET /v1/series/{accession}": (False, lambda n: get(f"/v1/series/{one(series, n)}")),
        "GET /v1/clusters": (False, lambda n: get("/v1/clusters", limit=20 + n)),
        "GET /v1/clusters/{cluster_id}": (False, lambda n: get(f"/v1/clusters/{one(clusters, n)}")),
        "GET /v1/clusters/{cluster_id}/samples": (False, lambda n: get(f"/v1/clusters/{one(clusters, n)}/samples")),
        "GET /v1/search, a sample": (False, lambda n: get("/v1/search", q=one(accessions, n))),
        "GET /v1/map": (False, lambda n: get("/v1/map")),
        "GET /v1/map, Arrow": (False, lambda n: arrow(get("/v1/map"))),
        "GET /v1/map, known to the client": (False, known(http, "/v1/map")),
        "POST /v1/keywords": (False, lambda n: http.build_request("POST", "/v1/keywords", json=chosen(accessions, n))),
        "GET /v1/search, a phrase": (True, lambda n: get("/v1/search", q=f"{one(_PHRASES, n)} {n}")),
        "POST /v1/texts/embedding": (
            True,
            lambda n: http.build_request("POST", "/v1/texts/embedding", json={"texts": [f"{one(_PHRASES, n)} {n}"]}),
        ),
    }
    if http.get(f"/v1/samples/{accessions[0]}/explanation", params={"q": accessions[1]}).is_success:
        path = "/v1/samples/{accession}/explanation"
        asked[f"GET {path}, by a sample"] = (
            False,
            lambda n: get(path.format(accession=one(accessions, n)), q=one(accessions, n + 1)),
        )
    return asked | (swept(http, get, scans[0]) if scans else {})


def swept(http: httpx.Client, get: Callable[..., httpx.Request], name: str) -> dict[str, tuple[bool, Ask]]:
    """Return the questions about one sweep."""
    terms = [term["term"] for term in http.get(f"/v1/scans/{name}").json()["terms"]]
    path = "/v1/scans/{name}"
    return {
        f"GET {path}": (False, lambda n: get(f"/v1/scans/{name}")),
        f"GET {path}/terms/{{term}}": (False, lambda n: get(f"/v1/scans/{name}/terms/{quote(one(terms, n), safe='')}")),
        f"GET {path}/matrix": (False, lambda n: get(f"/v1/scans/{name}/matrix")),
        f"GET {path}/samples": (False, lambda n: get(f"/v1/scans/{name}/samples")),
        "GET /v1/map, a term of a sweep": (False, lambda n: get("/v1/map", scan=name, term=one(terms, n))),
        "GET /v1/map, the sum of a sweep": (False, lambda n: get("/v1/map", scan=name)),
    }


def one(values: Sequence[Any], n: int) -> Any:
    """Choose a value; neighbours in ``n`` are far apart."""
    return values[n * 37 % len(values)]


def arrow(request: httpx.Request) -> httpx.Request:
    """Ask for an Arrow stream."""
    request.headers["accept"] = "application/vnd.apache.arrow.stream"
    return request


def known(http: httpx.Client, path: str) -> Ask:
    """Ask for what the client holds already."""
    tag = http.get(path).headers["etag"]
    return lambda _: http.build_request("GET", path, headers={"if-none-match": tag})


def chosen(accessions: Sequence[str], n: int) -> dict[str, list[str]]:
    """Choose fifty samples."""
    return {"accessions": list(itertools.islice(itertools.cycle(accessions), n * 13, n * 13 + 50))}


def measured(http: httpx.Client, ask: Ask, *, n: int) -> tuple[np.ndarray, int]:
    """Return milliseconds of ``n`` questions, (n,), and the size of the last answer as sent, bytes."""
    times = []
    for place in range(_WARM + n):
        request = ask(place)
        began = time.perf_counter()
        response = http.send(request)
        times.append((time.perf_counter() - began) * 1_000)
        if response.status_code not in (200, 304):
            raise RuntimeError(f"{request.url.path} answered {response.status_code}: {response.text[:200]}")
    return np.array(times[_WARM:]), response.num_bytes_downloaded


def report(http: httpx.Client, *, n: int) -> str:
    """Return the page."""
    release = http.get("/v1/releases/current").json()
    rows = []
    for name, (embeds, ask) in questions(http).items():
        times, size = measured(http, ask, n=n)
        half, most = np.percentile(times, [50, 95])
        bar = "" if embeds else "yes" if half <= BAR_MS else "no"
        rows.append(f"| {name} | {'yes' if embeds else ''} | {half:.1f} | {most:.1f} | {size:,} | {bar} |")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        [
            "# How fast the service answers",
            "",
            f"A client on the same machine ({machine}; load {os.getloadavg()[0]:.1f} at the end), one question at a time, {n} a "
            f"route after {_WARM} that are not counted; release of {release['n_samples']:,} samples x {release['dim']}. The bar: "
            f"half of the answers within {BAR_MS:g} ms where no text is embedded.",
            "",
            "`python -m benchmarks.api_latency --home HOME --out docs/measurements-api.md`",
            "",
            "| question | embeds text | p50, ms | p95, ms | bytes sent | within the bar |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
