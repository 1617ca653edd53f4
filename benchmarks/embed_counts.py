"""How fast samples of an ARCHS4 file are embedded, and what limits it: reading alone, in turns with embedding, as a build does.

Run: python -m benchmarks.embed_counts FILE [--samples 10000 65000] [--model starter/model] [--total 650000] [--ray 2]

Each line is a process of its own, so that its peak memory is its own. ``in turns`` reads a block, then embeds it; ``build`` reads
a block while the one before it is embedded, as ``geo-atlas build`` does; ``ray`` does so in as many workers. All of them must
write the same vectors, bit for bit. The column for ``--total`` samples is extrapolated from the rate, not measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.expression.source import open_source
from atlas.resources import resource_path
from indexer import embedding
from indexer.embedding import EmbeddingJob, ShardWriter
from indexer.stage import silent_progress

SHARD_ROWS = 4_096
_KIB = 1024 if sys.platform != "darwin" else 1


def measure(mode: str, file: Path, *, n: int, model: Path, work: Path, workers: int) -> dict[str, Any]:
    """Do one line of the table in this process."""
    samples = work / "samples.parquet"
    places = {"source_file": pa.array(np.zeros(n, np.int16)), "source_row": pa.array(np.arange(n, dtype=np.int32))}
    pq.write_table(pa.table(places), samples)
    job = EmbeddingJob(samples=samples, work=work, shard_rows=SHARD_ROWS, model_dir=model, counts=(file,))
    started, cpu_started = time.perf_counter(), _cpu()
    if mode == "reading alone":
        with open_source(file) as source:
            for _ in source.blocks(np.arange(n)):
                pass
    elif mode == "ray":
        _embed_on_ray(job, workers=workers)
    else:
        if mode == "in turns":
            embedding.read_ahead = _in_turns  # type: ignore[assignment]
        with ShardWriter(job) as writer, silent_progress(n, "samples") as bar:
            for shard in job.shards():
                writer.write(shard, bar=bar)
    seconds, cpu_seconds = time.perf_counter() - started, _cpu() - cpu_started
    digest = hashlib.sha256()
    for shard in job.shards() if mode != "reading alone" else []:
        digest.update(np.load(shard.vectors, allow_pickle=False).tobytes())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    found = digest.hexdigest()[:12] if mode != "reading alone" else ""
    return {"seconds": seconds, "cpu": cpu_seconds, "peak": peak, "vectors": found}


def _embed_on_ray(job: EmbeddingJob, *, workers: int) -> None:
    import ray

    from indexer.embedding_ray import embed_on_ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    with silent_progress(None, "samples") as bar:
        embed_on_ray(job, job.shards(), address=None, bar=bar)
    ray.shutdown()


def _in_turns(blocks: Iterator[Any]) -> Iterator[Any]:
    yield from blocks


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _describe(file: Path, model: Path) -> str:
    import h5py

    with h5py.File(file, "r") as opened:
        data = opened["data/expression"]
        layout = f"{data.shape[0]:,} genes x {data.shape[1]:,} samples of {data.dtype}, chunks {data.chunks}"
        layout += f", {data.compression or 'not compressed'}, {data.id.get_storage_size() / 1e9:.2f} GB"
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "h5py"))
    dim = json.loads((model / "config.json").read_text(encoding="utf-8"))["dim"]
    return (
        f"{layout}; model of {dim} dimensions; {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}; load at the start {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="ARCHS4 HDF5 file")
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000], help="how many of its first samples")
    parser.add_argument("--model", type=Path, default=resource_path("starter/model"))
    parser.add_argument("--total", type=int, default=650_000, help="samples that the last column is for")
    parser.add_argument("--ray", type=int, default=0, metavar="WORKERS", help="measure Ray as well")
    parser.add_argument("--work", type=Path, help="folder for shards (default: a temporary one)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        n = given.samples[0]
        print(json.dumps(measure(given.child, given.file, n=n, model=given.model, work=given.work, workers=given.ray)))
        return
    print(f"\n{_describe(given.file, given.model)}\n")
    print(
        f"| samples | what | seconds | samples/s | CPU seconds | peak memory, GB | vectors | {given.total:,}, extrapolated |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for n in given.samples:
        for mode in ("reading alone", "in turns", "build", *(("ray",) if given.ray else ())):
            with tempfile.TemporaryDirectory(dir=given.work) as folder:
                command = [sys.executable, "-m", "benchmarks.embed_counts", str(given.file), "--child", mode]
                command += ["--samples", str(n), "--model", str(given.model), "--work", folder, "--ray", str(given.ray)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            line = json.loads(done.stdout.splitlines()[-1])
            peak = f"{line['peak'] / 1e9:.2f}" if mode != "ray" else "of the driver alone"
            name = f"ray, {given.ray} workers" if mode == "ray" else mode
            print(
                f"| {n:,} | {name} | {line['seconds']:.1f} | {n / line['seconds']:,.0f} | {line['cpu']:.1f} | {peak} "
                f"| {line['vectors']} | {given.total * line['seconds'] / n / 3600:.2f} h |",
                flush=True,
            )


if __name__ == "__main__":
    main()
