"""The search engine at full size beside its peers: one run, one machine, one set of queries.

Run: python -m benchmarks.search_engine --starter DIR [--index FOLDER] [--n-queries 500]

DIR is made by ``python -m benchmarks.synthesize vectors``. Peers: FAISS Flat in float32 (engine), a memory map that reads ahead
(cold page cache), post-filtering (filters), the full product on the master (all samples scored). Prints markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from atlas.vectors.faiss_index import ROTATION_FILE, FaissIndex, open_index, read_parameters
from atlas.vectors.index import ExactIndex
from atlas.vectors.index_build import IndexPlan, build_index
from atlas.vectors.inverted_lists import faiss_module
from atlas.vectors.recall import RecallQueries, measure_recall
from atlas.vectors.row_codes import RowCodes, write_row_codes
from atlas.vectors.store import VectorStore

_COLD = 40
_FLAT_QUERIES = 25
_SHARES = (0.0001, 0.01, 0.5)


def milliseconds(
    ask: Callable[..., object], queries: Sequence[Any], *rest: object, warm: bool = True, **options: object
) -> np.ndarray:
    """Return how long ``ask(query, *rest, **options)`` took for each query, (n,) float64; one asked before is not counted."""
    if warm:
        ask(queries[0], *rest, **options)
    taken = []
    for query in queries:
        started = time.perf_counter()
        ask(query, *rest, **options)
        taken.append(1_000 * (time.perf_counter() - started))
    return np.array(taken)


def resident_mb() -> float:
    """Return what this process keeps in memory, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def resident_alone(folder: Path, starter: Path) -> float:
    """Return what opening and asking 500 times adds to a fresh process, MB."""
    arguments = [sys.executable, "-m", "benchmarks.search_engine", "--starter", str(starter), "--index", str(folder)]
    done = subprocess.run([*arguments, "--resident"], check=True, capture_output=True, text=True)
    return float(done.stdout)


def print_resident(folder: Path, starter: Path) -> None:
    queries = np.load(starter / "queries.npz", allow_pickle=False)["sample"][:500]
    with VectorStore.open(starter / "vectors.npy") as store:
        faiss_module()
        before = resident_mb()
        milliseconds(open_index(folder, store, threads=1).search, list(queries), 10)
        print(resident_mb() - before)


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def flat_peer(store: VectorStore, queries: np.ndarray, *, k: int = 10) -> np.ndarray:
    """Return the milliseconds of FAISS Flat, one thread, float32."""
    import faiss

    flat = faiss.IndexFlatIP(store.dim)
    for _, block in store.blocks():
        flat.add(block)
    return milliseconds(flat.search, list(queries[:_FLAT_QUERIES, None, :]), k)


def engine_table(
    index: FaissIndex, store: VectorStore, queries: RecallQueries, *, flat: float, resident: float
) -> list[str]:
    truth = ExactIndex(store).search(queries.vectors, 100)
    recall = measure_recall(index, queries, truth)
    lines = ["| queries | p50 ms | p99 ms | Flat p50 / p50 | recall@10 | recall@100 |", "|---|---|---|---|---|---|"]
    for kind, part in queries.parts.items():
        taken = milliseconds(index.search, list(queries.vectors[part]), 10)
        p50, p99 = np.percentile(taken, [50, 99])
        lines.append(
            f"| {kind} | {p50:.2f} | {p99:.2f} | {flat / p50:.0f} | {recall[f'{kind}@10']:.4f} | {recall[f'{kind}@100']:.4f} |"
        )
    return [f"FAISS Flat: p50 {flat:.0f} ms; the engine keeps {resident:.0f} MB resident.", "", *lines]


def cold_table(folder: Path, queries: np.ndarray, vectors: Path) -> list[str]:
    """Ask with an empty page cache, of a copy of the vectors: what another process has mapped cannot be dropped."""
    ours, peer = [], []
    with VectorStore.open(vectors) as store:
        index = open_index(folder, store, threads=1)
        index.search(queries[-1], 10)
        for query in queries[:_COLD]:
            forget(vectors)
            ours.append(float(milliseconds(index.search, [query], 10, warm=False)[0]))
        n = store.n
    for rows in np.random.default_rng(0).integers(0, n, (3, 200)):
        forget(vectors)
        mapped = np.load(vectors, mmap_mode="r", allow_pickle=False)
        peer.append(float(milliseconds(mapped.take, [rows], 0, warm=False)[0]))
        del mapped
    return [
        "| cold page cache | p50 ms | p95 ms |",
        "|---|---|---|",
        f"| engine, {_COLD} questions | {np.median(ours):.1f} | {np.percentile(ours, 95):.1f} |",
        f"| memory map that reads ahead, 200 rows, {len(peer)} times | {np.median(peer):.0f} | {max(peer):.0f} |",
    ]


def filter_table(index: FaissIndex, store: VectorStore, queries: RecallQueries) -> list[str]:
    lines = [
        "| rows that pass | p50 ms | p99 ms | recall@10 | post-filtering 100 hits: recall@10 |",
        "|---|---|---|---|---|",
    ]
    for share in _SHARES:
        mask = np.asarray(np.random.default_rng(1).random(store.n) < share)
        few = queries.some(200)
        truth = ExactIndex(store).search(few.vectors, 10, allowed=mask)
        found = measure_recall(index, few, truth, depths=(10,), allowed=mask)
        taken = milliseconds(index.search, list(few.vectors), 10, allowed=mask)
        p50, p99 = np.percentile(taken, [50, 99])
        kept = []
        for query, least in zip(few.vectors, truth.scores[:, -1], strict=True):
            hits = index.search(query, 100)
            passing = hits.scores[0][mask[hits.rows[0]]][:10]
            kept.append((passing >= least - 1e-6).sum() / truth.scores.shape[1])
        lines.append(f"| {100 * share:g} % | {p50:.2f} | {p99:.2f} | {min(found.values()):.4f} | {np.mean(kept):.3f} |")
    return lines


def colour_table(store: VectorStore, queries: np.ndarray, axes: np.ndarray, folder: Path) -> list[str]:
    write_row_codes(store, folder, axes=axes)
    codes = RowCodes(folder)
    few = list(queries[:7])
    exact = milliseconds(store.scores, few[:3])
    ours = milliseconds(codes.scores, few)
    wrong = []
    for query in few[:3]:
        truth = store.scores(query)
        wrong.append(float((codes.scores(query) - truth).std() / truth.std()))
    return [
        "| all samples scored for a map | p50 ms | spread of the error, of the scores' own |",
        "|---|---|---|",
        f"| row codes, {len(axes)} axes | {np.median(ours):.0f} | {max(wrong):.3f} |",
        f"| full product on the master | {np.median(exact):.0f} | 0 |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--index", type=Path, help="an index built before; else it is built here")
    parser.add_argument("--keep", type=Path, help="folder to leave the index built here in")
    parser.add_argument("--n-queries", type=int, default=500, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resident", action="store_true", help="print what the engine adds to a process, MB, and stop")
    asked = parser.parse_args()
    if asked.resident:
        print_resident(asked.index, asked.starter)
        return
    given = np.load(asked.starter / "queries.npz", allow_pickle=False)
    queries = RecallQueries(
        np.concatenate([given[kind][: asked.n_queries] for kind in ("sample", "text")]).astype(np.float32),
        *(min(asked.n_queries, len(given[kind])) for kind in ("sample", "text")),
    )
    with (
        tempfile.TemporaryDirectory(dir=asked.starter.parent) as scratch,
        VectorStore.open(asked.starter / "vectors.npy") as store,
    ):
        folder = asked.index or asked.keep or Path(scratch)
        spectrum = json.loads((asked.starter / "starter.json").read_text(encoding="utf-8")).get("spectrum")
        print(
            f"{store.n:,} x {store.dim}, spectrum {spectrum}, {asked.n_queries} queries of each kind, seed {asked.seed}; "
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
        )
        if asked.index is None:
            folder.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            # measured with queries of their own: those below had no say in the choice
            build_index(store, folder, plan=IndexPlan(seed=asked.seed), text_queries=given["text"][asked.n_queries :])
            print(f"built and measured in {time.monotonic() - started:.0f} s\n")
        print(f"`{asdict(read_parameters(folder))}`\n")
        index = open_index(folder, store, threads=1)
        assert isinstance(index, FaissIndex)
        threadpool_limits(1, user_api="blas")  # as the service asks: small products cost more to share than to make
        resident = resident_alone(folder, asked.starter)
        copy = Path(shutil.copyfile(store.path, Path(scratch) / "vectors.npy"))
        cold = cold_table(folder, queries.vectors, copy)
        copy.unlink()
        flat = float(np.median(flat_peer(store, queries.vectors)))
        for table in (
            engine_table(index, store, queries, flat=flat, resident=resident),
            cold,
            filter_table(index, store, queries),
            colour_table(
                store, queries.vectors[-7:], np.load(folder / ROTATION_FILE, allow_pickle=False), Path(scratch)
            ),
        ):
            print("\n".join(table), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
