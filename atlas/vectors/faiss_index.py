"""FAISS engine: a compressed scan finds a shortlist, the float16 master gives the final scores and order.

In: folder ``index/`` of a release: ``index.faiss`` with float16 codes of all rows (kind ``flat``), or with lists of short codes
and ``rotation.npy`` (kind ``lists``, see ``atlas.vectors.inverted_lists``); ``index.json`` with the parameters and the recall
measured with them. ``atlas.vectors.index_build`` writes it.

Questions beyond what was measured (more than ``measured_k`` hits) or so narrow that a scan is cheap go to the exact twin. The
deeper a question reaches, the more lists are opened: ten hits of 1 % of the rows lie as deep as a thousand of all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.index import (
    ExactIndex,
    Neighbours,
    StoreEngine,
    VectorIndex,
    allowed_rows,
    check_k,
    check_queries,
    rank_rows,
    stack_hits,
)
from atlas.vectors.inverted_lists import InvertedLists, faiss_module
from atlas.vectors.scored_rows import rank_rough
from atlas.vectors.store import VectorStore

INDEX_FILE = "index.faiss"
ROTATION_FILE = "rotation.npy"
PARAMETER_FILE = "index.json"
SCHEMA = 2
MEASURED_K = 1_000
_EASY_DEPTH = 100  # up to which ``n_opened`` lists are enough
_SHORTLIST_OF_K = 3


@dataclass(frozen=True)
class IndexParameters:
    """What was chosen and measured; stored as ``index.json``.

    Attributes
    ----------
    kind
        ``flat`` or ``lists``.
    width
        Dimensions of a code.
    n_lists, n_opened
        Lists, and how many a question for up to 100 hits opens.
    shortlist
        Rows that are found before exact scores decide, at least.
    measured_k
        Deepest question that was measured.
    exact_below
        Filters that leave fewer rows are scanned exactly.
    n_queries, recall
        Of each kind of query, and at each depth, such as ``phrases@10`` or, behind a filter that 1 % of the rows pass,
        ``rows@10 of 1 %``.
    """

    kind: str
    n: int
    dim: int
    width: int
    n_lists: int
    n_opened: int
    shortlist: int
    measured_k: int
    exact_below: int
    n_queries: dict[str, int] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def lowest_recall(self) -> float:
        """The lowest of the measured recalls; 0 before measuring."""
        return min(self.recall.values(), default=0.0)

    def opened(self, k: int, share: float) -> int:
        """Return how many lists a question for ``k`` hits opens where ``share`` of the rows in them may be returned."""
        depth = k / max(share, 1 / self.n)
        more = max(1.0, depth / _EASY_DEPTH) ** 0.25  # measured: the k-th hit's list moves away about so fast
        return min(self.n_lists, int(np.ceil(self.n_opened * more)))


class FaissIndex(StoreEngine):
    """A FAISS shortlist re-ranked from the master; answers like :class:`ExactIndex`.

    Parameters
    ----------
    index
        ``IndexScalarQuantizer`` (kind ``flat``) or :class:`InvertedLists` (kind ``lists``).
    store
        The vectors it was built from.
    parameters
        How to search it.
    """

    def __init__(self, index: Any, store: VectorStore, parameters: IndexParameters) -> None:
        self.parameters = parameters
        self.store = store
        self._index = index
        self._exact = ExactIndex(store)

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the nearest rows by shortlist and exact re-rank; see :class:`~atlas.vectors.index.VectorIndex`.

        Raises
        ------
        InputError
            As :meth:`ExactIndex.search`.
        """
        unit = check_queries(queries, self.dim)
        rows = allowed_rows(allowed, self.n)
        n_allowed = self.n if rows is None else rows.size
        n_hits = check_k(k, n_allowed)
        narrow = rows is not None and n_allowed < self.parameters.exact_below
        if narrow or n_hits > self.parameters.measured_k or n_hits == 0:
            return self._exact.search(unit, k, allowed=allowed)
        mask = None if rows is None else allowed
        return stack_hits([self._ranked(query, mask, k=n_hits, n_allowed=n_allowed) for query in unit])

    def _ranked(
        self, query: np.ndarray, allowed: np.ndarray | None, *, k: int, n_allowed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        wanted = min(max(self.parameters.shortlist, _SHORTLIST_OF_K * k), self.n)
        if isinstance(self._index, InvertedLists):
            n_opened = self.parameters.opened(k, n_allowed / self.n)
            near, rough = self._index.scan(query, n_best=wanted, n_lists=n_opened, allowed=allowed)
            if near.size >= k:
                return rank_rough(self.store, query, near, rough, k=k)
        else:
            near = self._flat_scan(query, wanted, allowed)
            if near.size >= k:
                return rank_rows(self.store, query, near, k=k)
        found = self._exact.search(query, k, allowed=allowed)  # the opened lists held too few rows
        return found.rows[0], found.scores[0]

    def _flat_scan(self, query: np.ndarray, wanted: int, allowed: np.ndarray | None) -> np.ndarray:
        faiss = faiss_module()
        how = faiss.SearchParameters()
        if allowed is not None:
            bits = np.packbits(
                allowed, bitorder="little"
            )  # faiss keeps only their address: they must outlive the search
            how = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        rows = self._index.search(query[None, :], wanted, params=how)[1][0]
        return np.asarray(rows[rows >= 0], dtype=np.int64)


def open_index(folder: Path, store: VectorStore, *, threads: int | None = None) -> VectorIndex:
    """Open the index of a release.

    Parameters
    ----------
    folder
        Folder ``index/``.
    store
        The vectors of the same release.
    threads
        Threads of FAISS in this process; ``None`` leaves them as they are.

    Raises
    ------
    ArtifactError
        If a file is missing or unreadable, or index and vectors differ in rows or dimensions.
    """
    faiss = faiss_module()
    parameters = read_parameters(folder)
    pin_threads(threads or 0)
    path = folder / INDEX_FILE
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist. Verify the release.", kind="missing")
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} cannot be read by FAISS. Verify or rebuild the release.", kind="corrupt"
        ) from error
    if parameters.kind == "lists":
        index = InvertedLists(index, _read_rotation(folder / ROTATION_FILE, parameters, dim=store.dim))
        n, dim = int(index.index.ntotal), store.dim
    else:
        n, dim = int(index.ntotal), int(index.d)
    seen = {(n, dim), (parameters.n, parameters.dim)}
    if seen != {(store.n, store.dim)}:
        raise ArtifactError(
            f"{path} holds (rows, dimensions) {sorted(seen)}, the vectors {(store.n, store.dim)}: they are not of one build. "
            "Rebuild the index.",
            kind="incompatible",
        )
    return FaissIndex(index, store, parameters)


def read_parameters(folder: Path) -> IndexParameters:
    """Read ``index.json``.

    Raises
    ------
    ArtifactError
        If it is missing, unreadable or of another schema.
    """
    path = folder / PARAMETER_FILE
    try:
        parameters = IndexParameters(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist. Verify the release.", kind="missing") from error
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path} is not a list of index parameters ({error}).", kind="corrupt") from error
    if parameters.schema != SCHEMA:
        raise ArtifactError(f"{path} has schema {parameters.schema}; expected {SCHEMA}.", kind="incompatible")
    return parameters


def _read_rotation(path: Path, parameters: IndexParameters, *, dim: int) -> np.ndarray:
    try:
        rotation: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Verify the release.", kind="corrupt") from error
    if rotation.dtype != np.float32 or rotation.shape != (parameters.width, dim):
        raise ArtifactError(
            f"{path} is {rotation.dtype} {rotation.shape}; expected float32 ({parameters.width}, {dim}). Rebuild the index.",
            kind="incompatible",
        )
    return rotation


def pin_threads(threads: int) -> None:
    """Let FAISS use so many threads in this process; 0 changes nothing."""
    if threads > 0:
        faiss_module().omp_set_num_threads(threads)
