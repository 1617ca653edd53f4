"""The samples nearest to a transcriptome: to one of the atlas, or to each column of a user's table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.answers import CoverageReport, Keyword, NeighborsResult, Position
from atlas.catalog.filters import SampleFilter
from atlas.errors import InputError
from atlas.expression.matrix import ExpressionMatrix
from atlas.opened.parts import Opened
from atlas.search.hits import make_hits, roll_up
from atlas.search.placement import N_NEIGHBOURS, place
from atlas.search.queries import check_k


def similar_samples(
    opened: Opened, accession: str, *, k: int, exclude_same_series: bool, filters: SampleFilter | None
) -> NeighborsResult:
    """Return the samples nearest to one of the atlas; see ``Atlas.similar_samples``."""
    check_k(k, opened.settings)
    samples = opened.samples
    row = samples.row(accession)
    allowed = opened.candidates(filters)
    allowed[row] = False
    if exclude_same_series:
        _exclude(opened, allowed, samples.series_of(row))
    vector = opened.store.rows(np.array([row]))
    found = opened.index.search(vector, k, allowed=allowed)
    cluster = int(samples.cluster[row])
    return _result(
        opened,
        samples.record(row).accession,
        rows=found.rows[0],
        scores=found.scores[0],
        n_candidates=int(allowed.sum()),
        keywords=opened.terms.keywords(vector[0]),
        position=Position(float(samples.x[row]), float(samples.y[row]), cluster, samples.names.label(cluster)),
    )


def search_expression(
    opened: Opened,
    matrix: ExpressionMatrix,
    *,
    k: int,
    exclude_series: Sequence[str],
    filters: SampleFilter | None,
    organism: str,
) -> tuple[NeighborsResult, ...]:
    """Return the samples nearest to each transcriptome of a table; see ``Atlas.search_expression``."""
    check_k(k, opened.settings)
    if not matrix.sample_ids:
        raise InputError("The table holds no sample. Expected genes as rows and at least one sample as a column.")
    vectors, coverage = opened.model.embed_matrix(matrix, organism=organism)
    allowed = opened.candidates(filters)
    _exclude(opened, allowed, exclude_series)
    report = CoverageReport(**{name: getattr(coverage, name) for name in CoverageReport.__dataclass_fields__})
    found = opened.index.search(vectors, k, allowed=allowed)
    around = opened.index.search(vectors, min(N_NEIGHBOURS, len(opened.samples)))
    return tuple(
        _result(
            opened,
            name,
            rows=found.rows[i],
            scores=found.scores[i],
            n_candidates=int(allowed.sum()),
            keywords=opened.terms.keywords(vectors[i]),
            position=_place(opened, around.rows[i]),
            coverage=report,
        )
        for i, name in enumerate(matrix.sample_ids)
    )


def _result(
    opened: Opened,
    query: str,
    *,
    rows: np.ndarray,
    scores: np.ndarray,
    n_candidates: int,
    keywords: tuple[Keyword, ...],
    position: Position,
    coverage: CoverageReport | None = None,
) -> NeighborsResult:
    percentiles = opened.calibration.percentile(scores, kind="sample")
    hits = make_hits(opened.samples, rows, scores=scores, percentiles=percentiles)
    return NeighborsResult(
        release=opened.release.name,
        query=query,
        hits=hits,
        series=roll_up(opened.samples, hits),
        n_candidates=n_candidates,
        keywords=keywords,
        position=position,
        coverage=coverage,
    )


def _exclude(opened: Opened, allowed: np.ndarray, series: Sequence[str]) -> None:
    for one in series:
        allowed[opened.samples.rows_of_series(opened.samples.find_series(one.strip()) or one)] = False


def _place(opened: Opened, rows: np.ndarray) -> Position:
    samples = opened.samples
    found = place(rows, x=samples.x, y=samples.y, cluster=samples.cluster)
    return Position(found.x, found.y, found.cluster, samples.names.label(found.cluster))
