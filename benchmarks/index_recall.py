"""How well and how fast the engines find neighbours: one table, exact twin beside FAISS.

Run: python -m benchmarks.index_recall [--n 200000] [--dim 384] [--vectors vectors.npy] [--text text_vectors.npy]

Without ``--vectors`` the atlas is synthetic: clusters > studies > samples in 128 latent directions of decaying strength.
Queries are 500 rows and 500 phrases (``--text``, or points that lie half-way off the samples).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from atlas.vectors.faiss_index import FaissIndex, IndexPlan, build_index, open_index
from atlas.vectors.index import ExactIndex, VectorIndex
from atlas.vectors.recall import RecallQueries, draw_queries, measure_recall
from atlas.vectors.store import VectorStore, write_vectors


def synthetic_atlas(n: int, dim: int, *, seed: int = 0) -> np.ndarray:
    """Return (n, dim) float16 unit rows, written block by block."""
    rng = np.random.default_rng(seed)
    strength = 1.0 / np.sqrt(1.0 + np.arange(128))
    basis = np.linalg.qr(rng.normal(size=(dim, 128)))[0].T if dim >= 128 else rng.normal(size=(128, dim))
    clusters = rng.normal(size=(100, 128)) * strength
    studies = clusters[rng.integers(0, 100, size=n // 40 + 1)] + 0.7 * rng.normal(size=(n // 40 + 1, 128)) * strength
    rows = np.empty((n, dim), np.float16)
    for start in range(0, n, 20_000):
        stop = min(start + 20_000, n)
        latent = studies[np.arange(start, stop) // 40] + 0.4 * rng.normal(size=(stop - start, 128)) * strength
        block = latent @ basis + 0.01 * rng.normal(size=(stop - start, dim))
        rows[start:stop] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def off_axis_phrases(store: VectorStore, *, n: int = 500, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = store.rows(np.sort(rng.choice(store.n, n, replace=False)))
    noise = rng.normal(size=rows.shape).astype(np.float32)
    return rows + noise / np.linalg.norm(noise, axis=1, keepdims=True)


def milliseconds(index: VectorIndex, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> float:
    times = []
    for query in queries:
        start = time.perf_counter()
        index.search(query, k, allowed=allowed)
        times.append(1_000 * (time.perf_counter() - start))
    return float(np.median(times))


def line(name: str, index: VectorIndex, store: VectorStore, queries: RecallQueries) -> str:
    truth = ExactIndex(store).search(queries.vectors, 100)
    recall = measure_recall(index, queries, truth)
    few = queries.vectors[:: max(1, len(queries.vectors) // 20)]
    half = np.random.default_rng(0).random(store.n) < 0.5
    filtered_truth = ExactIndex(store).search(few, 10, allowed=half)
    filtered = index.search(few, 10, allowed=half)
    share = float((filtered.scores >= filtered_truth.scores[:, -1:] - 1e-6).mean())
    figures = [f"{recall[key]:.4f}" for key in ("rows@10", "phrases@10", "rows@100", "phrases@100")]
    speeds = [f"{milliseconds(index, few, k):.1f}" for k in (20, 10_000)]
    return f"| {name} | {' | '.join(figures)} | {share:.3f} | {' | '.join(speeds)} | {milliseconds(index, few, 20, half):.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = asked.vectors or Path(scratch) / "vectors.npy"
        if asked.vectors is None:
            write_vectors(path, synthetic_atlas(asked.n, asked.dim))
        with VectorStore.open(path) as store:
            phrases = np.load(asked.text) if asked.text else off_axis_phrases(store)
            queries = draw_queries(store, phrases, n=1_000, seed=0)
            start = time.perf_counter()
            chosen = build_index(store, Path(scratch), plan=IndexPlan(threads=asked.threads), text_queries=phrases)
            seconds = time.perf_counter() - start
            index = open_index(Path(scratch), store, threads=1)
            assert isinstance(index, FaissIndex)
            size = (Path(scratch) / "index.faiss").stat().st_size / 1e6
            print(f"{store.n} x {store.dim}; built and measured in {seconds:.0f} s; index {size:.0f} MB; {chosen}\n")
            columns = ("rows@10", "phrases@10", "rows@100", "phrases@100", "@10, half filtered")
            speeds = ("ms k=20", "ms k=10,000", "ms k=20 filtered")
            print("| engine |", " | ".join((*columns, *speeds)), "|")
            print("|---|---|---|---|---|---|---|---|---|")
            print(line("exact twin", ExactIndex(store), store, queries))
            print(line(f"FAISS {chosen.kind}", index, store, queries))


if __name__ == "__main__":
    main()
