"""Does training know the evaluation? The same row, person, accession or barcode on both sides is found and refused.

In: sources and evaluation sets. Out: a :class:`LeakageReport`. Expression is compared by Pearson correlation of log expression
over the genes that both sides measured, so that other units, gene panels or names do not hide a copy. Training rows are read
in blocks; most pairs are settled on 2,000 genes, and only those that may be copies on all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from atlas.accessions import MADE, id_kind
from atlas.cells.rows import H5adRows
from atlas.digests import sha256_file
from atlas.errors import InputError
from atlas.expression.align import GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.log import log_expression
from indexer.studies import donors_in, study_of
from indexer.training.blocking import STUDY
from indexer.training.provenance import evaluation_provenance
from indexer.training.sources.source import PairSource

SAME_ROW = 0.99
"""Correlation of log expression above which two rows count as one sample."""

_BARCODE = re.compile(r"[ACGT]{12,}")
_BARCODE_SHARE = 0.1  # unrelated 10x runs share a few barcodes of one whitelist by chance
_FEWEST_GENES = 500
_SCREEN_GENES = 2_000
_SCREEN_MARGIN = 0.02
_BLOCK_ROWS = 256
_NAMED = 20

LeakKind = Literal["expression", "accession", "donor", "barcode"]


@dataclass(frozen=True)
class EvaluationSet:
    """Rows that a figure is measured on.

    Attributes
    ----------
    name
        Name of the set, as in the provenance table.
    row_ids, donors
        One id a row; public names of people that ids and annotation mention.
    genes
        (n_measured,) rows of the gene map that the set measured.
    logs
        (n_rows, n_measured) float32 log expression.
    """

    name: str
    row_ids: tuple[str, ...]
    donors: frozenset[str]
    genes: npt.NDArray[np.int64]
    logs: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Leak:
    """One thing found on both sides; ``value`` is a correlation, or the share of barcodes, else 1."""

    kind: LeakKind
    source: str
    item_id: str
    evaluation_set: str
    row_id: str
    value: float


@dataclass(frozen=True)
class LeakageReport:
    """What was compared and found.

    Attributes
    ----------
    leaks
        Everything found, the strongest first.
    same_studies
        (source, evaluation set, study): no copies, but to be named beside the figure.
    n_items, n_rows
        Training items and evaluation rows compared.
    n_too_few_genes
        Pairs of an item and a set that share fewer than 500 measured genes and were not compared by expression.
    """

    leaks: tuple[Leak, ...]
    same_studies: tuple[tuple[str, str, str], ...]
    n_items: int
    n_rows: int
    n_too_few_genes: int


def read_evaluation_set(
    path: Path, genes: GeneMap, *, organism: str = "human", donor: str | None = None
) -> EvaluationSet:
    """Read an h5ad evaluation set, aligned and logged.

    Parameters
    ----------
    donor
        Column of ``obs`` that names people, if there is one.
    """
    with H5adRows(path) as rows:
        aligner = GeneAligner(rows.genes, rows.symbols, genes=genes, organism=organism)
        blocks = [
            (aligned.measured.any(axis=0), log_expression(aligned)) for aligned in map(aligner.align, rows.matrices())
        ]
        named = () if donor is None else tuple(filter(None, rows.labels(donor)))
        ids = rows.row_ids
    measured = np.flatnonzero(np.any([mask for mask, _ in blocks], axis=0)).astype(np.int64)
    logs = np.concatenate([values[:, measured] for _, values in blocks])
    return EvaluationSet(path.stem, ids, frozenset(donors_in(*ids, *named)), measured, np.nan_to_num(logs, nan=0.0))


def find_leaks(
    sources: Sequence[PairSource], evaluation: Sequence[EvaluationSet], *, threshold: float = SAME_ROW
) -> LeakageReport:
    """Compare all training items with all evaluation rows.

    Parameters
    ----------
    sources
        What is trained on; gene sets are compared by study alone.
    evaluation
        What is measured on.
    threshold
        Correlation above which rows count as the same.
    """
    leaks: list[Leak] = []
    same_studies: set[tuple[str, str, str]] = set()
    n_too_few = 0
    for source in sources:
        leaks += _shared_names(source, evaluation)
        same_studies |= _shared_studies(source, evaluation)
        if source.kind == "genesets":
            continue
        for start in range(0, len(source), _BLOCK_ROWS):
            rows = range(start, min(start + _BLOCK_ROWS, len(source)))
            aligned = source.expression(rows)
            found, n_skipped = _same_rows(log_expression(aligned), aligned.measured, evaluation, threshold)
            n_too_few += n_skipped
            leaks += [
                Leak("expression", source.name, source.item_ids[rows[row]], one.name, one.row_ids[place], value)
                for row, one, place, value in found
            ]
    return LeakageReport(
        leaks=tuple(sorted(leaks, key=lambda leak: (-leak.value, leak.evaluation_set, leak.item_id, leak.row_id))),
        same_studies=tuple(sorted(same_studies)),
        n_items=sum(map(len, sources)),
        n_rows=sum(len(one.row_ids) for one in evaluation),
        n_too_few_genes=n_too_few,
    )


def refuse_leaks(report: LeakageReport) -> None:
    """Raise if something was found.

    Raises
    ------
    InputError
        Naming the sets and some of the items.
    """
    if not report.leaks:
        return
    shown = "; ".join(
        f"{leak.item_id} of {leak.source} = {leak.row_id} of {leak.evaluation_set} ({leak.kind} {leak.value:.3f})"
        for leak in report.leaks[:3]
    )
    sets = sorted({leak.evaluation_set for leak in report.leaks})
    raise InputError(
        f"{len({(leak.source, leak.item_id) for leak in report.leaks}):,} items of training share expression, people, "
        f"accessions or barcodes with {', '.join(sets)}: {shown}. Exclude their series (--exclude-series), leave that source of "
        "data out, or do not measure on the set.",
        details={"evaluation_sets": sets, "items": [leak.item_id for leak in report.leaks[:_NAMED]]},
    )


def refuse_shared(
    sources: Sequence[PairSource], files: Sequence[Path], *, genes: GeneMap, organism: str = "human"
) -> dict[str, Any]:
    """Refuse training data that share rows, people, accessions or barcodes with files that are to be measured on.

    Returns
    -------
    What was compared, for the record of a run: files with their sha256 and rows, items, pairs of an item and a file with too
    few genes in common to be compared, and studies on both sides, which are no copies.

    Raises
    ------
    InputError
        If something is shared, or a file cannot be read.
    """
    sets = [read_evaluation_set(path, genes, organism=organism) for path in files]
    report = find_leaks(sources, sets)
    refuse_leaks(report)
    return {
        "files": [
            {"name": path.name, "sha256": sha256_file(path), "n_rows": len(one.row_ids)}
            for path, one in zip(files, sets, strict=True)
        ],
        "n_items": report.n_items,
        "n_too_few_genes": report.n_too_few_genes,
        "same_studies": [list(one) for one in report.same_studies],
    }


def _shared_names(source: PairSource, evaluation: Sequence[EvaluationSet]) -> Iterator[Leak]:
    """Yield shared accessions, people and barcodes."""
    public = {name for name in source.item_ids if id_kind(name) != MADE}
    barcodes = {match.group() for name in source.item_ids if (match := _BARCODE.search(name))}
    people = {name.removeprefix("donor:"): row for row, name in source.links() if name.startswith("donor:")}
    for one in evaluation:
        for row_id in one.row_ids:
            if row_id in public:
                yield Leak("accession", source.name, row_id, one.name, row_id, 1.0)
        for person in sorted(one.donors & people.keys()):
            yield Leak("donor", source.name, source.item_ids[people[person]], one.name, person, 1.0)
        coded = [match.group() for row_id in one.row_ids if (match := _BARCODE.search(row_id))]
        shared = [code for code in coded if code in barcodes]
        if shared and len(shared) >= _BARCODE_SHARE * len(coded):
            yield Leak("barcode", source.name, shared[0], one.name, shared[0], len(shared) / len(coded))


def _shared_studies(source: PairSource, evaluation: Sequence[EvaluationSet]) -> set[tuple[str, str, str]]:
    mine = {name.removeprefix(STUDY) for _, name in source.links() if name.startswith(STUDY)}
    known = evaluation_provenance()
    return {
        (source.name, one.name, study_of(accession))
        for one in evaluation
        for accession in (known[one.name].accessions if one.name in known else ())
        if study_of(accession) in mine
    }


def _same_rows(
    logs: npt.NDArray[np.float32],
    measured: npt.NDArray[np.bool_],
    evaluation: Sequence[EvaluationSet],
    threshold: float,
) -> tuple[list[tuple[int, EvaluationSet, int, float]], int]:
    """Return (row, set, row of the set, correlation) above the threshold, and how many pairs of row and set were skipped."""
    found, n_skipped = [], 0
    masks, group_of = np.unique(np.packbits(measured, axis=1), axis=0, return_inverse=True)
    for group in range(len(masks)):
        rows = np.flatnonzero(group_of.ravel() == group)
        for one in evaluation:
            columns = np.flatnonzero(measured[rows[0], one.genes])
            if columns.size < _FEWEST_GENES:
                n_skipped += rows.size
                continue
            for row, place, value in _correlated(logs[rows], one, columns, threshold):
                found.append((int(rows[row]), one, place, value))
    return found, n_skipped


def _correlated(
    logs: npt.NDArray[np.float32], one: EvaluationSet, columns: npt.NDArray[np.int64], threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Yield (row, row of the set, correlation); screened on some genes, settled on all."""
    some = columns
    if columns.size > 2 * _SCREEN_GENES:
        some = np.sort(np.random.default_rng(0).choice(columns, size=_SCREEN_GENES, replace=False))
    rough = _unit(logs[:, one.genes[some]]) @ _unit(one.logs[:, some]).T
    for row, place in np.argwhere(rough > threshold - _SCREEN_MARGIN):
        exact = float(
            _unit(logs[row : row + 1, one.genes[columns]])[0] @ _unit(one.logs[place : place + 1, columns])[0]
        )
        if exact > threshold:
            yield int(row), int(place), exact


def _unit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Rows centred and of length 1; a row without spread is 0 and correlates with nothing."""
    centred: npt.NDArray[np.float64] = values.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    return unit
