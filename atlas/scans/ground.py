"""What of an atlas a sweep needs, small whatever its size: mean, covariance, the clusters' means, who belongs to which study.

In: ``vectors.npy``, ``samples.parquet`` (series alone), ``communities.parquet``. Out: exact means and deviations of any term's
similarity, and its mean z in each cluster, (c - mu).t / sqrt(t' S t), without another look at the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.vectors.moments import Moments, sums_by
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

MIN_STUDIES = 3
"""A cluster with fewer studies describes those studies; it is marked, and has no interval."""
_TERMS = 4_096
_FLAT = 1e-6  # below this deviation a term's similarity is the same everywhere: rounding, not signal


@dataclass(frozen=True)
class Members:
    """Who belongs to which cluster and study.

    Attributes
    ----------
    pair
        (n,) int32, number of each sample's (cluster, study); pairs are ordered by cluster.
    pair_sizes
        (n_pairs,) int64.
    owner
        (n_pairs,) cluster of each pair.
    starts
        (n_clusters,) first pair of each cluster.
    sizes, n_studies
        (n_clusters,) int64 samples and studies of each cluster.
    """

    pair: np.ndarray
    pair_sizes: np.ndarray
    owner: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    n_studies: np.ndarray

    @classmethod
    def of(cls, clusters: np.ndarray, studies: np.ndarray) -> Members:
        """Count, from (n,) clusters 0 to K - 1 without gaps and (n,) study codes."""
        code = clusters.astype(np.int64) * (int(studies.max()) + 1) + studies
        first, pair, pair_sizes = np.unique(code, return_inverse=True, return_counts=True)
        owner = first // (int(studies.max()) + 1)
        sizes = np.bincount(clusters)
        starts = np.searchsorted(owner, np.arange(sizes.size))
        return cls(pair.astype(np.int32), pair_sizes, owner, starts, sizes, np.bincount(owner))

    @classmethod
    def read(cls, folder: Path) -> Members:
        """Read them from a release folder; a study is a sample's first series."""
        clusters = pq.read_table(folder / "communities.parquet", columns=["cluster"])["cluster"].to_numpy()
        series = pq.read_table(folder / "samples.parquet", columns=["series_ids"])["series_ids"].combine_chunks()
        return cls.of(clusters, first_series(series))

    @property
    def descriptive(self) -> np.ndarray:
        """Which clusters have too few studies to speak for others, (n_clusters,) bool."""
        return np.asarray(self.n_studies < MIN_STUDIES)


@dataclass(frozen=True)
class TermEffects:
    """How terms meet the atlas: ``mean`` and ``deviation`` of similarity (m,), ``effects`` mean z a cluster (m, K)."""

    mean: np.ndarray
    deviation: np.ndarray
    effects: np.ndarray


@dataclass(frozen=True)
class Ground:
    """The moments of an atlas.

    Attributes
    ----------
    moments
        Of all samples.
    centroids
        (n_clusters, dim) float64, plain means of the members' vectors, not scaled to unit length.
    """

    moments: Moments
    centroids: np.ndarray
    members: Members

    @classmethod
    def measure(cls, store: VectorStore, members: Members) -> Ground:
        """Read every vector once, block by block."""
        total, products = np.zeros(store.dim), np.zeros((store.dim, store.dim))
        sums = np.zeros((members.sizes.size, store.dim))
        for start, block in rows_in_order(store):
            total += block.sum(axis=0, dtype=np.float64)
            products += (block.T @ block).astype(np.float64)
            places, added = sums_by(block, members.owner[members.pair[start : start + block.shape[0]]])
            sums[places] += added
        mean = total / store.n
        covariance = products / store.n - np.outer(mean, mean)
        return cls(Moments(mean, covariance), sums / members.sizes[:, None], members)

    def effects(self, vectors: np.ndarray) -> TermEffects:
        """Return mean, deviation and mean z by cluster of terms, exact for all samples.

        Parameters
        ----------
        vectors
            (m, dim) unit rows.
        """
        m = vectors.shape[0]
        mean, deviation = np.empty(m), np.empty(m)
        effects = np.empty((m, self.centroids.shape[0]))
        apart = (self.centroids - self.moments.mean).T
        for start in range(0, m, _TERMS):
            part = slice(start, start + _TERMS)
            terms = vectors[part].astype(np.float64)
            mean[part] = terms @ self.moments.mean
            variance = np.einsum("ij,ij->i", terms @ self.moments.covariance, terms)
            deviation[part] = np.sqrt(np.maximum(variance, 0.0))
            effects[part] = (terms @ apart) * over(deviation[part])[:, None]
        return TermEffects(mean, deviation, effects)


def over(deviation: np.ndarray) -> np.ndarray:
    """Return 1 / deviation, and 0 where there is none: a similarity that never varies has z = 0."""
    return np.asarray(np.where(deviation > _FLAT, 1.0 / np.maximum(deviation, _FLAT), 0.0))


def first_series(series: pa.ListArray) -> np.ndarray:
    """Return a code for the first series of each sample, (n,) int64; samples without one share a code."""
    lengths = pc.fill_null(pc.list_value_length(series), 0).to_numpy(zero_copy_only=False)
    offsets = series.offsets.to_numpy()[:-1]
    taken = np.where(lengths > 0, offsets, -1)
    firsts = series.values.take(pa.array(taken, mask=taken < 0))
    encoded = pc.dictionary_encode(pc.fill_null(firsts, ""))
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
