"""How fast the packaged model embeds: bulk samples, single cells and phrases, each beside a plain loop in the same run.

Run: python -m benchmarks.embedding_speed [--model starter/model] [--threads 2] [--out docs/measurements-speed.md]

Expression is made up on the model's own genes (bulk: 20,000 genes measured; cells: 1,500 genes detected, sparse), so it needs no
data. The plain loop embeds one row, or one phrase, at a time with the same model; both must give the same numbers. The table
of rounding compares term vectors as they are kept, int8, with those of the text tower.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from atlas.expression.align import align
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit
from atlas.model.joint import JointModel
from atlas.model.quantised import Int8Rows
from atlas.resources import resource_path
from benchmarks.abstention import read_phrases

N_BULK, N_CELLS, N_PLAIN = 512, 1_024, 32
DETECTED = 1_500
BARS = {"bulk samples": "200 a second", "single cells": "1,000 a second", "phrases": "15 ms each"}


@dataclass(frozen=True)
class Timed:
    """Best of three runs in seconds and in CPU seconds, which other work hardly changes, and seconds of the plain loop."""

    n: int
    seconds: float
    cpu_seconds: float
    plain_each: float

    @property
    def each(self) -> float:
        """Seconds a row."""
        return self.seconds / self.n


def best_of(work: Callable[[], np.ndarray], *, repeats: int = 3) -> tuple[float, float, np.ndarray]:
    """Return the fewest seconds, the fewest CPU seconds, and what was made."""
    times = []
    for _ in range(repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        found = work()
        times.append((time.perf_counter() - started, time.process_time() - cpu_started))
    return min(wall for wall, _ in times), min(cpu for _, cpu in times), found


def matrix(model: JointModel, values: np.ndarray) -> ExpressionMatrix:
    genes = [
        gene
        for gene, organism in zip(model.genes.ensembl_ids, model.genes.organisms, strict=True)
        if organism == "human"
    ]
    return ExpressionMatrix(
        values=values,
        genes=tuple(genes[: values.shape[1]]),
        sample_ids=tuple(f"row {i}" for i in range(len(values))),
        units=(Unit.COUNTS,) * len(values),
    )


def bulk(n: int, n_genes: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.poisson(rng.lognormal(2, 2, n_genes) * rng.lognormal(0, 0.3, (n, 1))).astype(np.float32) + 1


def cells(n: int, n_genes: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    columns = rng.integers(0, n_genes, (n, DETECTED))
    rows = np.repeat(np.arange(n), DETECTED)
    counts = rng.geometric(0.4, n * DETECTED)
    return np.asarray(
        sparse.csr_array((counts, (rows, columns.ravel())), shape=(n, n_genes)).todense(), dtype=np.float32
    )


def expression(model: JointModel, make: Callable[[int, int], np.ndarray], *, n: int) -> Timed:
    n_genes = min(20_000, sum(organism == "human" for organism in model.genes.organisms))
    values = make(n, n_genes)
    aligned = align(matrix(model, values), model.genes)
    seconds, cpu, vectors = best_of(lambda: model.embed_expression(aligned))
    one_by_one = [align(matrix(model, values[i : i + 1]), model.genes) for i in range(N_PLAIN)]
    plain, _, slow = best_of(lambda: np.concatenate([model.embed_expression(one) for one in one_by_one]), repeats=1)
    np.testing.assert_array_equal(vectors[:N_PLAIN], slow)
    return Timed(n, seconds, cpu, plain / N_PLAIN)


def phrases(model: JointModel) -> tuple[Timed, Timed, Timed]:
    """Time a question at a time, as a person asks; the text tower's share of it; and a list at once."""
    texts = [phrase["phrase"] for phrase in read_phrases()]
    model.embed_texts(texts[:4])  # loads the tower
    whole, tower = [], []
    for text in texts[:100]:
        for embed, times in ((model.embed_texts, whole), (model.embed_raw_texts, tower)):
            started, cpu_started = time.perf_counter(), time.process_time()
            embed([text])
            times.append((time.perf_counter() - started, time.process_time() - cpu_started))
    (each, cpu_each), (raw, cpu_raw) = (np.median(times, axis=0) for times in (whole, tower))
    seconds, cpu, _ = best_of(lambda: model.embed_texts(texts))
    return Timed(1, each, cpu_each, each), Timed(1, raw, cpu_raw, raw), Timed(len(texts), seconds, cpu, each)


def rounding(model: JointModel) -> str:
    """Tell how far a phrase moves if its raw vector is kept as int8."""
    raw = model.embed_raw_texts([phrase["phrase"] for phrase in read_phrases()])
    kept = Int8Rows.from_vectors(raw).vectors().astype(np.float32)
    before, after = model.text_head(raw), model.text_head(kept)
    moved = 1 - np.einsum("ij,ij->i", before.astype(np.float64), after)
    return (
        f"Kept as int8, a raw vector is off by at most {np.abs(kept - raw).max():.1e} a component; the phrase's vector then has "
        f"a cosine of at least {1 - moved.max():.5f} with the unrounded one (median {1 - np.median(moved):.6f}, "
        f"{len(raw)} phrases)."
    )


def row(name: str, timed: Timed, bar: str) -> str:
    times, cpu_ms = timed.plain_each / timed.each, 1e3 * timed.cpu_seconds / timed.n
    figures = (
        f"{1e3 * timed.each:.2f} | {cpu_ms:.2f} | {1 / timed.each:,.0f} | {1e3 * timed.plain_each:.2f} | {times:.1f}"
    )
    return f"| {name} | {timed.n:,} | {figures} | {bar} |"


def page(model: JointModel, *, threads: int, command: str) -> str:
    one, tower, many = phrases(model)
    lines = [
        "# Speed of embedding",
        "",
        f"Written by `{command}` on {platform.machine()}, {os.cpu_count()} cores, {threads} threads, model "
        f"`{model.hash[:12]}`; load of the machine at the end {os.getloadavg()[0]:.1f}. Times inform, they are of one machine at "
        "one time, and of a busy one more than CPU ms; the ratio to a plain loop, one row at a time through the same model, is "
        "of the same run. Both give the same numbers.",
        "",
        "| what | rows at once | ms each | CPU ms each | a second | plain loop, ms each | times as fast | bar |",
        "|---|---|---|---|---|---|---|---|",
        row("bulk samples, 20,000 genes", expression(model, bulk, n=N_BULK), BARS["bulk samples"]),
        row(f"single cells, {DETECTED:,} genes detected", expression(model, cells, n=N_CELLS), BARS["single cells"]),
        row("a phrase asked alone", one, BARS["phrases"]),
        row("of that, the text tower", tower, "-"),
        row("a list of phrases", many, "-"),
        "",
        "## What rounding costs",
        "",
        rounding(model),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(asked.threads)
    model = JointModel.load(asked.model or resource_path("starter/model"), threads=asked.threads)
    text = page(model, threads=asked.threads, command="python -m benchmarks.embedding_speed")
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
