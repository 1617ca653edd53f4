"""What graph, clusters, map and keywords of an atlas cost: seconds, peak memory, recall and modularity, a line a step.

Run: python -m benchmarks.landscape --starter DIR [--seeded] [--leidenalg] [--graph FILE]

DIR is made by `python -m benchmarks.synthesize vectors`. The steps run one after another in one process, as a build runs them,
and the peak is of the process so far. ``--graph`` keeps the graph in a file, or takes it from there, to measure the steps
behind it alone. ``--seeded`` lays the map out once more in one thread, which repeats bit for bit. Keywords are matched for 150
and 1,000 clusters drawn by seed with random unit terms: their cost depends on numbers alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np

from atlas.landscape.block_graph import BlockPlan, build_block_graph
from atlas.landscape.communities import CommunityParameters, find_communities, modularity
from atlas.landscape.keywords import cluster_means, match_keywords
from atlas.landscape.layout import LayoutParameters, lay_out
from atlas.landscape.neighbours import NeighbourGraph, graph_recall
from atlas.landscape.stability import ResamplingPlan, resampled_overlaps
from atlas.vectors.store import VectorStore

N_TERMS = 11_450
N_LIBRARIES = 13
_T = TypeVar("_T")


def step(name: str, work: Callable[[], _T], said: Callable[[_T], str] = lambda _: "") -> _T:
    """Do some work and print its line."""
    start = time.perf_counter()
    made = work()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {name} | {seconds:.1f} | {peak:.2f} | {said(made)} |", flush=True)
    return made


def graph_of(store: VectorStore, kept: Path | None) -> NeighbourGraph:
    """Make the graph, or take it from a file; a file that is missing is written."""
    if kept is not None and kept.is_file():
        return NeighbourGraph.load(kept)
    graph = build_block_graph(store)
    if kept is not None:
        graph.save(kept)
    return graph


def cluster(graph: NeighbourGraph, engine: str) -> np.ndarray:
    """Find clusters, print their line, return them."""
    parameters = CommunityParameters(engine=engine)  # type: ignore[arg-type]
    return step(
        f"Leiden, {engine}",
        lambda: find_communities(graph, parameters),
        lambda found: f"{found.max() + 1} clusters, modularity {modularity(graph, found):.4f}",
    )


def keywords(store: VectorStore, n_clusters: int) -> int:
    """Match random terms with random clusters; return how many matched."""
    rng = np.random.default_rng(0)
    clusters = rng.permutation(np.arange(store.n) % n_clusters).astype(np.int32)
    terms = rng.normal(size=(N_TERMS, store.dim)).astype(np.float32)
    terms /= np.linalg.norm(terms, axis=1, keepdims=True)
    names = [f"term {number}" for number in range(N_TERMS)]
    libraries = [f"library {number % N_LIBRARIES}" for number in range(N_TERMS)]
    means = cluster_means(store, clusters)
    return int(match_keywords(means, terms, libraries=libraries, terms=names, same_text=names).num_rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--seeded", action="store_true")
    parser.add_argument("--leidenalg", action="store_true")
    asked = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("igraph", "umap-learn", "numpy", "torch"))
    with VectorStore.open(asked.starter / "vectors.npy") as store:
        print(f"{store.n:,} x {store.dim}, {platform.machine()}, load before {os.getloadavg()[0]:.1f}, {versions}")
        print(f"{BlockPlan()}\n\n| step | seconds | peak GiB so far | |\n|---|---|---|---|")
        graph = step("neighbour graph, k = 15", lambda: graph_of(store, asked.graph))
        step("its recall measured", lambda: graph_recall(graph, store, n=500), lambda found: f"recall {found:.4f}")
        clusters = cluster(graph, "igraph")
        if asked.leidenalg:
            cluster(graph, "leidenalg")
        plan = ResamplingPlan(n_resamples=1)
        step(
            "one resample of the clusters",
            lambda: resampled_overlaps(graph, clusters, CommunityParameters(), plan=plan),
        )
        step("map", lambda: lay_out(store, graph), lambda made: f"deterministic {made.deterministic}")
        if asked.seeded:
            one = LayoutParameters(parallel_above=store.n + 1)
            step("map, seeded, one thread", lambda: lay_out(store, graph, one))
        for n_clusters in (150, 1_000):
            step(f"keywords of {n_clusters:,} clusters", partial(keywords, store, n_clusters), lambda n: f"{n:,} rows")


if __name__ == "__main__":
    main()
