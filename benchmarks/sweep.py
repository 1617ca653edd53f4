"""What a sweep of a vocabulary costs on a release: similarities beside the plain product, the pass, the null, memory.

Run: python -m benchmarks.sweep --home HOME [--release NAME] [--vocabulary omim_expanded] [--rounds 9]

The whole sweep comes first, so the peak memory named is its own. Similarities are then computed in turns by a pass over the
master and by the plain product (the file mapped, blocks of 32 MiB, numpy's float32); the ratio is of the turns' medians, and
beside it stand the smallest and the largest of a turn. Errors are against float64 on rows drawn by seed. Terms and background
are taken from the release, so nothing is embedded.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from atlas.release import Home, Release
from atlas.scans.background import Background, unit
from atlas.scans.ground import Ground, Members
from atlas.scans.null import Null
from atlas.scans.stream import SampleNull
from atlas.scans.sweep import sweep
from atlas.vectors.passes import products_in_order
from atlas.vectors.store import VectorStore

N_CHECKED = 2_000


def timed(work: Callable[[], object]) -> float:
    """Return the seconds some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def by_pass(store: VectorStore, columns: np.ndarray) -> None:
    """Compute all similarities as a sweep does."""
    for _ in products_in_order(store, columns):
        pass


def by_plain_product(store: VectorStore, columns: np.ndarray) -> None:
    """Compute all similarities as one would who knows numpy."""
    for _, block in store.blocks():
        block @ columns


def largest_error(store: VectorStore, columns: np.ndarray) -> float:
    """Return the largest difference of a pass' similarities from those in float64, on rows drawn by seed."""
    rows = np.sort(np.random.default_rng(0).choice(store.n, min(N_CHECKED, store.n), replace=False))
    exact = store.rows(rows).astype(np.float64) @ columns.astype(np.float64)
    found = np.empty_like(exact)
    for start, products in products_in_order(store, columns):
        here = (rows >= start) & (rows < start + len(products))
        if here.any():
            found[here] = products[rows[here] - start]
    return float(np.abs(found - exact).max())


def measure(release: Release, vocabulary: str, *, rounds: int) -> list[tuple[str, str]]:
    """Return what was measured, a line each."""
    folder = release.folder
    terms = unit(np.load(folder / "scans" / vocabulary / "vectors.npy", allow_pickle=False))
    background = Background.load(folder / "scans").without(vocabulary)
    columns = np.ascontiguousarray(terms.T)
    members = Members.read(folder)
    with VectorStore.open(folder / "vectors.npy") as store:
        clock = time.perf_counter()
        ground = Ground.measure(store, members)
        on_ground = time.perf_counter() - clock
        sweep(store, ground, terms, background=background)
        whole = time.perf_counter() - clock
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        null = Null(background, ground)
        testing = timed(lambda: null.test(terms, ground.effects(terms)))
        turns = [
            (timed(lambda: by_pass(store, columns)), timed(lambda: by_plain_product(store, columns)))
            for _ in range(rounds)
        ]
        ours, plain = (median(one) for one in zip(*turns, strict=True))
        ratios = [one / other for one, other in turns]
        error = largest_error(store, columns)
        shape = f"{store.n:,} x {store.dim}"
    return [
        ("samples, clusters, (cluster, study) pairs", f"{shape}; {members.sizes.size:,}; {members.pair_sizes.size:,}"),
        (
            "terms, background terms, axes they vary along",
            f"{len(terms):,}; {len(background):,}; {SampleNull.of(background).axes.shape[1]}",
        ),
        ("similarities, seconds", f"{ours:.1f}"),
        ("the plain float32 product, seconds", f"{plain:.1f}"),
        (f"ratio of {rounds} turns' medians", f"{ours / plain:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"),
        ("largest error of a similarity against float64", f"{error:.1e}"),
        ("moments and clusters' means, seconds", f"{on_ground:.1f}"),
        ("null and tests, seconds", f"{testing:.1f}"),
        ("the whole sweep: moments, null, tests, intervals, sums; seconds", f"{whole:.1f}"),
        ("peak memory of the sweep, GiB", f"{peak:.2f}"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--release")
    parser.add_argument("--vocabulary", default="omim_expanded")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    release = Release.open(Home(asked.home.absolute()), asked.release)
    print(
        f"Release {release.name}, {platform.machine()}, load before {os.getloadavg()[0]:.1f}, numpy {np.__version__}\n"
    )
    print("| measured | |\n|---|---|")
    for name, value in measure(release, asked.vocabulary, rounds=asked.rounds):
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
