"""Write the public samples of a release as a starter: facts and vectors from which `geo-atlas demo` builds an atlas.

In: a published release and a table of where each series came from under which licence. Out: ``samples.parquet``,
``series.parquet``, ``vectors.npy``, ``gene_weights.npy``, ``starter.json``, ``NOTICE``. Only samples with an accession of a
public archive go in, with the structured facts of their records; no counts, no summaries, no protocols. A series whose
licence forbids derivatives stays out and is named. The same release and table give the same bytes.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.digests import sha256_file
from atlas.errors import InputError
from atlas.manifest import write_json
from atlas.release import Release
from atlas.vectors.gene_weights import open_records
from indexer.origin_tables import read_table
from indexer.sources.starter import STARTER_SOURCE
from indexer.starter_notice import Library, notice

logger = logging.getLogger(__name__)

PUBLIC_KINDS = ("GSM", "run", "TCGA")
"""Kinds of accession that a public archive answers for."""

_NO_DERIVATIVES = re.compile(r"no[\s-]*deriv|\bby(-nc)?-nd\b", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """Where a series' table was taken from, and the licence stated there."""

    repository: str
    licence: str

    @property
    def forbids_derivatives(self) -> bool:
        """Whether the stated licence is a no-derivatives one."""
        return bool(_NO_DERIVATIVES.search(self.licence))


@dataclass(frozen=True)
class StarterReport:
    """What was written: samples, series, and the series left out for their licence."""

    n_samples: int
    n_series: int
    left_out: tuple[str, ...]


def export_starter(
    release: Release, out: Path, *, licences: Path, libraries: Mapping[str, Library] | None = None
) -> StarterReport:
    """Write the starter of a release into ``out``; other files there are left alone.

    Parameters
    ----------
    release
        A full build, made with the model that is shipped beside the starter.
    out
        Folder to write.
    licences
        TSV with columns ``series_id``, ``repository``, ``licence``; every series of a public sample must be in it.
    libraries
        Gene-set libraries that the model knows, for the notice.

    Raises
    ------
    InputError
        If the table lacks a column or a series, or the release holds no public sample.
    """
    origins = read_origins(licences)
    samples = release.table("samples.parquet")
    rows = _public_rows(samples, origins)
    kept = samples.take(pa.array(rows))
    used = Counter(series for ids in kept["series_ids"].to_pylist() for series in ids)
    forbidden = sorted({series for ids in samples["series_ids"].to_pylist() for series in ids} & _forbidden(origins))

    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(_renumbered(kept), out / "samples.parquet", compression="zstd")
    pq.write_table(_series(release, used), out / "series.parquet", compression="zstd")
    _write_array(out / "vectors.npy", np.load(release.path("vectors.npy"), mmap_mode="r", allow_pickle=False)[rows])
    _write_array(out / "gene_weights.npy", open_records(release.checked("gene_weights.npy"))[rows])
    stated = {series: (origin.repository, origin.licence) for series, origin in origins.items()}
    (out / "NOTICE").write_text(notice(used, stated, left_out=forbidden, libraries=libraries), encoding="utf-8")
    names = ("NOTICE", "gene_weights.npy", "samples.parquet", "series.parquet", "vectors.npy")
    write_json(
        out / "starter.json",
        {
            "model_hash": release.manifest.model_hash,
            "n_samples": len(rows),
            "files": {
                name: {"bytes": (out / name).stat().st_size, "sha256": sha256_file(out / name)} for name in names
            },
        },
    )
    for series in forbidden:
        logger.warning("%s is left out: its licence forbids derivatives (%s)", series, origins[series].licence)
    return StarterReport(n_samples=len(rows), n_series=len(used), left_out=tuple(forbidden))


def read_origins(path: Path) -> dict[str, Origin]:
    """Read the table of origins; a series that stands twice keeps its strictest licence."""
    rows = read_table(path, columns={"series_id", "repository", "licence"}, what="licences")
    origins: dict[str, Origin] = {}
    for row in rows:
        origin = Origin(_line(row["repository"]), _stated(row["licence"]))
        if row["series_id"] not in origins or origin.forbids_derivatives:
            origins[row["series_id"]] = origin
    return origins


def _public_rows(samples: pa.Table, origins: Mapping[str, Origin]) -> np.ndarray:
    public = pc.is_in(samples["id_kind"], value_set=pa.array(PUBLIC_KINDS)).to_numpy(zero_copy_only=False)
    series_ids: Sequence[list[str]] = samples["series_ids"].to_pylist()
    wanted = {series for row in np.flatnonzero(public).tolist() for series in series_ids[row]}
    if missing := sorted(wanted - set(origins)):
        raise InputError(
            f"The table of licences says nothing of {', '.join(missing[:10])}. Add a line for each series.",
            details={"series": missing},
        )
    forbidden = _forbidden(origins)
    rows = np.array(
        [row for row in np.flatnonzero(public).tolist() if not forbidden & set(series_ids[row])], dtype=np.int64
    )
    if rows.size == 0:
        raise InputError("This release holds no sample with a public accession, so there is nothing to export.")
    return rows


def _forbidden(origins: Mapping[str, Origin]) -> set[str]:
    return {series for series, origin in origins.items() if origin.forbids_derivatives}


def _renumbered(samples: pa.Table) -> pa.Table:
    """Point every sample at its own row of the starter; a starter has no source files."""
    numbers = np.arange(samples.num_rows)
    for name, values in (
        ("row", numbers),
        ("source_row", numbers),
        ("source_file", np.full_like(numbers, STARTER_SOURCE)),
    ):
        index = samples.schema.get_field_index(name)
        field = samples.schema.field(index)
        samples = samples.set_column(index, field, pa.array(values).cast(field.type))
    return samples.combine_chunks().replace_schema_metadata(None)


def _series(release: Release, used: Counter[str]) -> pa.Table:
    table = release.table("series.parquet")
    table = table.filter(pc.is_in(table["series_id"], value_set=pa.array(sorted(used))))
    index = table.schema.get_field_index("n_samples")
    counts = pa.array([used[series] for series in table["series_id"].to_pylist()], table.schema.field(index).type)
    return table.set_column(index, table.schema.field(index), counts).combine_chunks().replace_schema_metadata(None)


def _write_array(path: Path, rows: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as handle:
        np.save(handle, np.ascontiguousarray(rows), allow_pickle=False)
    os.replace(temporary, path)


def _stated(licence: str | None) -> str:
    """Return the licence in one line; an unfilled template of an R package states none."""
    line = _line(licence)
    return "none stated" if not line or "What license it uses" in line else line


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
