"""How long a release takes to load into the catalog, against row-by-row inserts, and how fast its questions are then answered.

Run: python -m benchmarks.catalog_load --starter DIR --scratch DIR [--peer-rows 2000] [--repeats 20]

The samples and series are the starter's, captions are made of them as a build does, places and clusters are drawn. The peer
inserts the first rows one statement each, in one transaction, into a partition that has all its indexes; its time for all rows is
extrapolated, and flattered: an index grows slower the larger it is. Questions go through the library: word search for 1,000 hits
as hybrid search asks for, filters and facets over all samples.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.captions import deterministic_caption
from atlas.catalog.database import Database, open_database
from atlas.catalog.filters import FilterColumns, SampleFilter
from atlas.catalog.queries import lexical_search
from atlas.catalog.tables import SCHEMA, SampleRow
from atlas.opened.samples import SampleTable
from atlas.release import Release
from atlas.search.facets import count_facets
from atlas.settings import Settings
from indexer.stages import catalog_samples
from indexer.stages.load_catalog import load_release

N_CLUSTERS, N_TERMS = 400, 11_450
WORDS = {
    "in every text": ("cell",),
    "frequent": ("blood", "response", "control", "hippocampus", "lymph node"),
    "several": ("blood control", "adenosine metabolic process", "blood -control", "blood or liver"),
    "quoted": ('"lymph node"', '"bone marrow"'),
    "rare or absent": ("apoptosis", "sarcoma", "unheardof", "GSM1000500"),
}
FILTERS = {
    "cluster": SampleFilter(cluster=(7,)),
    "tissue": SampleFilter(tissue=("liver",)),
    "series": SampleFilter(series=("GSE40100",)),
    "unit": SampleFilter(unit=("counts",)),
}


def write_folder(starter: Path, folder: Path, *, seed: int = 0) -> int:
    """Write the files that a catalog is loaded from; return the number of samples."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("samples.parquet", "series.parquet"):
        shutil.copyfile(starter / name, folder / name)
    samples = pq.read_table(starter / "samples.parquet")
    series = pq.read_table(starter / "series.parquet")
    titles = dict(zip(series["series_id"].to_pylist(), series["title"].to_pylist(), strict=True))
    fields = ("title", "source_name", "characteristics", "series_ids")
    captions = [
        deterministic_caption(title, source, characteristics=text, series_title=titles.get(ids[0], "") if ids else "")
        for title, source, text, ids in zip(*(samples[name].to_pylist() for name in fields), strict=True)
    ]
    n, ids = samples.num_rows, samples["sample_id"]
    rng = np.random.default_rng(seed)
    cluster = np.sort(rng.integers(0, N_CLUSTERS, n)).astype(np.int32)
    xy = rng.normal(size=(2, n)).astype(np.float32)
    tables = {
        "captions": {"sample_id": ids, "caption": captions, "method": ["deterministic"] * n},
        "landscape": {
            "sample_id": ids,
            "row": np.arange(n, dtype=np.int32),
            "x": xy[0],
            "y": xy[1],
            "cluster": cluster,
        },
        "labels": _labels(np.bincount(cluster, minlength=N_CLUSTERS), series["series_id"][0].as_py()),
        "terms": {
            "term_id": np.arange(N_TERMS, dtype=np.int32),
            "library": ["drawn"] * N_TERMS,
            "term": [f"term {i}" for i in range(N_TERMS)],
        },
        "keywords": {
            "cluster": np.repeat(np.arange(N_CLUSTERS, dtype=np.int32), 5),
            "library": ["drawn"] * (5 * N_CLUSTERS),
            "rank": np.tile(np.arange(1, 6, dtype=np.int16), N_CLUSTERS),
            "term": [f"term {i}" for i in range(5)] * N_CLUSTERS,
            "score": np.full(5 * N_CLUSTERS, 0.5, np.float32),
            "z": np.full(5 * N_CLUSTERS, 3.0, np.float32),
        },
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(cast("dict[str, Any]", columns)), folder / f"{name}.parquet")
    return int(n)


def _labels(sizes: np.ndarray, series: str) -> dict[str, Any]:
    n = len(sizes)
    return {
        "cluster": np.arange(n, dtype=np.int32),
        "label": [f"cluster {i}" for i in range(n)],
        "method": ["deterministic"] * n,
        "evidence": ["[]"] * n,
        "prompt": pa.nulls(n, pa.string()),
        "raw_reply": pa.nulls(n, pa.string()),
        "n_samples": sizes.astype(np.int32),
        "n_series": np.ones(n, np.int32),
        "top_series": [series] * n,
        "top_series_share": np.full(n, 0.5, np.float32),
        "single_study": np.zeros(n, bool),
    }


def insert_by_row(database: Database, folder: Path, *, n_rows: int) -> float:
    """Return the seconds that ``n_rows`` inserts take; nothing of it stays."""
    staged, release_id = catalog_samples._STAGED, 2_000_000_000
    names = [column.name for column in SampleRow.__table__.columns]
    values = ", ".join(catalog_samples._selected(name, release_id) for name in names)
    types = (catalog_samples._TYPES.get(name, "text") for name in staged)
    given = ", ".join(f"%s::{kind} AS {name}" for name, kind in zip(staged, types, strict=True))
    statement = f"INSERT INTO {SCHEMA}.samples ({', '.join(names)}) SELECT {values} FROM (SELECT {given}) AS staged"
    rows = _rows(folder)
    with database.begin(unlimited=True) as connection:
        raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        raw.execute(f"CREATE TABLE {SCHEMA}.peer PARTITION OF {SCHEMA}.samples FOR VALUES IN ({release_id})".encode())
        chosen = [next(rows) for _ in range(n_rows)]
        start = time.perf_counter()
        for row in chosen:
            raw.execute(statement.encode(), row)
        took = time.perf_counter() - start
        raw.execute(f"DROP TABLE {SCHEMA}.peer".encode())
    return took


def _rows(folder: Path) -> Iterator[tuple[Any, ...]]:
    for batch in catalog_samples._samples(folder):
        yield from zip(*(column.to_pylist() for column in batch), strict=True)


def milliseconds(ask: Callable[[], object], *, repeats: int) -> np.ndarray:
    """Return how long each of some askings takes, after one that is not counted."""
    ask()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        ask()
        times.append(1_000 * (time.perf_counter() - start))
    return np.array(times)


class _Folder:
    """What a table of samples needs of a release."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def table(self, name: str, *, columns: list[str] | None = None) -> pa.Table:
        """Read one of its files."""
        return pq.read_table(self._folder / name, columns=columns)


def questions(database: Database, folder: Path) -> Iterator[tuple[str, list[Callable[[], object]]]]:
    """Yield each kind of question with the questions of that kind."""

    def words(phrase: str, filters: SampleFilter | None = None) -> Callable[[], object]:
        return lambda: lexical_search(database, "measured", phrase, k=1_000, filters=filters)

    for kind, phrases in WORDS.items():
        yield f"words: {kind}", [words(phrase) for phrase in phrases]
    for kind, chosen in FILTERS.items():
        yield f"words with filter: {kind}", [words(phrase, chosen) for phrase in WORDS["frequent"]]
    samples = SampleTable(cast("Release", _Folder(folder)))
    columns = FilterColumns(samples.table, series_titles=samples.series_titles, clusters=samples.cluster)

    def allowed(filters: SampleFilter) -> np.ndarray | None:
        return None if filters.is_empty else filters.mask_of(columns)

    def count(filters: SampleFilter) -> Callable[[], object]:
        return lambda: count_facets(samples, release="measured", filters=filters, allowed=allowed, limit=50)

    rows = np.random.default_rng(0).integers(0, len(samples), 20)
    yield "records of 20 samples", [lambda: samples.records(rows)]
    for kind, chosen in FILTERS.items():
        yield f"filter in memory: {kind}", [lambda chosen=chosen: allowed(chosen)]  # type: ignore[misc]
    yield "filter in memory: exclude", [lambda: allowed(SampleFilter(exclude="liver"))]
    yield "all facets counted, no filter", [count(SampleFilter())]
    yield "all facets counted, filtered", [count(SampleFilter(tissue=("blood",)))]


def main() -> None:
    """Load, insert, ask; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--peer-rows", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    folder = asked.scratch / "catalog"
    n = write_folder(asked.starter, folder)
    with open_database(Settings(home=asked.scratch / "home", database_timeout_s=600)) as database:
        start = time.perf_counter()
        load_release(database, folder, "measured", model_hash="drawn")
        load_s = time.perf_counter() - start
        peer_s = insert_by_row(database, folder, n_rows=asked.peer_rows) * n / asked.peer_rows
        print(
            f"{n:,} samples, {os.cpu_count()} processors, {platform.machine()}, load {os.getloadavg()[0]:.1f}, seed 0\n"
        )
        print("| load, indexes and statistics included | s |\n|---|---:|")
        print(f"| this stage | {load_s:.0f} |")
        print(f"| one insert a row, {asked.peer_rows:,} rows extrapolated | {peer_s:.0f} |\n")
        print("| question | p50 ms | p95 ms | slowest ms |\n|---|---:|---:|---:|")
        for kind, asks in questions(database, folder):
            times = np.concatenate([milliseconds(ask, repeats=asked.repeats) for ask in asks])
            print(
                f"| {kind} | {np.median(times):.1f} | {np.quantile(times, 0.95):.1f} | {times.max():.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
