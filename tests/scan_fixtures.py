"""A small atlas of vectors with four clusters in ten studies, and a background of random terms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.scans.background import unit
from atlas.scans.ground import Ground, Members
from atlas.vectors.store import VectorStore, write_vectors

DIM = 24
N_CLUSTERS = 4


@dataclass(frozen=True)
class ToyAtlas:
    """Samples near one axis a cluster; the last cluster comes from two studies alone."""

    store: VectorStore
    clusters: np.ndarray
    studies: np.ndarray
    ground: Ground

    @property
    def vectors(self) -> np.ndarray:
        return self.store.block(0, self.store.n).astype(np.float64)


def toy_atlas(folder: Path, *, n: int = 400, seed: int = 0) -> ToyAtlas:
    """Write its vectors and measure it."""
    rng = np.random.default_rng(seed)
    clusters = np.sort(rng.permutation(n) % N_CLUSTERS).astype(np.int32)
    rng.shuffle(clusters)
    studies = np.where(clusters == N_CLUSTERS - 1, rng.integers(0, 2, n), rng.integers(2, 10, n))
    drift = 0.3 * rng.standard_normal((10, DIM))
    raw = 2.0 * np.eye(DIM)[clusters] + 0.5 * rng.standard_normal((n, DIM)) + drift[studies]
    path = folder / "vectors.npy"
    write_vectors(path, unit(raw))
    store = VectorStore.open(path)
    return ToyAtlas(store, clusters, studies, Ground.measure(store, Members.of(clusters, studies)))


def random_terms(n: int, *, seed: int) -> np.ndarray:
    """Return (n, DIM) float32 random unit rows."""
    return unit(np.random.default_rng(seed).standard_normal((n, DIM)))
