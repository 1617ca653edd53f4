"""Stage ``ingest_samples``: decide which samples enter the release, and in which row.

In: the expression sources and the model's gene map (or a starter). Out: ``samples.parquet`` (row order = source order, on
which every later artefact relies), ``series.parquet`` and ``dropped.parquet``. A sample is kept, or dropped for one named
reason; nothing is repaired. Measured and detected genes and the total (in the sample's unit) are taken over the model's genes;
a log2 value counts as detected above the sample's lowest. Work is committed in shards, so a killed ingest continues.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.captions import tissue_facet
from atlas.errors import ArtifactError, InputError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.source import ExpressionSource, open_source
from atlas.expression.units import Unit, parse_unit
from indexer.sources.starter import STARTER_SOURCE, read_starter
from indexer.stage import Advance, BuildRequest, StageContext, StageResult

SAMPLES = pa.schema(
    [
        ("row", pa.int32()),
        ("sample_id", pa.string()),
        ("id_kind", pa.string()),
        ("series_ids", pa.list_(pa.string())),
        ("title", pa.string()),
        ("source_name", pa.string()),
        ("characteristics", pa.string()),
        ("organism", pa.string()),
        ("molecule", pa.string()),
        ("tissue", pa.string()),
        ("date", pa.string()),  # of deposition: "YYYY-MM-DD" or "YYYY-MM", empty where not known
        ("unit", pa.string()),
        ("source_file", pa.int16()),
        ("source_row", pa.int32()),
        ("n_genes_measured", pa.int32()),
        ("n_genes_detected", pa.int32()),
        ("total", pa.float64()),
    ]
)
SERIES = pa.schema([("series_id", pa.string()), ("title", pa.string()), ("n_samples", pa.int32())])
DROPPED = pa.schema(
    [("sample_id", pa.string()), ("source_file", pa.int16()), ("source_row", pa.int32()), ("reason", pa.string())]
)
_QUALITY = pa.schema(
    [
        ("source_row", pa.int32()),
        ("unit", pa.string()),
        ("n_genes_measured", pa.int32()),
        ("n_genes_detected", pa.int32()),
        ("total", pa.float64()),
        ("reason", pa.string()),  # null: kept
    ]
)
_SHARD_ROWS = 4_096
_ORGANISMS = {"human": "homo sapiens", "mouse": "mus musculus"}


@dataclass(frozen=True)
class IngestParameters:
    """Thresholds of the quality control.

    Attributes
    ----------
    min_genes_detected
        Fewest of the model's genes with a value above zero (Source: the published atlas drops samples below 250).
    max_singlecell_probability
        A sample whose source puts its probability of being a single cell at this or above is dropped.
    organism
        Organism of the atlas, ``human`` or ``mouse``.
    """

    min_genes_detected: int = 250
    max_singlecell_probability: float = 0.5
    organism: str = "human"


class IngestSamples:
    """Read, check and number the samples; see the module."""

    name = "ingest_samples"
    version = 2
    inputs: tuple[str, ...] = ()
    outputs = ("samples.parquet", "series.parquet", "dropped.parquet")

    def __init__(self, parameters: IngestParameters | None = None) -> None:
        self.parameters = parameters or IngestParameters()

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Everything but the files that decides which samples are kept."""
        return {
            **asdict(self.parameters),
            "unit": request.unit,
            "limit": request.limit,
            "n_counts": len(request.counts),
        }

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the expression files, the starter's tables and the model's gene map.

        Raises
        ------
        InputError
            If an expression file is no plain file that this user may read; a folder or a pipe would be read without end.
        """
        for path in request.counts:
            _require_readable_file(path)
        starter = (
            () if request.starter is None else (request.starter / "samples.parquet", request.starter / "series.parquet")
        )
        genes = (request.model_dir / "genes.parquet",) if request.counts else ()
        return (*request.counts, *starter, *genes)

    def run(self, ctx: StageContext) -> StageResult:
        """Write the three tables."""
        request = ctx.request
        if not request.counts and request.starter is None:
            raise InputError("There is nothing to ingest. Give --counts FILE, or a starter.")
        tables = _read_tables(request)
        _refuse_duplicate_accessions(tables)
        n_in = sum(table.samples.num_rows for table in tables)
        if n_in == 0:
            raise InputError(f"{', '.join(table.name for table in tables)} holds no sample. Expected at least one.")
        samples, dropped = self._select(ctx, tables)
        if samples.num_rows == 0:
            reasons = dict(Counter(dropped["reason"].to_pylist()))
            raise InputError(f"No sample is left after quality control: {reasons}.", details={"dropped": reasons})
        pq.write_table(samples, ctx.out / "samples.parquet")
        pq.write_table(_series_of(samples, tables), ctx.out / "series.parquet")
        pq.write_table(dropped, ctx.out / "dropped.parquet")
        counted = Counter(dropped["reason"].to_pylist())
        return StageResult(
            n_in=n_in,
            n_out=samples.num_rows,
            dropped=dict(sorted(counted.items())),
            notes={
                "coverage": {table.name: table.coverage for table in tables if table.coverage},
                "units": dict(sorted(Counter(samples["unit"].to_pylist()).items())),
                "not_reached_by_limit": n_in - samples.num_rows - dropped.num_rows,
            },
        )

    def validate(self, ctx: StageContext) -> None:
        """Re-read the tables: schema, unique accessions, rows 0..n-1, series that exist."""
        samples = _read_checked(ctx.out / "samples.parquet", schema=SAMPLES)
        series = _read_checked(ctx.out / "series.parquet", schema=SERIES)
        _read_checked(ctx.out / "dropped.parquet", schema=DROPPED)
        ids = samples["sample_id"].to_pylist()
        rows_match = np.array_equal(samples["row"].to_numpy(), np.arange(len(ids)))
        named = {name for names in samples["series_ids"].to_pylist() for name in names}
        if not ids or len(set(ids)) != len(ids) or not rows_match or named != set(series["series_id"].to_pylist()):
            raise ArtifactError("samples.parquet or series.parquet is inconsistent after writing.", kind="corrupt")

    def _select(self, ctx: StageContext, tables: list[_SourceTable]) -> tuple[pa.Table, pa.Table]:
        """Kept samples and dropped ones of all sources, in source order."""
        limit = ctx.request.limit
        kept: list[pa.Table] = []
        dropped: list[pa.Table] = []
        n_kept = 0
        with ctx.progress(sum(table.samples.num_rows for table in tables), "samples") as bar:
            for table in tables:
                for quality in self._qualities(ctx, table=table, bar=bar):
                    left = None if limit is None else limit - n_kept
                    good, bad = _split(table, quality, limit=left)
                    n_kept += good.num_rows
                    kept.append(good)
                    dropped.append(bad)
                    if limit is not None and n_kept >= limit:
                        break
                if limit is not None and n_kept >= limit:
                    break
        samples = pa.concat_tables(kept) if kept else SAMPLES.empty_table()
        samples = samples.set_column(0, SAMPLES.field("row"), pa.array(np.arange(samples.num_rows, dtype=np.int32)))
        return samples.combine_chunks(), pa.concat_tables(dropped) if dropped else DROPPED.empty_table()

    def _qualities(self, ctx: StageContext, *, table: _SourceTable, bar: Advance) -> Iterator[pa.Table]:
        """Quality tables of one source, shard by shard; finished shards of an earlier run are read, not made."""
        if table.path is None:
            bar.advance(table.samples.num_rows)
            yield _starter_quality(table.samples)
            return
        genes = GeneMap.read(ctx.request.model_dir / "genes.parquet")
        with open_source(table.path, unit=_declared(ctx.request)) as source:
            aligner = GeneAligner(source.genes, source.symbols, genes=genes, organism=self.parameters.organism)
            table.coverage.update(asdict(aligner.coverage))
            for start in range(0, source.n_samples, _SHARD_ROWS):
                rows = np.arange(start, min(start + _SHARD_ROWS, source.n_samples))
                path = ctx.work / f"quality-{table.number:03d}-{start:09d}.parquet"
                if not path.is_file():
                    quality = self._measure(source, rows=rows, aligner=aligner, table=table, bar=bar)
                    pq.write_table(quality, path.with_suffix(".tmp"))
                    os.replace(path.with_suffix(".tmp"), path)
                else:
                    bar.advance(rows.size)
                yield pq.read_table(path)

    def _measure(
        self,
        source: ExpressionSource,
        *,
        rows: npt.NDArray[np.int64],
        aligner: GeneAligner,
        table: _SourceTable,
        bar: Advance,
    ) -> pa.Table:
        """Quality of ``rows`` of one source; samples that their text already rules out are not read."""
        ruled_out = self._reasons_from_text(table.samples.slice(int(rows[0]), rows.size))
        wanted = rows[[reason is None for reason in ruled_out]]
        records: dict[int, dict[str, Any]] = {
            int(row): {"source_row": int(row), "reason": reason}
            for row, reason in zip(rows, ruled_out, strict=True)
            if reason is not None
        }
        bar.advance(rows.size - wanted.size)
        if wanted.size:
            for block_rows, matrix in source.blocks(wanted):
                aligned = aligner.align(matrix)
                for position, row in enumerate(block_rows):
                    records[int(row)] = {"source_row": int(row), **self._quality(aligned, position)}
                bar.advance(block_rows.size)
        return pa.Table.from_pylist([records[int(row)] for row in rows], schema=_QUALITY)

    def _reasons_from_text(self, samples: pa.Table) -> list[str | None]:
        """Reason to drop each sample that its fields give, ``None`` where they give none."""
        expected = _ORGANISMS[self.parameters.organism]
        columns = (samples["organism"].to_pylist(), samples["singlecell_probability"].to_pylist())
        reasons: list[str | None] = []
        for organism, probability in zip(*columns, strict=True):
            if organism and organism.strip().lower() != expected:
                reasons.append("other_organism")
            elif probability is not None and probability >= self.parameters.max_singlecell_probability:
                reasons.append("single_cell_probable")
            else:
                reasons.append(None)
        return reasons

    def _quality(self, aligned: AlignedExpression, position: int) -> dict[str, Any]:
        """Figures of one sample and the reason to drop it, if any."""
        unit = aligned.units[position]
        values = aligned.values[position][aligned.measured[position]].astype(np.float64)
        finite = bool(np.isfinite(values).all())
        floor = values.min() if unit is Unit.LOG2 and values.size else 0.0
        n_detected = int((values > floor).sum()) if finite else 0
        reason = None
        if values.size == 0:
            reason = "no_recognised_gene"
        elif not finite:
            reason = "not_finite"
        elif unit is not Unit.LOG2 and bool((values < 0).any()):
            reason = "negative_value"
        elif n_detected == 0:
            reason = "zero_total"
        elif n_detected < self.parameters.min_genes_detected:
            reason = "too_few_genes"
        total = float(values.sum()) if finite else None
        figures = {"n_genes_measured": values.size, "n_genes_detected": n_detected, "total": total}
        return {"unit": unit.value, **figures, "reason": reason}


@dataclass(frozen=True)
class _SourceTable:
    """Fields of one source; ``path`` is ``None`` for a starter."""

    number: int
    path: Path | None
    samples: pa.Table
    series: pa.Table
    coverage: dict[str, Any]  # filled while the source is read

    @property
    def name(self) -> str:
        """Name of the file, for notes and messages."""
        return "starter" if self.path is None else self.path.name


def _require_readable_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file. Give --counts one expression file; repeat it for more.")
    if path.exists() and not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read by this user. Check its permissions.", details={"path": str(path)})


def _declared(request: BuildRequest) -> Unit | None:
    return None if request.unit is None else parse_unit(request.unit)


def _read_tables(request: BuildRequest) -> list[_SourceTable]:
    tables = []
    for number, path in enumerate(request.counts):
        with open_source(path, unit=_declared(request)) as source:
            tables.append(_SourceTable(number, path, source.sample_table(), source.series_table(), {}))
    if request.starter is not None:
        starter = read_starter(request.starter)
        tables.append(_SourceTable(STARTER_SOURCE, None, starter.samples, starter.series, {}))
    return tables


def _refuse_duplicate_accessions(tables: list[_SourceTable]) -> None:
    """Raise ``InputError`` if an accession stands twice in the sources together."""
    first: dict[str, str] = {}
    twice: dict[str, str] = {}
    for table in tables:
        for accession in table.samples["sample_id"].to_pylist():
            if accession in first:
                twice[accession] = f"{accession} ({first[accession]}, {table.name})"
            first.setdefault(accession, table.name)
    if twice:
        shown = ", ".join(list(twice.values())[:10]) + (" ..." if len(twice) > 10 else "")
        raise InputError(
            f"{len(twice):,} accession(s) occur more than once: {shown}. Each sample may enter an atlas once; "
            "remove the copies from the files, or build from one of them.",
            details={"duplicates": list(twice)[:1000], "n_duplicates": len(twice)},
        )


def _starter_quality(samples: pa.Table) -> pa.Table:
    """Quality table of samples that were checked when the starter was made."""
    columns = {name: samples[name] for name in ("unit", "n_genes_measured", "n_genes_detected", "total")}
    rows = pa.array(np.arange(samples.num_rows, dtype=np.int32))
    return pa.table({"source_row": rows, **columns, "reason": pa.nulls(samples.num_rows, pa.string())}, schema=_QUALITY)


def _split(table: _SourceTable, quality: pa.Table, *, limit: int | None) -> tuple[pa.Table, pa.Table]:
    """Kept and dropped samples of one shard; past the ``limit``-th kept one, nothing is either."""
    is_kept = np.array([reason is None for reason in quality["reason"].to_pylist()], dtype=bool)
    if limit is not None and is_kept.sum() > limit:
        stop = int(np.flatnonzero(is_kept)[limit]) if limit else 0
        quality, is_kept = quality.slice(0, stop), is_kept[:stop]
    samples = table.samples.take(quality["source_row"])
    good, figures = samples.filter(is_kept), quality.filter(is_kept)
    texts = zip(good["source_name"].to_pylist(), good["characteristics"].to_pylist(), strict=True)
    columns = {
        name: good[name] for name in SAMPLES.names if name in good.column_names and name not in quality.column_names
    }
    columns.update({name: figures[name] for name in _QUALITY.names if name != "reason"})
    columns["row"] = pa.nulls(good.num_rows, pa.int32())
    columns["source_file"] = pa.array(np.full(good.num_rows, table.number), pa.int16())
    columns["tissue"] = pa.array([tissue_facet(source, text) for source, text in texts], pa.string())
    bad = samples.filter(~is_kept)
    out = [bad["sample_id"], pa.array(np.full(bad.num_rows, table.number), pa.int16())]
    dropped = pa.table([*out, *(quality.filter(~is_kept)[name] for name in ("source_row", "reason"))], schema=DROPPED)
    return pa.table({name: columns[name] for name in SAMPLES.names}, schema=SAMPLES), dropped


def _series_of(samples: pa.Table, tables: list[_SourceTable]) -> pa.Table:
    """Series of the kept samples in order of first appearance, with the first title any source gives."""
    titles: dict[str, str] = {}
    for table in tables:
        for name, title in zip(table.series["series_id"].to_pylist(), table.series["title"].to_pylist(), strict=True):
            if title and not titles.get(name):
                titles[name] = title
    counts = Counter(name for names in samples["series_ids"].to_pylist() for name in names)
    columns = [list(counts), [titles.get(name, "") for name in counts], list(counts.values())]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SERIES, strict=True)], schema=SERIES
    )


def _read_checked(path: Path, *, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path.name} cannot be read back: {error}", kind="corrupt") from error
    if not table.schema.equals(schema):
        raise ArtifactError(f"{path.name} has columns {table.schema.names}, expected {schema.names}.", kind="corrupt")
    return table


STAGE = IngestSamples()
