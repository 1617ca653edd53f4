"""Texts of a synthetic atlas: sample and series tables with GEO's columns, lengths and repetitions, from vocabulary words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from atlas.vocabulary import packaged_texts
from benchmarks.synthetic.plan import AtlasPlan

_TISSUES = (
    "blood", "liver", "brain", "heart", "lung", "kidney", "breast", "colon", "skin", "pancreas", "prostate", "muscle",
    "bone marrow", "spleen", "thymus", "placenta", "ovary", "testis", "retina", "stomach", "adipose tissue", "cortex",
    "hippocampus", "airway epithelium", "peripheral blood mononuclear cells", "lymph node", "endothelium", "cartilage",
)  # fmt: skip
_CONDITIONS = ("control", "treated", "vehicle", "knockdown", "wild type", "overexpression", "stimulated", "untreated")
_FIRST_GSM, _FIRST_GSE = 1_000_000, 40_000


def sample_table(plan: AtlasPlan, *, seed: int) -> pa.Table:
    """Return the columns that a release's ``samples.parquet`` takes from a starter, n rows."""
    rng = np.random.default_rng([seed, 7])
    n, study_of = plan.n, plan.study_of
    cluster_of = plan.study_cluster[study_of]
    tissue_of = rng.integers(0, len(_TISSUES), len(plan.terms))[cluster_of]
    word_of = _study_words(plan, rng)
    condition = rng.integers(0, len(_CONDITIONS), n)
    replicate = rng.integers(1, 7, n)
    days = _study_days(plan, rng)[study_of]
    columns: dict[str, list[str]] = {name: [] for name in ("title", "source_name", "characteristics")}
    for row in range(n):
        tissue, term, words = _TISSUES[tissue_of[row]], plan.terms[cluster_of[row]], word_of[study_of[row]]
        state = _CONDITIONS[condition[row]]
        columns["title"].append(f"{words[0]} {state} rep{replicate[row]}")
        columns["source_name"].append(tissue)
        columns["characteristics"].append(
            f"tissue: {tissue},cell type: {term},treatment: {state} {words[1]},batch: {words[2]}"
        )
    rows = np.arange(n)
    genes = rng.integers(12_000, 19_000, n)
    return pa.table(
        {
            "row": pa.array(rows, pa.int32()),
            "sample_id": [f"GSM{_FIRST_GSM + row}" for row in rows],
            "id_kind": ["GSM"] * n,
            "series_ids": pa.array([[f"GSE{_FIRST_GSE + study}"] for study in study_of], pa.list_(pa.string())),
            **columns,
            "organism": ["Homo sapiens"] * n,
            "molecule": ["total RNA"] * n,
            "tissue": [_TISSUES[code] for code in tissue_of],
            "unit": ["counts"] * n,
            "date": np.datetime_as_string(days, unit="D").tolist(),
            "source_file": pa.array(np.full(n, -1), pa.int16()),
            "source_row": pa.array(rows, pa.int32()),
            "n_genes_measured": pa.array(np.full(n, 19_487), pa.int32()),
            "n_genes_detected": pa.array(genes, pa.int32()),
            "total": pa.array(rng.lognormal(17, 0.6, n), pa.float64()),
        }
    )


def series_table(plan: AtlasPlan, *, seed: int) -> pa.Table:
    """Return the columns of ``series.parquet``, a row a study."""
    words = _study_words(plan, np.random.default_rng([seed, 8]))
    titles = [
        f"RNA-seq of {plan.terms[cluster]} with {words[study][0]} and {words[study][1]}"
        for study, cluster in enumerate(plan.study_cluster)
    ]
    return pa.table(
        {
            "series_id": [f"GSE{_FIRST_GSE + study}" for study in range(len(titles))],
            "title": titles,
            "n_samples": pa.array(np.bincount(plan.study_of, minlength=len(titles)), pa.int32()),
        }
    )


def _study_words(plan: AtlasPlan, rng: np.random.Generator) -> list[list[str]]:
    """Draw three vocabulary terms a study; frequent ones recur as words do (the r-th about 1 / r of the times)."""
    terms = packaged_texts()
    ranks = rng.zipf(1.3, size=(plan.study_cluster.size, 3)) % len(terms)
    return [[terms[rank] for rank in row] for row in ranks]


def _study_days(plan: AtlasPlan, rng: np.random.Generator) -> np.ndarray:
    """Draw the day each study was submitted, later ones more often."""
    first, last = np.datetime64("2010-01-01"), np.datetime64("2026-01-01")
    shares = np.sqrt(rng.random(plan.study_cluster.size))
    return np.asarray(first + (shares * (last - first).astype(int)).astype("timedelta64[D]"))
