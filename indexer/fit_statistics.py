"""Gene means and deviations of a model, fitted once on expression alone: ``geo-atlas model fit-statistics``.

In: a model folder and expression files. Out: a model folder with statistics, and therefore another hash. Builds never
refit. No text of a sample is read except its series, which only decides what counts as one study.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.log import log_expression
from atlas.expression.source import open_source
from atlas.expression.units import Unit
from atlas.model.checkpoint import ModelParts, read_model, write_model
from atlas.model.config import GeneTextConfig, StatisticsRecord
from atlas.model.statistics import GeneStatistics, StatisticsFitter, standardise
from indexer.stage import Advance, Progress, silent_progress
from indexer.studies import study_of


def fit_statistics(
    model_dir: Path,
    sources: Sequence[Path],
    *,
    out: Path | None = None,
    exclude_series: Collection[str] = (),
    unit: Unit | None = None,
    progress: Progress = silent_progress,
) -> StatisticsRecord:
    """Fit the per-gene statistics and write a model folder that carries them.

    Parameters
    ----------
    model_dir
        The model to start from, with or without statistics.
    sources
        Expression files as for ``geo-atlas build``.
    out
        Folder of the new model; default: ``model_dir`` itself is changed.
    exclude_series
        Series left out, for instance because their rows serve as evaluation sets.
    unit
        Unit of samples whose file declares none.

    Raises
    ------
    InputError
        If nothing is left to fit on, or an excluded series does not occur.
    """
    parts = read_model(model_dir)
    statistics, record = collect_statistics(parts, sources, exclude_series=exclude_series, unit=unit, progress=progress)
    write_model(out or model_dir, parts.with_statistics(statistics, record))
    return record


def collect_statistics(
    parts: ModelParts,
    sources: Sequence[Path],
    *,
    exclude_series: Collection[str] = (),
    unit: Unit | None = None,
    progress: Progress = silent_progress,
) -> tuple[GeneStatistics, StatisticsRecord]:
    """Fit without writing; parameters as in :func:`fit_statistics`."""
    recipe = parts.config.transcriptome
    if not isinstance(recipe, GeneTextConfig):
        raise InputError(
            f"The transcriptome tower {recipe.tower!r} has no gene statistics to fit. Give a model with the tower 'gene_text'."
        )
    fit = _Fit(parts.gene_map, recipe, frozenset(exclude_series), unit, progress)
    fitter = fit.fitter
    left_out = frozenset[str]().union(*(_count_file(path, fit) for path in sources))
    absent = sorted(set(exclude_series) - left_out)
    if absent:
        raise InputError(
            f"The series {', '.join(absent)} cannot be excluded: no sample has it. Check the spelling of --exclude-series.",
            details={"absent": absent},
        )
    if fitter.n_samples == 0:
        raise InputError("No sample is left to fit statistics on. Give expression files, or exclude fewer series.")
    record = StatisticsRecord(
        n_samples=fitter.n_samples,
        n_studies=fitter.n_studies,
        excluded_series=tuple(sorted(exclude_series)),
        sources=tuple(_sha256(path) for path in sources),
    )
    return fitter.finish(shrinkage_studies=recipe.shrinkage_studies, fallback=_orthologs(parts)), record


@dataclass
class _Fit:
    """One run over the files."""

    genes: GeneMap
    recipe: GeneTextConfig
    excluded: frozenset[str]
    unit: Unit | None
    progress: Progress
    fitter: StatisticsFitter = field(init=False)

    def __post_init__(self) -> None:
        self.fitter = StatisticsFitter(len(self.genes))


def _count_file(path: Path, fit: _Fit) -> frozenset[str]:
    """Add a file's samples to the fitter; return the excluded series met."""
    with open_source(path, unit=fit.unit) as source:
        aligner = GeneAligner(source.genes, source.symbols, genes=fit.genes)
        series = [tuple(ids or ()) for ids in source.sample_table()["series_ids"].to_pylist()]
        wanted = np.array([row for row, ids in enumerate(series) if fit.excluded.isdisjoint(ids)], dtype=np.int64)
        with fit.progress(len(wanted), "samples") as bar:
            for rows, matrix in source.blocks(wanted) if len(wanted) else ():
                scores = _scores(aligner.align(matrix), recipe=fit.recipe, bar=bar)
                for row, row_scores in zip(rows, scores, strict=True):
                    fit.fitter.add(row_scores, study=study_of(series[row][0] if series[row] else path.name))
    return fit.excluded.intersection(name for ids in series for name in ids)


def _scores(aligned: AlignedExpression, *, recipe: GeneTextConfig, bar: Advance) -> Iterator[np.ndarray]:
    """Yield each sample's standardised scores."""
    for log_values in log_expression(aligned):
        yield standardise(log_values, kind=recipe.standardisation)
        bar.advance(1)


def _orthologs(parts: ModelParts) -> dict[int, int]:
    """Map the row of a mouse gene to the row of its human ortholog."""
    ids, organisms, orthologs = (parts.genes[name].to_pylist() for name in ("ensembl_id", "organism", "ortholog"))
    human = {ids[row]: row for row, organism in enumerate(organisms) if organism == "human"}
    return {row: human[name] for row, name in enumerate(orthologs) if name in human}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
