"""What a synthetic atlas consists of: clusters with a term each, studies of a cluster, samples of a study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.vocabulary import packaged_texts

_MEDIAN_STUDY = 12  # samples; GEO's studies are small, a few are huge
_STUDY_SPREAD = 1.0
_LARGEST_STUDY = 2_000


@dataclass(frozen=True)
class AtlasPlan:
    """Who belongs where.

    Attributes
    ----------
    terms
        The term each cluster is planted around.
    study_cluster
        (n_studies,) cluster of each study.
    study_of
        (n,) study of each sample, ascending: a study's samples stand together, as in a repository.
    """

    terms: tuple[str, ...]
    study_cluster: np.ndarray
    study_of: np.ndarray

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.study_of.size)


def draw_plan(n: int, *, seed: int) -> AtlasPlan:
    """Draw an atlas of ``n`` samples: about 25 samples a study, sizes of clusters fall as one over their rank."""
    rng = np.random.default_rng([seed, 1])
    sizes: list[int] = []
    while sum(sizes) < n:
        drawn = rng.lognormal(np.log(_MEDIAN_STUDY), _STUDY_SPREAD, size=1_000)
        sizes += np.clip(drawn.astype(int), 2, _LARGEST_STUDY).tolist()
    ends = np.minimum(np.cumsum(sizes), n)
    n_studies = int(np.searchsorted(ends, n)) + 1
    starts = np.concatenate([[0], ends[: n_studies - 1]])
    study_of = np.repeat(np.arange(n_studies), np.diff([*starts, n]))
    texts = packaged_texts()
    n_clusters = int(np.clip(n**0.5 / 2, 8, 400))
    terms = tuple(texts[i] for i in rng.choice(len(texts), n_clusters, replace=False))
    shares = 1.0 / np.arange(1, n_clusters + 1)
    study_cluster = rng.choice(n_clusters, n_studies, p=shares / shares.sum())
    return AtlasPlan(terms, study_cluster, study_of)
