"""Milvus engine: another service finds a shortlist, the float16 master here gives the final scores and order.

In: a collection filled by ``indexer.move_to_milvus``, and the folder ``<home>/engines/milvus/<release>/`` with ``index.json``
(the parameters and the recall measured with them; written last) and ``projection.npy`` (absent where all dimensions were kept).
The collection has one row a sample: ``row``, ``vector``, and a whole number for each column that filters name.

What of a filter reaches Milvus: a mask that leaves out few rows is applied here, to a shortlist that was measured as deep;
one that leaves few rows goes to the exact twin; any other is sent as a list of rows left out, or as its bounding box over the
stored columns, and the answer is checked against the mask here. Where too few hits pass, the question is asked deeper, and last
the exact twin answers: a filter never costs hits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.index import (
    ExactIndex,
    Neighbours,
    StoreEngine,
    allowed_rows,
    check_k,
    check_queries,
    rank_rows,
    stack_hits,
)
from atlas.vectors.mask_box import bounding_box
from atlas.vectors.milvus_connection import MilvusConnection
from atlas.vectors.store import VectorStore

PARAMETER_FILE = "index.json"
PROJECTION_FILE = "projection.npy"
SCHEMA = 1
MOST_HITS = 16_384
"""Milvus gives no more hits of one search."""
_MOST_LISTED = 10_000  # rows that one filter names
_LEFT_OUT_HERE = 200  # as many rows are left out of a deeper shortlist, without a filter
_QUERIES_AT_ONCE = 64
_SHORTLIST_OF_K = 3
_EASY_DEPTH = 100  # deeper questions open every list


@dataclass(frozen=True)
class MilvusParameters:
    """What was chosen and measured when a release was moved to Milvus; stored as ``index.json``.

    Attributes
    ----------
    release, content_key
        Whose vectors these are.
    collection
        Its name in Milvus.
    kind
        ``FLAT`` or ``IVF_SQ8``.
    n, dim
        Rows, and dimensions of ``vectors.npy``.
    width
        Dimensions of the vectors in Milvus.
    nlist, nprobe
        Lists, and how many of them a search for up to 100 hits opens; 0 for ``FLAT``.
    shortlist
        Hits of Milvus that are scored exactly, at least; deep questions take three times their hits.
    measured_k
        Most hits the recall was measured for.
    exact_below
        Filters that leave fewer rows go to the exact twin.
    recall
        A figure for each kind of query and depth, such as ``phrases@10``.
    """

    release: str
    content_key: str
    collection: str
    kind: str
    n: int
    dim: int
    width: int
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


class MilvusIndex(StoreEngine):
    """A shortlist of Milvus re-ranked from the master; answers like :class:`~atlas.vectors.index.ExactIndex`.

    Parameters
    ----------
    connection
        Where the collection is.
    store
        The vectors it was filled from.
    parameters
        How to search it.
    columns
        By name, (n,) whole numbers as stored in the collection.
    projection
        (width, dim) float32; ``None`` where the collection holds all dimensions.
    """

    def __init__(
        self,
        connection: MilvusConnection,
        store: VectorStore,
        parameters: MilvusParameters,
        *,
        columns: Mapping[str, np.ndarray],
        projection: np.ndarray | None = None,
    ) -> None:
        self.connection = connection
        self.store = store
        self.parameters = parameters
        self._columns = columns
        self._projection = projection
        self._exact = ExactIndex(store)

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the nearest rows by shortlist and exact re-rank; see :class:`~atlas.vectors.index.VectorIndex`.

        Raises
        ------
        InputError
            As :meth:`ExactIndex.search`.
        UpstreamError
            If Milvus does not answer.
        """
        unit = check_queries(queries, self.dim)
        rows = allowed_rows(allowed, self.n)
        n_allowed = self.n if rows is None else rows.size
        n_hits = check_k(k, n_allowed)
        narrow = rows is not None and n_allowed < self.parameters.exact_below
        if narrow or n_hits > self.parameters.measured_k or n_hits == 0:
            return self._exact.search(unit, k, allowed=allowed)
        mask = None if rows is None else allowed
        found = []
        for query, near in zip(unit, self._shortlists(unit, mask, n_hits=n_hits), strict=True):
            if near is None:
                exact = self._exact.search(query, k, allowed=mask)
                found.append((exact.rows[0], exact.scores[0]))
            else:
                found.append(rank_rows(self.store, query, near, k=n_hits))
        return stack_hits(found)

    def projected(self, vectors: np.ndarray) -> np.ndarray:
        """Return (m, dim) vectors as the collection has them, (m, width) float32."""
        return vectors if self._projection is None else vectors @ self._projection.T

    def _shortlists(self, unit: np.ndarray, mask: np.ndarray | None, *, n_hits: int) -> list[np.ndarray | None]:
        """Return the candidates of each query, all of them allowed; ``None`` where Milvus could not give enough."""
        n_left_out = 0 if mask is None else self.n - int(np.count_nonzero(mask))
        measured = n_left_out <= _LEFT_OUT_HERE and n_left_out + n_hits <= self.parameters.measured_k
        if mask is None or measured:
            depth = n_left_out + n_hits
            found = self._ask(unit, limit=self._depth(depth), every_list=depth > _EASY_DEPTH)
            passing = found if mask is None else [rows[mask[rows]] for rows in found]
            return [rows if rows.size >= n_hits else None for rows in passing]
        return self._filtered(unit, mask, wanted=min(self._depth(n_hits), self.n - n_left_out))

    def _depth(self, n_hits: int) -> int:
        """Return the rows of a shortlist for so many hits."""
        return min(max(self.parameters.shortlist, _SHORTLIST_OF_K * n_hits), self.n)

    def _filtered(self, unit: np.ndarray, mask: np.ndarray, *, wanted: int) -> list[np.ndarray | None]:
        """Ask with what of the mask can be said in a filter, ever deeper until ``wanted`` candidates pass the mask.

        Every list is opened: allowed rows may all lie in lists that an unfiltered search would not open.
        """
        where, n_inside = self._condition(mask)
        share = np.count_nonzero(mask) / n_inside
        limit = min(n_inside, math.ceil(1.2 * wanted / share) + 16)
        found: list[np.ndarray | None] = [None] * len(unit)
        open_questions = np.arange(len(unit))
        while open_questions.size and limit <= MOST_HITS:
            answers = self._ask(unit[open_questions], limit=limit, where=where, every_list=True)
            for question, rows in zip(open_questions, answers, strict=True):
                passing = rows[mask[rows]]
                if passing.size >= wanted:
                    found[question] = passing[:wanted]
            open_questions = np.array([q for q in open_questions if found[q] is None], dtype=np.int64)
            if limit == n_inside:
                break  # Milvus has nothing more to give
            limit = min(n_inside, 4 * limit)
        return found

    def _condition(self, mask: np.ndarray) -> tuple[str, int]:
        """Return a filter that every allowed row passes, and how many rows pass it."""
        left_out = np.flatnonzero(~mask)
        if left_out.size <= _MOST_LISTED:
            return f"row not in [{_listed(left_out)}]", self.n - left_out.size
        box = bounding_box(self._columns, mask)
        return " and ".join(f"{name} in [{_listed(values)}]" for name, values in box.values.items()), box.n_rows

    def _ask(self, unit: np.ndarray, *, limit: int, where: str = "", every_list: bool = False) -> list[np.ndarray]:
        parameters = self.parameters
        wanted = self.projected(unit)
        how = {}
        if parameters.nlist:
            how = {"nprobe": parameters.nlist if every_list else parameters.nprobe}
        return [
            rows
            for start in range(0, len(wanted), _QUERIES_AT_ONCE)
            for rows in self.connection.search(
                parameters.collection, wanted[start : start + _QUERIES_AT_ONCE], limit=limit, where=where, how=how
            )
        ]


def engine_folder(home: Path, release: str) -> Path:
    """Return the folder that says how a release is searched in Milvus."""
    return home / "engines" / "milvus" / release


def open_milvus(
    folder: Path,
    store: VectorStore,
    connection: MilvusConnection,
    *,
    release: str,
    content_key: str,
    columns: Mapping[str, np.ndarray],
) -> MilvusIndex:
    """Open the collection of a release.

    Parameters
    ----------
    folder
        See :func:`engine_folder`.
    store, release, content_key, columns
        Of that release.

    Raises
    ------
    ArtifactError
        ``missing`` if the release was not moved, or its collection is gone; ``incompatible`` if what was moved is another
        release of that name; ``corrupt`` if the collection lacks rows.
    UpstreamError
        If Milvus does not answer.
    """
    parameters = read_parameters(folder, release=release)
    again = f"Move it again: geo-atlas release index {release} --engine milvus"
    seen = (parameters.content_key, parameters.n, parameters.dim)
    if seen != (content_key, store.n, store.dim):
        raise ArtifactError(
            f"Milvus holds another release of the name {release!r}. {again}.",
            kind="incompatible",
            details={"seen": parameters.content_key, "expected": content_key},
        )
    if not connection.has(parameters.collection):
        raise ArtifactError(
            f"Milvus at {connection.uri} has no collection {parameters.collection!r} of release {release!r}. {again}.",
            kind="missing",
            details={"collection": parameters.collection},
        )
    connection.require_loaded(parameters.collection)
    stored = connection.count(parameters.collection)
    if stored != store.n:
        raise ArtifactError(
            f"The collection {parameters.collection!r} holds {stored:,} rows, release {release!r} {store.n:,}. {again}.",
            kind="corrupt",
            details={"seen": stored, "expected": store.n},
        )
    return MilvusIndex(
        connection, store, parameters, columns=columns, projection=read_projection(folder, parameters.width, store.dim)
    )


def read_parameters(folder: Path, *, release: str) -> MilvusParameters:
    """Read ``index.json``.

    Raises
    ------
    ArtifactError
        If it is missing, unreadable or of another schema.
    """
    path = folder / PARAMETER_FILE
    try:
        parameters = MilvusParameters(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"Release {release!r} was not moved to Milvus yet, or not to the end: geo-atlas release index {release} "
            "--engine milvus",
            kind="missing",
        ) from error
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path} is not a list of index parameters ({error}).", kind="corrupt") from error
    if parameters.schema != SCHEMA:
        raise ArtifactError(f"{path} has schema {parameters.schema}, expected {SCHEMA}.", kind="incompatible")
    return parameters


def read_projection(folder: Path, width: int, dim: int) -> np.ndarray | None:
    """Read ``projection.npy``; ``None`` where all dimensions were kept.

    Raises
    ------
    ArtifactError
        If it is missing, unreadable or of another shape.
    """
    if width == dim:
        return None
    path = folder / PROJECTION_FILE
    try:
        projection: np.ndarray = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing. Move the release again.", kind="missing") from error
    except (ValueError, EOFError, OSError) as error:
        raise ArtifactError(f"{path} is not a complete npy file ({error}).", kind="corrupt") from error
    if projection.shape != (width, dim) or projection.dtype != np.float32:
        raise ArtifactError(f"{path} has shape {projection.shape}, expected {(width, dim)}.", kind="incompatible")
    return projection


def _listed(values: np.ndarray) -> str:
    return ",".join(map(str, values.tolist()))
