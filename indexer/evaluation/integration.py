"""How far an embedding keeps biology together and lets batches mix: scores of scIB, and the mixing of series.

In: unit vectors, labels, batches. Out: scores in [0, 1], larger is better. Source: Luecken et al. 2022 (scIB), computed by
``scib-metrics``; the total weighs biology .6 and batches .4 as there. Ours: the share of nearest neighbours of the same series
beside what random neighbours have.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from atlas.errors import InputError, MissingExtraError

N_NEIGHBOURS = 90  # of scIB's neighbourhood scores
NEAREST = 10
_BIOLOGY_WEIGHT = 0.6


@dataclass(frozen=True)
class Integration:
    """Scores of one embedding.

    Attributes
    ----------
    biology, batch
        Name -> score.
    same_label, same_batch, random_same_batch
        Share of the ten nearest rows with the row's own label or batch, and of random rows with its batch.
    """

    n: int
    n_labels: int
    n_batches: int
    biology: Mapping[str, float]
    batch: Mapping[str, float]
    same_label: float
    same_batch: float
    random_same_batch: float

    @property
    def mean_biology(self) -> float:
        """Mean of the biology scores."""
        return float(np.mean(list(self.biology.values())))

    @property
    def mean_batch(self) -> float:
        """Mean of the batch scores."""
        return float(np.mean(list(self.batch.values())))

    @property
    def total(self) -> float:
        """Weighed mean of both."""
        return _BIOLOGY_WEIGHT * self.mean_biology + (1 - _BIOLOGY_WEIGHT) * self.mean_batch


def evaluate_integration(vectors: np.ndarray, *, labels: np.ndarray, batches: np.ndarray, seed: int = 0) -> Integration:
    """Score an embedding.

    Parameters
    ----------
    vectors
        ``(n, dim)`` L2-normalised.
    labels, batches
        ``(n,)`` strings.

    Raises
    ------
    InputError
        If there are fewer than two labels or batches.
    MissingExtraError
        If scib-metrics is not installed.
    """
    for name, values in (("label", labels), ("batch", batches)):
        if len(np.unique(values)) < 2:
            raise InputError(f"Integration is measured over two {name} values or more; all rows have the same.")
    biology, batch = _scores_of_scib(vectors, labels=labels, batches=batches)
    nearest = nearest_rows(vectors, k=NEAREST)
    rng = np.random.default_rng(seed)
    random = rng.integers(len(vectors), size=nearest.shape)
    return Integration(
        n=len(vectors),
        n_labels=len(np.unique(labels)),
        n_batches=len(np.unique(batches)),
        biology=biology,
        batch=batch,
        same_label=same_value(nearest, labels),
        same_batch=same_value(nearest, batches),
        random_same_batch=same_value(random, batches),
    )


def nearest_rows(vectors: np.ndarray, *, k: int) -> np.ndarray:
    """Return ``(n, k)`` the other rows with the largest cosine, exact, a block at a time."""
    k = min(k, len(vectors) - 1)
    found = np.empty((len(vectors), k), dtype=np.int64)
    for start in range(0, len(vectors), 1_000):
        scores = vectors[start : start + 1_000] @ vectors.T
        scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        found[start : start + len(scores)] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return found


def same_value(rows: np.ndarray, values: np.ndarray) -> float:
    """Return the share of neighbours whose value equals the row's own; rows is ``(n, k)``."""
    return float((values[rows] == values[:, None]).mean())


def _scores_of_scib(
    vectors: np.ndarray, *, labels: np.ndarray, batches: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jax and of libraries it brings; the scores are what counts here
        try:
            scib = import_module("scib_metrics")
            neighbours = import_module("scib_metrics.nearest_neighbors")
        except ImportError as error:
            raise MissingExtraError(
                "Integration scores need scib-metrics: pip install 'geo-atlas[evaluation]'.",
                details={"extra": "evaluation"},
            ) from error
        label_codes, batch_codes = (np.unique(values, return_inverse=True)[1] for values in (labels, batches))
        wide = vectors.astype(np.float32)
        indices = np.concatenate([np.arange(len(wide))[:, None], nearest_rows(wide, k=N_NEIGHBOURS - 1)], axis=1)
        cosines = np.einsum("nd,nkd->nk", wide, wide[indices])
        near = neighbours.NeighborsResults(indices, np.sqrt(np.maximum(2.0 - 2.0 * cosines, 0.0)))
        kmeans = scib.nmi_ari_cluster_labels_kmeans(wide, label_codes)
        biology = {
            "NMI (k-means)": kmeans["nmi"],
            "ARI (k-means)": kmeans["ari"],
            "silhouette of labels": scib.silhouette_label(wide, label_codes),
            "cLISI": scib.clisi_knn(near, label_codes),
        }
        batch = {
            "silhouette of batches": scib.silhouette_batch(wide, label_codes, batch_codes),
            "iLISI": scib.ilisi_knn(near, batch_codes),
            "graph connectivity": scib.graph_connectivity(near, label_codes),
        }
        return tuple({name: float(value) for name, value in part.items()} for part in (biology, batch))  # type: ignore[return-value]
