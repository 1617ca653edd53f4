"""Texts and transcriptomes finding each other, in both directions, on a validation set without near-equal captions.

Figures of retrieval depend on the size of the pool and on how alike its captions are: both are stated with them. Source:
CellWhisperer (Schaefer et al. 2025), de-duplicated validation sets: captions embedded, average linkage of cosines, of each
cluster the member nearest to its centre. Ours: the packaged text tower embeds the captions, whichever model is measured, so that
all models meet the same pool; ties count against the model; intervals are over studies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.errors import InputError
from indexer.evaluation.metrics import Estimate, draw_counts, interval

CUTOFFS = (1, 5, 10, 50)
POOL = 100
_MOST = 5_000  # captions compared with each other: (n, n) distances


@dataclass(frozen=True)
class Direction:
    """One direction: recall at each cut-off, and the mean over queries of the AUROC of the one right answer."""

    recall: Mapping[int, Estimate]
    roc_auc: Estimate


@dataclass(frozen=True)
class Retrieval:
    """Both directions over one pool of ``n`` pairs of ``n_studies`` studies."""

    n: int
    n_studies: int
    text_to_transcriptome: Direction
    transcriptome_to_text: Direction


def deduplicate(vectors: np.ndarray, *, n_wanted: int = POOL, seed: int = 0) -> np.ndarray:
    """Return the rows of at most ``n_wanted`` captions that are unlike each other, increasing.

    Parameters
    ----------
    vectors
        ``(n, dim)`` L2-normalised caption vectors; of more than 5,000 a random 5,000 are compared.

    Raises
    ------
    InputError
        If there are fewer than two captions.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(vectors) < 2:
        raise InputError(f"Retrieval needs at least two captions, there are {len(vectors)}.")
    rows = np.arange(len(vectors))
    if len(rows) > _MOST:
        rows = np.sort(np.random.default_rng(seed).choice(len(vectors), size=_MOST, replace=False))
    chosen = vectors[rows].astype(np.float64)
    clusters = fcluster(linkage(chosen, method="average", metric="cosine"), t=n_wanted, criterion="maxclust")
    kept = []
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        kept.append(members[np.argmax(chosen[members] @ chosen[members].mean(axis=0))])
    return np.sort(rows[np.array(kept)])


def evaluate_retrieval(
    transcriptomes: np.ndarray, texts: np.ndarray, *, studies: np.ndarray, seed: int = 0, n_draws: int = 1_000
) -> Retrieval:
    """Measure both directions.

    Parameters
    ----------
    transcriptomes, texts
        ``(n, dim)`` L2-normalised; row i of one belongs to row i of the other.
    studies
        ``(n,)`` study of each pair; intervals draw studies, the pool stays whole.
    """
    scores = texts.astype(np.float64) @ transcriptomes.astype(np.float64).T
    counts = draw_counts(studies, seed=seed, n_draws=n_draws)
    return Retrieval(
        n=len(texts),
        n_studies=len(np.unique(studies)),
        text_to_transcriptome=_direction(scores, counts=counts),
        transcriptome_to_text=_direction(scores.T, counts=counts),
    )


def chance(n: int) -> Mapping[int, float]:
    """Return the recall that guessing has in a pool of ``n``."""
    return {k: min(1.0, k / n) for k in CUTOFFS}


def ranks_of_pairs(scores: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the place, from 1, of column i in row i; what ties with it stands before it."""
    return np.asarray((scores >= np.diagonal(scores)[:, None]).sum(axis=1))


def shared_words(queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Return ``(n_queries, n_texts)`` shares of a query's words that a text holds: the lexical baseline."""
    bags = [set(_words(text)) for text in texts]
    found = np.zeros((len(queries), len(texts)))
    for i, query in enumerate(queries):
        asked = set(_words(query))
        found[i] = [len(asked & bag) / max(1, len(asked)) for bag in bags]
    return found


def _words(text: str) -> list[str]:
    kept = "".join(char if char.isalnum() else " " for char in text.lower()).split()
    return [word.removesuffix("s") if len(word) > 3 else word for word in kept]


def _direction(scores: np.ndarray, *, counts: np.ndarray) -> Direction:
    ranks = ranks_of_pairs(scores)
    auc = (len(ranks) - ranks) / max(len(ranks) - 1, 1)
    return Direction({k: _mean(ranks <= k, counts=counts) for k in CUTOFFS}, _mean(auc, counts=counts))


def _mean(values: np.ndarray, *, counts: np.ndarray) -> Estimate:
    drawn = counts @ values.astype(np.float64) / np.maximum(counts.sum(axis=1), 1)
    return Estimate(float(values.mean()), *interval(drawn))
