"""A compressed scan of part of an atlas: rows in lists around centroids, each row four bits a dimension.

In: a store and its axes. Out: rough scores of the rows in the lists that are opened. A row is rotated onto the strongest axes,
turned at random so that all dimensions carry alike, and kept as its list's centroid and a code of the rest that FAISS scans with
vector instructions. Lists are opened by the inner product of their centroid; a list without an allowed row is never opened.

Source: FAISS, ``IndexIVFPQFastScan`` (product quantisation with one dimension a code, after Andre et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atlas.vectors.axes import Axes
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

_CODES = 16  # of four bits; fewer rows cannot teach them
FEWEST_ROWS = 16 * _CODES
"""Smaller atlases have no lists."""
_ROUNDS = 8  # of k-means
_POINTS_PER_LIST = 32


@dataclass(frozen=True)
class InvertedLists:
    """Rows in lists; see the module.

    Attributes
    ----------
    index
        ``IndexIVFPQFastScan`` over rotated rows.
    rotation
        (width, dim) float32.
    """

    index: Any
    rotation: np.ndarray

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return int(self.index.nlist)

    @cached_property
    def centroids(self) -> np.ndarray:
        """The lists' centroids, (n_lists, width) float32."""
        return np.asarray(faiss_module().downcast_index(self.index.quantizer).reconstruct_n(0, self.n_lists))

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of rows of each list."""
        return np.array([self.index.invlists.list_size(i) for i in range(self.n_lists)])

    @cached_property
    def list_of(self) -> np.ndarray:
        """The list each row stands in, (n,) int32."""
        faiss, lists = faiss_module(), self.index.invlists
        found = np.empty(int(self.index.ntotal), dtype=np.int32)
        for i in np.flatnonzero(self.sizes).tolist():
            found[faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i))] = i
        return found

    def scan(
        self, query: np.ndarray, *, n_best: int, n_lists: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ``n_best`` rows of the nearest lists as (rows int64, rough scores float32), best first.

        Parameters
        ----------
        query
            (dim,) float32.
        n_lists
            How many of the lists that hold an allowed row are opened.
        allowed
            (n,) bool; rows that may be returned. Default: all.
        """
        faiss = faiss_module()
        turned = np.ascontiguousarray(self.rotation @ query)
        near = self.centroids @ turned
        order = np.argsort(-near, kind="stable").astype(np.int64)
        options: dict[str, Any] = {}
        if allowed is not None:
            held = np.bincount(self.list_of[allowed], minlength=self.n_lists)[order]
            order, held = order[held > 0], held[held > 0]
            enough = np.searchsorted(np.cumsum(held), min(n_best, int(held.sum()))) + 1
            n_lists = max(n_lists, int(enough))  # as many rows at least as are asked for
            bits = np.packbits(allowed, bitorder="little")  # faiss keeps only their address: they must outlive the scan
            options["sel"] = faiss.IDSelectorBitmap(bits)
        opened = np.ascontiguousarray(order[:n_lists])
        reached = near[opened].astype(np.float32)
        rows, scores = np.empty(n_best, dtype=np.int64), np.empty(n_best, dtype=np.float32)
        self.index.search_preassigned_c(
            1, *map(faiss.swig_ptr, (turned,)), n_best, *map(faiss.swig_ptr, (opened, reached, scores, rows)), False,
            faiss.SearchParametersIVF(nprobe=opened.size, **options),
        )  # fmt: skip
        found = rows >= 0
        return rows[found], scores[found]


def build_lists(store: VectorStore, axes: Axes, *, width: int, seed: int) -> InvertedLists:
    """Learn lists and codes from the axes' sample and put every row into its list."""
    faiss = faiss_module()
    turn = np.linalg.qr(np.random.default_rng([seed, width]).normal(size=(width, width)))[0]
    rotation = np.ascontiguousarray(turn @ axes.directions[:width], dtype=np.float32)
    sample = np.ascontiguousarray(axes.sample @ rotation.T)
    n_lists = max(1, min(2 ** round(math.log2(2.5 * math.sqrt(store.n))), len(sample) // _POINTS_PER_LIST))
    means = faiss.Kmeans(
        width,
        n_lists,
        niter=_ROUNDS,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_PER_LIST,
    )
    means.train(sample)
    quantizer = faiss.IndexFlatIP(width)
    quantizer.add(means.centroids)
    index = faiss.IndexIVFPQFastScan(quantizer, width, n_lists, width, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = True
    index.pq.cp.niter, index.pq.cp.seed, index.pq.cp.min_points_per_centroid = _ROUNDS, seed + 1, 1
    index.train(sample)
    for _, block in rows_in_order(store):
        index.add(np.ascontiguousarray(block @ rotation.T))
    return InvertedLists(index, rotation)


def write_lists(lists: InvertedLists, index_file: Path, rotation_file: Path) -> None:
    """Write both files."""
    faiss_module().write_index(lists.index, str(index_file))
    np.save(rotation_file, lists.rotation, allow_pickle=False)


def faiss_module() -> Any:
    """Import FAISS as Any: its stubs do not know the keyword constructors that it adds when it is imported."""
    import faiss

    return faiss
