"""The neighbour graph of a large atlas, by blocks of rows that lie near each other.

In: ``vectors.npy``. Out: :class:`~atlas.landscape.neighbours.NeighbourGraph`, nearly exact; its recall is for the caller to
measure. Rows are reduced to their strongest principal axes and sorted into k-means lists. The rows of a list are scored
at once against those of the nearest lists, and each keeps a shortlist; then against the shortlists of their shortlists, which
finds neighbours that the lists had cut off; at last on the master, in all dimensions, against all that is on a shortlist
of the block, so the reduction decides who is looked at and never who is near. Each step is one matrix product a block.

Source: neighbours of neighbours as in Dong, Moses and Li, "Efficient k-nearest neighbor graph construction", 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.landscape.neighbours import NeighbourGraph
from atlas.vectors.axes import Axes
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore, release_pages

if TYPE_CHECKING:
    from torch import Tensor

Advance = Callable[[int], None]
_BLOCK_ROWS = 512
_MOST_CANDIDATES = 65_536
_ROWS_OF_A_CENTRE = 39  # what k-means is trained with; faiss asks for no fewer


@dataclass(frozen=True)
class BlockPlan:
    """How widely neighbours are looked for.

    Attributes
    ----------
    dims
        Principal axes that shortlists are made with.
    list_dims
        Those that lists are made with.
    list_rows
        Rows of a list, on average.
    n_probe
        Lists whose rows a list is scored against at first.
    shortlist
        Rows on a shortlist.
    spread
        Of how many of its entries the shortlists are looked at in turn.
    rounds
        How often.
    """

    dims: int = 256
    list_dims: int = 128
    list_rows: int = 320
    n_probe: int = 48
    shortlist: int = 40
    spread: int = 20
    rounds: int = 1

    @property
    def passes(self) -> int:
        """How often every row is counted by ``advance``."""
        return 2 + self.rounds


def build_block_graph(
    store: VectorStore, *, k: int = 15, plan: BlockPlan | None = None, seed: int = 0, advance: Advance | None = None
) -> NeighbourGraph:
    """Find the neighbours of every row.

    Parameters
    ----------
    k
        Neighbours of each row; fewer where the atlas has fewer other rows.
    advance
        Called with the number of rows done since the last call, ``plan.passes`` times for each.
    """
    import torch

    plan = plan or BlockPlan()
    done = advance or (lambda n: None)
    reduced = reduce_rows(store, min(plan.dims, store.dim), seed=seed)
    store.release_pages()  # of the rows that the axes were found on
    lists = Lists.of(reduced[:, : plan.list_dims], rows=plan.list_rows, n_probe=plan.n_probe, seed=seed)
    points = torch.from_numpy(reduced[lists.order])
    del reduced
    found = torch.zeros((store.n, min(plan.shortlist, store.n)), dtype=torch.int32)
    for number, block in lists.blocks():
        _shorten(points, block, torch.from_numpy(lists.rows_near(number)), found)
        done(block.stop - block.start)
    for _ in range(plan.rounds):
        wider = torch.zeros_like(found)
        seen = torch.zeros(store.n, dtype=torch.bool)
        for _, block in lists.blocks():
            first = _union(seen, found[block])
            _shorten(points, block, _union(seen, found[first, : plan.spread], first), wider)
            done(block.stop - block.start)
        found = wider
    del points
    return _decide(store, lists, found, k=min(k, store.n - 1), advance=done)


def reduce_rows(store: VectorStore, dims: int, *, seed: int = 0) -> np.ndarray:
    """Return every row on the strongest axes of the second moment of a sample of rows, (n, dims) float32.

    Without centring, inner products stay inner products.
    """
    basis = np.ascontiguousarray(Axes.measure(store, seed=seed).directions[:dims].T)
    reduced = np.empty((store.n, dims), np.float32)
    for start, block in rows_in_order(store):
        np.matmul(block, basis, out=reduced[start : start + block.shape[0]])
    return reduced


@dataclass(frozen=True)
class Lists:
    """Rows sorted into lists.

    Attributes
    ----------
    order
        (n,) int64: the row at each place.
    starts
        (n_lists + 1,) int64 first place of each list.
    near
        (n_lists, n_probe) the nearest lists of each, itself first.
    """

    order: np.ndarray
    starts: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, reduced: np.ndarray, *, rows: int, n_probe: int, seed: int) -> Lists:
        """Sort (n, dims) rows into lists of about ``rows`` by spherical k-means."""
        import faiss
        import torch

        n, dims = reduced.shape
        n_lists = max(1, n // max(rows, _ROWS_OF_A_CENTRE))
        means = faiss.Kmeans(dims, n_lists, niter=4, spherical=True, seed=seed + 1)
        sample = np.random.default_rng(seed).choice(n, min(n, _ROWS_OF_A_CENTRE * n_lists), replace=False)
        means.train(np.ascontiguousarray(reduced[np.sort(sample)]))
        centres = torch.from_numpy(means.centroids)
        member = torch.empty(n, dtype=torch.int64)
        for start in range(0, n, 16_384):
            member[start : start + 16_384] = (torch.from_numpy(reduced[start : start + 16_384]) @ centres.T).argmax(1)
        likeness = centres @ centres.T
        likeness.fill_diagonal_(torch.inf)
        near = likeness.topk(min(n_probe, n_lists), dim=1)[1].numpy()
        starts = np.concatenate([[0], np.cumsum(np.bincount(member.numpy(), minlength=n_lists))])
        return cls(member.argsort(stable=True).numpy(), starts, near)

    def blocks(self) -> Iterator[tuple[int, slice]]:
        """Yield (list, places) of all lists in order, large ones in parts."""
        for number, (start, stop) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            for first in range(int(start), int(stop), _BLOCK_ROWS):
                yield number, slice(first, min(first + _BLOCK_ROWS, int(stop)))

    def rows_near(self, number: int) -> np.ndarray:
        """Return the places of the lists near a list, nearest list first."""
        return np.concatenate([np.arange(self.starts[one], self.starts[one + 1]) for one in self.near[number]])


def _union(seen: Tensor, *some: Tensor) -> Tensor:
    """Return the distinct places named, ascending; ``seen`` (n,) bool is all false before and after."""
    for places in some:
        seen[places.reshape(-1).long()] = True
    found = seen.nonzero()[:, 0]
    seen[found] = False
    return found


def _shorten(points: Tensor, block: slice, candidates: Tensor, found: Tensor) -> None:
    """Write the best candidates of each row of a block into ``found``."""
    import torch

    candidates = candidates[:_MOST_CANDIDATES]
    scores = points[block] @ points[candidates].T
    own = torch.arange(block.start, block.stop)
    scores[candidates[None, :] == own[:, None]] = -torch.inf
    kept = min(found.shape[1], candidates.numel())
    found[block, :kept] = candidates[scores.topk(kept, dim=1)[1]].int()


def _decide(store: VectorStore, lists: Lists, found: Tensor, *, k: int, advance: Advance) -> NeighbourGraph:
    """Score every row on the master against all that is on a shortlist of its block, and keep the best ``k``."""
    import torch

    indices = np.empty((store.n, k), np.int32)
    similarities = np.empty((store.n, k), np.float32)
    seen = torch.zeros(store.n, dtype=torch.bool)
    master = np.load(store.path, mmap_mode="r", allow_pickle=False)
    enough = torch.arange(min(k + 1, store.n))  # so that even a block of copies has k others to name
    for number, (_, block) in enumerate(lists.blocks()):
        if number % _BLOCKS_KEPT == 0:
            release_pages(master)
        own = torch.arange(block.start, block.stop)
        candidates = _union(seen, found[block], own, enough)
        place = torch.searchsorted(candidates, own)
        rows = lists.order[candidates.numpy()]
        vectors = torch.from_numpy(master[rows]).float()  # of the whole work, numpy's conversion would be a third
        queries = vectors[place]
        scores = (queries / queries.norm(dim=1, keepdim=True)) @ vectors.T
        scores[torch.arange(own.numel()), place] = -torch.inf
        best, which = scores.topk(k, dim=1)
        named = rows[which.numpy()]
        values = np.clip(best.numpy(), -1.0, 1.0)
        sorted_by = np.lexsort((named, -values), axis=-1)
        mine = lists.order[block]
        indices[mine] = np.take_along_axis(named, sorted_by, axis=1)
        similarities[mine] = np.take_along_axis(values, sorted_by, axis=1)
        advance(own.numel())
    return NeighbourGraph(indices, similarities)


_BLOCKS_KEPT = 2  # whose rows' pages, some 250 MB a block, stay in the process while rows are scored on the master
