"""What an interpreter is held against: representations of cells without a language model in between, and plain classifiers.

GenePT-w is the mean of the genes' vectors weighted by log expression, GenePT-s the vector of a sentence of ranked gene names
(GenePT, methods); random vectors and log expression itself tell how much of that is owed to descriptions. All see the same
cells and splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.cells.rows import open_rows
from atlas.cells.scoring import organism_of
from atlas.expression.align import GeneAligner
from atlas.expression.log import linear_values
from atlas.expression.units import Unit
from atlas.interpreter.gene_vectors import GeneVectors
from atlas.model.encoding import cut_texts_unsaid
from atlas.model.text_tower import TextTower

CLASSIFIERS = ("logistic regression", "nearest neighbours")
STRENGTHS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
"""Inverse strengths of the penalty that logistic regression chooses among, for features of mean length 1."""
N_NEIGHBOURS = 10
RULES = "penalty by log-loss, fitted to the end"
"""What kept answers of floors are kept under: other rules, other answers."""
N_NAMES = 200
"""Gene names in a sentence; MiniLM reads 256 tokens, some three to a name, and the rest is cut."""
_PER_CELL = 1e4
_INNER_FOLDS = 3

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Expression:
    """Log expression of some cells.

    Attributes
    ----------
    row_ids
        One a cell.
    values
        ``(n, m)`` float32: log1p of counts per ten thousand.
    genes
        ``(m,)`` rows of the interpreter's genes that any cell expresses.
    symbols
        ``(m,)`` their names.
    """

    row_ids: tuple[str, ...]
    values: np.ndarray
    genes: np.ndarray
    symbols: np.ndarray


def read_expression(
    file: Path,
    vectors: GeneVectors,
    *,
    layer: str | None = None,
    unit: Unit | None = None,
    organism: str | None = None,
) -> Expression:
    """Read the genes of a file that the interpreter knows.

    Raises
    ------
    InputError
        If the file cannot be read, or no gene is known.
    """
    known = vectors.gene_map
    with open_rows(file, layer=layer, unit=unit) as rows:
        chosen = organism or organism_of(rows, known)
        aligner = GeneAligner(rows.genes, rows.symbols, genes=known, organism=chosen)
        parts = []
        for matrix in rows.matrices():
            aligned = aligner.align(matrix)
            linear = np.stack([linear_values(r, unit=u) for r, u in zip(aligned.values, aligned.units, strict=True)])
            totals = np.maximum(linear.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
            parts.append(np.log1p(linear * (_PER_CELL / totals)).astype(np.float32))
        ids = rows.row_ids
    values = np.concatenate(parts)
    genes = np.flatnonzero(values.any(axis=0))
    return Expression(ids, values[:, genes], genes, np.array(known.symbols)[genes])


def weighted_means(expression: Expression, table: np.ndarray) -> np.ndarray:
    """Return GenePT-w: ``(n, dim)`` float32, L2-normalised, of a ``(n_genes, dim)`` table of gene vectors."""
    return _unit(expression.values @ table[expression.genes])


def sentences(expression: Expression, tower: TextTower) -> np.ndarray:
    """Return GenePT-s: ``(n, dim)`` float32, L2-normalised: names of genes by decreasing expression, as many as are read."""
    order = np.argsort(-expression.values, axis=1, kind="stable")[:, :N_NAMES]
    texts = [" ".join(expression.symbols[row[expression.values[i, row] > 0]]) or "none" for i, row in enumerate(order)]
    with cut_texts_unsaid():
        return tower.embed(texts)


def random_table(n_genes: int, dim: int, *, seed: int) -> np.ndarray:
    """Return ``(n_genes, dim)`` float32 of random directions."""
    return _unit(np.random.default_rng(seed).normal(size=(n_genes, dim)).astype(np.float32))


def logistic(train: np.ndarray, codes: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the codes that logistic regression gives to ``test``; its penalty has the least log-loss in folds of ``train``.

    Accuracy could not choose: of cells that are easily told apart most penalties have all right. Features are centred, and
    rotated into the span of the training cells: under a quadratic penalty the solution lies there, and it is the same, however
    many genes there are.
    """
    from sklearn.model_selection import StratifiedKFold

    if len(np.unique(codes)) == 1:  # folds of donors may leave one label to learn from
        return np.full(len(test), codes[0])
    inner, outer = _rotated(train, test)
    n_inner = min(_INNER_FOLDS, int(np.bincount(codes)[np.unique(codes)].min()))
    best = STRENGTHS[0]
    if n_inner >= 2:
        folds = list(StratifiedKFold(n_inner, shuffle=True, random_state=0).split(inner, codes))
        best = min(STRENGTHS, key=lambda strength: sum(_loss(strength, inner, codes, a, b) for a, b in folds))
    return np.asarray(_fitted(best, inner, codes).predict(outer))


def nearest(train: np.ndarray, codes: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the codes of most of the ten nearest training cells by cosine."""
    from sklearn.neighbors import KNeighborsClassifier

    k = min(N_NEIGHBOURS, len(train))
    return np.asarray(KNeighborsClassifier(k, metric="cosine").fit(train, codes).predict(test))


def classifiers() -> dict[str, Fit]:
    """Return name -> classifier."""
    return dict(zip(CLASSIFIERS, (logistic, nearest), strict=True))


def _loss(strength: float, features: np.ndarray, codes: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Return the summed log-loss on ``test`` of what learned from ``train``; both hold every label."""
    from sklearn.metrics import log_loss

    found = _fitted(strength, features[train], codes[train])
    return float(log_loss(codes[test], found.predict_proba(features[test]), normalize=False, labels=found.classes_))


def _fitted(strength: float, features: np.ndarray, codes: np.ndarray) -> Any:
    """Fit to the end: stopped at the usual tolerance, cells of another species get other labels than at the optimum."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, tol=1e-7, max_iter=100_000).fit(features, codes)


def _rotated(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = train.mean(axis=0)
    centred, other = (train - mean).astype(np.float64), (test - mean).astype(np.float64)
    size = max(float(np.sqrt(np.square(centred).sum(axis=1).mean())), np.finfo(np.float64).tiny)
    if centred.shape[1] > len(centred):
        span, _ = np.linalg.qr(centred.T)
        centred, other = centred @ span, other @ span
    return centred / size, other / size


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
