"""Make synthetic data of any size, by seed, in bounded memory.

Run: python -m benchmarks.synthesize vectors --n 650000 --spectrum 80 --out DIR
     python -m benchmarks.synthesize counts --n 65000 --profiles FILE.h5 --out OUT.h5

``vectors`` makes a starter folder (samples, series, vectors, a model of as many dimensions) that `geo-atlas build --starter DIR`
takes, and ``queries.npz`` with `sample` and `text`, unit rows float32: new samples, and phrases that no cluster was planted
around. ``counts`` makes an HDF5 file in ARCHS4's layout whose profiles follow those of a real file. Peak memory, bytes and
seconds are printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from atlas.model.checkpoint import model_hash
from atlas.model.joint import JointModel
from atlas.vocabulary import packaged_texts
from benchmarks.synthetic.counts import write_counts
from benchmarks.synthetic.model import Space, raw_text_vectors, write_synthetic_model
from benchmarks.synthetic.plan import AtlasPlan, draw_plan
from benchmarks.synthetic.spectra import SPECTRA, packaged_moments, participation_ratio, spectrum
from benchmarks.synthetic.texts import sample_table, series_table
from benchmarks.synthetic.vectors import sample_queries, vector_blocks

N_QUERIES = 1_000


def make_vectors(out: Path, *, n: int, dim: int, name: str, seed: int, n_queries: int = N_QUERIES) -> dict[str, float]:
    """Write a starter folder and its queries; return what was made."""
    out.mkdir(parents=True, exist_ok=True)
    plan = draw_plan(n, seed=seed)
    eigenvalues = spectrum(name, dim)
    terms = raw_text_vectors(list(plan.terms))
    mean_square, shipped = packaged_moments()
    # the mean is as long against the spread as the packaged samples' mean is
    space = Space.draw(eigenvalues, text_vectors=terms, mean_square=mean_square / shipped.sum(), seed=seed)
    write_synthetic_model(out / "model", space, seed=seed)
    pq.write_table(sample_table(plan, seed=seed), out / "samples.parquet")
    pq.write_table(series_table(plan, seed=seed), out / "series.parquet")
    with (out / "vectors.npy").open("wb") as stream:
        header = {"descr": "<f2", "fortran_order": False, "shape": (n, dim)}
        np.lib.format.write_array_header_1_0(stream, header)
        for block in vector_blocks(space, plan, term_vectors=terms, seed=seed):
            stream.write(block.astype("<f2").data)
    queries = {
        "sample": sample_queries(space, plan, term_vectors=terms, n=n_queries, seed=seed),
        "text": JointModel.load(out / "model").embed_texts(_phrases(plan, n=n_queries, seed=seed)),
    }
    np.savez(out / "queries.npz", **queries)
    facts = {"model_hash": model_hash(out / "model"), "n_samples": n, "spectrum": name, "seed": seed}
    (out / "starter.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return {
        "participation ratio of the axes": participation_ratio(eigenvalues),
        "GB": (out / "vectors.npy").stat().st_size / 1e9,
    }


def _phrases(plan: AtlasPlan, *, n: int, seed: int) -> list[str]:
    others = sorted(set(packaged_texts()) - set(plan.terms))
    picked = np.random.default_rng([seed, 9]).choice(len(others), n, replace=False)
    return [others[i] for i in picked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    vectors = commands.add_parser("vectors", help="a starter folder and queries")
    vectors.add_argument("--dim", type=int, default=2_048)
    vectors.add_argument("--spectrum", choices=SPECTRA, default="80")
    counts = commands.add_parser("counts", help="an HDF5 file in ARCHS4's layout")
    counts.add_argument("--profiles", type=Path, required=True, help="a real file of counts in that layout")
    for command in (vectors, counts):
        command.add_argument("--n", type=int, required=True)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.monotonic()
    if asked.what == "counts":
        write_counts(asked.out, draw_plan(asked.n, seed=asked.seed), profiles=asked.profiles, seed=asked.seed)
        made = {"GB": asked.out.stat().st_size / 1e9}
    else:
        made = make_vectors(asked.out, n=asked.n, dim=asked.dim, name=asked.spectrum, seed=asked.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {**made, "seconds": time.monotonic() - started, "peak GB": peak}
    print(", ".join(f"{name} {value:.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
