"""Where a sample the atlas has never seen should lie on its map: ways of placing it, measured on whole series held out.

The series of a release are dealt into folds. For each fold the graph, the clusters and the map are made anew without its
samples, as a build makes them; then each left-out sample is placed from its nearest samples. A good place has the sample's
nearest samples (by cosine) around it, and samples of the sample's own tissue, which placing never sees.

Run: python -m benchmarks.placement --home HOME --out docs/measurements-placement.md   (a demo: about three minutes)
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.landscape.communities import find_communities
from atlas.landscape.layout import LayoutParameters, lay_out
from atlas.landscape.neighbours import build_graph
from atlas.release import Home, Release
from atlas.search.placement import N_NEIGHBOURS, place
from atlas.vectors.index import ExactIndex
from atlas.vectors.store import VectorStore, write_vectors

AROUND = 50
"""Samples nearest to a place on the map that count as around it."""

N_BOOTSTRAP = 2_000


@dataclass(frozen=True)
class Landscape:
    """A map with its clusters: (n, 2) float32 and (n,) int32."""

    xy: np.ndarray
    clusters: np.ndarray


Placing = Callable[[np.ndarray, np.ndarray, Landscape], np.ndarray]
"""(m, k) rows and (m, k) cosines of the nearest samples, the map -> (m, 2) places."""


def majority_mean(rows: np.ndarray, scores: np.ndarray, landscape: Landscape) -> np.ndarray:
    """Place by the program's own rule, see ``atlas.search.placement``."""
    x, y = landscape.xy.T
    placed = [place(some, x=x, y=y, cluster=landscape.clusters) for some in rows]
    return np.array([(one.x, one.y) for one in placed])


def plain_mean(rows: np.ndarray, scores: np.ndarray, landscape: Landscape) -> np.ndarray:
    """Take the mean place of all nearest samples."""
    means: np.ndarray = landscape.xy[rows].mean(axis=1)
    return means


def nearest(rows: np.ndarray, scores: np.ndarray, landscape: Landscape) -> np.ndarray:
    """Take the place of the nearest sample."""
    places: np.ndarray = landscape.xy[rows[:, 0]]
    return places


def majority_medoid(rows: np.ndarray, scores: np.ndarray, landscape: Landscape) -> np.ndarray:
    """Take the place of that nearest sample of the majority cluster which lies closest to the others of it."""
    places = np.empty((len(rows), 2))
    for i, some in enumerate(rows):
        clusters = landscape.clusters[some]
        points = landscape.xy[some[clusters == np.bincount(clusters).argmax()]]
        apart = np.linalg.norm(points[:, None] - points[None], axis=2).sum(axis=1)
        places[i] = points[apart.argmin()]
    return places


def umap_transform(rows: np.ndarray, scores: np.ndarray, landscape: Landscape) -> np.ndarray:
    """Place by UMAP's transform: start at the weighted mean of the nearest samples, then optimise the new points alone."""
    from scipy.sparse import coo_matrix
    from umap.layouts import optimize_layout_euclidean
    from umap.umap_ import (
        compute_membership_strengths,
        find_ab_params,
        init_graph_transform,
        make_epochs_per_sample,
        smooth_knn_dist,
    )

    parameters = LayoutParameters()
    distances = np.clip(1.0 - scores, 0.0, 2.0).astype(np.float32)
    sigmas, rhos = smooth_knn_dist(distances, float(rows.shape[1]), local_connectivity=0.0)
    head, tail, weights, _ = compute_membership_strengths(
        rows.astype(np.int32), distances, sigmas, rhos, bipartite=True
    )
    graph = coo_matrix((weights, (head, tail)), shape=(len(rows), len(landscape.xy)))
    start = init_graph_transform(graph.tocsr(), landscape.xy)
    n_epochs = 100  # what umap-learn takes for fewer than 10,000 new points
    graph.data[graph.data < graph.data.max() / n_epochs] = 0.0
    graph.eliminate_zeros()
    a, b = find_ab_params(parameters.spread, parameters.min_dist)
    state = np.random.RandomState(parameters.seed).randint(-(2**31) + 1, 2**31 - 2, 3).astype(np.int64)
    steps = make_epochs_per_sample(graph.data, n_epochs)
    placed = optimize_layout_euclidean(
        start, landscape.xy.copy(), graph.row, graph.col, n_epochs, graph.shape[1], steps, a, b, state, 1.0, 0.25, 5.0
    )
    return np.asarray(placed)


METHODS: Mapping[str, Placing] = {
    "mean of the nearest in the majority cluster (default)": majority_mean,
    "medoid of the nearest in the majority cluster": majority_medoid,
    "mean of all nearest": plain_mean,
    "place of the nearest sample": nearest,
    "UMAP transform": umap_transform,
}


@dataclass(frozen=True)
class Judged:
    """What one method did to the held-out samples: (m,) shares of the nearest kept around, of the own tissue, milliseconds."""

    kept: np.ndarray
    tissue: np.ndarray
    milliseconds: float


def folds(series: list[tuple[str, ...]], n: int) -> np.ndarray:
    """Return the fold of each sample, (n_samples,): series that share a sample stay together, largest dealt first."""
    group: dict[str, str] = {}

    def root(one: str) -> str:
        while group.setdefault(one, one) != one:
            one = group[one]
        return one

    for ids in series:
        for other in ids[1:]:
            group[root(other)] = root(ids[0])
    members = defaultdict(list)
    for row, ids in enumerate(series):
        members[root(ids[0]) if ids else f"row {row}"].append(row)
    sizes, fold = np.zeros(n), np.empty(len(series), dtype=int)
    for rows in sorted(members.values(), key=len, reverse=True):
        fold[rows] = sizes.argmin()
        sizes[sizes.argmin()] += len(rows)
    return fold


def make_landscape(vectors: np.ndarray, folder: Path) -> Landscape:
    """Make graph, clusters and map of some vectors as a build does."""
    write_vectors(folder / "vectors.npy", vectors)
    with VectorStore.open(folder / "vectors.npy") as store:
        graph = build_graph(ExactIndex(store), store)
        return Landscape(lay_out(store, graph).xy, find_communities(graph))


def judge(vectors: np.ndarray, tissue: np.ndarray, held: np.ndarray) -> dict[str, Judged]:
    """Place the held-out rows on a map of the others by every method; ``held`` is (n,) bool."""
    with tempfile.TemporaryDirectory() as folder:
        landscape = make_landscape(vectors[~held], Path(folder))
    scores = vectors[held] @ vectors[~held].T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    near = np.take_along_axis(scores, rows, axis=1)
    others, own = tissue[~held], tissue[held]
    judged = {}
    for name, method in METHODS.items():
        method(rows[:2], near[:2], landscape)  # numba compiles on the first call
        started = time.perf_counter()
        places = method(rows, near, landscape)
        milliseconds = 1e3 * (time.perf_counter() - started) / len(rows)
        apart = np.linalg.norm(places[:, None] - landscape.xy[None], axis=2)
        around = np.argsort(apart, axis=1, kind="stable")[:, :AROUND]
        kept = np.array([np.isin(mine, these).mean() for mine, these in zip(rows, around, strict=True)])
        shares = (others[around[:, :N_NEIGHBOURS]] == own[:, None]).mean(axis=1)
        shares[(own == "") | ~np.isin(own, others)] = np.nan
        judged[name] = Judged(kept, shares, milliseconds)
    return judged


def measure(release: Release, *, n_folds: int) -> str:
    """Return the table as markdown."""
    table = release.table("samples.parquet", columns=["series_ids", "tissue"])
    series = [tuple(ids) for ids in table["series_ids"].to_pylist()]
    tissue = np.array([one or "" for one in table["tissue"].to_pylist()])
    vectors = np.load(release.checked("vectors.npy"), allow_pickle=False).astype(np.float32)
    fold = folds(series, n_folds)
    parts = [judge(vectors, tissue, fold == one) for one in range(n_folds)]
    names = np.concatenate([np.array([ids[0] if ids else "" for ids in series])[fold == one] for one in range(n_folds)])
    columns = {
        name: [np.concatenate([getattr(part[name], field) for part in parts]) for field in ("kept", "tissue")]
        for name in METHODS
    }
    lines = [
        f"{len(series)} samples of {len(set(names))} series in {n_folds} folds.",
        "",
        f"| place | its {N_NEIGHBOURS} nearest among the {AROUND} around | less the default's | own tissue around "
        "| less the default's | ms a sample |",
        "|---|---|---|---|---|---|",
    ]
    default = columns[next(iter(METHODS))]
    for name, measured in columns.items():
        cells = [
            f"{both_means(mine, names)} | {difference(mine - base, names)}"
            for mine, base in zip(measured, default, strict=True)
        ]
        milliseconds = np.mean([part[name].milliseconds for part in parts])
        lines.append(f"| {name} | {' | '.join(cells)} | {milliseconds:.2f} |")
    known = int(np.isfinite(default[1]).sum())
    return "\n".join(
        [
            *lines,
            "",
            "Means over samples / over series. Differences: mean over series with its 95 % interval over resampled series. "
            f"Own tissue: the {known} samples whose tissue other series have, too. Milliseconds without the compilation of "
            "UMAP's code in a fresh process.",
        ]
    )


def both_means(values: np.ndarray, groups: np.ndarray) -> str:
    """Return the mean over samples and the mean over groups' means, samples without a value left out."""
    known = np.isfinite(values)
    return f"{values[known].mean():.3f} / {group_means(values, groups).mean():.3f}"


def group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the mean of each group that has a value, (n_groups,)."""
    known = np.isfinite(values)
    return np.array([values[known & (groups == one)].mean() for one in sorted(set(groups[known]))])


def difference(values: np.ndarray, groups: np.ndarray) -> str:
    """Return the mean over groups with a 95 % bootstrap interval over groups; nothing for a method against itself."""
    means = group_means(values, groups)
    if not means.any():
        return ""
    drawn = np.random.default_rng(0).choice(means, (N_BOOTSTRAP, means.size)).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{means.mean():+.3f} ({low:+.3f} to {high:+.3f})"


PAGE = """# Placing a sample on the map

A user's transcriptome is no part of the map. Where it is shown is decided from its nearest samples; this page compares ways to
do that on series held out whole: graph, clusters and map are made without them, then each of their samples is placed.

`{command}`, model `{model}`.

The packaged model was made with these studies. All ways of placing meet the same vectors, so they may be compared; how well
studies are found that a model has not seen is in [measurements-model.md](measurements-model.md).

{table}

{conclusion}"""
CONCLUSION = """\
The program takes the mean of the nearest samples in the majority cluster. UMAP's transform keeps more of a sample's nearest
samples around it in some large series and about as much in the mean over series, and brings it no surer to its own tissue. It
draws random numbers for all samples of a table together, so a place would depend on the other samples of the table, and it would
load and compile UMAP inside the service: not worth it. Without the majority cluster the mean falls between clusters.
"""


def main() -> None:
    """Write or print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--release", default=None)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    release = Release.open(Home(args.home), args.release)
    page = PAGE.format(
        command="python -m benchmarks.placement --home HOME", model=release.manifest.model_hash[:12],
        table=measure(release, n_folds=args.folds), conclusion=CONCLUSION,
    )  # fmt: skip
    if args.out is None:
        print(page)
    else:
        args.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
