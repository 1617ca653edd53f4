"""Blocks: items that must stay on one side of a split, because they share a study, a person, a sample or a text.

In: sources. Out: one block name an item, the same whatever the order of files, and a report of what was joined. Studies are
those of :func:`indexer.studies.study_of`; further links join them: a sample listed under two series, a person in two studies,
texts that are nearly the same. Work and memory grow with the number of items, never with that of pairs.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from indexer.training.sources.source import PairSource

STUDY = "study:"
"""Prefix of the links that name a study; a block is called by the first of its studies."""

_WORD = re.compile(r"[^\W_]+")
_SHINGLE_WORDS = 3
_BANDS, _ROWS = 16, 8  # two texts of Jaccard similarity s meet with 1 - (1 - s**8)**16: .95 at .8, .02 at .4
_HASH_CHUNK = 1 << 22


class DisjointSets:
    """Union-find over ``0 .. n-1`` with path halving and union by size."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._size = [1] * n

    def __len__(self) -> int:
        return len(self._parent)

    def find(self, member: int) -> int:
        """Return the representative of a member's set."""
        parent = self._parent
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    def join(self, one: int, other: int) -> bool:
        """Unite two sets; return whether they were apart."""
        one, other = self.find(one), self.find(other)
        if one == other:
            return False
        if self._size[one] < self._size[other]:
            one, other = other, one
        self._parent[other] = one
        self._size[one] += self._size[other]
        return True


@dataclass(frozen=True)
class Blocking:
    """Blocks of the items of several sources.

    Attributes
    ----------
    blocks
        Of each source, ``(n_items,)`` block names.
    n_blocks
        Distinct blocks over all sources.
    n_near_duplicates
        Joins that only a nearly equal text made.
    joined_studies
        Studies that share a block, of every block with more than one.
    largest
        Names and sizes of the ten largest blocks.
    """

    blocks: tuple[npt.NDArray[np.str_], ...]
    n_blocks: int
    n_near_duplicates: int
    joined_studies: tuple[tuple[str, ...], ...]
    largest: tuple[tuple[str, int], ...]


def block_items(sources: Sequence[PairSource], *, near_duplicates: bool = True) -> Blocking:
    """Return the blocks of all sources together.

    Parameters
    ----------
    sources
        What is to be split; order does not matter.
    near_duplicates
        Also join items whose first captions are nearly the same, see :func:`near_duplicate_texts`.
    """
    sizes = [len(source) for source in sources]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    sets = DisjointSets(int(starts[-1]))
    members: dict[str, int] = {}
    for source, start in zip(sources, starts, strict=False):
        _link(sets, ((int(start) + row, name) for row, name in source.links()), members)
    n_joined = 0
    if near_duplicates:
        texts = (source.captions(row)[0] for source in sources for row in range(len(source)))
        n_joined = sum(sets.join(one, other) for one, other in near_duplicate_texts(texts))
    names, studies = _names(sets, members, int(starts[-1]))
    found, counts = np.unique(names, return_counts=True)
    order = np.lexsort((found, -counts))[:10]
    return Blocking(
        blocks=tuple(names[start : start + size] for start, size in zip(starts, sizes, strict=False)),
        n_blocks=found.size,
        n_near_duplicates=n_joined,
        joined_studies=studies,
        largest=tuple((str(found[i]), int(counts[i])) for i in order),
    )


def link_blocks(n_items: int, links: Iterable[tuple[int, str]]) -> npt.NDArray[np.str_]:
    """Return ``(n_items,)`` block names of one source by its own links."""
    sets, members = DisjointSets(n_items), dict[str, int]()
    _link(sets, links, members)
    return _names(sets, members, n_items)[0]


def folds(blocks: npt.NDArray[np.str_], *, n_folds: int = 5, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return ``(n_items,)`` fold of each item, 0 to ``n_folds - 1``: blocks are never split, folds are about equally large.

    The largest blocks are dealt first, each to the fold with the fewest items; blocks of one size in an order the seed decides.
    The result depends on names and sizes of the blocks alone, not on the order of items.

    Raises
    ------
    InputError
        If there are fewer blocks than folds, or less than two folds.
    """
    names, place, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    if not 2 <= n_folds <= names.size:
        raise InputError(
            f"{names.size} blocks of items cannot be dealt to {n_folds} folds. Expected at least two folds and a block for each.",
            details={"n_blocks": int(names.size), "n_folds": n_folds},
        )
    tie = np.array([zlib.crc32(f"{seed} {name}".encode()) for name in names])
    fold_of, filled = np.zeros(names.size, dtype=np.int64), np.zeros(n_folds, dtype=np.int64)
    for block in np.lexsort((tie, -sizes)):
        fold_of[block] = int(np.argmin(filled))
        filled[fold_of[block]] += sizes[block]
    return fold_of[place]


def near_duplicate_texts(
    texts: Iterable[str], *, threshold: float = 0.8, min_words: int = 6, seed: int = 0
) -> Iterator[tuple[int, int]]:
    """Yield pairs of positions whose texts are nearly the same; joining them gives the groups.

    Two texts are nearly the same if their sets of three-word runs have a Jaccard similarity of ``threshold`` or more, letter case
    and punctuation aside. Texts of fewer words than ``min_words`` are never compared: "whole blood" says nothing of a study.
    Candidates meet by min-hashing (16 bands of 8), and a group of equal hashes is compared along a chain, not in all pairs; at
    .8 one of twenty near-duplicates is missed.

    Source: Broder 1997; the banding is that of Leskovec et al., Mining of Massive Datasets, ch. 3.
    """
    first: dict[str, int] = {}
    positions: list[int] = []
    shingles: list[npt.NDArray[np.uint64]] = []
    for position, text in enumerate(texts):
        words = _WORD.findall(text.lower())
        if len(words) < min_words:
            continue
        key = " ".join(words)
        if key in first:
            yield first[key], position
            continue
        first[key] = position
        positions.append(position)
        shingles.append(_shingles(words))
    sets = DisjointSets(len(positions))
    for one, other in _candidates(shingles, seed=seed):
        if sets.find(one) != sets.find(other) and _jaccard(shingles[one], shingles[other]) >= threshold:
            sets.join(one, other)
            yield positions[one], positions[other]


def _link(sets: DisjointSets, links: Iterable[tuple[int, str]], members: dict[str, int]) -> None:
    """Join the items that share a name; ``members`` remembers an item of each name."""
    for item, name in links:
        other = members.setdefault(name, item)
        sets.join(item, other)


def _names(
    sets: DisjointSets, members: dict[str, int], n_items: int
) -> tuple[npt.NDArray[np.str_], tuple[tuple[str, ...], ...]]:
    """Name each set after the first of its studies, or of its other links; a set without links after its first item."""
    studies: dict[int, list[str]] = {}
    others: dict[int, str] = {}
    for name, item in members.items():
        root = sets.find(item)
        if name.startswith(STUDY):
            studies.setdefault(root, []).append(name.removeprefix(STUDY))
        else:
            others[root] = min(name, others.get(root, name))
    called = {**others, **{root: min(names) for root, names in studies.items()}}
    roots = [sets.find(item) for item in range(n_items)]
    for item, root in enumerate(roots):
        called.setdefault(root, f"item {item}")
    joined = tuple(sorted(tuple(sorted(names)) for names in studies.values() if len(names) > 1))
    return np.array([called[root] for root in roots], dtype=np.str_), joined


def _shingles(words: Sequence[str]) -> npt.NDArray[np.uint64]:
    runs = (" ".join(words[i : i + _SHINGLE_WORDS]) for i in range(max(1, len(words) - _SHINGLE_WORDS + 1)))
    return np.unique(np.fromiter((zlib.crc32(run.encode()) for run in runs), dtype=np.uint64))


def _jaccard(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    shared = np.intersect1d(one, other, assume_unique=True).size
    return float(shared / (one.size + other.size - shared))


def _candidates(shingles: Sequence[npt.NDArray[np.uint64]], *, seed: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of texts whose hashes agree in a whole band: each with the first and with the one before it in its bucket."""
    if len(shingles) < 2:
        return
    rng = np.random.default_rng(seed)
    for _ in range(_BANDS):
        keys = np.zeros(len(shingles), dtype=np.uint64)
        for _ in range(_ROWS):
            factor, shift = rng.integers(1, 2**63, size=2, dtype=np.uint64) | np.uint64(1)
            keys = (keys ^ _min_hashes(shingles, factor=factor, shift=shift)) * np.uint64(0x9E3779B97F4A7C15)
        order = np.argsort(keys, kind="stable")
        equal = keys[order][1:] == keys[order][:-1]
        first = 0
        for place in range(1, len(order)):
            if not equal[place - 1]:
                first = place
                continue
            yield int(order[first]), int(order[place])
            if place - 1 > first:
                yield int(order[place - 1]), int(order[place])


def _min_hashes(
    shingles: Sequence[npt.NDArray[np.uint64]], *, factor: np.uint64, shift: np.uint64
) -> npt.NDArray[np.uint64]:
    """Return the smallest hash of each text's runs, in chunks of bounded size."""
    lowest = np.empty(len(shingles), dtype=np.uint64)
    start = 0
    while start < len(shingles):
        stop, n = start, 0
        while stop < len(shingles) and (n == 0 or n + shingles[stop].size <= _HASH_CHUNK):
            n += shingles[stop].size
            stop += 1
        sizes = [part.size for part in shingles[start:stop]]
        hashed = (np.concatenate(shingles[start:stop]) * factor + shift) >> np.uint64(32)
        lowest[start:stop] = np.minimum.reduceat(hashed, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
        start = stop
    return lowest
