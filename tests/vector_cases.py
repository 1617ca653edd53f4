"""Small synthetic atlases: studies of near-identical rows inside a few directions, as real vectors are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.vectors.store import VectorStore, write_vectors


def study_vectors(n: int, dim: int, *, seed: int = 0, spread: float = 0.3) -> np.ndarray:
    """(n, dim) float32 unit rows: studies of 20 around centres in 12 latent directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n // 20 + 1, 12))
    latent = np.repeat(centres, 20, axis=0)[:n] + spread * rng.normal(size=(n, 12))
    rows = latent @ rng.normal(size=(12, dim)) + 0.2 * rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def stored(folder: Path, vectors: np.ndarray) -> VectorStore:
    path = folder / "vectors.npy"
    write_vectors(path, vectors)
    return VectorStore.open(path)


def brute_force(store: VectorStore, query: np.ndarray, k: int, allowed: np.ndarray | None = None) -> list[int]:
    """The nearest rows by a plain loop in float64, ties in row order."""
    unit = (query / np.linalg.norm(query)).astype(np.float32).astype(float)
    master = np.load(store.path).astype(float)
    scored = [
        (-np.float32(sum(a * b for a, b in zip(unit, row, strict=True))), i)
        for i, row in enumerate(master)
        if allowed is None or allowed[i]
    ]
    return [i for _, i in sorted(scored)[:k]]
