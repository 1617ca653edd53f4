"""A ``SampleTable`` made in memory: what a test says of its samples, plain values for the rest."""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa

from atlas.opened.samples import SampleTable
from atlas.release import Release

_TEXTS = ("title", "source_name", "characteristics", "organism", "molecule", "tissue", "unit")


def sample_table(
    samples: list[dict[str, Any]], *, titles: dict[str, str] | None = None, labels: dict[int, str] | None = None
) -> SampleTable:
    """Return a table of samples; a sample may give any column of ``samples.parquet``, ``cluster``, ``x``, ``y``, ``caption``."""
    rows = [
        {
            "sample_id": f"GSM{i}",
            "id_kind": "GSM",
            "series_ids": [],
            **dict.fromkeys(_TEXTS, ""),
            "n_genes_detected": 1,
            "cluster": 0,
            "x": float(i),
            "y": 0.0,
            "caption": "",
            "date": "",
            **one,
        }
        for i, one in enumerate(samples)
    ]

    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([row[name] for row in rows], kind)

    ids = column("sample_id", pa.string())
    series = sorted({one for row in rows for one in row["series_ids"] or ()})
    clusters = sorted({row["cluster"] for row in rows})
    tables = {
        "samples.parquet": pa.table(
            {
                "sample_id": ids,
                "id_kind": column("id_kind", pa.string()),
                "series_ids": column("series_ids", pa.list_(pa.string())),
                **{name: column(name, pa.string()) for name in _TEXTS},
                "n_genes_detected": column("n_genes_detected", pa.int32()),
                "date": column("date", pa.string()),
            }
        ),
        "landscape.parquet": pa.table(
            {
                "sample_id": ids,
                "x": column("x", pa.float32()),
                "y": column("y", pa.float32()),
                "cluster": column("cluster", pa.int32()),
            }
        ),
        "captions.parquet": pa.table({"sample_id": ids, "caption": column("caption", pa.string())}),
        "series.parquet": pa.table(
            {
                "series_id": pa.array(series, pa.string()),
                "title": pa.array([(titles or {}).get(one, f"title of {one}") for one in series], pa.string()),
                "n_samples": pa.array(
                    [sum(one in (r["series_ids"] or ()) for r in rows) for one in series], pa.int32()
                ),
            }
        ),
        "labels.parquet": pa.table(
            {
                "cluster": pa.array(clusters, pa.int32()),
                "label": pa.array([(labels or {}).get(one, f"label {one}") for one in clusters], pa.string()),
            }
        ),
    }

    class Tables:
        def table(self, relative: str, *, columns: list[str] | None = None) -> pa.Table:
            return tables[relative].select(columns) if columns else tables[relative]

    return SampleTable(cast("Release", Tables()))
