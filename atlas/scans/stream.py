"""One pass over the samples: who answers a term, how studies differ, and each sample's sum over all terms.

In: ``vectors.npy``, block by block. Never more than one block of samples times one group of terms is in memory; the null of the
samples is measured while the first group is. What it needs of the background lies in the span of the background's vectors,
which has fewer axes than the vectors have: a text tower is narrower than the joint space it is drawn into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from atlas.scans.ground import Ground, Members, TermEffects, over
from atlas.scans.testing import jackknife
from atlas.vectors.moments import sums_by
from atlas.vectors.passes import products_in_order
from atlas.vectors.store import VectorStore

ANSWERS = 2.326
"""A sample answers a term if its cosine lies this many of its own deviations above its own mean over the background: 1 % of
a Gaussian lie above."""
N_DRAWS = 1_000
"""Random lists of terms that a sample's sum is compared with."""
_GROUP_BYTES = 384 << 20
_MOST_TERMS = 1_024
_JACKKNIFE_BYTES = 32 << 20
_FLAT_AXIS = 1e-7
"""An axis along which the background varies less is left out: of no sample's variance is more than this lost."""


@dataclass(frozen=True)
class SampleNull:
    """How each sample answers background terms, from their mean and covariance alone.

    Attributes
    ----------
    mean
        (dim,) mean vector of the background terms.
    axes
        (dim, r) principal axes along which they vary.
    variances
        (r,) how much.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, background: np.ndarray) -> SampleNull:
        """Measure (n, dim) background vectors."""
        mean = background.mean(axis=0, dtype=np.float64) if len(background) else np.zeros(background.shape[1])
        apart = background - mean
        variances, axes = np.linalg.eigh(apart.T @ apart / max(background.shape[0], 1))
        kept = variances > _FLAT_AXIS
        return cls(*(part.astype(np.float32) for part in (mean, axes[:, kept], variances[kept])))

    def thresholds(self, along: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return the cosine above which each sample answers, (m,) float32.

        Parameters
        ----------
        along
            (m, r) the samples on ``axes``.
        means
            (m,) their products with ``mean``.
        """
        return np.asarray(means + ANSWERS * np.sqrt(along**2 @ self.variances))


@dataclass(frozen=True)
class SumNull:
    """Sums over random lists of terms, as vectors, and their constants.

    Attributes
    ----------
    weights, offset
        (dim,) vector and constant of the sum over the terms themselves.
    draws
        (r + 3, N_DRAWS) the random lists' sums less the terms' own, of a sample given as its places on the background's axes,
        its product with the background's mean, its own sum, and 1.
    """

    weights: np.ndarray
    offset: float
    draws: np.ndarray

    @classmethod
    def of(
        cls,
        vectors: np.ndarray,
        terms: TermEffects,
        *,
        background: np.ndarray,
        measured: TermEffects,
        samples: SampleNull,
        seed: int,
    ) -> SumNull:
        """Fold the terms into one vector, and each of the random lists of as many background terms into another.

        The z of a sample is linear in its vector, so a sum of z over terms is one inner product.
        """
        scale, null_scale = over(terms.deviation), over(measured.deviation)
        n = max(background.shape[0], 1)
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(vectors.shape[0], np.full(n, 1.0 / n), size=N_DRAWS)[:, : background.shape[0]]
        weighted = counts * null_scale
        draws = [
            (weighted @ ((background - samples.mean) @ samples.axes)).T,
            weighted.sum(axis=1),
            np.full(N_DRAWS, -1.0),
            -(weighted @ measured.mean),
        ]
        return cls(
            weights=(scale @ vectors).astype(np.float32),
            offset=float(scale @ terms.mean),
            draws=np.vstack(draws).astype(np.float32),
        )

    def place(self, sums: np.ndarray, along: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (sum of z, percentile among the random lists) of each sample of a block.

        Parameters
        ----------
        sums
            (m,) products of the samples with ``weights``.
        along, means
            The samples on the background's axes, (m, r), and their products with its mean, (m,).
        """
        own = sums - np.float32(self.offset)
        samples = np.column_stack([along, means, own, np.ones_like(own)])
        return own, np.count_nonzero(samples @ self.draws < 0, axis=1) * (100.0 / N_DRAWS)


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
    shape = (m, members.sizes.size)
    low, high = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    answering = np.empty(shape, dtype=np.int64)
    placed = _Placed.empty(store.n)
    group = terms_of_a_pass(members.pair_sizes.size)
    for start in range(0, m, group):
        part = slice(start, min(start + group, m))
        null = (samples, sums) if start == 0 else None
        similarity, answers = _pass(store, members, vectors[part], placed=placed, null=null, step=step)
        answering[part] = np.add.reduceat(answers.T, members.starts, axis=1)
        low[part], high[part] = _intervals(similarity, terms, part, members=members)
    return Streamed(low, high, answering, placed.sums, placed.percentiles)


def terms_of_a_pass(n_pairs: int) -> int:
    """Return how many terms are held at once where there are ``n_pairs`` (cluster, study) pairs."""
    return int(np.clip(_GROUP_BYTES // (12 * n_pairs), 16, _MOST_TERMS))


@dataclass(frozen=True)
class _Placed:
    """What is known of each sample after the first group of terms, (n,) float32 each."""

    sums: np.ndarray
    percentiles: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def empty(cls, n: int) -> _Placed:
        return cls(*(np.empty(n, dtype=np.float32) for _ in range(3)))


def _pass(
    store: VectorStore,
    members: Members,
    vectors: np.ndarray,
    *,
    placed: _Placed,
    null: tuple[SampleNull, SumNull] | None,
    step: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each (cluster, study), the sum of similarities and the number of samples that answer: (n_pairs, m)."""
    m = vectors.shape[0]
    similarity = np.zeros((members.pair_sizes.size, m))
    answers = np.zeros((members.pair_sizes.size, m), dtype=np.int32)
    columns = (
        [vectors.T] if null is None else [vectors.T, null[1].weights[:, None], null[0].mean[:, None], null[0].axes]
    )
    for start, products in products_in_order(store, np.hstack(columns)):
        rows = slice(start, start + len(products))
        if null is not None:
            own, mean, along = products[:, m], products[:, m + 1], products[:, m + 2 :]
            placed.thresholds[rows] = null[0].thresholds(along, mean)
            placed.sums[rows], placed.percentiles[rows] = null[1].place(own, along, mean)
        scores = products[:, :m]
        found = (scores > placed.thresholds[rows, None]).astype(np.float32)
        places, added = sums_by(np.hstack([scores, found]), members.pair[rows])
        similarity[places] += added[:, :m]
        answers[places] += added[:, m:].astype(np.int32)
        step(len(products) * m)
    return similarity, answers


def _intervals(
    similarity: np.ndarray, terms: TermEffects, part: slice, *, members: Members
) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high (m, n_clusters) of the terms of a part, a few terms at a time."""
    at_once = max(1, _JACKKNIFE_BYTES // (8 * members.pair_sizes.size))
    mean, scale = terms.mean[part], over(terms.deviation[part])
    found = []
    for start in range(0, mean.size, at_once):
        some = slice(start, start + at_once)
        z = (similarity[:, some].T - members.pair_sizes * mean[some, None]) * scale[some, None]
        found.append(jackknife(z, members.pair_sizes, members.starts))
    low, high = zip(*found, strict=True)
    return np.concatenate(low), np.concatenate(high)
