"""FAISS engine: a compressed scan finds a shortlist, the float16 master gives the final scores and order.

In: ``vectors.npy``. Out: folder ``index/`` with ``index.faiss`` (float16 codes of all rows for small atlases, else
PCA -> IVF,SQ8) and ``index.json`` (the parameters chosen and the recall measured with them). The invariant: whatever
parameters are stored reached the recall bar against the exact twin, or nothing is stored.

Questions the shortlist was not measured for (more than ``measured_k`` hits, a narrow filter) go to the exact twin. A wide filter
probes every list, because the rows it leaves may all lie in lists that an unfiltered search would not open.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.index import (
    ExactIndex,
    Neighbours,
    VectorIndex,
    allowed_rows,
    check_k,
    check_queries,
    rank_rows,
    stack_hits,
)
from atlas.vectors.recall import draw_queries, measure_recall
from atlas.vectors.store import VectorStore

INDEX_FILE = "index.faiss"
PARAMETER_FILE = "index.json"
SCHEMA = 1
_MEASURED_K = 100
_TRAIN_ROWS = 131_072


@dataclass(frozen=True)
class IndexPlan:
    """What a build may choose from.

    Attributes
    ----------
    flat_below
        Atlases with fewer rows keep all dimensions of all rows (float16 codes).
    recall_bar
        Lowest recall at 10 and at 100, of rows and of phrases alike, that may be stored.
    n_queries
        Queries the recall is measured on.
    energy
        Share of the vectors' squared length the PCA must keep at first; more dimensions follow if the bar is missed.
    exact_below
        Filters that leave fewer rows than this are scanned exactly.
    seed
        Seed of query sampling and k-means.
    threads
        Threads of FAISS while building; 0 = as it likes.
    """

    flat_below: int = 50_000
    recall_bar: float = 0.99
    n_queries: int = 1_000
    energy: float = 0.99
    exact_below: int = 20_000
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True)
class IndexParameters:
    """What was chosen and measured; stored as ``index.json``.

    ``recall`` has a figure for each kind of query and depth, such as ``phrases@10``.
    """

    kind: str
    n: int
    dim: int
    pca_dim: int
    nlist: int
    nprobe: int
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


class FaissIndex:
    """A FAISS shortlist re-ranked from the master; answers like :class:`ExactIndex`.

    Parameters
    ----------
    index
        ``IndexScalarQuantizer`` (kind ``flat``) or ``IndexPreTransform`` over ``IndexIVFScalarQuantizer`` (kind ``ivf``).
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

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.store.n)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.store.dim)

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
        shortlist = self._shortlist(unit, allowed=None if rows is None else allowed)
        found = []
        for query, candidates in zip(unit, shortlist, strict=True):
            near = candidates[candidates >= 0]
            if near.size < n_hits:  # the probed lists held too few rows
                found.append(_first(self._exact.search(query, k, allowed=allowed)))
            else:
                found.append(rank_rows(self.store, query, near, k=n_hits))
        return stack_hits(found)

    def _shortlist(self, unit: np.ndarray, *, allowed: np.ndarray | None) -> np.ndarray:
        faiss = _faiss()
        options: dict[str, Any] = {}
        if allowed is not None:
            # faiss keeps only the address of the bits: `bits` must outlive the search below
            bits = np.packbits(allowed, bitorder="little")
            options["sel"] = faiss.IDSelectorBitmap(bits)
        if self.parameters.kind == "ivf":
            nprobe = self.parameters.nprobe if allowed is None else self.parameters.nlist
            inner: Any = faiss.SearchParametersIVF(nprobe=nprobe, **options)
            how: Any = faiss.SearchParametersPreTransform(index_params=inner)
        else:
            how = faiss.SearchParameters(**options)
        _, rows = self._index.search(unit, min(self.parameters.shortlist, self.n), params=how)
        return np.asarray(rows, dtype=np.int64)


def build_index(
    store: VectorStore, folder: Path, *, plan: IndexPlan | None = None, text_queries: np.ndarray | None = None
) -> IndexParameters:
    """Build the index, choose its parameters by measured recall, and write both into ``folder``.

    Parameters
    ----------
    store
        The vectors.
    folder
        Existing folder that receives ``index.faiss`` and ``index.json``.
    plan
        What may be chosen.
    text_queries
        (m, dim) float32 embedded phrases; half of the queries where given. Phrases lie farther from samples than samples
        do, so their recall is measured by itself.

    Raises
    ------
    ArtifactError
        If no choice reaches the recall bar.
    """
    plan = plan or IndexPlan()
    _pin_threads(plan.threads)
    queries = draw_queries(store, text_queries, n=plan.n_queries, seed=plan.seed)
    truth = ExactIndex(store).search(queries.vectors, _MEASURED_K)
    best: IndexParameters | None = None
    for index, parameters in _attempts(store, plan):
        recall = measure_recall(FaissIndex(index, store, parameters), queries, truth)
        chosen = replace(parameters, recall=recall, n_queries=queries.counts)
        if chosen.lowest_recall >= plan.recall_bar:
            _faiss().write_index(index, str(folder / INDEX_FILE))
            text = json.dumps(asdict(chosen), indent=1, sort_keys=True)
            (folder / PARAMETER_FILE).write_text(text + "\n", encoding="utf-8")
            return chosen
        best = chosen if best is None or chosen.lowest_recall > best.lowest_recall else best
    raise _below_bar(best, plan)


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
    faiss = _faiss()
    parameters = read_parameters(folder)
    _pin_threads(threads or 0)
    path = folder / INDEX_FILE
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist. Verify the release.", kind="missing")
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} cannot be read by FAISS. Verify or rebuild the release.", kind="corrupt"
        ) from error
    seen = {(index.ntotal, index.d), (parameters.n, parameters.dim)}
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


def _attempts(store: VectorStore, plan: IndexPlan) -> Iterator[tuple[Any, IndexParameters]]:
    """Yield indexes with their parameters, cheapest to search first."""
    base = IndexParameters(
        kind="flat",
        n=store.n,
        dim=store.dim,
        pca_dim=store.dim,
        nlist=1,
        nprobe=1,
        shortlist=2 * _MEASURED_K,
        measured_k=_MEASURED_K,
        exact_below=plan.exact_below,
    )
    if store.n < plan.flat_below:
        yield _flat(store), base
        return
    basis, kept = _principal_axes(store, seed=plan.seed)
    for pca_dim in _pca_ladder(kept, plan.energy):
        index, nlist = _inverted_lists(store, basis[:pca_dim], seed=plan.seed)
        for shortlist in (200, 400, 1_000):
            for share in (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1):
                nprobe = max(1, math.ceil(nlist * share))
                size: dict[str, Any] = {"pca_dim": pca_dim, "nlist": nlist, "nprobe": nprobe, "shortlist": shortlist}
                yield index, replace(base, kind="ivf", **size)


def _flat(store: VectorStore) -> Any:
    faiss = _faiss()
    index = faiss.IndexScalarQuantizer(store.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True  # float16 codes have nothing to learn
    for _, block in store.blocks():
        index.add(block)
    return index


def _inverted_lists(store: VectorStore, basis: np.ndarray, *, seed: int) -> tuple[Any, int]:
    faiss = _faiss()
    pca_dim = basis.shape[0]
    # The axes are those of the second moment, not of the covariance: without centring, inner products stay inner products.
    rotation = faiss.LinearTransform(store.dim, pca_dim, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(basis, dtype=np.float32).ravel(), rotation.A)
    rotation.is_trained = True
    nlist = max(1, min(2 ** round(math.log2(2.5 * math.sqrt(store.n))), store.n // 39))
    quantizer = faiss.IndexFlatIP(pca_dim)
    lists = faiss.IndexIVFScalarQuantizer(
        quantizer, pca_dim, nlist, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    lists.cp.spherical = True  # unit centroids: nearest by inner product is nearest by distance
    lists.cp.seed = seed + 1
    lists.cp.max_points_per_centroid = max(39, _TRAIN_ROWS // nlist)
    train = store.rows(_sample_rows(store.n, seed=seed)) @ basis.T.astype(np.float32)
    lists.train(np.ascontiguousarray(train))
    index = faiss.IndexPreTransform(rotation, lists)
    for _, block in store.blocks():
        index.add(block)
    return index, nlist


def _principal_axes(store: VectorStore, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ((dim, dim) axes as rows, strongest first; (dim,) share of squared length kept by the first j + 1)."""
    sample = store.rows(_sample_rows(store.n, seed=seed)).astype(np.float32)
    moment = (sample.T @ sample).astype(np.float64) / sample.shape[0]
    strength, axes = np.linalg.eigh(moment)
    order = np.argsort(-strength, kind="stable")
    kept = np.cumsum(np.clip(strength[order], 0, None))
    return axes[:, order].T, kept / kept[-1]


def _pca_ladder(kept: np.ndarray, energy: float) -> list[int]:
    dim = kept.size
    first = min(dim, max(32, 32 * math.ceil((int(np.searchsorted(kept, energy)) + 1) / 32)))
    ladder = [first]
    while ladder[-1] < dim:
        ladder.append(min(dim, 2 * ladder[-1]))
    return ladder


def _sample_rows(n: int, *, seed: int) -> np.ndarray:
    if n <= _TRAIN_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, _TRAIN_ROWS, replace=False))


def _below_bar(best: IndexParameters | None, plan: IndexPlan) -> ArtifactError:
    seen = {} if best is None else best.recall
    return ArtifactError(
        f"No index reaches recall {plan.recall_bar}; the best has {seen}. A release is not published below the bar. Raise "
        "the PCA energy, or build with a larger flat limit.",
        kind="corrupt",
        details={"recall_bar": plan.recall_bar, "recall": seen},
    )


def _first(hits: Neighbours) -> tuple[np.ndarray, np.ndarray]:
    return hits.rows[0], hits.scores[0]


def _faiss() -> Any:
    import faiss

    return faiss  # as Any: the stubs do not know the keyword constructors that faiss adds when it is imported


def _pin_threads(threads: int) -> None:
    if threads > 0:
        _faiss().omp_set_num_threads(threads)
