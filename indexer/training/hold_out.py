"""Which items are learned from, which choose the checkpoint, and which are not touched at all: whole blocks each time.

In: sources. Out: :class:`Rows`. Blocks are those of ``indexer.training.blocking``: studies, donors and near-equal texts stay
together, across sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.training.blocking import block_items
from indexer.training.record import Rows
from indexer.training.sources.source import PairSource

_LARGEST_SHARE = 0.25  # of the pool that one block may take


def split_rows(
    sources: Sequence[PairSource], *, fold: tuple[int, int] | None = None, n_validation: int = 1000, seed: int = 0
) -> Rows:
    """Split the items of all sources by blocks.

    Parameters
    ----------
    sources
        In the order of the run.
    fold
        ``(k, n)``: the k-th (from 1) of n folds is left out altogether, for a measurement after the run.
    n_validation
        About how many items choose the checkpoint; never more than a tenth of them.
    seed
        Of folds and validation.
    """
    blocking = block_items(sources)
    names = np.unique(np.concatenate(blocking.blocks)) if sources else np.zeros(0, dtype=str)
    folds = _folds(names, n_folds=fold[1], seed=seed) if fold is not None else np.zeros(len(names), dtype=np.int64)
    untouched = {str(name) for name in names[folds == (fold[0] - 1 if fold is not None else -1)]}
    kept = [np.flatnonzero(~np.isin(blocks, list(untouched))) for blocks in blocking.blocks]
    n_kept = sum(len(rows) for rows in kept)
    chosen = _validation(
        [blocks[rows] for blocks, rows in zip(blocking.blocks, kept, strict=True)],
        n_items=min(n_validation, n_kept // 10),
        seed=seed,
    )
    validation = [rows[np.isin(blocks[rows], list(chosen))] for blocks, rows in zip(blocking.blocks, kept, strict=True)]
    train = [np.setdiff1d(rows, held, assume_unique=True) for rows, held in zip(kept, validation, strict=True)]
    studies = sorted({study for name in untouched for study in _studies(name, blocking.joined_studies)})
    report = {
        "fold": None if fold is None else {"k": fold[0], "n": fold[1]},
        "n_blocks": blocking.n_blocks,
        "n_near_duplicates": blocking.n_near_duplicates,
        "joined_studies": [list(joined) for joined in blocking.joined_studies],
        "largest_blocks": [[name, n] for name, n in blocking.largest],
        "held_out_blocks": sorted(untouched),
        "validation_blocks": sorted(chosen),
        "held_out_studies": studies,
    }
    return Rows(train, validation, report)


def _folds(names: np.ndarray, *, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each block, folds of nearly equal numbers of blocks."""
    folds = np.empty(len(names), dtype=np.int64)
    folds[np.random.default_rng((seed, n_folds)).permutation(len(names))] = np.arange(len(names)) % n_folds
    return folds


def _validation(blocks: Sequence[np.ndarray], *, n_items: int, seed: int) -> set[str]:
    """Return random blocks of each source in proportion, until they hold about ``n_items``; giants are passed over."""
    chosen: set[str] = set()
    total = sum(len(part) for part in blocks)
    for number, part in enumerate(blocks):
        names, counts = np.unique(part, return_counts=True)
        wanted = n_items * len(part) / max(total, 1)
        taken = float(counts[np.isin(names, list(chosen))].sum())
        for i in np.random.default_rng((seed, number, 1)).permutation(len(names)):
            if taken >= wanted or len(names) < 2:
                break
            if counts[i] <= max(_LARGEST_SHARE * wanted, 1) and str(names[i]) not in chosen:
                chosen.add(str(names[i]))
                taken += float(counts[i])
    return chosen


def _studies(block: str, joined: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return next((tuple(names) for names in joined if names[0] == block), (block,))
