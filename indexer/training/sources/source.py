"""``PairSource``: items that pair texts with expression, whatever they come from.

In: files. Out, item by item: caption variants, expression in the model's gene order, a weight, and the names that tie the item
to a study, a donor or a sample, so that what belongs together is never split between training and evaluation. Expression is
read when it is asked for; nothing is loaded whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from atlas.expression.align import AlignedExpression

SourceKind = Literal["corpus", "genesets", "cells", "profiles"]
Rows = Sequence[int] | npt.NDArray[np.integer]


@dataclass(frozen=True)
class RowRandom:
    """Randomness of one pass over the data: every row has its own generator.

    What is drawn for a row depends on seed, epoch, source and row alone, never on its batch: an interrupted run that goes on
    sees what it would have seen, and so does a run with other batches or more workers.

    Attributes
    ----------
    seed
        Seed of the run, 0 or more.
    epoch
        Number of the pass, 0 or more.
    """

    seed: int
    epoch: int = 0

    def of(self, source: str, row: int) -> np.random.Generator:
        """Return the generator of one row of one source."""
        return np.random.default_rng((self.seed, self.epoch, zlib.crc32(source.encode()), int(row)))


@dataclass(frozen=True)
class Pair:
    """One training item without its expression.

    Attributes
    ----------
    source, row
        Where it is: name of the source and row in it; ``expression([row])`` gives its values.
    item_id
        Name of the sample, gene set or cell.
    captions
        One or more texts that say the same.
    block
        Items of one block are never split between training and evaluation.
    weight
        How much it counts within its source, mean 1.
    """

    source: str
    row: int
    item_id: str
    captions: tuple[str, ...]
    block: str
    weight: float


class PairSource(Protocol):
    """Items to learn from, in a fixed order."""

    @property
    def name(self) -> str:
        """Name in reports, unique in a run."""

    @property
    def kind(self) -> SourceKind:
        """What the items are."""

    @property
    def fingerprint(self) -> str:
        """sha256 that changes whenever items, captions or unaugmented expression could."""

    @property
    def item_ids(self) -> Sequence[str]:
        """One name an item."""

    @property
    def blocks(self) -> npt.NDArray[np.str_]:
        """(n_items,) block of each item, from this source alone; a split over several sources joins blocks by ``links``."""

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(n_items,) weight of each item, mean 1."""

    def __len__(self) -> int:
        """Return the number of items."""

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield ``(row, name)`` of all that ties an item to others: ``study:GSE1``, ``sample:GSM1``, ``donor:TCGA-OR-A5J1``.

        Items that share a name belong together, in one source or across sources.
        """

    def captions(self, row: int) -> tuple[str, ...]:
        """Return the texts of an item, at least one, the plainest first; the same at every call."""

    def expression(self, rows: Rows, *, rng: RowRandom | None = None) -> AlignedExpression:
        """Return the expression of ``rows`` in their order; rows may repeat.

        Parameters
        ----------
        rows
            Rows of this source.
        rng
            Augment with this randomness; ``None``: as it is, for evaluation and feature caches.
        """


@runtime_checkable
class GeneWeightSource(Protocol):
    """What a source can do besides if its items are weighted gene lists; towers linear in genes read the weights themselves."""

    def gene_weights(self, rows: Rows, *, rng: RowRandom | None = None) -> npt.NDArray[np.float32]:
        """Return (n_rows, n_model_genes) signed weights, L2-normalised rows; 0 where the list says nothing."""


def pair(source: PairSource, row: int) -> Pair:
    """Return the item ``row`` without its expression."""
    return Pair(
        source=source.name,
        row=row,
        item_id=source.item_ids[row],
        captions=source.captions(row),
        block=str(source.blocks[row]),
        weight=float(source.weights[row]),
    )
