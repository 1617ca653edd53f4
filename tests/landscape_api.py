"""A stand-in for the routes of clusters, scans, jobs, label edits and uploads, for tests of their pages alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from pages_api import EVIL, TISSUES, FakeAtlas, send, viewer_file

TOKEN = "a-token-of-sixteen-letters"
TERMS = (
    "Dilated cardiomyopathy", "Hypertrophic cardiomyopathy", "Liver cirrhosis", "Alzheimer disease", "Parkinson disease",
    "Type 1 diabetes mellitus", "Severe combined immunodeficiency", "Asthma", "Colorectal cancer", "Muscular dystrophy",
    "Nephrotic syndrome", "Breast cancer", "Melanoma, uveal", "Adrenal hyperplasia/insufficiency", "Ichthyosis",
    "Osteogenesis imperfecta", "Retinitis pigmentosa", "Deafness", "Cystic fibrosis", "Prostate cancer",
)  # fmt: skip
_TIMES = {"created_at": "2026-01-01T00:00:00+00:00", "started_at": None, "finished_at": None, "expires_at": None}


class FakeLandscape(FakeAtlas):
    """The made-up atlas with a scan of 20 diseases: the n-th answers in the n-th tissue, the last five nowhere.

    ``job_steps`` is how often a job is asked about before it is done; ``edits_on`` whether labels may be edited.
    """

    def __init__(self, n_samples: int = 900, *, evil: bool = False, scans: bool = True, edits_on: bool = True) -> None:
        super().__init__(n_samples, evil=evil)
        self.scans_at_hand = scans
        self.edits_on = edits_on
        self.edits: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.job_steps = 2
        self.changed: list[tuple[str, str, Any]] = []

    def clusters(self) -> list[dict[str, Any]]:
        found = super().clusters()
        mine = {edit["cluster"]: edit for edit in self.edits}
        for cluster in found:
            number = cluster["cluster"]
            edit = mine.get(number)
            cluster |= {
                "machine_label": cluster["label"], "label": edit["label"] if edit else cluster["label"],
                "edited_by": edit["author"] if edit else None, "edited_at": edit["created_at"] if edit else None,
                "agreement": 0.9 - number / 30, "stability": None if number == 2 else 0.95 - number / 20,
                "n_series": 1 if number % 5 == 4 else 4,
            }  # fmt: skip
        return found

    def cluster(self, cluster: int) -> dict[str, Any]:
        found = super().cluster(cluster)
        summary = next(c for c in self.clusters() if c["cluster"] == cluster)
        tissue = TISSUES[cluster]
        shares = [
            {"value": f"GSE{140_000 + cluster * 3 + i}", "n": 30 - 10 * i, "share": 0.5 - i / 6} for i in range(3)
        ]
        quality = {
            "agreement": summary["agreement"], "n_annotated": 40, "top_annotation": tissue, "top_annotation_share": 0.83,
            "stability": summary["stability"], "stability_low": 0.4, "n_resamples": 20,
        }  # fmt: skip
        found |= {
            "summary": summary, "quality": quality, "by_series": shares,
            "by_tissue": [{"value": EVIL if self.evil else tissue, "n": 48, "share": 0.83},
                          {"value": "", "n": 10, "share": 0.17}],
            "evidence": [{"library": lib, "term": f"{tissue} {lib}", "score": 0.41 - i / 20, "z": 3.2 - i}
                         for i, lib in enumerate(("ARCHS4_Tissues", "Tabula_Sapiens", "GO_Biological_Process_2023"))],
            "prompt": None, "raw_reply": None,
        }  # fmt: skip
        if cluster == 1:
            found |= {
                "label_method": "llm",
                "prompt": "Name this cluster.",
                "raw_reply": EVIL if self.evil else "liver",
            }
        return found

    def effects(self, n_terms: int) -> np.ndarray:
        """Mean z of each term (rows) in each cluster that is there."""
        rng = np.random.default_rng(3)
        ids = [c["cluster"] for c in self.clusters()]
        effects = rng.normal(0, 0.25, (n_terms, len(ids)))
        for row in range(min(15, n_terms)):
            effects[row, row % len(ids)] += 2.4 - row / 20
        return np.round(effects, 4)

    def summary(self, name: str = "omim_expanded", n_terms: int = len(TERMS)) -> dict[str, Any]:
        return {
            "release": "made-up", "name": name, "title": "OMIM Expanded" if name == "omim_expanded" else "My terms",
            "stored": "release" if name == "omim_expanded" else "home", "n_terms": n_terms,
            "n_clusters": len(self.clusters()), "n_samples": self.n, "n_significant": min(12, n_terms), "n_background": 5432,
            "templates": ["{x}", "A sample of {x}"], "created_at": "2026-01-01T00:00:00+00:00",
            "calibration": {
                "n_held_out": 1000, "ks_statistic": 0.021, "ks_p_value": 0.77, "share_below_05": 0.052, "share_below_01": 0.011,
                "share_below_001": 0.001, "n_null_sweeps": 200, "share_of_null_sweeps": 0.035, "share_of_null_terms": 0.04,
            },
        }  # fmt: skip

    def terms(self, n_terms: int = len(TERMS)) -> list[dict[str, Any]]:
        effects, clusters = self.effects(n_terms), self.clusters()
        made = []
        for row, line in enumerate(effects):
            best = int(line.argmax())
            p = 2e-4 * (row + 1) if row < 15 else 0.04 * (row - 13)
            made.append({
                "term": TERMS[row], "rank": row + 1, "statistic": float(line[best]), "effect": float(line[best]), "p_value": p,
                "p_gaussian": p / 2, "q_value": min(1.0, p * 4), "share_answering": 0.12 if row < 15 else 0.01,
                "top_cluster": clusters[best]["cluster"], "top_cluster_label": clusters[best]["label"], "n_background": 4321,
                "mean_similarity": 0.1, "sd_similarity": 0.05, "selected": row < 12,
                "descriptive": clusters[best]["n_series"] < 3,
            })  # fmt: skip
        return made

    def cells(self, row: int) -> list[dict[str, Any]]:
        line, clusters = self.effects(len(TERMS))[row], self.clusters()
        cells = []
        for effect, cluster in zip(line.tolist(), clusters, strict=True):
            descriptive = cluster["n_series"] < 3
            within = 0.001 if effect > 1 else 0.6
            cells.append({
                "term": TERMS[row], "cluster": cluster["cluster"], "cluster_label": cluster["label"], "effect": effect,
                "low": None if descriptive else effect - 0.4, "high": None if descriptive else effect + 0.5,
                "p_value": 0.0002 if effect > 1 else 0.4, "p_gaussian": 0.0001 if effect > 1 else 0.42,
                "q_value": within if row < 12 else None, "q_within": within, "n_samples": cluster["n_samples"],
                "n_studies": cluster["n_series"], "descriptive": descriptive, "share_answering": 0.4 if effect > 1 else 0.01,
            })  # fmt: skip
        return sorted(cells, key=lambda cell: -cell["effect"])

    def matrix(self) -> dict[str, Any]:
        clusters, effects = self.clusters(), self.effects(len(TERMS))
        known = {(cell["term"], cell["cluster"]): cell for row in range(len(TERMS)) for cell in self.cells(row)}
        return {
            "summary": self.summary(), "terms": list(TERMS), "clusters": [c["cluster"] for c in clusters],
            "cluster_labels": [c["label"] for c in clusters], "effects": effects.tolist(),
            "q_values": [[known[term, c["cluster"]]["q_value"] for c in clusters] for term in TERMS],
            "q_within": [[known[term, c["cluster"]]["q_within"] for c in clusters] for term in TERMS],
        }  # fmt: skip

    def scan(self, name: str, rest: list[str]) -> tuple[int, dict[str, Any]]:
        summary = self.summary(name)
        match rest:
            case []:
                best = [cell for row in range(15) for cell in self.cells(row)[:2]]
                return 200, {"summary": summary, "terms": self.terms(), "top_terms_of_clusters": best}
            case ["matrix"]:
                return 200, self.matrix()
            case ["samples"]:
                sums = np.round(self.score("heart") * 40, 3)
                percentiles = np.round(100 * (np.argsort(np.argsort(sums)) / self.n), 2)
                return 200, {
                    "summary": summary,
                    "accession": self.accessions,
                    "sum_z": sums.tolist(),
                    "percentile": percentiles.tolist(),
                }
            case ["terms", term] if term in TERMS:
                row = TERMS.index(term)
                return 200, {"summary": summary, "term": self.terms()[row], "cells": self.cells(row)}
        return 404, error("not_found", f"The scan {name!r} has no such term.", {"near_matches": list(TERMS[:2])})

    def column_scores(self, name: str, query: dict[str, list[str]]) -> np.ndarray:
        if name == "percentile":
            return np.asarray(self.scan("omim_expanded", ["samples"])[1]["percentile"])
        return self.score("heart") * 10 if "scan" in query else super().column_scores(name, query)

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        parts = [unquote(part) for part in path.strip("/").split("/")][1:]
        match parts:
            case ["scans"]:
                mine = [self.summary()] if self.scans_at_hand else []
                done = [self.summary(job["result"]["scan"], 3) for job in self.jobs.values() if job["result"]]
                return 200, {"release": "made-up", "scans": mine + done}
            case ["scans", name, *rest]:
                return self.scan(name, rest)
            case ["vocabularies"]:
                names = (("omim_expanded", len(TERMS), self.scans_at_hand), ("ARCHS4_Tissues", 108, False))
                return 200, {"release": "made-up", "vocabularies": [
                    {"name": name, "n_terms": n, "packaged": True, "keywords": False, "scanned": scanned}
                    for name, n, scanned in names
                ]}  # fmt: skip
            case ["jobs", job_id] if job_id in self.jobs:
                return 200, self.advance(job_id)
            case ["label-edits"]:
                return 200, {"release": "made-up", "edits": self.edits}
            case ["clusters", number, "samples"]:
                return self.members(int(number), query)
            case ["clusters", number] if int(number) not in {c["cluster"] for c in self.clusters()}:
                return 404, error("not_found", f"There is no cluster {number}.", {})
            case ["releases", "current"]:
                return 200, self.report()
            case ["map"] if "scan" in query:
                made = self.map(None)
                return 200, {**made, "score": (self.score("heart") * 10).tolist()}
        return super().answer(path, query)

    def report(self) -> dict[str, Any]:
        """Return what the made-up release is made of."""
        stages = [
            ("ingest_samples", {"zero_counts": 12}, {}),
            (
                "build_index",
                {},
                {"recall": {"phrases@10": 1.0, "rows@100": 0.993}, "n_queries": {"phrases": 500, "rows": 500}},
            ),
            ("calibrate_scores", {}, {"n_phrases": 647, "n_pairs": 18_282}),
            ("cluster_samples", {}, {"n_clusters": len(self.clusters()), "modularity": 0.87}),
            ("label_clusters", {}, {"single_study": 4}),
        ]
        return {
            "release": "made-up", "created_at": "2026-01-01T00:00:00+00:00", "schema_version": "1.0", "n_samples": self.n,
            "dim": 384,
            "model_hash": "m" * 64, "content_key": "c" * 64, "seed": 0, "git_sha": None, "verified": 1.0,
            "versions": {"geo-atlas": "0.1"},
            "stages": [{"name": name, "n_in": self.n, "n_out": self.n, "dropped": dropped, "notes": notes}
                       for name, dropped, notes in stages],
        }  # fmt: skip

    def members(self, cluster: int, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        rows = np.flatnonzero(self.group == cluster)
        start, limit = int(query.get("cursor", ["0"])[0]), int(query.get("limit", ["100"])[0])
        hits = [
            {"rank": start + i, "sample": self.sample(int(row)), "score": 0.9 - i / 1000, "percentile": None,
             "lexical_rank": None}
            for i, row in enumerate(rows[start : start + limit], start=1)
        ]  # fmt: skip
        more = str(start + limit) if start + limit < len(rows) else None
        return 200, {
            "release": "made-up",
            "cluster": cluster,
            "n_samples": len(rows),
            "hits": hits,
            "next_cursor": more,
        }

    def advance(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        if job["status"] in ("queued", "running"):
            job["progress"] = min(1.0, job["progress"] + 1 / self.job_steps)
            job["status"], job["message"] = "running", "embedding terms"
            if job["progress"] >= 1:
                job |= {"status": "done", "result": {"scan": "0123456789abcdef"}, "message": None}
        return job

    def change(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer a request that writes or uploads."""
        parts = [unquote(part) for part in path.strip("/").split("/")][1:]
        sent = json.loads(body) if headers.get("content-type", "").startswith("application/json") and body else None
        self.changed.append((method, path, sent))
        match method, parts:
            case "POST", ["scans"]:
                job = {"job_id": f"job-{len(self.jobs)}", "kind": "scan", "status": "queued", "release": "made-up",
                       "progress": 0.0, "message": None, **_TIMES, "request": sent, "result": None, "error": None}  # fmt: skip
                self.jobs[str(job["job_id"])] = job
                return 202, job
            case "DELETE", ["jobs", job_id]:
                self.jobs[job_id]["status"] = "cancelled"
                return 200, self.jobs[job_id]
            case (("PUT" | "DELETE"), ["clusters", number, "label"]):
                return self.edit(method, int(number), headers, sent)
            case "POST", ["keywords"]:
                words = [{"library": "ARCHS4_Tissues", "term": "HEART", "score": 0.4, "z": 3.1}]
                return 200, {"release": "made-up", "n_samples": len(sent["accessions"]), "keywords": words}
            case "POST", ["selections", *rest]:
                return 200, self.selection([*range(30)], paged=bool(rest))
            case "POST", ["transcriptomes", "neighbors"]:
                return self.transcriptomes(headers, body)
        return 404, error("not_found", "There is nothing at this address.", {})

    def edit(self, method: str, cluster: int, headers: dict[str, str], sent: Any) -> tuple[int, dict[str, Any]]:
        if not self.edits_on:
            return 403, error("edits_off", "Labels cannot be edited here: the service has no administrator token.", {})
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, error("unauthorised", "That is not the administrator's token.", {})
        self.edits = [edit for edit in self.edits if edit["cluster"] != cluster]
        edit = None
        if method == "PUT":
            edit = {"edit_id": 1, **sent, "note": sent.get("note"), "machine_label": TISSUES[cluster], "cluster": cluster,
                    "created_at": "2026-02-03T04:05:06+00:00", "made_on_release": "made-up", "overlap": 1.0,
                    "carried": "exact"}  # fmt: skip
            self.edits.append(edit)
        return 200, {"release": "made-up", "summary": self.cluster(cluster)["summary"], "edit": edit}

    def transcriptomes(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        if b"not a table" in body or b"gene" not in body.lower():
            return 422, error(
                "invalid_input", "This file holds no table of genes: its first column should name genes.", {}
            )
        coverage = {
            "n_given": 500, "n_recognised": 480, "n_model_genes": 16_000, "n_covered": 470, "n_duplicates": 3,
            "identifier": "symbol", "organism": "human", "unrecognised_examples": ["FOO1", EVIL if self.evil else "BAR2"],
        }  # fmt: skip
        hits = self.hits(self.score("heart"), 20)
        first = hits[0]["sample"]
        return 200, {"release": "made-up", "results": [
            {"release": "made-up", "query": f"sample_{i}", "hits": hits, "series": [], "n_candidates": self.n,
             "keywords": [{"library": "ARCHS4_Tissues", "term": "HEART", "score": 0.4, "z": 3.1}], "coverage": coverage,
             "position": {"x": first["x"], "y": first["y"], "cluster": first["cluster"], "cluster_label": first["cluster_label"]}}
            for i in (1, 2)
        ]}  # fmt: skip


def error(code: str, message: str, details: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a refusal."""
    return {"error": {"code": code, "message": message, "details": details, "request_id": "r1"}}


@contextmanager
def landscape_api(atlas: FakeLandscape | None = None, *, port: int = 0) -> Iterator[str]:
    """Serve the made-up landscape; yields the address."""
    made = atlas or FakeLandscape()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            file = viewer_file(url.path)
            self._send(*((200, file) if file else made.answer(url.path, parse_qs(url.query))))

        def do_change(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(*made.change(self.command, urlsplit(self.path).path, headers, body))

        do_POST = do_PUT = do_DELETE = do_change

        def _send(self, status: int, body: Any) -> None:
            send(self, status, body, Connection="close")  # an ended service must not answer on

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
