"""The files of a small release from which the catalog is loaded, with text that tempts every kind of wildcard and quote."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SERIES = {
    "GSE1": "Failing hearts and their controls",
    "GSE2": "100% of liver_samples <b>bold</b>",
    "GSE3": "O'Brien's \"whole blood\" atlas",
    "GSE4": "Étude du cœur naïf",
}

# series, title, source name, characteristics, tissue, organism
SAMPLES = (
    (["GSE1"], "Heart failure 1", "left ventricle", "disease: dilated cardiomyopathy,age: 50", "heart", "Homo sapiens"),
    (["GSE1"], "Donor heart 2", "Left Ventricle", "disease: non-failing,age: 51", "Heart", "Homo sapiens"),
    (["GSE1", "GSE3"], "Blood of donor", "whole blood", "cell type: whole_blood", "blood", "homo sapiens"),
    (["GSE2"], "Liver 50% fat", "liver/hepatocyte", "treatment: 50% ethanol", "liver", "Homo sapiens"),
    (["GSE2"], "Liver_control", "liver", "path: C:\\liver\\x", "liver", "Homo sapiens"),
    (["GSE3"], "'; DROP TABLE samples; --", "PBMC", "note: <script>alert(1)</script>", "", "Homo sapiens"),
    (
        ["GSE3"],
        "SARS-CoV-2 infection day 3",
        "whole-blood (PAXgene)",
        "virus: SARS-CoV-2",
        "Whole Blood",
        "Homo sapiens",
    ),
    (["GSE4"], "CŒUR NAÏF ﬁbre", "cœur", "tissu: cœur", "cœur", "Mus musculus"),
    (["GSE4"], "no words", "heartless", "x: y", "heartland", "Mus musculus"),
    ([], "orphan of no series", None, "", None, None),
)


UNITS = ("counts", "50%", None, "Counts", "")
MOLECULES = ("total RNA", "polyA\0RNA", "o'brien", None)
ID_KINDS = ("GSM", "run", "made")


def write_release(folder: Path, *, prefix: str = "GSM", n_copies: int = 1, title: str = "") -> Path:
    """Write the parquet files; ``title`` is put before every sample's own, ``n_copies`` repeats the samples."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = [(f"{prefix}{i}", SAMPLES[i % len(SAMPLES)]) for i in range(len(SAMPLES) * n_copies)]
    ids = [name for name, _ in samples]
    n = len(ids)
    columns = {
        "row": pa.array(range(n), pa.int32()),
        "sample_id": ids,
        "id_kind": [ID_KINDS[i % len(ID_KINDS)] for i in range(n)],
        "series_ids": pa.array([one[0] for _, one in samples], pa.list_(pa.string())),
        "title": [title + one[1] for _, one in samples],
        "source_name": [one[2] for _, one in samples],
        "characteristics": [one[3] for _, one in samples],
        "organism": [one[5] for _, one in samples],
        "molecule": pa.array([MOLECULES[i % len(MOLECULES)] for i in range(n)], pa.string()),
        "tissue": [one[4] for _, one in samples],
        "unit": pa.array([UNITS[i % len(UNITS)] for i in range(n)], pa.string()),
        "n_genes_measured": pa.array([20_000] * n, pa.int32()),
        "n_genes_detected": pa.array([15_000] * n, pa.int32()),
        "total": pa.array([1e7] * n, pa.float64()),
    }
    pq.write_table(pa.table(columns), folder / "samples.parquet")
    captions = {"sample_id": ids, "caption": [f"caption of {one[1]}" for _, one in samples]}
    pq.write_table(pa.table({**captions, "method": ["deterministic"] * n}), folder / "captions.parquet")
    sizes = [sum(one in sample[0] for _, sample in samples) for one in SERIES]
    series = {"series_id": list(SERIES), "title": list(SERIES.values()), "n_samples": pa.array(sizes, pa.int32())}
    pq.write_table(pa.table(series), folder / "series.parquet")
    _write_landscape(folder, ids)
    return folder


def _write_landscape(folder: Path, ids: list[str]) -> None:
    n = len(ids)
    numbers = pa.array(range(n), pa.int32())
    cluster = pa.array([i % 2 for i in range(n)], pa.int32())
    places = {
        "sample_id": ids,
        "row": numbers,
        "x": numbers.cast(pa.float32()),
        "y": numbers.cast(pa.float32()),
        "cluster": cluster,
    }
    pq.write_table(pa.table(places), folder / "landscape.parquet")
    labels = {
        "cluster": pa.array([0, 1], pa.int32()),
        "label": ["heart", "blood"],
        "method": ["deterministic"] * 2,
        "evidence": [json.dumps({"terms": ["heart"]}), "{}"],
        "prompt": pa.array([None, None], pa.string()),
        "raw_reply": pa.array([None, None], pa.string()),
        "n_samples": pa.array([n // 2, n // 2], pa.int32()),
        "n_series": pa.array([4, 3], pa.int32()),
        "top_series": ["GSE1", "GSE3"],
        "top_series_share": pa.array([0.5, 0.9], pa.float32()),
        "single_study": [False, True],
    }
    pq.write_table(pa.table(labels), folder / "labels.parquet")
    terms = {
        "term_id": pa.array([0, 1, 2], pa.int32()),
        "library": ["OMIM", "OMIM", "GTEx"],
        "term": ["cardiomyopathy", "obesity", "Heart"],
    }
    pq.write_table(pa.table(terms), folder / "terms.parquet")
    keywords = {
        "cluster": pa.array([0, 0], pa.int32()),
        "library": ["OMIM", "GTEx"],
        "term": ["cardiomyopathy", "Heart"],
        "rank": pa.array([1, 1], pa.int16()),
        "score": pa.array([0.5, 0.4], pa.float32()),
        "z": pa.array([3.0, 2.0], pa.float32()),
    }
    pq.write_table(pa.table(keywords), folder / "keywords.parquet")
