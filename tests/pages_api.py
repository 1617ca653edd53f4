"""A stand-in for the API: the real routes and bodies over made-up samples, for tests of the pages alone."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from api.routes.viewer import FOLDER as VIEWER
from api.routes.viewer import POLICY

EVIL = (
    '<img src=x onerror="document.title=1"> **bold** [click](javascript:alert(1)) ![](http://elsewhere.example/x.png)'
)
TISSUES = (
    "heart left ventricle", "liver", "whole blood", "brain cortex", "pancreatic islet", "CD4 T cell", "lung", "colon tumour",
    "skeletal muscle", "kidney", "breast tumour", "melanoma", "adrenal cortex tumour", "skin fibroblast", "macrophage",
    "embryonic stem cell", "prostate tumour", "small airway epithelium",
)  # fmt: skip


class FakeAtlas:
    """Samples in one cloud a tissue; a phrase is answered by the tissue that shares a word with it."""

    def __init__(self, n_samples: int = 900, *, evil: bool = False) -> None:
        rng = np.random.default_rng(0)
        group = np.sort(rng.integers(0, len(TISSUES), n_samples) // rng.integers(1, 3, n_samples))
        angle = 2 * math.pi * group / len(TISSUES) + 0.35 * (group % 3)
        radius = 4 + 3.2 * (group % 4)
        self.x = np.round(radius * np.cos(angle) + rng.normal(0, 0.75, n_samples), 3)
        self.y = np.round(radius * np.sin(angle) + rng.normal(0, 0.75, n_samples), 3)
        self.group, self.n, self.evil = group, n_samples, evil
        self.accessions = [f"GSM{4_000_000 + 7 * i}" for i in range(n_samples)]
        self.asked: list[str] = []
        self.questions: list[dict[str, list[str]]] = []
        self.mapped: list[dict[str, list[str]]] = []
        self.columns: list[str] = []

    def score(self, phrase: str) -> np.ndarray:
        words = {"cardiomyopathy": "heart", "islets": "islet", "cells": "cell"}
        wanted = {words.get(w, w) for w in phrase.lower().split()}
        match = np.array([bool(wanted & set(t.split())) for t in TISSUES])[self.group]
        wobble = np.random.default_rng(1).normal(0, 0.045, self.n)
        return np.round(0.12 + 0.34 * match + wobble, 4)

    def sample(self, row: int) -> dict[str, Any]:
        tissue = TISSUES[self.group[row]]
        series = f"GSE{140_000 + int(self.group[row]) * 3 + row % 2}"
        return {
            "accession": self.accessions[row], "id_kind": "GSM", "series": [series],
            "title": EVIL if self.evil else f"{tissue} donor {row}", "source_name": tissue,
            "characteristics": [["tissue", tissue], ["Sex", "female" if row % 2 else "male"], ["age", str(20 + row % 60)]],
            "organism": "Homo sapiens", "molecule": "polyA RNA", "tissue": tissue,
            "caption": EVIL if self.evil else f"{tissue}, donor {row}, part of a study of healthy and diseased {tissue}.",
            "unit": "counts", "n_genes_detected": 15_000 + row,
            "url": "javascript:alert(1)" if self.evil else f"https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc={self.accessions[row]}",
            "series_urls": [f"https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc={series}"],
            "cluster": int(self.group[row]), "cluster_label": tissue, "x": float(self.x[row]), "y": float(self.y[row]),
        }  # fmt: skip

    def hits(self, scores: np.ndarray, k: int) -> list[dict[str, Any]]:
        best = np.argsort(-scores, kind="stable")[:k]
        return [
            {"rank": rank, "sample": self.sample(int(row)), "score": float(scores[row]), "percentile": 99.0, "lexical_rank": None}
            for rank, row in enumerate(best, start=1)
        ]  # fmt: skip

    def search(self, query: dict[str, list[str]]) -> dict[str, Any]:
        phrase, k = query["q"][0], int(query.get("k", ["20"])[0])
        self.asked.append(phrase)
        self.questions.append(query)
        scores = self.score(phrase)
        for raw in query.get("plus", []):
            scores = scores + self.score(raw.split("^")[0]) * float((raw.split("^") + ["1"])[1])
        for raw in query.get("minus", []):
            scores = scores - self.score(raw.split("^")[0]) * float((raw.split("^") + ["1"])[1])
        if wanted := query.get("tissue"):
            scores = np.where([TISSUES[g] in wanted for g in self.group], scores, -1.0)
        no_match = bool(scores.max() < 0.35)
        hits = self.hits(scores, k)
        names = list(dict.fromkeys(hit["sample"]["series"][0] for hit in hits))
        return {
            "release": "made-up", "query": phrase, "mode": query.get("mode", ["semantic"])[0], "hits": hits,
            "series": [self.series(name, hits) for name in names], "n_candidates": self.n, "no_match": no_match,
            "message": f'Nothing in this atlas matches "{phrase}".' if no_match else None,
        }  # fmt: skip

    def series(self, name: str, hits: list[dict[str, Any]]) -> dict[str, Any]:
        mine = [hit for hit in hits if name in hit["sample"]["series"]]
        return {
            "series": name, "title": f"RNA-seq of {mine[0]['sample']['tissue']}", "url": mine[0]["sample"]["series_urls"][0],
            "n_hits": len(mine), "n_samples": 25, "best_rank": mine[0]["rank"], "best_score": mine[0]["score"],
        }  # fmt: skip

    def clusters(self) -> list[dict[str, Any]]:
        found = []
        for cluster, label in enumerate(TISSUES):
            rows = np.flatnonzero(self.group == cluster)
            if len(rows):
                found.append({
                    "cluster": cluster, "label": EVIL if self.evil and cluster == 0 else label, "n_samples": len(rows),
                    "n_series": 2,
                    "top_series": f"GSE{140_000 + cluster * 3}", "top_series_share": 0.5 + (cluster % 4) / 8,
                    "single_study": cluster % 4 == 3, "x": float(np.median(self.x[rows])), "y": float(np.median(self.y[rows])),
                })  # fmt: skip
        return sorted(found, key=lambda c: -c["n_samples"])

    def cluster(self, cluster: int) -> dict[str, Any]:
        summary = next(c for c in self.clusters() if c["cluster"] == cluster)
        evidence = [{"library": "ARCHS4_Tissues", "term": summary["label"].upper(), "score": 0.41, "z": 3.2}]
        scores = -np.hypot(self.x - summary["x"], self.y - summary["y"])
        return {
            "release": "made-up", "summary": summary, "label_method": "deterministic", "evidence": evidence, "keywords": evidence,
            "top_samples": self.hits(scores, 5), "by_series": [], "by_tissue": [],
        }  # fmt: skip

    def facets(self) -> dict[str, Any]:
        counts = [int((self.group == g).sum()) for g in range(len(TISSUES))]
        named = sorted(zip(counts, range(len(TISSUES)), strict=True), reverse=True)
        tissues = [{"value": TISSUES[g], "n": n, "label": None} for n, g in named if n]
        clusters = [{"value": str(g), "n": n, "label": TISSUES[g]} for n, g in named if n]
        one = [{"value": "Homo sapiens", "n": self.n, "label": None}]
        return {
            "release": "made-up", "n_samples": self.n, "tissue": tissues, "organism": one, "cluster": clusters,
            "series": [{"value": f"GSE{140_000 + 3 * g}", "n": n, "label": None} for n, g in named if n],
            "unit": [], "molecule": [], "id_kind": [],
        }  # fmt: skip

    def explanation(self, row: int, query: dict[str, list[str]]) -> dict[str, Any]:
        genes = [
            {"symbol": EVIL if self.evil and i == 0 else f"GENE{i}", "ensembl_id": f"ENSG{i:011d}",
             "contribution": 0.05 / (i + 1), "weight": 0.1}
            for i in range(8)
        ]  # fmt: skip
        against = [{"symbol": "AGAINST1", "ensembl_id": "ENSG00000000099", "contribution": -0.01, "weight": 0.2}]
        return {
            "release": "made-up", "accession": self.accessions[row], "parts": [], "score": 0.41, "genes": genes,
            "against": against, "n_genes": 64, "kept_weight": 0.82, "message": None,
        }  # fmt: skip

    def series_record(self, name: str) -> dict[str, Any] | None:
        rows = [row for row in range(self.n) if self.sample(row)["series"] == [name]]
        if not rows:
            return None
        samples = [self.sample(row) for row in rows]
        first = samples[0]
        return {
            "release": "made-up", "accession": name, "title": EVIL if self.evil else f"RNA-seq of {first['tissue']}",
            "url": first["series_urls"][0], "n_samples": len(rows), "samples": samples,
            "by_tissue": [{"value": first["tissue"], "n": len(rows), "share": 1.0}],
            "by_cluster": [{"value": str(first["cluster"]), "n": len(rows), "label": first["cluster_label"]}],
        }  # fmt: skip

    def map(self, phrase: str | None, *, most: int | None = None) -> dict[str, Any]:
        score = self.score(phrase)[:most].tolist() if phrase else None
        return {
            "release": "made-up", "accession": self.accessions[:most], "x": self.x[:most].tolist(), "y": self.y[:most].tolist(),
            "cluster": self.group[:most].tolist(), "score": score, "clusters": self.clusters(),
        }  # fmt: skip

    def layout(self) -> dict[str, Any]:
        """Return what the map's columns mean."""
        counts = [0, *(int((self.group == g).sum()) for g in range(len(TISSUES)))]
        columns = [
            {"name": name, "dtype": dtype, "width": width, "n_bytes": 0, "values": [], "counts": []}
            for name, dtype, width in (("position", "<u2", 2), ("cluster", "|u1", 1), ("date", "<u2", 1))
        ]
        columns.append({**columns[1], "name": "tissue", "values": ["", *TISSUES], "counts": counts})
        return {
            "release": "made-up", "key": "c" * 16, "n_samples": self.n, "x": [float(self.x.min()), float(self.x.max())],
            "y": [float(self.y.min()), float(self.y.max())], "n_dated": 0, "columns": columns, "clusters": self.clusters(),
        }  # fmt: skip

    def column(self, name: str, query: dict[str, list[str]]) -> Numbers:
        """Return a column of the map."""
        self.columns.append(name)
        plain = {"cluster": self.group, "tissue": self.group + 1, "date": np.zeros(self.n)}
        if name == "position":
            axes = [(axis - axis.min()) / np.ptp(axis) * 65_535 for axis in (self.x, self.y)]
            return Numbers(np.rint(np.column_stack(axes)).astype("<u2"))
        if name in plain:
            return Numbers(plain[name].astype("<u2" if name == "date" else "|u1"))
        scores = self.column_scores(name, query)
        low, high = float(scores.min()), float(scores.max())
        return Numbers(
            np.rint((scores - low) / (high - low) * 65_535).astype("<u2"), (low, float(np.median(scores)), high)
        )

    def column_scores(self, name: str, query: dict[str, list[str]]) -> np.ndarray:
        """Return what a column of scores holds."""
        return self.score(query.get("q", ["heart"])[0])

    def selection(self, rows: list[int], *, paged: bool) -> dict[str, Any]:
        """Return what some samples have in common, or the samples."""
        if paged:
            samples = [self.sample(row) for row in rows]
            return {"release": "made-up", "n_samples": len(rows), "samples": samples, "next_cursor": None}
        share = {
            "value": "0",
            "label": EVIL if self.evil else "heart",
            "n": len(rows),
            "share": 1.0,
            "share_of_atlas": 0.1,
        }
        shown = ("cluster", "label", "n_samples", "x", "y")
        near = [{"similarity": 0.9, **{name: c[name] for name in shown}} for c in self.clusters()[:3]]
        return {
            "release": "made-up", "n_samples": len(rows), "n_averaged": len(rows),
            "keywords": [{"library": "ARCHS4_Tissues", "term": EVIL if self.evil else "HEART", "score": 0.4, "z": 3.1}],
            "by_cluster": [share], "by_tissue": [share], "by_series": [share], "near_clusters": near,
        }  # fmt: skip

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:  # noqa: C901
        if query.get("release", ["made-up"]) == ["removed"]:
            return 410, _error("release_retired", "Release 'removed' was taken out of service.", {"release": "removed"})
        parts = [unquote(part) for part in path.strip("/").split("/")][1:]
        match parts:
            case ["search"]:
                return 200, self.search(query)
            case ["samples", accession, *rest] if accession in self.accessions:
                row = self.accessions.index(accession)
                if not rest:
                    return 200, {"release": "made-up", "sample": self.sample(row)}
                if rest == ["explanation"]:
                    return 200, self.explanation(row, query)
                near = self.hits(-np.hypot(self.x - self.x[row], self.y - self.y[row]), int(query["k"][0]))
                return 200, {"release": "made-up", "query": accession, "hits": near, "series": [], "n_candidates": self.n,
                             "keywords": [], "position": None, "coverage": None}  # fmt: skip
            case ["samples", accession, *_]:
                return 404, _error(
                    "not_found", f"'{accession}' is not a sample of this atlas.", {"near_matches": self.accessions[:2]}
                )
            case ["clusters"]:
                return 200, {
                    "release": "made-up",
                    "n_clusters": len(TISSUES),
                    "clusters": self.clusters(),
                    "next_cursor": None,
                }
            case ["clusters", number]:
                return 200, self.cluster(int(number))
            case ["facets"]:
                return 200, self.facets()
            case ["series", name]:
                found = self.series_record(name)
                missing = _error(
                    "not_found", f"'{name}' is not a series of this atlas.", {"near_matches": ["GSE140000"]}
                )
                return (200, found) if found else (404, missing)
            case ["keywords"]:
                keyword = {"library": "ARCHS4_Tissues", "term": EVIL if self.evil else "HEART", "score": 0.4, "z": 3.1}
                return 200, {"release": "made-up", "n_samples": 1, "keywords": [keyword]}
            case ["samples"]:
                rows = np.flatnonzero(self.group == int(query["cluster"][0]))[: int(query["limit"][0])]
                samples = [self.sample(int(row)) for row in rows]
                return 200, {"release": "made-up", "n_samples": self.n, "samples": samples, "next_cursor": None}
            case ["map"]:
                self.mapped.append(query)
                return 200, self.map(query.get("q", [None])[0], most=int(query.get("most", [str(self.n)])[0]))  # type: ignore[list-item]
            case ["map", "columns"]:
                return 200, self.layout()
            case ["map", "columns", name]:
                return 200, self.column(name, query)
            case ["map", "rows", row]:
                return 200, {"release": "made-up", "sample": self.sample(int(row))}
            case ["selections", *_]:
                return 200, self.selection([*range(min(self.n, 30))], paged=len(parts) > 1)
            case ["releases", "current"]:
                return 200, {"release": "made-up", "created_at": "2026-01-01T00:00:00+00:00", "n_samples": self.n}
            case ["health", _]:
                return 200, {"status": "live", "release": "made-up"}
        return 404, _error("not_found", "There is nothing at this address.", {})


def _error(code: str, message: str, details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": details, "request_id": "r1"}}


class Numbers:
    """A column as the service sends it: numbers as bytes; of scores with what their ends and their middle mean."""

    def __init__(self, values: np.ndarray, ends: tuple[float, float, float] | None = None) -> None:
        self.values, self.ends = values, ends


def viewer_file(path: str) -> Path | None:
    """Return the file of the map application at an address, if it is one of these."""
    name = {"/map/": "index.html"}.get(path, path.removeprefix("/map/"))
    file = VIEWER / name
    return file if path.startswith("/map/") and file.is_file() else None


def send(handler: BaseHTTPRequestHandler, status: int, body: Any, **more: str) -> None:
    """Send JSON, numbers, or a file, with more headers if need be."""
    headers = {"Content-Type": "application/json"}
    if isinstance(body, Numbers):
        data = body.values.tobytes()
        headers = {"Content-Type": "application/octet-stream", "X-Geo-Atlas-Dtype": body.values.dtype.str}
        for end, value in zip(("Low", "Middle", "High"), body.ends or (), strict=False):
            headers[f"X-Geo-Atlas-{end}"] = str(value)
    elif isinstance(body, Path):
        data = body.read_bytes()
        kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
        headers = {"Content-Type": kinds[body.suffix], "Content-Security-Policy": POLICY}
    else:
        data = json.dumps(body).encode()
    handler.send_response(status)
    for name, value in (headers | more).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def fake_api(atlas: FakeAtlas | None = None, *, port: int = 0) -> Iterator[str]:
    """Serve a made-up atlas; yields the address."""
    made = atlas or FakeAtlas()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if (file := viewer_file(url.path)) is not None:
                send(self, 200, file)
                return
            status, body = made.answer(url.path, parse_qs(url.query))
            send(self, status, body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
