"""Which genes moved an answer: each left out in turn, or gradients along the way from no gene in particular to the cell's own.

In: an interpreter and one cell. Out: genes with signed effects on the log-probability of a label. ``leave_out`` asks again
as if the cell did not express the gene, so that whatever the gene does is seen: its token, the domain model's vector, the
gene that takes its place. ``gradients`` (integrated gradients, Sundararajan et al. 2017) looks at the gene tokens alone and
is the faster for many genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from atlas.errors import InputError, NotFoundError
from atlas.expression.align import AlignedExpression
from atlas.interpreter.interpreter import Interpreter, batch_of
from atlas.interpreter.network import Cells

Method = Literal["leave_out", "gradients"]
_VARIANTS_AT_ONCE = 128
N_STEPS = 32
"""Points on the way of integrated gradients; the effects then add up to within a few percent of the whole change."""


@dataclass(frozen=True)
class GeneEffect:
    """What one gene did.

    Attributes
    ----------
    ensembl_id, symbol
        The gene.
    rank
        Its place among the genes read of the cell, from 1.
    effect
        Log-probability of the label less that without the gene: above 0 it spoke for the label.
    """

    ensembl_id: str
    symbol: str
    rank: int
    effect: float


@dataclass(frozen=True)
class CellExplanation:
    """Why a cell was called what it was.

    Attributes
    ----------
    label, probability
        What is explained, and how likely it is.
    genes
        By decreasing size of the effect.
    n_read
        Genes that were read of the cell, each of which was judged.
    method
        How.
    """

    label: str
    probability: float
    genes: tuple[GeneEffect, ...]
    n_read: int
    method: Method


def explain(
    interpreter: Interpreter,
    aligned: AlignedExpression,
    row: int,
    *,
    label: str | None = None,
    method: Method = "leave_out",
    top: int | None = None,
) -> CellExplanation:
    """Explain the answer for one cell.

    Parameters
    ----------
    aligned, row
        Cells in the order of the interpreter's genes, and which of them.
    label
        A learned label; ``None``: the likeliest.
    top
        Most genes told; ``None``: all.

    Raises
    ------
    InputError
        If nothing can be read of the cell.
    NotFoundError
        If the label is none that was learned.
    """
    one = _repeat(aligned, row, 1)
    cells = interpreter.genes.read_aligned(one)
    if not cells.has_genes[0]:
        raise InputError(
            f"Of the cell {one.sample_ids[0]!r} no gene can be read. Give counts of genes that have a description."
        )
    logs = _log_probabilities(interpreter, one)[0]
    code = int(np.argmax(logs)) if label is None else _code(interpreter, label)
    genes = cells.genes[0][cells.genes[0] >= 0]
    if method == "leave_out":
        effects = logs[code] - _without_each(interpreter, aligned, row, genes, code=code)
    else:
        effects = _integrated(interpreter, batch_of(cells, np.array([0])), code=code)[: len(genes)]
    order = np.argsort(-np.abs(effects), kind="stable")[:top]
    known = interpreter.genes.genes
    told = tuple(
        GeneEffect(known.ensembl_ids[genes[i]], known.symbols[genes[i]], int(i) + 1, float(effects[i])) for i in order
    )
    return CellExplanation(interpreter.labels[code], float(np.exp(logs[code])), told, len(genes), method)


def deletion_curve(
    interpreter: Interpreter, aligned: AlignedExpression, row: int, genes: Sequence[int], *, label: str
) -> np.ndarray:
    """Return the probability of a label as genes are taken away one after the other, ``(len(genes) + 1,)`` float64.

    Parameters
    ----------
    genes
        Rows of the interpreter's genes in the order of taking away. A cell of which nothing is left counts as chance.
    """
    code = _code(interpreter, label)
    variants = _repeat(aligned, row, len(genes) + 1)
    for place, gene in enumerate(genes):
        variants.values[place + 1 :, gene] = 0.0
    return np.asarray(np.exp(_log_probabilities(interpreter, variants)[:, code]))


def _without_each(
    interpreter: Interpreter, aligned: AlignedExpression, row: int, genes: np.ndarray, *, code: int
) -> np.ndarray:
    """Return the log-probability of a label without each gene, ``(len(genes),)``."""
    found = []
    for start in range(0, len(genes), _VARIANTS_AT_ONCE):
        some = genes[start : start + _VARIANTS_AT_ONCE]
        variants = _repeat(aligned, row, len(some))
        variants.values[np.arange(len(some)), some] = 0.0
        found.append(_log_probabilities(interpreter, variants)[:, code])
    return np.concatenate(found)


def _log_probabilities(interpreter: Interpreter, aligned: AlignedExpression) -> np.ndarray:
    """Return ``(n, n_labels)`` float64; of a cell of which nothing can be read, those of chance."""
    cells = interpreter.genes.read_aligned(aligned)
    n_labels = len(interpreter.labels)
    found = np.full((len(cells), n_labels), -np.log(n_labels))
    known = cells.has_genes
    if known.any():
        logits = interpreter.logits(cells)[0][known].astype(np.float64)  # of shares near 1 all would round to 1
        found[known] = torch.from_numpy(logits).log_softmax(dim=1).numpy()
    return found


def _integrated(interpreter: Interpreter, cells: Cells, *, code: int) -> np.ndarray:
    """Return each gene token's share of the change of the log-probability from mean tokens to the cell's own, ``(k,)``."""
    network = interpreter.network
    with torch.no_grad():
        own = network.gene_tokens(cells)
        mean = network.mean_gene_tokens(cells)
    total = torch.zeros_like(own)
    for step in range(N_STEPS):
        share = (step + 0.5) / N_STEPS
        tokens = (mean + share * (own - mean)).requires_grad_(True)
        state = network.states(network.sequence(cells, gene_tokens=tokens))
        log = network.logits(cells, state).log_softmax(dim=1)[0, code]
        total += torch.autograd.grad(log, tokens)[0]
    return np.asarray((total / N_STEPS * (own - mean)).sum(dim=2)[0].double().cpu().numpy())


def _code(interpreter: Interpreter, label: str) -> int:
    if label not in interpreter.labels:
        raise NotFoundError(
            f"{label[:80]!r} is no label that the interpreter learned; it learned {', '.join(interpreter.labels[:20])}.",
            details={"labels": list(interpreter.labels)},
        )
    return interpreter.labels.index(label)


def _repeat(aligned: AlignedExpression, row: int, n: int) -> AlignedExpression:
    """Return one cell ``n`` times, its values writable."""
    return AlignedExpression(
        np.repeat(aligned.values[row : row + 1], n, axis=0),
        np.broadcast_to(aligned.measured[row], (n, aligned.measured.shape[1])),
        (aligned.units[row],) * n,
        (aligned.sample_ids[row],) * n,
        aligned.coverage,
    )
