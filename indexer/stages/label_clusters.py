"""Stage ``label_clusters``: a readable, unique name for each cluster, with evidence, composition and how far to trust it.

In: ``samples.parquet`` (series and material), ``vectors.npy``, ``communities.parquet``, ``stability.parquet``,
``terms.parquet``, ``term_vectors.npy``, the model's text tower. Out: ``labels.parquet``. A language model is asked only where
one is configured, and sees vocabulary terms alone; its replies survive a kill.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.landscape.agreement import Annotations, Depositors, annotation
from atlas.landscape.keywords import cluster_means, match_keywords, standardise, term_scores
from atlas.landscape.labels import NAMING_LIBRARIES, KeywordRow, Label, label_clusters, term_merits
from atlas.landscape.stability import summarise
from atlas.llm import LanguageModel, read_prompt
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.text_cache import embed_terms, text_caches
from atlas.vectors.store import VectorStore
from atlas.vocabulary import readable_term
from indexer.stage import BuildRequest, StageContext, StageResult

PROMPT = "label_cluster"
ATTEMPTS = 3
SINGLE_STUDY_SHARE = 0.8
"""A cluster with more than this share of one series says more about that study than about biology."""
AGREES = 0.9
"""From this agreement on the label counts as what the depositors wrote; a random reference term gets there in one of ten."""
_FEW_TERMS = 100
_ROWS_AT_ONCE = 65_536
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
        ("agreement", pa.float32()),
        ("n_annotated", pa.int32()),
        ("top_annotation", pa.string()),
        ("top_annotation_share", pa.float32()),
        ("stability", pa.float32()),
        ("stability_low", pa.float32()),
        ("n_resamples", pa.int32()),
    ]
)


class LabelClusters:
    """Name the clusters."""

    name = "label_clusters"
    version = 5
    inputs: tuple[str, ...] = (
        "samples.parquet",
        "vectors.npy",
        "communities.parquet",
        "stability.parquet",
        "terms.parquet",
        "term_vectors.npy",
    )
    outputs: tuple[str, ...] = ("labels.parquet",)

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the language model, if any, the prompt's digest, the rules, and the model by its hash."""
        settings = request.settings
        configured = bool(settings.llm_base_url and settings.llm_model)
        return {
            "llm_base_url": settings.llm_base_url if configured else None,
            "llm_model": settings.llm_model if configured else None,
            "prompt_sha256": hashlib.sha256(read_prompt(PROMPT).encode()).hexdigest(),
            "attempts": ATTEMPTS,
            "single_study_share": SINGLE_STUDY_SHARE,
            "model_hash": model_hash(request.model_dir),
        }

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the model's files."""
        return tuple(request.model_dir / name for name in model_files(request.model_dir))

    def run(self, ctx: StageContext) -> StageResult:
        """Find what sets each cluster apart, name it, describe its composition and how far to trust both."""
        from atlas.model.joint import JointModel

        clusters = pq.read_table(ctx.folder / "communities.parquet", columns=["cluster"])["cluster"].to_numpy()
        members = count_members(ctx.folder / "samples.parquet", clusters)
        embed = partial(embed_terms, JointModel.load(ctx.request.model_dir), caches=text_caches(ctx.request.home))
        said = [Annotations.of(one.said) for one in members]
        depositors = Depositors(said, embed=embed, reference=reference_terms(ctx.folder))
        keywords = distinct_keywords(ctx.folder, clusters)
        depositors.learn(text for rows in keywords.values() for text in term_merits(rows))
        labels = self._name(ctx, keywords, depositors)
        depositors.learn(label.text for label in labels.values())
        stability = _stability(ctx.folder / "stability.parquet")
        rows = [
            _row(cluster, labels[cluster], members[cluster])
            | _trust(depositors, cluster, labels[cluster].text)
            | stability[cluster]
            for cluster in sorted(labels)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), ctx.out / "labels.parquet")
        return StageResult(n_in=len(rows), n_out=len(rows), notes=_notes(rows, ctx))

    def _name(
        self, ctx: StageContext, keywords: dict[int, list[KeywordRow]], depositors: Depositors
    ) -> dict[int, Label]:
        model = LanguageModel.from_settings(ctx.request.settings)
        with ctx.progress(len(keywords), "clusters") as bar:
            return label_clusters(
                keywords,
                complete=None if model is None else _remembering(model, ctx.work),
                prompt=read_prompt(PROMPT),
                attempts=ATTEMPTS,
                agreement=depositors.agreement,
                advance=bar.advance,
            )

    def validate(self, ctx: StageContext) -> None:
        """Read back: every cluster once, labels not empty and unique, measures in [0, 1]."""
        table = pq.read_table(ctx.out / "labels.parquet")
        clusters = pq.read_table(ctx.folder / "communities.parquet", columns=["cluster"])["cluster"].to_numpy()
        labels = [label.casefold() for label in table["label"].to_pylist()]
        complete = table["cluster"].to_pylist() == list(range(int(clusters.max()) + 1))
        if not complete or len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
            raise ArtifactError("labels.parquet does not give each cluster one label of its own.", kind="corrupt")
        measures = [table[name].drop_null().to_numpy() for name in ("agreement", "stability", "stability_low")]
        if table.schema != SCHEMA or not all(((one >= 0) & (one <= 1)).all() for one in measures):
            raise ArtifactError("labels.parquet has an agreement or stability outside [0, 1].", kind="corrupt")


@dataclass
class Members:
    """What is counted of one cluster's samples: how many, of which series, and what their depositors say they are."""

    n: int = 0
    series: Counter[str] = field(default_factory=Counter)
    said: Counter[tuple[str, ...]] = field(default_factory=Counter)


def count_members(samples: Path, clusters: np.ndarray) -> list[Members]:
    """Count every cluster's samples in one pass over ``samples.parquet``, some rows at a time."""
    members = [Members() for _ in range(int(clusters.max()) + 1)]
    columns = ["series_ids", "tissue", "source_name", "characteristics"]
    start = 0
    with pq.ParquetFile(samples) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
            rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
            here = clusters[start : start + batch.num_rows].tolist()
            for cluster, (series, tissue, source, characteristics) in zip(here, rows, strict=True):
                counted = members[cluster]
                counted.n += 1
                counted.series.update(set(series or ()))
                counted.said[annotation(tissue or "", source or "", characteristics=characteristics or "")] += 1
            start += batch.num_rows
    return members


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


def reference_terms(folder: Path) -> np.ndarray:
    """Return the vectors of the terms that name tissues and cell types; of all terms where there are few."""
    libraries = pq.read_table(folder / "terms.parquet", columns=["library"])["library"]
    vectors: np.ndarray = np.load(folder / "term_vectors.npy", allow_pickle=False)
    naming = pc.is_in(libraries, value_set=pa.array(sorted(NAMING_LIBRARIES))).to_numpy()
    return vectors[naming] if naming.sum() >= _FEW_TERMS else vectors


def _stability(path: Path) -> dict[int, dict[str, Any]]:
    """Return mean and low quantile of each cluster's overlaps; ``None`` for a cluster that no resample drew from."""
    table = pq.read_table(path)
    n_clusters = int(pc.max(table["cluster"]).as_py()) + 1
    mean, low = summarise(table["overlap"].to_numpy().reshape(-1, n_clusters))
    n_resamples = table.num_rows // n_clusters
    return {
        cluster: {
            "stability": float(mean[cluster]) if np.isfinite(mean[cluster]) else None,
            "stability_low": float(low[cluster]) if np.isfinite(low[cluster]) else None,
            "n_resamples": n_resamples,
        }
        for cluster in range(n_clusters)
    }


def _trust(depositors: Depositors, cluster: int, label: str) -> dict[str, Any]:
    said, found = depositors.annotations[cluster], depositors.agreement(cluster, [label])
    return {
        "agreement": None if found is None else round(found[0], 4),
        "n_annotated": said.n_annotated,
        "top_annotation": said.top,
        "top_annotation_share": said.top_share,
    }


def _notes(rows: list[dict[str, Any]], ctx: StageContext) -> dict[str, Any]:
    agreements = [row["agreement"] for row in rows if row["agreement"] is not None]
    return {
        **Counter(row["method"] for row in rows),
        "llm_model": ctx.request.settings.llm_model if ctx.request.settings.llm_base_url else None,
        "single_study": sum(row["single_study"] for row in rows),
        "mean_agreement": round(float(np.mean(agreements)), 4) if agreements else None,
        "agreeing": sum(one >= AGREES for one in agreements),
    }


def _row(cluster: int, label: Label, members: Members) -> dict[str, Any]:
    top, n_top = min(members.series.items(), key=lambda item: (-item[1], item[0])) if members.series else ("", 0)
    share = n_top / members.n
    evidence = [{"library": r.library, "term": r.term, "score": r.score, "z": r.z} for r in label.evidence]
    return {
        "cluster": cluster,
        "label": label.text,
        "method": label.method,
        "evidence": json.dumps(evidence, ensure_ascii=False),
        "prompt": label.prompt,
        "raw_reply": label.raw_reply,
        "n_samples": members.n,
        "n_series": len(members.series),
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
