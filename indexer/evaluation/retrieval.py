"""Texts and transcriptomes finding each other, in both directions, on a validation set without near-equal captions.

Figures of retrieval depend on the size of the pool and on how alike its captions are: both are stated with them. Source:
CellWhisperer (Schaefer et al. 2025), de-duplicated validation sets. Ours: what ties with the right
answer stands before it in recall and counts half in the AUROC; intervals are over studies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.evaluation.metrics import Estimate, draw_counts, interval
from indexer.training.retrieval import CUTOFFS, ranks_of_pairs


@dataclass(frozen=True)
class Direction:
    """One direction: recall at each cut-off, and the mean over queries of the AUROC of the one right answer."""

    recall: Mapping[int, Estimate]
    roc_auc: Estimate


@dataclass(frozen=True)
class Retrieval:
    """Both directions over pools of so many pairs, of ``n_studies`` studies in all."""

    sizes: tuple[int, ...]
    n_studies: int
    text_to_transcriptome: Direction
    transcriptome_to_text: Direction


@dataclass(frozen=True)
class Pool:
    """Texts and transcriptomes that are to find each other.

    Attributes
    ----------
    scores
        ``(n, n)``, row = text, column = transcriptome; text i belongs to transcriptome i.
    studies
        ``(n,)`` study of each pair.
    """

    scores: np.ndarray
    studies: np.ndarray

    @classmethod
    def of_vectors(cls, transcriptomes: np.ndarray, texts: np.ndarray, *, studies: np.ndarray) -> Pool:
        """Compare ``(n, dim)`` unit vectors."""
        return cls(texts.astype(np.float64) @ transcriptomes.astype(np.float64).T, studies)


def evaluate_retrieval(pools: Sequence[Pool], *, seed: int = 0, n_draws: int = 1_000) -> Retrieval:
    """Measure both directions inside each pool and average the pools.

    Intervals draw studies inside each pool; the pools themselves stay whole.
    """
    counts = [draw_counts(pool.studies, seed=seed + place, n_draws=n_draws) for place, pool in enumerate(pools)]
    sizes = tuple(len(pool.scores) for pool in pools)
    return Retrieval(
        sizes=sizes,
        n_studies=len(np.unique(np.concatenate([pool.studies for pool in pools]))),
        text_to_transcriptome=_direction([pool.scores for pool in pools], counts=counts),
        transcriptome_to_text=_direction([pool.scores.T for pool in pools], counts=counts),
    )


def chance(sizes: Sequence[int]) -> Mapping[int, float]:
    """Return the mean recall that guessing has in pools of these sizes."""
    return {k: float(np.mean([min(1.0, k / n) for n in sizes])) for k in CUTOFFS}


def aucs_of_pairs(scores: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the chance that column i scores above another column of row i, ties counting half."""
    ties = (scores == np.diagonal(scores)[:, None]).sum(axis=1) - 1
    return np.asarray((len(scores) - ranks_of_pairs(scores) + ties / 2) / max(len(scores) - 1, 1))


def _direction(matrices: Sequence[np.ndarray], *, counts: Sequence[np.ndarray]) -> Direction:
    ranks, aucs = [ranks_of_pairs(scores) for scores in matrices], [aucs_of_pairs(scores) for scores in matrices]
    return Direction(
        {k: _mean([places <= k for places in ranks], counts=counts) for k in CUTOFFS}, _mean(aucs, counts=counts)
    )


def _mean(values: Sequence[np.ndarray], *, counts: Sequence[np.ndarray]) -> Estimate:
    """Return the mean over pools of each pool's mean; ``counts`` are draws of a pool, ``(n_draws, n)``."""
    drawn = [
        of_pool @ one.astype(np.float64) / np.maximum(of_pool.sum(axis=1), 1)
        for one, of_pool in zip(values, counts, strict=True)
    ]
    return Estimate(float(np.mean([one.mean() for one in values])), *interval(np.mean(drawn, axis=0)))
