"""What a figure is held against: scores of rows and labels that need no joint model.

Every baseline embeds or scores a row alone. ``marker`` sums up the genes that a table of markers lists for the cell type nearest
in name; ``lexical`` the genes that a label itself names (CD14 of "CD14+ Mono"); ``text_only`` writes a row as the list of its
strongest genes and compares that text with the label. Where there are no labels, a profiler describes a row by the same numbers.
Chance is .5 of any AUROC and one in n of accuracy.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression
from atlas.expression.genes import GeneMap
from atlas.expression.log import log_expression

N_GENES_IN_SENTENCE = 20
_GENE_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*[0-9][A-Za-z0-9]*")  # words that may be symbols: letters and a digit
_CELL_TYPE, _SYMBOL = "cell type", "official gene symbol"
Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> (n, dim) unit vectors of a text tower


@dataclass(frozen=True)
class LabelSet:
    """Labels with the texts they are read as, and the genes and organism of the rows."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    genes: GeneMap
    organism: str

    def rows_of(self, symbols: Sequence[str]) -> np.ndarray:
        """Return the gene rows of ``symbols`` that are known, increasing."""
        rows = self.genes.rows_of(list(symbols), organism=self.organism)
        return np.unique(rows[rows >= 0])


Scorer = Callable[[AlignedExpression], np.ndarray]  # a block of rows -> (n_rows, n_labels), or (n_rows, n_features)


def read_markers(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a table of markers: tab-separated, columns ``cell type`` and ``official gene symbol``, as PanglaoDB's.

    Raises
    ------
    InputError
        If a column is missing or nothing is listed.
    """
    opened = (
        gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="")
    )
    found: dict[str, list[str]] = {}
    with opened as stream:
        reader = csv.DictReader(stream, delimiter="\t")
        missing = {_CELL_TYPE, _SYMBOL} - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{path} has no column {sorted(missing)}; expected a table of markers as PanglaoDB's.")
        for row in reader:
            found.setdefault(row[_CELL_TYPE].strip(), []).append(row[_SYMBOL].strip())
    if not found:
        raise InputError(f"{path} lists no marker.")
    return {name: tuple(dict.fromkeys(symbols)) for name, symbols in found.items()}


def marker_scorer(asked: LabelSet, *, markers: Mapping[str, Sequence[str]], embed: Embed) -> Scorer:
    """Score a label by the mean standing of the markers of the cell type whose name is nearest to the label's text."""
    names = list(markers)
    nearest = np.argmax(embed(asked.texts) @ embed(names).T, axis=1)
    return _gene_set_scorer([asked.rows_of(markers[names[i]]) for i in nearest])


def lexical_scorer(asked: LabelSet) -> Scorer:
    """Score a label by the mean standing of the genes that it names; labels that name none score 0."""
    return _gene_set_scorer([asked.rows_of(_GENE_WORD.findall(f"{label} {text}")) for label, text in _pairs(asked)])


def text_only_scorer(asked: LabelSet, *, embed: Embed) -> Scorer:
    """Score a label by the cosine of its text with the symbols of the row's strongest genes, both by a text tower alone."""
    labels = embed(asked.texts)

    def score(aligned: AlignedExpression) -> np.ndarray:
        logs = np.nan_to_num(log_expression(aligned), nan=-1.0)
        best = np.argsort(-logs, axis=1, kind="stable")[:, :N_GENES_IN_SENTENCE]
        return embed([" ".join(asked.genes.symbols[i] for i in row) for row in best]) @ labels.T

    return score


def marker_profiler(asked: LabelSet, *, markers: Mapping[str, Sequence[str]]) -> Scorer:
    """Describe a row by the mean standing of the markers of every cell type."""
    return _gene_set_scorer([asked.rows_of(symbols) for symbols in markers.values()])


def _gene_set_scorer(sets: Sequence[np.ndarray]) -> Scorer:
    def score(aligned: AlignedExpression) -> np.ndarray:
        standing = standings(aligned)
        found = np.zeros((len(standing), len(sets)))
        for j, rows in enumerate(sets):
            part = standing[:, rows]
            known = ~np.isnan(part)
            found[:, j] = np.where(known, part, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return found

    return score


def standings(aligned: AlignedExpression) -> np.ndarray:
    """Return ``(n_rows, n_genes)`` the z score of the log expression within each row, NaN where not measured."""
    logs = log_expression(aligned)
    for row in logs:  # one by one: the whole in float64 would be large
        known = ~np.isnan(row)
        values = row[known].astype(np.float64)
        if values.size:
            row[known] = (values - values.mean()) / max(float(values.std()), 1e-12)
    return logs


def _pairs(asked: LabelSet) -> list[tuple[str, str]]:
    return list(zip(asked.labels, asked.texts, strict=True))
