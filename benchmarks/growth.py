"""How the work grows with the atlas: one table and one plot over releases of several sizes.

Run: python -m benchmarks.growth --home SMALL --home FULL --home LARGE [--plot docs/growth.svg]

Seconds and memory of each stage are those its manifest recorded; milliseconds of a search are measured here, on rows of the
release. The exponent is the slope over the sizes on logarithmic scales: 1 is in step with the number of samples. Releases of
other dimensions than the first stand in the table and as hollow marks in the plot, and have no part in the slope.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.release import Home, Release
from atlas.vectors.faiss_index import open_index
from atlas.vectors.store import VectorStore

_QUERIES = 300
SEARCH = "search, p50 ms"


@dataclass(frozen=True)
class Measured:
    """One release: its size, and seconds (or milliseconds of a search) by name."""

    n: int
    dim: int
    values: dict[str, float]
    peak_gb: float


def measure(home: Path, *, seed: int) -> Measured:
    """Read the manifest of a home's current release and search it."""
    release = Release.open(Home(home))
    stages = release.manifest.stages
    with VectorStore.open(release.path("vectors.npy")) as store:
        index = open_index(release.path("index"), store, threads=1)
        picked = np.random.default_rng(seed).choice(store.n, min(_QUERIES, store.n), replace=False)
        taken = []
        for query in store.rows(picked):
            started = time.perf_counter()
            index.search(query, 10)
            taken.append(1_000 * (time.perf_counter() - started))
        values = {stage.name: stage.wall_s for stage in stages} | {SEARCH: float(np.median(taken))}
        return Measured(store.n, store.dim, values, max(stage.peak_rss_bytes for stage in stages) / 2**30)


def slope(sizes: list[int], values: list[float]) -> float | None:
    """Return the exponent of growth; ``None`` from one size alone."""
    if len(sizes) < 2 or min(values) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def table(releases: list[Measured]) -> str:
    """Return the markdown table."""
    names = list(releases[0].values)
    like = [one for one in releases if one.dim == releases[0].dim]
    lines = [
        "| seconds | " + " | ".join(f"{one.n:,} x {one.dim}" for one in releases) + " | exponent |",
        "|---|" + "---|" * (len(releases) + 1),
    ]
    for name in names:
        cells = [f"{one.values[name]:.1f}" if name in one.values else "-" for one in releases]
        grown = slope([one.n for one in like], [one.values.get(name, 0.0) for one in like])
        lines.append(f"| {name} | {' | '.join(cells)} | {'-' if grown is None else f'{grown:.2f}'} |")
    lines.append("| peak memory, GiB | " + " | ".join(f"{one.peak_gb:.1f}" for one in releases) + " | |")
    return "\n".join(lines)


def plot(releases: list[Measured], out: Path) -> None:
    """Draw every row over the number of samples, both axes logarithmic."""
    from matplotlib.figure import Figure

    like = sorted((one for one in releases if one.dim == releases[0].dim), key=lambda one: one.n)
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(releases[0].values):
        points = [(one.n, one.values[name]) for one in like if one.values.get(name, 0) > 0]
        if points:
            style = "--" if name == SEARCH else "-"
            mark = {"marker": "os^DvPX"[number % 7], "markersize": 4}
            (line,) = axes.plot(*zip(*points, strict=True), style, **mark, label=name)
            others = [(one.n, one.values[name]) for one in releases if one not in like and one.values.get(name, 0) > 0]
            for point in others:
                axes.plot(*point, **mark, color=line.get_color(), fillstyle="none", linestyle="none")
    axes.set(xscale="log", yscale="log", xlabel="samples", ylabel="seconds (search: milliseconds)")
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, action="append", required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    releases = [measure(home, seed=asked.seed) for home in asked.home]
    print(table(releases))
    if asked.plot:
        plot(releases, asked.plot)


if __name__ == "__main__":
    main()
