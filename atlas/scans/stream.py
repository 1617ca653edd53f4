"""One pass over the samples: who answers a term, how studies differ, and each sample's sum over all terms.

In: ``vectors.npy``, block by block. Never more than one block of samples times one group of terms is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from atlas.scans.ground import Ground, TermEffects, over
from atlas.scans.testing import jackknife
from atlas.vectors.store import VectorStore

ANSWERS = 2.326
"""A sample answers a term if its cosine lies this many of its own deviations above its own mean over the background: 1 % of
a Gaussian lie above."""
N_DRAWS = 1_000
"""Random lists of terms that a sample's sum is compared with."""
_GROUP_BYTES = 96 << 20
_MOST_TERMS = 1_024


@dataclass(frozen=True)
class SampleNull:
    """How each sample answers background terms, from their mean and covariance alone.

    Attributes
    ----------
    mean
        (dim,) mean vector of the background terms.
    covariance
        (dim, dim).
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, background: np.ndarray) -> SampleNull:
        """Measure (n, dim) background vectors."""
        mean = background.mean(axis=0, dtype=np.float64)
        apart = background - mean
        return cls(mean.astype(np.float32), (apart.T @ apart / max(background.shape[0], 1)).astype(np.float32))

    def thresholds(self, block: np.ndarray) -> np.ndarray:
        """Return the cosine above which each sample of a block answers, (m,) float32."""
        variance = np.einsum("ij,ij->i", block @ self.covariance, block)
        return np.asarray(block @ self.mean + ANSWERS * np.sqrt(np.maximum(variance, 0.0)))


@dataclass(frozen=True)
class SumNull:
    """Sums over random lists of terms, as vectors: ``weights`` (dim,), ``draws`` (dim, N_DRAWS), and their constants."""

    weights: np.ndarray
    offset: float
    draws: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(
        cls, vectors: np.ndarray, terms: TermEffects, *, background: np.ndarray, measured: TermEffects, seed: int
    ) -> SumNull:
        """Fold the terms into one vector, and each of the random lists of as many background terms into another.

        The z of a sample is linear in its vector, so a sum of z over terms is one inner product.
        """
        scale, null_scale = over(terms.deviation), over(measured.deviation)
        n = max(background.shape[0], 1)
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(vectors.shape[0], np.full(n, 1.0 / n), size=N_DRAWS)[:, : background.shape[0]]
        return cls(
            weights=(scale @ vectors).astype(np.float32),
            offset=float(scale @ terms.mean),
            draws=((counts * null_scale) @ background).T.astype(np.float32),
            offsets=(counts @ (null_scale * measured.mean)).astype(np.float32),
        )

    def place(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (sum of z, percentile among the random lists) of each sample of a block."""
        sums = block @ self.weights - self.offset
        below = (block @ self.draws - self.offsets) < sums[:, None]
        return sums, 100.0 * below.mean(axis=1)


@dataclass(frozen=True)
class Streamed:
    """What the pass found.

    Attributes
    ----------
    low, high
        (m, n_clusters) 95 % interval of mean z over studies; NaN where there are too few.
    answering
        (m, n_clusters) number of samples that answer.
    sums, percentiles
        (n_samples,) float32.
    """

    low: np.ndarray
    high: np.ndarray
    answering: np.ndarray
    sums: np.ndarray
    percentiles: np.ndarray


def stream(
    store: VectorStore,
    ground: Ground,
    vectors: np.ndarray,
    *,
    terms: TermEffects,
    samples: SampleNull,
    sums: SumNull,
    step: Callable[[int], None],
) -> Streamed:
    """Read the samples once for each group of terms.

    Parameters
    ----------
    vectors
        (m, dim) float32 unit rows.
    step
        Called after each block with the number of samples times terms done; what it raises ends the work.
    """
    m, members = vectors.shape[0], ground.members
    placed = [(*sums.place(block), samples.thresholds(block)) for _, block in store.blocks()]
    totals, percentiles, thresholds = (
        np.concatenate(column).astype(np.float32) for column in zip(*placed, strict=True)
    )
    shape = (m, members.sizes.size)
    low, high = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    answering = np.empty(shape, dtype=np.int64)
    group = int(np.clip(_GROUP_BYTES // (12 * members.pair_sizes.size), 16, _MOST_TERMS))
    for start in range(0, m, group):
        part = slice(start, start + group)
        similarity, answers = _pass(store, ground, vectors[part], thresholds=thresholds, step=step)
        scale = over(terms.deviation[part])[:, None]
        z = (similarity.T - members.pair_sizes * terms.mean[part][:, None]) * scale
        low[part], high[part] = jackknife(z, members.pair_sizes, members.starts)
        answering[part] = np.add.reduceat(answers.T, members.starts, axis=1)
    return Streamed(low, high, answering, totals, percentiles)


def _pass(
    store: VectorStore, ground: Ground, vectors: np.ndarray, *, thresholds: np.ndarray, step: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each (cluster, study), the sum of similarities and the number of samples that answer: (n_pairs, m)."""
    members = ground.members
    similarity = np.zeros((members.pair_sizes.size, vectors.shape[0]))
    answers = np.zeros((members.pair_sizes.size, vectors.shape[0]), dtype=np.int32)
    columns = np.ascontiguousarray(vectors.T)
    for start, block in store.blocks(chunk_bytes=8 << 20):
        scores = block @ columns
        pair = members.pair[start : start + block.shape[0]]
        order = np.argsort(pair, kind="stable")
        places, first = np.unique(pair[order], return_index=True)
        similarity[places] += np.add.reduceat(scores[order], first, axis=0, dtype=np.float64)
        found = scores > thresholds[start : start + block.shape[0], None]
        answers[places] += np.add.reduceat(found[order].astype(np.int32), first, axis=0)
        step(block.shape[0] * vectors.shape[0])
    return similarity, answers
