"""What is trained on, what is held out, and the small set that retrieval is measured on.

In: sources. Out: rows of each source and a :class:`HeldOutReport`. Blocks (study, donor, shared sample, nearly equal text) are
never split, across sources too: a gene set made from a held-out study leaves the training with it.
Source of the validation set: CellWhisperer (Schaefer et al. 2025) cuts an average-linkage tree of caption embeddings into
clusters and keeps the member nearest to each cluster's centre; its split was by sample, ours is by block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas.errors import ConfigError
from indexer.training.blocking import STUDY, Blocking, block_items, folds
from indexer.training.sources.source import PairSource

MAX_CLUSTERED = 6_000  # texts in the tree: 144 MB of distances
_LISTED = 1_000  # studies named in a report

Rows = npt.NDArray[np.int64]
Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class SourceCount:
    """What became of one source's items; gene sets of held-out studies are ``n_held_out`` too."""

    name: str
    kind: str
    fingerprint: str
    n_items: int
    n_train: int
    n_held_out: int
    n_validation: int


@dataclass(frozen=True)
class HeldOutReport:
    """What was held out, for the model card and the tables.

    Attributes
    ----------
    seed, fold, n_folds
        Of the split; ``fold`` is ``None`` where everything is trained on.
    sources
        One entry a source.
    n_blocks, n_near_duplicates, largest_blocks, joined_studies
        As in :class:`Blocking`.
    held_out_studies, n_held_out_studies
        The studies no item of the training is of; at most 1,000 are named.
    """

    seed: int
    fold: int | None
    n_folds: int
    sources: tuple[SourceCount, ...]
    n_blocks: int
    n_near_duplicates: int
    largest_blocks: tuple[tuple[str, int], ...]
    joined_studies: tuple[tuple[str, ...], ...]
    held_out_studies: tuple[str, ...]
    n_held_out_studies: int

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """Rows of each source, in the order of the sources; all are sorted.

    Attributes
    ----------
    train
        Rows to learn from.
    held_out
        Every row of a held-out block.
    validation
        The de-duplicated rows of ``held_out`` that retrieval is measured on.
    report
        What was done.
    """

    train: tuple[Rows, ...]
    held_out: tuple[Rows, ...]
    validation: tuple[Rows, ...]
    report: HeldOutReport


def split(
    sources: Sequence[PairSource],
    *,
    seed: int,
    fold: int | None,
    n_folds: int = 5,
    n_validation: int = 100,
    embed: Embed | None = None,
) -> Split:
    """Split sources by blocks.

    Parameters
    ----------
    sources
        All that is trained on together. Samples, cells and profiles are dealt to folds; gene sets only follow, unless there is
        nothing else.
    seed
        Of the dealing.
    fold
        Fold held out, 0 to ``n_folds - 1``; ``None``: nothing is, and all lists but ``train`` are empty.
    n_folds
        Number of folds.
    n_validation
        Size of the validation set, or as many as the distinct captions bear.
    embed
        Texts -> ``(n, d)`` unit vectors; default: the packaged MiniLM.

    Raises
    ------
    ConfigError
        If the fold is not one of the folds.
    InputError
        If there are fewer blocks than folds.
    """
    if fold is not None and not 0 <= fold < n_folds:
        raise ConfigError(f"There is no fold {fold} of {n_folds}; expected 0 to {n_folds - 1}.")
    blocking = block_items(sources)
    held = [np.zeros(len(source), dtype=bool) for source in sources]
    is_dealt = [source.kind != "genesets" for source in sources]
    if not any(is_dealt):
        is_dealt = [True] * len(sources)
    if fold is not None:
        dealt = np.concatenate([names for names, mine in zip(blocking.blocks, is_dealt, strict=True) if mine])
        out = np.unique(dealt[folds(dealt, n_folds=n_folds, seed=seed) == fold])
        held = [np.isin(names, out) for names in blocking.blocks]
    validation = _validation(sources, held, is_dealt, n=n_validation, embed=embed)
    return Split(
        train=tuple(np.flatnonzero(~mask) for mask in held),
        held_out=tuple(np.flatnonzero(mask) for mask in held),
        validation=validation,
        report=_report(sources, held, validation, blocking, seed=seed, fold=fold, n_folds=n_folds),
    )


def representatives(texts: Sequence[str], *, n: int, embed: Embed, seed: int = 0) -> Rows:
    """Return positions of at most ``n`` texts that stand for all, sorted: one a cluster, the nearest to its centre.

    Equal texts count once. Above 6,000 distinct texts a sample of them is clustered, for the tree needs all distances.
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


def _validation(
    sources: Sequence[PairSource],
    held: Sequence[npt.NDArray[np.bool_]],
    is_dealt: Sequence[bool],
    *,
    n: int,
    embed: Embed | None,
) -> tuple[Rows, ...]:
    places = [
        (number, int(row))
        for number, (mask, dealt) in enumerate(zip(held, is_dealt, strict=True))
        for row in (np.flatnonzero(mask) if dealt else ())
    ]
    chosen = (
        representatives([sources[number].captions(row)[0] for number, row in places], n=n, embed=embed or _minilm)
        if places and n
        else ()
    )
    kept = [places[i] for i in chosen]
    return tuple(
        np.array([row for mine, row in kept if mine == number], dtype=np.int64) for number in range(len(sources))
    )


def _minilm(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    from atlas.model.text_tower import MiniLmTower

    return MiniLmTower().embed(texts)


def _report(
    sources: Sequence[PairSource],
    held: Sequence[npt.NDArray[np.bool_]],
    validation: Sequence[Rows],
    blocking: Blocking,
    *,
    seed: int,
    fold: int | None,
    n_folds: int,
) -> HeldOutReport:
    studies = {
        name.removeprefix(STUDY)
        for source, mask in zip(sources, held, strict=True)
        for row, name in source.links()
        if mask[row] and name.startswith(STUDY)
    }
    return HeldOutReport(
        seed=seed,
        fold=fold,
        n_folds=n_folds,
        sources=tuple(
            SourceCount(
                name=source.name,
                kind=source.kind,
                fingerprint=source.fingerprint,
                n_items=len(source),
                n_train=int((~mask).sum()),
                n_held_out=int(mask.sum()),
                n_validation=len(rows),
            )
            for source, mask, rows in zip(sources, held, validation, strict=True)
        ),
        n_blocks=blocking.n_blocks,
        n_near_duplicates=blocking.n_near_duplicates,
        largest_blocks=blocking.largest,
        joined_studies=blocking.joined_studies,
        held_out_studies=tuple(sorted(studies)[:_LISTED]),
        n_held_out_studies=len(studies),
    )
