"""How much of a score the kept genes explain, on real samples: the figures of "Why this hit" in ``docs/scores.md``.

Run: python -m benchmarks.explanations --counts corpora/counts.h5 [--model DIR] [--samples 80]

Every gene of a sample is left out in turn, in full precision, and the ten that change a phrase's cosine most are looked for
among the genes a release keeps. What the release would say of a kept gene, from numbers in half precision, is held against that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from atlas.expression.align import GeneAligner
from atlas.expression.source import open_source
from atlas.model.joint import JointModel
from atlas.resources import resource_path
from atlas.search.explain import contributions
from atlas.vectors.gene_weights import N_KEPT, GeneWeights, pack, unpack

PHRASES = ("heart", "liver", "T cell", "pancreatic islets", "cardiomyopathy", "tuberculosis", "breast cancer", "autism")
SEED, TOP, FEW = 0, 10, 64


def compare(weights: GeneWeights, *, vector: np.ndarray, queries: np.ndarray, model: JointModel) -> np.ndarray:
    """Measure one sample.

    Parameters
    ----------
    weights
        All genes of the sample, strongest pull first.
    vector
        (dim,) float32.
    queries
        (n_phrases, dim) unit rows.

    Returns
    -------
    (n_phrases, 3) shares of the ten strongest genes among the first ``N_KEPT`` and ``FEW``, and the largest error of storage.
    """
    table = model.gene_vectors(weights.genes)
    kept = unpack(pack([weights], n_genes=len(model.genes.symbols)), row=0)
    found = []
    for query in queries:
        exact = contributions(weights, vector=vector, query=query, gene_vectors=table)
        first = np.argsort(-np.abs(exact), kind="stable")[:TOP]
        stored = contributions(
            kept, vector=vector.astype(np.float16), query=query, gene_vectors=table[: kept.genes.size]
        )
        error = np.abs(stored - exact[: stored.size]).max()
        found.append([(first < N_KEPT).mean(), (first < FEW).mean(), error])
    return np.array(found)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=Path, required=True, help="corpus the samples are drawn from")
    parser.add_argument("--model", type=Path, default=None, help="model folder; default: the packaged one")
    parser.add_argument("--samples", type=int, default=80)
    options = parser.parse_args()
    model = JointModel.load(options.model or resource_path("starter/model"))
    queries = model.embed_texts(list(PHRASES))
    kept, found = [], []
    with open_source(options.counts) as source:
        n = len(source.sample_table())
        rows = np.sort(np.random.default_rng(SEED).choice(n, size=min(options.samples, n), replace=False))
        aligner = GeneAligner(source.genes, source.symbols, genes=model.genes)
        for _, matrix in source.blocks(rows):
            aligned = aligner.align(matrix)
            kept += [one.kept for one in model.embed_with_weights(aligned, top=N_KEPT)[1]]
            vectors, weights = model.embed_with_weights(aligned, top=len(model.genes.symbols))
            found += [
                compare(one, vector=vector, queries=queries, model=model)
                for vector, one in zip(vectors, weights, strict=True)
            ]
    every = np.array(found)
    print(f"{len(kept)} samples x {len(PHRASES)} phrases, model {model.hash[:12]}, seed {SEED}")
    print(f"share of pull kept: {min(kept):.2f} to {max(kept):.2f}, median {np.median(kept):.2f}")
    print(
        f"ten strongest genes among the {N_KEPT} kept: {every[..., 0].mean():.3f}; among {FEW}: {every[..., 1].mean():.3f}"
    )
    print(f"largest error of a kept gene's contribution: {every[..., 2].max():.1e}")


if __name__ == "__main__":
    main()
