"""Which samples make a cluster, and which cluster of a release a set of samples has become.

In: ``landscape.parquet`` of one release. The overlap is the Jaccard index, |A and B| / |A or B|; the clusters of a release do not
share samples, so at most one of them overlaps a given set by more than a half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import NotFoundError
from atlas.release import Release


def member_key(sample_ids: Sequence[str]) -> str:
    """Return the sha256 of the sorted sample ids, one a line: the name of a set of samples in every release."""
    return hashlib.sha256("\n".join(sorted(set(sample_ids))).encode()).hexdigest()


class ClusterMembers:
    """The clusters of one release as sets of samples; immutable.

    Parameters
    ----------
    release
        Name of the release.
    content_key
        Content key of the release: what was computed for it once holds for ever.
    sample_ids
        (n_samples,) strings, unique.
    clusters
        (n_samples,) integers; a negative one means: in no cluster.
    """

    def __init__(self, release: str, content_key: str, *, sample_ids: pa.Array, clusters: np.ndarray) -> None:
        self.release = release
        self.content_key = content_key
        inside = clusters >= 0
        self._sample_ids = sample_ids.filter(pa.array(inside)) if not inside.all() else sample_ids
        self._ids, self._codes = np.unique(clusters[inside], return_inverse=True)
        self._sizes = np.bincount(self._codes, minlength=len(self._ids))

    @classmethod
    def of(cls, release: Release) -> Self:
        """Read the clusters of an open release."""
        table = release.table("landscape.parquet", columns=["sample_id", "cluster"])
        return cls(
            release.name,
            release.manifest.content_key,
            sample_ids=table["sample_id"].combine_chunks().cast(pa.string()),
            clusters=table["cluster"].to_numpy(),
        )

    @classmethod
    def from_sets(cls, release: str, content_key: str, sets: Mapping[int, Sequence[str]]) -> Self:
        """Make them from a mapping of cluster to sample ids."""
        ids = [one for members in sets.values() for one in members]
        clusters = np.repeat(np.array(list(sets), dtype=np.int64), [len(members) for members in sets.values()])
        return cls(release, content_key, sample_ids=pa.array(ids, pa.string()), clusters=clusters)

    def of_cluster(self, cluster: int) -> list[str]:
        """Return the sorted sample ids of one cluster; raises ``NotFoundError`` if there is none of this number."""
        code = int(np.searchsorted(self._ids, cluster))
        if code == len(self._ids) or self._ids[code] != cluster:
            raise NotFoundError(
                f"There is no cluster {cluster} in release {self.release!r}; it has {len(self._ids)}.",
                details={"cluster": cluster, "n_clusters": len(self._ids)},
            )
        start, stop = self._starts[code], self._starts[code + 1]
        return sorted(self._sample_ids.take(pa.array(self._order[start:stop])).to_pylist())

    def best_matches(self, sets: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return for each set of unique sample ids the cluster that overlaps it most, and by how much.

        Returns
        -------
        clusters
            (n_sets,) int64; -1 where no sample of the set is in any cluster.
        overlaps
            (n_sets,) float64, Jaccard index in [0, 1]; exactly 1 only for the same members.
        """
        n_sets, n_clusters = len(sets), len(self._ids)
        lengths = np.array([len(members) for members in sets], dtype=np.int64)
        clusters, overlaps = np.full(n_sets, -1, dtype=np.int64), np.zeros(n_sets)
        asked = pa.array([one for members in sets for one in members], pa.string())
        # One hash table for all sets; `rows` is null where the release lacks the sample.
        rows = pc.index_in(asked, value_set=self._sample_ids)
        known = rows.is_valid().to_numpy(zero_copy_only=False)
        if not n_clusters or not known.any():
            return clusters, overlaps
        codes = self._codes[rows.drop_null().to_numpy()]
        of_set = np.repeat(np.arange(n_sets), lengths)[known]
        pairs, shared = np.unique(of_set * n_clusters + codes, return_counts=True)
        set_of_pair, code_of_pair = np.divmod(pairs, n_clusters)
        jaccard = shared / (lengths[set_of_pair] + self._sizes[code_of_pair] - shared)
        order = np.argsort(jaccard, kind="stable")  # the last write of a set is its best pair
        clusters[set_of_pair[order]] = self._ids[code_of_pair[order]]
        overlaps[set_of_pair[order]] = jaccard[order]
        return clusters, overlaps

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._codes, kind="stable")

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self._sizes)])
