"""Rank-value encoding: a transcriptome becomes the list of its genes, most unusual first.

In: linear expression ``(n_samples, n_genes)``, dense or sparse, and the genes' Ensembl ids. Out: :class:`RankTokens`, the
tokens of every sample one behind the other. A sample's tokens depend on that sample alone.

A gene's value is ``count / n_counts * 10,000 / median`` in float64, as published; genes without token or median, and genes that
the sample does not express, are left out; the rest stands in decreasing order and is cut. ``n_counts`` is one factor a
sample: it cannot change the order beyond rounding.

Source: Theodoris et al., Nature 2023, Methods, "Rank value encoding"; ``<cls>`` and ``<eos>`` of the second version: Chen et
al., bioRxiv 2024. Ours: duplicated genes are added up in both versions, explicit zeros of a sparse matrix are not expressed,
and a sample without any gene is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError, NoSignalError
from atlas.expression.genes import strip_version
from atlas.model.geneformer.vocabulary import GeneVocabulary

TARGET_SUM = 10_000
CELLWHISPERER_EMPTY_TOKEN = 9_743
_BLOCK_VALUES = 4 << 20  # values held in float64 at once

Totals = Literal["all", "ensg"]
Ties = Literal["published", "stable"]
Empty = Literal["error", "cellwhisperer"]


@dataclass(frozen=True)
class RankTokens:
    """Tokens of some samples.

    Attributes
    ----------
    ids
        ``(n_tokens,)`` int32, sample behind sample.
    offsets
        ``(n_samples + 1,)`` int64: sample i has ``ids[offsets[i] : offsets[i + 1]]``.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> npt.NDArray[np.int32]:
        """Return the tokens of sample ``i``."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``(n_samples,)`` int64 number of tokens of each sample."""
        return np.diff(self.offsets)

    def padded(self, rows: npt.NDArray[np.integer], *, pad: int = 0) -> npt.NDArray[np.int64]:
        """Return the samples ``rows`` as ``(m, longest)`` int64, filled up with ``pad``."""
        lengths = self.lengths[rows]
        inside = np.arange(int(lengths.max(initial=0)))[None, :] < lengths[:, None]
        out = np.full(inside.shape, pad, dtype=np.int64)
        out[inside] = np.concatenate([self.row(int(row)) for row in rows]) if len(rows) else ()
        return out

    @classmethod
    def from_rows(cls, rows: Sequence[npt.NDArray[np.integer]]) -> RankTokens:
        """Join the tokens of samples."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        ids = np.concatenate(rows) if rows else np.zeros(0)
        return cls(ids.astype(np.int32), offsets)


class RankValueTokenizer:
    """Turns expression into tokens.

    Parameters
    ----------
    vocabulary
        Genes, tokens and medians; its version decides whether samples are wrapped in ``<cls>`` and ``<eos>``.
    max_length
        Most tokens of a sample, ``<cls>`` and ``<eos>`` included; default: what the published models read.
    totals
        What ``n_counts`` is where it is not given: ``all`` sums every gene of the file, as published; ``ensg`` those whose
        identifier begins with ENSG0, as CellWhisperer does.
    ties
        Order of equal values. ``published``: whatever ``numpy.argsort`` gives on this machine, as in the published code;
        ``stable``: order of the file's genes, the same on every machine.
    empty
        What a sample without any ranked gene becomes: an ``error``, or the single token 9743 of ``cellwhisperer``.
    """

    def __init__(
        self,
        vocabulary: GeneVocabulary,
        *,
        max_length: int | None = None,
        totals: Totals = "all",
        ties: Ties = "published",
        empty: Empty = "error",
    ) -> None:
        self.vocabulary = vocabulary
        self.max_length = vocabulary.max_length if max_length is None else max_length
        self._wrapped = vocabulary.version == "v2"
        self._n_ranks = self.max_length - 2 * self._wrapped
        if self._n_ranks < 1:
            raise InputError(f"A sample of at most {self.max_length} tokens holds no gene; give 3 or more.")
        self._totals, self._empty = totals, empty
        self._sort: Literal["stable"] | None = "stable" if ties == "stable" else None

    def tokenize(
        self,
        values: Any,
        *,
        genes: Sequence[str] | GeneColumns,
        n_counts: npt.ArrayLike | None = None,
        sample_ids: Sequence[str] | None = None,
    ) -> RankTokens:
        """Return the tokens of every sample.

        Parameters
        ----------
        values
            ``(n_samples, n_genes)`` array or SciPy sparse matrix, linear and not negative.
        genes
            Ensembl gene id of every column; a version is cut off, other names are no tokens. Files that are read in parts
            give the :meth:`columns` of their genes, found once.
        n_counts
            ``(n_samples,)`` total of each sample; default: see ``totals``.
        sample_ids
            Names for messages.

        Raises
        ------
        InputError
            If shapes disagree, a value is negative or not finite, or a sample expresses no gene with a token.
        """
        columns = genes if isinstance(genes, GeneColumns) else self.columns(genes)
        if values.ndim != 2 or values.shape[1] != columns.n_given:
            raise InputError(f"Expression has shape {values.shape}, expected (samples, {columns.n_given:,} genes).")
        totals = self._given_totals(n_counts, n_samples=values.shape[0])
        counted = None if self._totals == "all" else columns.is_ensg
        rows: list[npt.NDArray[np.int32]] = []
        for start, block in _blocks(values):
            _check(block, names=sample_ids, start=start)
            if totals is None:
                n = np.asarray((block if counted is None else block[:, counted]).sum(axis=1, dtype=np.float64)).ravel()
            else:
                n = totals[start : start + block.shape[0]]
            for i, (place, count) in enumerate(columns.select(block)):
                rows.append(self._rank(place, count, n[i], columns=columns, name=_name(sample_ids, start + i)))
        return RankTokens.from_rows(rows)

    def columns(self, genes: Sequence[str]) -> GeneColumns:
        """Find the genes of a file once, for any number of calls of :meth:`tokenize`.

        Raises
        ------
        InputError
            If none of them has a token.
        """
        return GeneColumns.find(genes, self.vocabulary)

    def _rank(
        self,
        place: npt.NDArray[np.intp],
        count: npt.NDArray[np.float64],
        total: float,
        *,
        columns: GeneColumns,
        name: str,
    ) -> npt.NDArray[np.int32]:
        """Order the expressed genes of one sample."""
        if place.size and not total > 0:
            raise InputError(f"Sample {name} has the total {total}, but expresses genes. Give its total count.")
        scaled = count / total * TARGET_SUM / columns.medians[place]  # the published order of operations
        order = np.argsort(-scaled, kind=self._sort)[: self._n_ranks]
        ranked = columns.tokens[place[order]]
        if not ranked.size:
            if self._empty == "error":
                raise NoSignalError(
                    f"Sample {name} expresses none of the {len(self.vocabulary):,} genes that Geneformer ranks. "
                    "Leave it out, or check that genes are human Ensembl ids.",
                    details={"sample_id": name},
                )
            ranked = np.array([CELLWHISPERER_EMPTY_TOKEN], dtype=np.int32)
        if not self._wrapped:
            return ranked
        first, last = self.vocabulary.specials["<cls>"], self.vocabulary.specials["<eos>"]
        return np.concatenate(([first], ranked, [last])).astype(np.int32)

    def _given_totals(self, n_counts: npt.ArrayLike | None, *, n_samples: int) -> npt.NDArray[np.float64] | None:
        if n_counts is None:
            return None
        totals = np.asarray(n_counts, dtype=np.float64)
        if totals.shape != (n_samples,) or not (np.isfinite(totals) & (totals >= 0)).all():
            raise InputError(
                f"n_counts has shape {totals.shape}, expected ({n_samples},) finite numbers of at least 0."
            )
        return totals


@dataclass(frozen=True)
class GeneColumns:
    """Which columns of a file are ranked, and as what.

    Attributes
    ----------
    n_given
        Columns of the file.
    is_ensg
        ``(n_given,)`` bool, columns whose identifier begins with ENSG0.
    columns
        Places of ranked columns in the file, in file order.
    gene
        Of each of them, its place among the distinct genes.
    tokens, medians
        Of the distinct genes, in order of their first column.
    """

    n_given: int
    is_ensg: npt.NDArray[np.bool_]
    columns: npt.NDArray[np.intp]
    gene: npt.NDArray[np.intp]
    tokens: npt.NDArray[np.int32]
    medians: npt.NDArray[np.float64]

    @classmethod
    def find(cls, genes: Sequence[str], vocabulary: GeneVocabulary) -> GeneColumns:
        """Look the genes of a file up in the vocabulary."""
        known = ((place, vocabulary.rows.get(strip_version(gene) or "")) for place, gene in enumerate(genes))
        found = [(place, row) for place, row in known if row is not None]
        if not found:
            raise InputError(
                f"None of the {len(genes):,} genes has a Geneformer token (for example {', '.join(map(repr, genes[:5]))}). "
                "Expected human Ensembl gene ids.",
                details={"n_given": len(genes), "examples": list(genes[:5])},
            )
        distinct = list(dict.fromkeys(row for _, row in found))
        place_of = {row: place for place, row in enumerate(distinct)}
        return cls(
            n_given=len(genes),
            is_ensg=np.array([gene.upper().startswith("ENSG0") for gene in genes], dtype=bool),
            columns=np.array([place for place, _ in found], dtype=np.intp),
            gene=np.array([place_of[row] for _, row in found], dtype=np.intp),
            tokens=vocabulary.tokens[distinct],
            medians=vocabulary.medians[distinct],
        )

    def select(self, block: Any) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]]:
        """Yield of every row the expressed genes, in file order, and their counts."""
        if isinstance(block, np.ndarray):
            for row in self._dense(block):
                place = np.flatnonzero(row)
                yield place, row[place]
            return
        part = self._sparse(block)
        for start, stop in zip(part.indptr[:-1], part.indptr[1:], strict=True):
            yield part.indices[start:stop].astype(np.intp), part.data[start:stop]

    def _dense(self, block: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        values = block[:, self.columns].astype(np.float64)
        if len(self.tokens) == len(self.columns):
            return values
        summed = np.zeros((len(self.tokens), len(values)))
        np.add.at(summed, self.gene, values.T)
        return summed.T

    def _sparse(self, block: Any) -> Any:
        """Return the block in CSR over the distinct genes, duplicates added up, places increasing, no zeros."""
        from scipy.sparse import csr_matrix

        shape = (block.shape[1], len(self.tokens))
        choose = csr_matrix((np.ones(len(self.gene)), (self.columns, self.gene)), shape=shape)
        part = csr_matrix(block, dtype=np.float64) @ choose
        part.eliminate_zeros()
        part.sort_indices()
        return part


def _blocks(values: Any) -> Iterator[tuple[int, Any]]:
    """Yield rows of a matrix, a bounded number of values at once; CSR whatever sparse format came in."""
    if not isinstance(values, np.ndarray):
        values = values.tocsr()
    step = max(1, _BLOCK_VALUES // max(values.shape[1], 1))
    for start in range(0, values.shape[0], step):
        yield start, values[start : start + step]


def _check(block: Any, *, names: Sequence[str] | None, start: int) -> None:
    """Refuse what cannot be ranked."""
    held = block if isinstance(block, np.ndarray) else block.data
    if bool((np.isfinite(held) & (held >= 0)).all()):
        return
    dense = block if isinstance(block, np.ndarray) else block.toarray()
    row, column = np.argwhere(~(np.isfinite(dense) & (dense >= 0)))[0]
    raise InputError(
        f"Sample {_name(names, start + int(row))} has the value {dense[row, column]} in column {int(column) + 1}; "
        "expected linear, finite expression of at least 0 (counts are best)."
    )


def _name(names: Sequence[str] | None, row: int) -> str:
    return f"number {row + 1}" if names is None else repr(names[row])
