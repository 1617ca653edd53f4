"""Answers of the API as files: CSV that a spreadsheet opens safely, Parquet that a program reads as it is.

Rows are dictionaries of plain values. A text cell that a spreadsheet would run as a formula is disarmed in CSV (``ui.text``)
and kept as it is in Parquet.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from ui.text import csv_table

Row = dict[str, object]

PARQUET = "application/vnd.apache.parquet"


def csv_bytes(rows: Sequence[Row]) -> bytes:
    """Return rows as CSV, UTF-8."""
    return csv_table(rows).encode("utf-8")


def parquet_bytes(rows: Sequence[Row]) -> bytes:
    """Return rows as a Parquet file; the types are those of the values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def file_name(*parts: object, suffix: str) -> str:
    """Return a file name of letters, digits and hyphens: ``geo-atlas-<parts>.<suffix>``."""
    words = [re.sub(r"[^a-z0-9]+", "-", str(part).lower()).strip("-")[:60].strip("-") for part in parts]
    return "-".join(["geo-atlas", *filter(None, words)]) + f".{suffix}"


def buttons(rows: Callable[[], Sequence[Row]], *, stem: Sequence[object], key: str) -> None:
    """Draw the two download buttons of a table; the files are made when they are asked for."""
    with st.container(horizontal=True, gap="small"):
        for name, suffix, mime, write in (
            ("CSV", "csv", "text/csv", csv_bytes),
            ("Parquet", "parquet", PARQUET, parquet_bytes),
        ):
            st.download_button(
                name,
                lambda write=write: write(rows()),  # type: ignore[misc]
                file_name=file_name(*stem, suffix=suffix),
                mime=mime,
                icon=":material/download:",
                key=f"save-{key}-{suffix}",
                on_click="ignore",
                help=f"This table as {name}",
            )


def term_table(report: Mapping[str, Any]) -> list[Row]:
    """Return the ranked terms of a scan (``ScanReport``) with every figure."""
    return [
        {**term, "scan": report["summary"]["name"], "release": report["summary"]["release"]} for term in report["terms"]
    ]


def cell_table(cells: Iterable[Mapping[str, Any]], *, scan: str, release: str) -> list[Row]:
    """Return terms in clusters (``ScanCell``) with every figure."""
    return [{**cell, "scan": scan, "release": release} for cell in cells]


def matrix_table(matrix: Mapping[str, Any]) -> list[Row]:
    """Return a heat map (``ScanMatrix``) as one row a term and cluster."""
    release, scan = matrix["summary"]["release"], matrix["summary"]["name"]
    heads = list(zip(matrix["clusters"], matrix["cluster_labels"], strict=True))
    return [
        {
            "term": term, "cluster": cluster, "cluster_label": label, "effect": effect, "q_value": q_value, "q_within": q_within,
            "scan": scan, "release": release,
        }
        for term, *cells in zip(matrix["terms"], matrix["effects"], matrix["q_values"], matrix["q_within"], strict=True)
        for (cluster, label), effect, q_value, q_within in zip(heads, *cells, strict=True)
    ]  # fmt: skip


def sum_table(samples: Mapping[str, Any]) -> list[Row]:
    """Return the sum over a scan's terms of every sample (``ScanSamples``)."""
    release, scan = samples["summary"]["release"], samples["summary"]["name"]
    columns = zip(samples["accession"], samples["sum_z"], samples["percentile"], strict=True)
    return [
        {"accession": accession, "sum_z": total, "percentile": percentile, "scan": scan, "release": release}
        for accession, total, percentile in columns
    ]


def cluster_table(clusters: Iterable[Mapping[str, Any]], *, release: str) -> list[Row]:
    """Return clusters (``ClusterSummary``) with every figure."""
    return [{**cluster, "release": release} for cluster in clusters]


def keyword_table(keywords: Iterable[Mapping[str, Any]], *, of: str, release: str) -> list[Row]:
    """Return keywords or label evidence (``Keyword``) of the thing named ``of``."""
    return [{"of": of, **keyword, "release": release} for keyword in keywords]


def share_table(detail: Mapping[str, Any]) -> list[Row]:
    """Return what a cluster is made of, by series and by tissue."""
    cluster, release = detail["summary"]["cluster"], detail["release"]
    return [
        {"cluster": cluster, "by": by, **share, "release": release}
        for by in ("series", "tissue")
        for share in detail[f"by_{by}"]
    ]
