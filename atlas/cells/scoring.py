"""Every row of a person's file scored by every text, with bounded memory.

In: rows (:mod:`atlas.cells.rows`), labels, a model. Out: cosines of rows and labels, row ids kept in order. A row is embedded
alone with the model's own statistics and compared with texts that its own tissue decides: scoring a file whole, shuffled,
row by row or cut to one type gives identical scores. A softmax over the labels turns the cosines of one row into shares; it
too looks at that row alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from atlas.cells.row_texts import RowTexts, TextVectors, row_texts
from atlas.cells.rows import CellRows, open_rows, repeated
from atlas.cells.texts import LabelTexts
from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, Coverage, GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.units import Unit
from atlas.model.joint import JointModel
from atlas.model.transcriptome import InputKind

PAPER_LOGIT_SCALE = 1.0 / 0.07  # where a model has learned none: the start value of CLIP's temperature
FEW_GENES = 0.1  # below this share of the model's genes a row is placed poorly
_NAMED_BY = {"ensembl": "Ensembl id", "symbol": "symbol", "mixed": "symbol and Ensembl id"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How a source was read.

    Attributes
    ----------
    name, scale
        The source, and how its values were read, in words.
    coverage
        How many of its genes the model knows; holds the organism.
    n_rows
        Rows of the source.
    repeated_ids
        Row ids that stand there more than once.
    """

    name: str
    scale: str
    coverage: Coverage
    n_rows: int
    repeated_ids: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before using the scores, in sentences."""
        c = self.coverage
        said = [
            f"{self.name}: {self.n_rows:,} rows read as {self.scale}; {c.n_recognised:,} of {c.n_given:,} genes recognised "
            f"as {c.organism} genes by {_NAMED_BY[c.identifier]}."
        ]
        if c.n_covered < FEW_GENES * c.n_model_genes:
            said.append(
                f"Only {c.n_covered:,} of the model's {c.n_model_genes:,} genes are measured: take the scores as a hint."
            )
        if self.repeated_ids:
            shown = ", ".join(self.repeated_ids[:5]) + (" ..." if len(self.repeated_ids) > 5 else "")
            said.append(f"{len(self.repeated_ids):,} row id(s) stand there more than once, every row is kept: {shown}.")
        return tuple(said)


@dataclass(frozen=True)
class CellScores:
    """Scores of all rows.

    Attributes
    ----------
    row_ids
        One a row, in the order of the source.
    row_texts
        Labels and what they were read as, by the tissue of a row.
    cosines
        ``(n_rows, n_labels)`` float32 in [-1, 1]; NaN in rows without signal.
    logit_scale
        Factor of the cosines in the softmax.
    reading
        How the source was read.
    model_hash
        Model that scored.
    """

    row_ids: tuple[str, ...]
    row_texts: RowTexts
    cosines: npt.NDArray[np.float32]
    logit_scale: float
    reading: Reading
    model_hash: str

    @property
    def texts(self) -> LabelTexts:
        """What the labels were read as; where the source names several tissues, in rows without one."""
        return self.row_texts.common

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels as given, one a column."""
        return self.texts.labels

    @property
    def has_signal(self) -> npt.NDArray[np.bool_]:
        """``(n_rows,)`` bool, rows that could be scored."""
        return ~np.isnan(self.cosines[:, 0])

    def shares(self) -> npt.NDArray[np.float32]:
        """Return the softmax over the labels, ``(n_rows, n_labels)`` float32; rows without signal stay NaN."""
        return softmax(self.cosines, logit_scale=self.logit_scale)

    def best(self) -> tuple[str | None, ...]:
        """Return the best label of each row, ``None`` without signal; of equal ones the first."""
        best = np.argmax(np.where(np.isnan(self.cosines), -np.inf, self.cosines), axis=1)
        return tuple(self.labels[i] if ok else None for i, ok in zip(best, self.has_signal, strict=True))

    def write_to(self, adata: Any, *, key: str = "geo_atlas") -> None:
        """Store the result in an AnnData object of the same rows.

        ``obs[key + "_label"]`` and ``obs[key + "_share"]`` hold the best label and its softmax share, ``obsm[key]`` all cosines
        as a data frame, ``uns[key]`` model, labels and texts; what single tissues read otherwise as JSON.

        Raises
        ------
        InputError
            If the object has other rows.
        """
        import pandas as pd

        if tuple(map(str, adata.obs_names)) != self.row_ids:
            raise InputError("The AnnData object has other rows than were scored; write to the object that was scored.")
        shares = self.shares()
        top = np.where(self.has_signal, np.nan_to_num(shares).max(axis=1), np.nan).astype(np.float32)
        adata.obs[f"{key}_label"] = pd.Categorical(list(self.best()), categories=list(self.labels))
        adata.obs[f"{key}_share"] = top
        adata.obsm[key] = pd.DataFrame(self.cosines, index=adata.obs_names, columns=list(self.labels))
        adata.uns[key] = {
            "model": self.model_hash,
            "labels": list(self.labels),
            "texts": list(self.texts.texts),
            "by_tissue": json.dumps([vars(one) for one in self.row_texts.by_tissue]),
            "templates": list(self.texts.templates),
            "logit_scale": self.logit_scale,
        }


@dataclass(frozen=True)
class ScoreBlock:
    """Scores of some consecutive rows."""

    row_ids: tuple[str, ...]
    cosines: npt.NDArray[np.float32]


def softmax(cosines: npt.NDArray[np.floating], *, logit_scale: float) -> npt.NDArray[np.float32]:
    """Return shares over the last axis; each row on its own."""
    logits = cosines.astype(np.float64) * logit_scale
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=np.float32)


def score(
    data: object,
    labels: Sequence[str],
    *,
    model: JointModel,
    templates: Sequence[str] = (),
    input: InputKind = "auto",
    layer: str | None = None,
    unit: Unit | None = None,
    organism: str | None = None,
    tissue: str | None = None,
    as_written: bool = False,
) -> CellScores:
    """Score every row of a file or object by every label.

    Parameters
    ----------
    data, layer, unit
        See :func:`atlas.cells.rows.open_rows`.
    labels, templates, as_written
        See :func:`atlas.cells.texts.label_texts`.
    tissue
        Where all rows are from; ``None``: what ``obs`` says of each row (``tissue``, ``organ`` or ``organ_tissue``); ``""``:
        nothing.
    model
        The model.
    input
        ``cells`` or ``bulk``; ``auto``: the model tells from each row alone.
    organism
        ``human`` or ``mouse``; ``None``: the one whose genes the names are.

    Raises
    ------
    InputError, NotFoundError
        If the source, its genes, a label or a template cannot be used.
    """
    with open_rows(data, layer=layer, unit=unit) as rows:
        texts = row_texts(rows, labels, templates=templates, tissue=tissue, as_written=as_written)
        return score_texts(rows, [texts], model=model, input=input, organism=organism)[0]


def score_texts(
    rows: CellRows,
    texts: Sequence[RowTexts],
    *,
    model: JointModel,
    input: InputKind = "auto",
    organism: str | None = None,
) -> tuple[CellScores, ...]:
    """Score the rows by several sets of texts, embedding each row once; one result a set.

    Raises
    ------
    InputError
        See :func:`score`.
    """
    reading = read_genes(rows, model=model, organism=organism)
    found: list[list[npt.NDArray[np.float32]]] = [[] for _ in texts]
    vectors, start = [TextVectors(one, model=model) for one in texts], 0
    for row_ids, embedded in embed_blocks(rows, model=model, organism=reading.coverage.organism, input=input):
        for cosines, of_texts in zip(found, vectors, strict=True):
            cosines.append(_cosines(embedded, of_texts, start=start))
        start += len(row_ids)
    return tuple(
        CellScores(rows.row_ids, one, np.concatenate(cosines), logit_scale_of(model), reading, model.hash)
        for one, cosines in zip(texts, found, strict=True)
    )


def read_genes(rows: CellRows, *, model: JointModel, organism: str | None = None) -> Reading:
    """Return how the genes of ``rows`` fit the model, before anything is embedded.

    Raises
    ------
    InputError
        If no gene is recognised, or the genes are another organism's than was said.
    """
    chosen = organism or organism_of(rows, model.genes)
    if chosen not in set(model.genes.organisms):
        raise InputError(
            f"The model knows no genes of {chosen!r}; it knows {', '.join(sorted(set(model.genes.organisms)))}.",
            details={"organism": chosen},
        )
    aligner = GeneAligner(rows.genes, rows.symbols, genes=model.genes, organism=chosen)
    return Reading(rows.name, rows.scale, aligner.coverage, len(rows.row_ids), repeated(rows.row_ids))


def organism_of(rows: CellRows, genes: GeneMap) -> str:
    """Return the organism whose genes most names are, letter case included; human where none is ahead."""
    known = sorted(set(genes.organisms))
    n_found = {name: genes.n_exact(rows.genes, organism=name) for name in known}
    best = max(known, key=lambda name: (n_found[name], name == "human"))
    return best if n_found[best] else "human"


def embed_blocks(
    rows: CellRows, *, model: JointModel, organism: str, input: InputKind = "auto"
) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.float32]]]:
    """Yield ``(row ids, (n, dim) float32 unit vectors)`` of all rows in order; rows without signal are NaN."""
    aligner = GeneAligner(rows.genes, rows.symbols, genes=model.genes, organism=organism)
    n_silent, reason = 0, None
    for matrix in rows.matrices():
        vectors, error = _embed(model, aligner.align(matrix), input=input)
        reason = error or reason
        n_silent += int(np.isnan(vectors[:, 0]).sum())
        yield matrix.sample_ids, vectors
    if n_silent == len(rows.row_ids) and reason is not None:
        raise InputError(
            f"None of the {n_silent:,} rows of {rows.name} can be embedded; the last one: {reason.message}",
            details={"n_rows": n_silent, **reason.details},
        )
    if n_silent:
        logger.warning("%s: %d row(s) without signal have no score.", rows.name, n_silent)


def score_blocks(
    rows: CellRows, texts: RowTexts, *, model: JointModel, organism: str, input: InputKind = "auto"
) -> Iterator[ScoreBlock]:
    """Yield the cosines of all rows with the texts of each, some rows at a time."""
    vectors, start = TextVectors(texts, model=model), 0
    for row_ids, embedded in embed_blocks(rows, model=model, organism=organism, input=input):
        yield ScoreBlock(row_ids, _cosines(embedded, vectors, start=start))
        start += len(row_ids)


def cosines_of(rows: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ``(n_rows, n_texts)`` float32; an entry depends on its row and text alone, bit for bit.

    A matrix product may sum in another order when the number of rows changes; here every row is its own product.
    """
    wide = texts.astype(np.float64).T
    products = [row.astype(np.float64) @ wide for row in rows]
    return np.asarray(products, dtype=np.float32).reshape(len(rows), len(texts))


def take_rows(aligned: AlignedExpression, wanted: npt.NDArray[np.bool_]) -> AlignedExpression:
    """Return the rows where ``wanted``, (n_rows,) bool, is true."""
    places = np.flatnonzero(wanted)
    return replace(
        aligned,
        values=aligned.values[places],
        measured=aligned.measured[places],
        units=tuple(aligned.units[i] for i in places),
        sample_ids=tuple(aligned.sample_ids[i] for i in places),
    )


def logit_scale_of(model: JointModel) -> float:
    """Return the factor that the model learned for its cosines, or the paper's start value."""
    return PAPER_LOGIT_SCALE if model.logit_scale is None else model.logit_scale


def _cosines(embedded: npt.NDArray[np.float32], vectors: TextVectors, *, start: int) -> npt.NDArray[np.float32]:
    """Compare the rows from ``start`` with the texts of each."""
    found = np.empty((len(embedded), vectors.n_labels), dtype=np.float32)
    for places, texts in vectors.of_rows(start, len(embedded)):
        found[places] = cosines_of(embedded[places], texts)
    return found


def _embed(
    model: JointModel, aligned: AlignedExpression, *, input: InputKind
) -> tuple[npt.NDArray[np.float32], InputError | None]:
    """Embed a block; where some row cannot be, row by row, and those rows are NaN. The error is that of the last such row."""
    if input not in get_args(InputKind):
        raise InputError(f"The input {input!r} is unknown; expected one of {', '.join(get_args(InputKind))}.")
    try:
        return model.embed_expression(aligned, kind=input), None
    except InputError as error:
        last = error
    vectors = np.full((len(aligned.sample_ids), model.dim), np.nan, dtype=np.float32)
    for row in range(len(vectors)):
        alone = np.arange(len(vectors)) == row
        try:
            vectors[row] = model.embed_expression(take_rows(aligned, alone), kind=input)[0]
        except InputError as error:
            last = error
    return vectors, last
