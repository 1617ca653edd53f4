"""Stage ``label_clusters``: a readable, unique name for each cluster, with evidence and composition.

In: ``samples.parquet`` (series alone), ``vectors.npy``, ``communities.parquet``, ``terms.parquet``,
``term_vectors.npy``. Out: ``labels.parquet``. A language model is asked only where one is configured, and sees vocabulary
terms alone; its replies survive a kill.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.landscape.keywords import cluster_means, match_keywords, standardise, term_scores
from atlas.landscape.labels import KeywordRow, Label, label_clusters
from atlas.llm import LanguageModel, read_prompt
from atlas.vectors.store import VectorStore
from atlas.vocabulary import readable_term
from indexer.stage import BuildRequest, StageContext, StageResult

PROMPT = "label_cluster"
ATTEMPTS = 3
SINGLE_STUDY_SHARE = 0.8
"""A cluster with more than this share of one series says more about that study than about biology."""
SCHEMA = pa.schema(
    [
        ("cluster", pa.int32()),
        ("label", pa.string()),
        ("method", pa.string()),
        ("evidence", pa.string()),
        ("prompt", pa.string()),
        ("raw_reply", pa.string()),
        ("n_samples", pa.int32()),
        ("n_series", pa.int32()),
        ("top_series", pa.string()),
        ("top_series_share", pa.float32()),
        ("single_study", pa.bool_()),
    ]
)


class LabelClusters:
    """Name the clusters."""

    name = "label_clusters"
    version = 2
    inputs: tuple[str, ...] = (
        "samples.parquet",
        "vectors.npy",
        "communities.parquet",
        "terms.parquet",
        "term_vectors.npy",
    )
    outputs: tuple[str, ...] = ("labels.parquet",)

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the language model, if any, the prompt's digest and the rules."""
        settings = request.settings
        configured = bool(settings.llm_base_url and settings.llm_model)
        return {
            "llm_base_url": settings.llm_base_url if configured else None,
            "llm_model": settings.llm_model if configured else None,
            "prompt_sha256": hashlib.sha256(read_prompt(PROMPT).encode()).hexdigest(),
            "attempts": ATTEMPTS,
            "single_study_share": SINGLE_STUDY_SHARE,
        }

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return nothing: all it reads lies in the release."""
        return ()

    def run(self, ctx: StageContext) -> StageResult:
        """Find what sets each cluster apart, name it, describe its composition."""
        communities = pq.read_table(ctx.folder / "communities.parquet", columns=["cluster"])
        clusters = communities["cluster"].to_numpy()
        keywords = distinct_keywords(ctx.folder, clusters)
        model = LanguageModel.from_settings(ctx.request.settings)
        with ctx.progress(len(keywords), "clusters") as bar:
            labels = label_clusters(
                keywords,
                complete=None if model is None else _remembering(model, ctx.work),
                prompt=read_prompt(PROMPT),
                attempts=ATTEMPTS,
                advance=bar.advance,
            )
        series = pq.read_table(ctx.folder / "samples.parquet", columns=["series_ids"])["series_ids"].to_pylist()
        rows = [_row(cluster, labels[cluster], _members(series, clusters, cluster)) for cluster in sorted(labels)]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), ctx.out / "labels.parquet")
        methods: Counter[str] = Counter(label.method for label in labels.values())
        notes: dict[str, Any] = {**methods, "llm_model": None if model is None else model.model}
        return StageResult(
            n_in=len(rows), n_out=len(rows), notes={**notes, "single_study": sum(r["single_study"] for r in rows)}
        )

    def validate(self, ctx: StageContext) -> None:
        """Read back: every cluster once, labels not empty and unique."""
        table = pq.read_table(ctx.out / "labels.parquet")
        clusters = pq.read_table(ctx.folder / "communities.parquet", columns=["cluster"])["cluster"].to_numpy()
        labels = [label.casefold() for label in table["label"].to_pylist()]
        complete = table["cluster"].to_pylist() == list(range(int(clusters.max()) + 1))
        if not complete or len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
            raise ArtifactError("labels.parquet does not give each cluster one label of its own.", kind="corrupt")


def distinct_keywords(folder: Path, clusters: np.ndarray) -> dict[int, list[KeywordRow]]:
    """Return, for each cluster, the best terms of its difference from the atlas, with their plain scores.

    The difference is the cluster's mean vector less the mean of all clusters' means; an atlas of one cluster is described by
    its mean itself.
    """
    terms = pq.read_table(folder / "terms.parquet", columns=["library", "term"]).to_pydict()
    vectors = np.load(folder / "term_vectors.npy", allow_pickle=False).astype(np.float32)
    with VectorStore.open(folder / "vectors.npy") as store:
        means = cluster_means(store, clusters)
    apart = means - means.mean(axis=0) if means.shape[0] > 1 else means
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    apart = np.where(length > 1e-6, apart / np.maximum(length, 1e-6), means)
    texts = [readable_term(term) for term in terms["term"]]
    found = match_keywords(apart, vectors, libraries=terms["library"], terms=terms["term"], same_text=texts)
    place = {key: row for row, key in enumerate(zip(terms["library"], terms["term"], strict=True))}
    scores = term_scores(means, vectors)
    z = np.stack([standardise(row) for row in scores])
    rows: dict[int, list[KeywordRow]] = {cluster: [] for cluster in range(means.shape[0])}
    for match in found.to_pylist():
        at = (match["cluster"], place[match["library"], match["term"]])
        values = round(float(scores[at]), 6), round(float(z[at]), 4), round(float(match["z"]), 4)
        rows[match["cluster"]].append(KeywordRow(match["library"], match["term"], *values))
    return rows


def _members(series: list[list[str]], clusters: np.ndarray, cluster: int) -> list[list[str]]:
    return [series[row] or [] for row in np.flatnonzero(clusters == cluster)]


def _row(cluster: int, label: Label, members: list[list[str]]) -> dict[str, Any]:
    counted = Counter(one for ids in members for one in set(ids))
    top, n_top = min(counted.items(), key=lambda item: (-item[1], item[0])) if counted else ("", 0)
    share = n_top / len(members)
    evidence = [{"library": r.library, "term": r.term, "score": r.score, "z": r.z} for r in label.evidence]
    return {
        "cluster": cluster,
        "label": label.text,
        "method": label.method,
        "evidence": json.dumps(evidence, ensure_ascii=False),
        "prompt": label.prompt,
        "raw_reply": label.raw_reply,
        "n_samples": len(members),
        "n_series": len(counted),
        "top_series": top,
        "top_series_share": share,
        "single_study": share > SINGLE_STUDY_SHARE,
    }


def _remembering(model: LanguageModel, work: Path) -> Callable[[str, int], str]:
    """Ask the model, or repeat what it said to the same prompt before the build was interrupted."""

    def complete(prompt: str, seed: int) -> str:
        digest = hashlib.sha256(json.dumps([prompt, seed]).encode()).hexdigest()[:32]
        kept = work / f"reply-{digest}.json"
        if kept.exists():
            return str(json.loads(kept.read_text(encoding="utf-8")))
        reply = model.complete(prompt, seed=seed)
        temporary = kept.with_suffix(".tmp")
        temporary.write_text(json.dumps(reply), encoding="utf-8")
        os.replace(temporary, kept)
        return reply

    return complete


STAGE = LabelClusters()
