"""Move a published release to Milvus: insert in batches, verify the counts, measure the recall, then say how to search it.

In: ``vectors.npy`` and the columns that filters name. Out: a collection named by release and content key, and the folder
``<home>/engines/milvus/<release>/``: ``collection.json`` and ``projection.npy`` when the collection is made, ``index.json`` last.
Without ``index.json`` no service searches there. A run that was killed goes on at the first batch that is not whole.

Vectors are sent in the fewest principal dimensions whose shortlists, scored exactly, still hold the true hits: memory and network
of the service are in proportion to them.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from atlas.errors import ArtifactError, UpstreamError
from atlas.manifest import write_json
from atlas.release import Home, Release
from atlas.vectors.axes import Axes
from atlas.vectors.engines import STORED_FIELDS, stored_columns
from atlas.vectors.index import ExactIndex, Neighbours
from atlas.vectors.milvus_connection import MilvusConnection
from atlas.vectors.milvus_index import (
    PARAMETER_FILE,
    PROJECTION_FILE,
    MilvusIndex,
    MilvusParameters,
    engine_folder,
    read_projection,
)
from atlas.vectors.recall import RecallQueries, draw_queries, measure_recall
from atlas.vectors.store import VectorStore
from indexer.stage import Advance, Progress, silent_progress

logger = logging.getLogger(__name__)

COLLECTION_FILE = "collection.json"
_MEASURED_K = 1_000
_DEEP_QUERIES = 100
_SHORTLISTS = (200, 400, 1_000)
_WIDTH_QUERIES = 200
_INDEX_PATIENCE_S = 24 * 3600.0


@dataclass(frozen=True)
class MovePlan:
    """What a move may choose from; see ``atlas.vectors.index_build.IndexPlan`` for the fields of the same names.

    Attributes
    ----------
    recall_bar, deep_bar
        Lowest recall of 10 hits, and of 100 and 1,000, of rows and of phrases alike, with which a release is searched.
    batch_rows
        Rows of one insertion: 4,096 of 512 dimensions are 8 MiB, an eighth of what Milvus takes at once.
    nlist
        Lists of each segment of the collection.
    """

    flat_below: int = 50_000
    recall_bar: float = 0.995
    deep_bar: float = 0.98
    n_queries: int = 1_000
    exact_below: int = 2_000
    seed: int = 0
    batch_rows: int = 4_096
    nlist: int = 1_024

    def reached(self, recall: Mapping[str, float]) -> bool:
        """Tell whether every measured recall reaches its bar."""
        return all(
            found >= (self.recall_bar if what.endswith("@10") else self.deep_bar) for what, found in recall.items()
        )


def move_release(
    home: Home,
    release: Release,
    connection: MilvusConnection,
    *,
    phrases: np.ndarray | None = None,
    plan: MovePlan | None = None,
    progress: Progress = silent_progress,
) -> MilvusParameters:
    """Fill the collection of a release, or finish filling it, and measure it.

    Parameters
    ----------
    home
        Where the parameters are kept.
    phrases
        (m, dim) float32 embedded phrases; half of the queries the recall is measured on.

    Raises
    ------
    ArtifactError
        If the collection does not reach the recall bar; no service searches it then.
    BusyError
        If another process works on this home.
    UpstreamError
        If Milvus does not answer.
    """
    plan = plan or MovePlan()
    folder = engine_folder(home.path, release.name)
    columns = release_columns(release)
    with home.lock(f"move {release.name} to Milvus"), VectorStore.open(release.checked("vectors.npy")) as store:
        queries = draw_queries(store, phrases, n=plan.n_queries, seed=plan.seed)
        truth = ExactIndex(store).search(queries.vectors, 100)
        made = _begun(release, store, folder)
        if made is None:
            _drop_collection(connection, collection_name(release))  # nobody knows how that one was made
            made = _begin(release, store, folder, queries=queries, truth=truth, plan=plan)
        projection = read_projection(folder, made.width, store.dim)
        index = MilvusIndex(connection, store, made, columns=columns, projection=projection)
        fill_collection(index, columns, batch_rows=plan.batch_rows, progress=progress)
        parameters = _measured(index, queries, truth, plan=plan)
    write_json(folder / PARAMETER_FILE, asdict(parameters))
    return parameters


def fill_collection(
    index: MilvusIndex,
    columns: Mapping[str, np.ndarray],
    *,
    batch_rows: int = MovePlan.batch_rows,
    progress: Progress = silent_progress,
) -> None:
    """Make the collection of an index unless it is there, store the rows it lacks, and wait until all can be found.

    Raises
    ------
    ArtifactError
        If rows are missing at the end.
    UpstreamError
        If Milvus does not answer.
    """
    connection, made = index.connection, index.parameters
    fresh = _make_collection(connection, made, columns=list(columns))
    store_rows = (
        connection.client.insert if fresh else connection.client.upsert
    )  # half a batch of a killed run is written over
    with progress(made.n, "samples") as bar:
        for start, stop in _missing(connection, made, batch_rows=batch_rows, fresh=fresh, bar=bar):
            vectors = index.projected(index.store.block(start, stop))
            values = {name: codes[start:stop].tolist() for name, codes in columns.items()}
            rows = [
                {"row": start + i, "vector": vector, **{name: listed[i] for name, listed in values.items()}}
                for i, vector in enumerate(vectors)
            ]
            with connection.asking("store rows"):
                store_rows(made.collection, rows)
            bar.advance(stop - start)
    _settle(connection, made)


def release_phrases(release: Release, home: Home) -> np.ndarray:
    """Return vocabulary terms embedded by the release's model, (m, dim) float32: the phrases recall is measured on."""
    from atlas.model.joint import JointModel
    from atlas.model.text_cache import embed_terms, text_caches
    from indexer.stages.build_index import N_PHRASES, sample_phrases

    model = JointModel.load(release.checked("model"))
    return embed_terms(model, sample_phrases(N_PHRASES, seed=0), caches=text_caches(home.path)).astype(np.float32)


def drop_release(home: Home, name: str, connection: MilvusConnection) -> bool:
    """Delete the collection of a release and its folder; return whether there was one."""
    folder = engine_folder(home.path, name)
    made = _read_collection(folder)
    if made is None:
        return False
    with home.lock(f"drop {name} from Milvus"):
        (folder / PARAMETER_FILE).unlink(missing_ok=True)  # services stop searching before the rows go
        _drop_collection(connection, made.collection)
        shutil.rmtree(folder)
    return True


def release_columns(release: Release) -> dict[str, np.ndarray]:
    """Return the columns that are stored beside the vectors."""
    samples = release.table("samples.parquet", columns=list(STORED_FIELDS))
    cluster = release.table("landscape.parquet", columns=["cluster"])["cluster"].to_numpy()
    return stored_columns(samples, cluster)


def collection_name(release: Release) -> str:
    """Return the name of a release's collection: letters, digits and underscores, as Milvus asks."""
    return f"atlas_{re.sub(r'[^A-Za-z0-9]', '_', release.name)}_{release.manifest.content_key[:12]}"


def _begun(release: Release, store: VectorStore, folder: Path) -> MilvusParameters | None:
    """Return how an earlier run of this very release made the collection; ``None`` if there was none."""
    made = _read_collection(folder)
    expected = (collection_name(release), release.manifest.content_key, store.n, store.dim)
    if made is None or (made.collection, made.content_key, made.n, made.dim) != expected:
        return None
    return made


def _begin(
    release: Release, store: VectorStore, folder: Path, *, queries: RecallQueries, truth: Neighbours, plan: MovePlan
) -> MilvusParameters:
    """Decide how the collection is made, and note it before anything is sent."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    flat, width = store.n < plan.flat_below, int(store.dim)
    if not flat:
        axes = Axes.measure(store, seed=plan.seed)
        some = slice(None, None, max(1, len(queries.vectors) // _WIDTH_QUERIES))
        part = Neighbours(truth.rows[some], truth.scores[some])
        wanted = (1 + plan.recall_bar) / 2  # compression and lists lose some more
        width = axes.width(store, queries.vectors[some], part, shortlist=_SHORTLISTS[0], wanted=wanted)
        if width < store.dim:
            np.save(folder / PROJECTION_FILE, axes.directions[:width], allow_pickle=False)
    made = MilvusParameters(
        release=release.name,
        content_key=release.manifest.content_key,
        collection=collection_name(release),
        kind="FLAT" if flat else "IVF_SQ8",
        n=store.n,
        dim=store.dim,
        width=width,
        nlist=0 if flat else plan.nlist,
        nprobe=0 if flat else plan.nlist,
        shortlist=_SHORTLISTS[0],
        measured_k=_MEASURED_K,
        exact_below=plan.exact_below,
    )
    write_json(folder / COLLECTION_FILE, asdict(made))
    return made


def _read_collection(folder: Path) -> MilvusParameters | None:
    try:
        return MilvusParameters(**json.loads((folder / COLLECTION_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # not begun, or by another version of this program: begun anew


def _drop_collection(connection: MilvusConnection, name: str) -> None:
    if connection.has(name):
        with connection.asking("drop a collection"):
            connection.client.drop_collection(name)


def _make_collection(connection: MilvusConnection, made: MilvusParameters, *, columns: list[str]) -> bool:
    """Make the collection unless it is there; return whether it is new."""
    import pymilvus

    if connection.has(made.collection):
        with connection.asking("load a collection"):
            connection.client.load_collection(made.collection)
        return False
    kinds = pymilvus.DataType
    schema = connection.client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", kinds.INT64, is_primary=True)
    schema.add_field("vector", kinds.FLOAT_VECTOR, dim=made.width)
    indexes = connection.client.prepare_index_params()
    how = {"nlist": made.nlist} if made.nlist else {}
    indexes.add_index("vector", index_name="vector", index_type=made.kind, metric_type="IP", params=how)
    for name in columns:
        schema.add_field(name, kinds.INT32)
        indexes.add_index(name, index_name=name, index_type="INVERTED")
    with connection.asking("make a collection"):
        connection.client.create_collection(made.collection, schema=schema)
        connection.client.create_index(made.collection, indexes, sync=False)  # nothing is there to wait for
        connection.client.load_collection(made.collection)
    return True


def _missing(
    connection: MilvusConnection, made: MilvusParameters, *, batch_rows: int, fresh: bool, bar: Advance
) -> Iterator[tuple[int, int]]:
    """Yield the batches that are not stored whole."""
    whole = not fresh and connection.count(made.collection) == made.n
    for start in range(0, made.n, batch_rows):
        stop = min(start + batch_rows, made.n)
        where = f"row >= {start} and row < {stop}"
        if whole or (not fresh and connection.count(made.collection, where=where) == stop - start):
            bar.advance(stop - start)
        else:
            yield start, stop


def _settle(connection: MilvusConnection, made: MilvusParameters) -> None:
    """Wait until every row is stored and indexed, and check the number of rows."""
    with connection.asking("flush"):
        connection.client.flush(made.collection)
    ends = time.monotonic() + _INDEX_PATIENCE_S
    while True:
        with connection.asking("index"):
            state = connection.client.describe_index(made.collection, "vector") or {}
        if not int(state.get("pending_index_rows", 0)):
            break
        if time.monotonic() > ends:
            raise UpstreamError(f"Milvus still indexes {made.collection!r}; run the same command again later.")
        logger.info("%s: %s rows wait to be indexed", made.collection, state["pending_index_rows"])
        time.sleep(2.0)
    stored = connection.count(made.collection)
    if stored != made.n:
        raise ArtifactError(
            f"Milvus holds {stored:,} rows of {made.collection!r} after {made.n:,} were sent. Run the same command again.",
            kind="corrupt",
            details={"seen": stored, "expected": made.n},
        )


def _measured(index: MilvusIndex, queries: RecallQueries, truth: Neighbours, *, plan: MovePlan) -> MilvusParameters:
    """Return the cheapest parameters that reach the bar."""
    made = index.parameters
    few = queries.some(_DEEP_QUERIES)
    deep = ExactIndex(index.store).search(few.vectors, _MEASURED_K)
    best = made
    for shortlist in _SHORTLISTS:
        for share in (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1) if made.nlist else (1,):
            index.parameters = replace(made, shortlist=shortlist, nprobe=math.ceil(made.nlist * share))
            recall = measure_recall(index, queries, truth)
            recall |= measure_recall(index, few, deep, depths=(_MEASURED_K,))
            chosen = replace(index.parameters, recall=recall, n_queries=queries.counts)
            logger.info("shortlist %d, %d lists opened: recall %s", shortlist, chosen.nprobe, recall)
            if plan.reached(recall):
                return chosen
            best = chosen if chosen.lowest_recall > best.lowest_recall else best
    raise ArtifactError(
        f"The collection {made.collection!r} does not reach recall {plan.recall_bar} at 10 and {plan.deep_bar} beyond; the best "
        f"is {best.recall}. No service searches it. Drop it (geo-atlas release index {made.release} --engine milvus --drop).",
        kind="corrupt",
        details={"recall_bar": plan.recall_bar, "recall": best.recall},
    )
