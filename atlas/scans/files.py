"""A sweep on disk: ``scan.json``, ``vectors.npy`` and the tables terms, clusters (terms x clusters) and samples in parquet.

Terms stand in the order of their rank in every file. Written by builds into a release and by jobs into the home; a folder with
``scan.json`` is whole, for it is written last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.answers import ScanCalibration, ScanSummary
from atlas.errors import ArtifactError
from atlas.manifest import write_json
from atlas.scans import SCAN_TEMPLATES
from atlas.scans.ground import Members
from atlas.scans.sweep import Scan

TABLES = ("terms", "clusters", "samples")
_ROWS = 65_536
_NAMED = 20  # duplicates named


def write_scan(
    folder: Path,
    scan: Scan,
    *,
    terms: Sequence[str],
    sample_ids: pa.ChunkedArray,
    members: Members,
    summary: ScanSummary,
) -> None:
    """Write a sweep into an empty folder.

    Parameters
    ----------
    terms
        As the user spells them, in the order of the sweep's rows.
    sample_ids
        In the order of ``vectors.npy``.
    """
    order = np.lexsort((-scan.measured.effects.max(axis=1), scan.tests.p))
    pq.write_table(_terms(scan, terms, order, members), folder / "terms.parquet")
    with pq.ParquetWriter(folder / "clusters.parquet", _cells(scan, terms, order[:0], members).schema) as writer:
        step = max(1, _ROWS // members.sizes.size)
        for start in range(0, order.size, step):
            writer.write_table(_cells(scan, terms, order[start : start + step], members))
    samples = {"sample_id": sample_ids, "sum_z": scan.streamed.sums, "percentile": scan.streamed.percentiles}
    pq.write_table(pa.table(samples), folder / "samples.parquet")
    np.save(folder / "vectors.npy", scan.vectors[order].astype(np.float16), allow_pickle=False)
    write_json(folder / "scan.json", asdict(summary))


def read_summary(folder: Path, *, release: str) -> ScanSummary:
    """Read what a sweep of a release says of itself; the file does not name the release, for its bytes are the release's.

    Raises
    ------
    ArtifactError
        If it is no sweep of this version.
    """
    try:
        raw: dict[str, Any] = json.loads((folder / "scan.json").read_text(encoding="utf-8"))
        calibration = ScanCalibration(**raw.pop("calibration"))
        raw |= {name: tuple(raw[name]) for name in ("templates", "duplicates")}
        raw["release"] = release
        return ScanSummary(**raw, calibration=calibration)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"The scan {folder.name!r} is not complete ({type(error).__name__}). Run it again.",
            kind="corrupt",
            details={"folder": folder.name},
        ) from error


def summarise(
    scan: Scan,
    *,
    name: str,
    title: str,
    stored: Literal["release", "home"],
    created_at: str | None = None,
    duplicates: Sequence[str] = (),
) -> ScanSummary:
    """Return what a sweep says of itself."""
    return ScanSummary(
        release="",
        name=name,
        title=title,
        stored=stored,
        n_terms=scan.q.size,
        n_clusters=scan.q_within.shape[1],
        n_samples=scan.streamed.sums.size,
        n_significant=int(scan.selected.sum()),
        n_background=scan.n_background,
        templates=SCAN_TEMPLATES,
        calibration=scan.calibration,
        created_at=created_at,
        n_duplicates=len(duplicates),
        duplicates=tuple(duplicates[:_NAMED]),
    )


def _terms(scan: Scan, terms: Sequence[str], order: np.ndarray, members: Members) -> pa.Table:
    tests, measured = scan.tests, scan.measured
    best = measured.effects.argmax(axis=1)
    n_samples = scan.streamed.sums.size
    return pa.table(
        {
            "term": pa.array([terms[row] for row in order], pa.string()),
            "rank": np.arange(1, order.size + 1, dtype=np.int32),
            "statistic": tests.statistic[order],
            "effect": measured.effects.max(axis=1)[order],
            "p_value": tests.p[order],
            "p_gaussian": tests.gaussian[order],
            "q_value": scan.q[order],
            "share_answering": scan.streamed.answering.sum(axis=1)[order] / n_samples,
            "top_cluster": best[order].astype(np.int32),
            "n_background": tests.n[order].astype(np.int32),
            "mean_similarity": measured.mean[order],
            "sd_similarity": measured.deviation[order],
            "selected": scan.selected[order],
            "descriptive": members.descriptive[best[order]],
        }
    )


def _cells(scan: Scan, terms: Sequence[str], rows: np.ndarray, members: Members) -> pa.Table:
    n_clusters = members.sizes.size
    names = pa.array([terms[row] for row in rows], pa.string())

    def column(values: np.ndarray) -> pa.Array:
        flat = np.ascontiguousarray(values).reshape(-1)
        return pa.array(flat, from_pandas=True)  # NaN is "not known"

    def repeated(values: np.ndarray) -> np.ndarray:
        return np.tile(values, rows.size)

    return pa.table(
        {
            "term": names.take(pa.array(np.repeat(np.arange(rows.size), n_clusters))),
            "cluster": repeated(np.arange(n_clusters, dtype=np.int32)),
            "effect": column(scan.measured.effects[rows]),
            "low": column(scan.streamed.low[rows]),
            "high": column(scan.streamed.high[rows]),
            "p_value": column(scan.tests.cell_p[rows]),
            "p_gaussian": column(scan.tests.cell_gaussian[rows]),
            "q_within": column(scan.q_within[rows]),
            "q_value": column(scan.q_cells[rows]),
            "n_samples": repeated(members.sizes.astype(np.int32)),
            "n_studies": repeated(members.n_studies.astype(np.int32)),
            "descriptive": repeated(members.descriptive),
            "share_answering": column(scan.streamed.answering[rows] / members.sizes),
        }
    )
