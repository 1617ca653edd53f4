"""Exact search in the memory of a device: milliseconds a question, and the share of the device's own copying speed it reaches.

Run: python -m benchmarks.device_search [--device cuda] [--n 650000] [--dim 2048] [--seed 0]

The rows are random unit vectors: what is measured reads every byte of them, whatever they say. The peer is a copy within the
device in the same run (bytes read and written count). On ``cpu`` it shows that the code runs and nothing more. Prints markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from atlas.vectors.store import VectorStore
from atlas.vectors.torch_index import TorchIndex

_REPEATS = 30


def write_random(path: Path, *, n: int, dim: int, seed: int) -> None:
    """Write (n, dim) random unit rows, float16, block by block."""
    rng = np.random.default_rng(seed)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f2", "fortran_order": False, "shape": (n, dim)})
        for start in range(0, n, 16_384):
            block = rng.standard_normal((min(16_384, n - start), dim), dtype=np.float32)
            stream.write((block / np.linalg.norm(block, axis=1, keepdims=True)).astype("<f2").data)


def median_ms(act: Callable[[], object], device: torch.device) -> float:
    """Return the median time of an act, the device's work included."""
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(1_000 * (time.perf_counter() - started))
    return float(np.median(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--n", type=int, default=650_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "vectors.npy"
        write_random(path, n=asked.n, dim=asked.dim, seed=asked.seed)
        with VectorStore.open(path) as store:
            index = TorchIndex(store, device=asked.device)
            queries = store.rows(np.arange(64))
            source = torch.empty(asked.n * asked.dim, dtype=torch.float16, device=device)
            target = torch.empty_like(source)
            copied = 2 * source.nbytes / (median_ms(lambda: target.copy_(source), device) / 1_000)
            name = torch.cuda.get_device_name(device) if device.type == "cuda" else asked.device
            print(f"{asked.n:,} x {asked.dim}, seed {asked.seed}, {name}, torch {torch.__version__}\n")
            print("| queries at once | ms, scores alone | GB/s | of a copy's speed | ms with exact ranks, 10 hits |")
            print("|---|---|---|---|---|")
            for n_queries in (1, 16, 64):
                some = queries[:n_queries]
                scored = median_ms(lambda some=some: index._scores(some, None), device)  # type: ignore[misc]
                whole = median_ms(lambda some=some: index.search(some, 10), device)  # type: ignore[misc]
                rate = source.nbytes / (scored / 1_000)
                print(f"| {n_queries} | {scored:.2f} | {rate / 1e9:.0f} | {rate / copied:.2f} | {whole:.2f} |")


if __name__ == "__main__":
    main()
