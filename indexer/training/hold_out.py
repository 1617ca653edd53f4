"""Three parts of the data: learned from, choosing the checkpoint, and not touched at all; whole blocks each time.

Blocks (study, donor, shared sample, nearly equal text) are dealt to folds. A run must not choose its checkpoint by the fold it is
measured on, so of the rest some blocks are set apart for that choice. Gene sets follow the studies they were made from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from atlas.errors import ConfigError
from indexer.training.blocking import STUDY, block_items, folds
from indexer.training.record import Rows
from indexer.training.sources.source import PairSource

MAX_CLUSTERED = 6_000
"""Texts in the tree of :func:`representatives`: 144 MB of distances."""
_LARGEST_SHARE = 0.25  # of the validation set that one block may take
_MOST = 0.1  # of the items that may choose the checkpoint

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]


def split_rows(
    sources: Sequence[PairSource],
    *,
    fold: tuple[int, int] | None = None,
    n_validation: int = 100,
    seed: int = 0,
    embed: Embed | None = None,
) -> Rows:
    """Split the items of all sources by blocks.

    Parameters
    ----------
    sources
        In the order of the run.
    fold
        ``(k, n)``: the k-th (from 1) of n folds is left out altogether, for a measurement after the run.
    n_validation
        Size of the set that chooses the checkpoint: one text a cluster of captions. 0: nothing is set apart for it.
    seed
        Of folds and validation.
    embed
        Texts to unit vectors, for the clusters; default: the packaged MiniLM.

    Raises
    ------
    ConfigError
        If there is no such fold.
    """
    if fold is not None and not 1 <= fold[0] <= fold[1]:
        raise ConfigError(f"There is no fold {fold[0]} of {fold[1]}; expected 1 to {fold[1]}.")
    blocking = block_items(sources)
    dealt = [n for n, source in enumerate(sources) if source.kind != "genesets"] or list(range(len(sources)))
    names = np.concatenate([blocking.blocks[n] for n in dealt])
    apart = np.zeros(0, dtype=names.dtype)
    if fold is not None:
        apart = np.unique(names[folds(names, n_folds=fold[1], seed=seed) == fold[0] - 1])
    rest = names[~np.isin(names, apart)]
    choosing = _some_blocks(rest, n_items=min(3 * n_validation, int(_MOST * rest.size)), seed=seed)
    validation = [
        np.flatnonzero(np.isin(blocks, choosing)) if n in dealt else np.zeros(0, dtype=np.int64)
        for n, blocks in enumerate(blocking.blocks)
    ]
    train = [np.flatnonzero(~np.isin(blocks, apart) & ~np.isin(blocks, choosing)) for blocks in blocking.blocks]
    report = {
        "fold": None if fold is None else {"k": fold[0], "n": fold[1]},
        "n_blocks": blocking.n_blocks,
        "n_near_duplicates": blocking.n_near_duplicates,
        "largest_blocks": [list(block) for block in blocking.largest],
        "joined_studies": [list(studies) for studies in blocking.joined_studies],
        "held_out_studies": _studies(sources, blocking.blocks, apart),
        "validation_studies": _studies(sources, blocking.blocks, choosing),
    }
    return Rows(train, _distinct(sources, validation, n=n_validation, embed=embed), report)


def representatives(texts: Sequence[str], *, n: int, embed: Embed, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return positions of at most ``n`` texts that stand for all, sorted: one a cluster, the nearest to its centre.

    Equal texts count once. Above 6,000 distinct texts a sample of them is clustered, for the tree needs all distances.
    Source: CellWhisperer (Schaefer et al. 2025) cuts an average-linkage tree of caption embeddings into clusters and keeps the
    member nearest to each cluster's centre; its split was by sample, ours is by block.

    Parameters
    ----------
    embed
        Texts -> ``(n, d)`` unit vectors.
    """
    first = np.array(sorted({text: place for place, text in reversed(list(enumerate(texts)))}.values()), dtype=np.int64)
    if first.size <= n:
        return first
    if first.size > MAX_CLUSTERED:
        first = np.sort(np.random.default_rng(seed).choice(first, size=MAX_CLUSTERED, replace=False))
    vectors = np.asarray(embed([texts[place] for place in first]), dtype=np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    labels = _average_linkage(vectors, n)
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        kept.append(first[members[int(np.argmax(vectors[members] @ vectors[members].mean(axis=0)))]])
    return np.array(sorted(kept), dtype=np.int64)


def _average_linkage(vectors: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.int64]:
    """Cut the average-linkage tree of cosine distances into at most ``n`` clusters."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = np.clip(1.0 - vectors @ vectors.T, 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), method="average")
    return np.asarray(fcluster(tree, t=n, criterion="maxclust"), dtype=np.int64)


def _some_blocks(names: np.ndarray, *, n_items: int, seed: int) -> np.ndarray:
    """Return random blocks that hold about ``n_items``; giants are passed over, for they are worth more in training."""
    blocks, counts = np.unique(names, return_counts=True)
    limit = max(_LARGEST_SHARE * n_items, float(np.median(counts)) if len(counts) else 0.0)
    chosen, taken = [], 0
    for i in np.random.default_rng((seed, 1)).permutation(len(blocks)):
        if taken >= n_items:
            break
        if counts[i] <= limit:
            chosen.append(blocks[i])
            taken += int(counts[i])
    return np.array(sorted(chosen), dtype=names.dtype)


def _distinct(
    sources: Sequence[PairSource], rows: Sequence[np.ndarray], *, n: int, embed: Embed | None
) -> tuple[np.ndarray, ...]:
    """Keep one row a cluster of captions."""
    places = [(number, int(row)) for number, kept in enumerate(rows) for row in kept]
    texts = [sources[number].captions(row)[0] for number, row in places]
    kept = [places[i] for i in representatives(texts, n=n, embed=embed or _minilm)] if places and n else []
    return tuple(
        np.array([row for mine, row in kept if mine == number], dtype=np.int64) for number in range(len(sources))
    )


def _minilm(texts: Sequence[str]) -> np.ndarray:
    from atlas.model.text_tower import MiniLmTower

    return MiniLmTower().embed(texts)


def _studies(sources: Sequence[PairSource], blocks: Sequence[np.ndarray], names: np.ndarray) -> list[str]:
    """Return the studies of all items in the blocks ``names``."""
    inside = [np.isin(mine, names) for mine in blocks]
    return sorted(
        {
            link.removeprefix(STUDY)
            for source, mask in zip(sources, inside, strict=True)
            for row, link in source.links()
            if mask[row] and link.startswith(STUDY)
        }
    )
