"""Vectors of a synthetic atlas: cluster + study + sample along the axes of one spectrum, scaled to unit length.

Source: the hierarchy that real atlases show (samples of a study lie together, studies of a tissue apart); shares of variance
are ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.synthetic.model import Space
from benchmarks.synthetic.plan import AtlasPlan

CLUSTER, STUDY, SAMPLE = 0.45, 0.30, 0.25
"""Shares of the variance."""
_BLOCK = 8_192


def vector_blocks(space: Space, plan: AtlasPlan, *, term_vectors: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield (m, dim) float32 unit rows, all samples in order; memory holds one block and the studies' centres.

    Parameters
    ----------
    term_vectors
        (n_clusters, text dim) text vectors of the clusters' terms.
    """
    centres = study_centres(space, plan, term_vectors=term_vectors, seed=seed)
    for number, start in enumerate(range(0, plan.n, _BLOCK)):
        rng = np.random.default_rng([seed, 5, number])
        yield _samples(space, centres[plan.study_of[start : start + _BLOCK]], rng)


def study_centres(space: Space, plan: AtlasPlan, *, term_vectors: np.ndarray, seed: int) -> np.ndarray:
    """Return (n_studies, dim) float32 centres, in latent coordinates."""
    rng = np.random.default_rng([seed, 4])
    clusters = np.sqrt(CLUSTER) * space.latent(term_vectors)
    noise = rng.standard_normal((plan.study_cluster.size, clusters.shape[1]), dtype=np.float32)
    return np.asarray(clusters[plan.study_cluster] + np.float32(np.sqrt(STUDY)) * noise)


def sample_queries(space: Space, plan: AtlasPlan, *, term_vectors: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return ``n`` new samples, (n, dim) float32 unit rows: half of studies of the atlas, half of new studies of its clusters."""
    rng = np.random.default_rng([seed, 6])
    old = study_centres(space, plan, term_vectors=term_vectors, seed=seed)
    known = old[rng.integers(0, len(old), n - n // 2)]
    clusters = plan.study_cluster[rng.integers(0, len(old), n // 2)]
    noise = rng.standard_normal((n // 2, old.shape[1]), dtype=np.float32)
    new = np.sqrt(CLUSTER) * space.latent(term_vectors)[clusters] + np.sqrt(STUDY) * noise
    return _samples(space, np.concatenate([known, new.astype(np.float32)]), rng).astype(np.float32)


def _samples(space: Space, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(centres.shape, dtype=np.float32)
    rows = (centres + np.float32(np.sqrt(SAMPLE)) * noise) @ space.axes.T + space.mean
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
