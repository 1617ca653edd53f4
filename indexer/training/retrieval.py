"""How well held-out texts and transcriptomes find each other: the figure by which a checkpoint is chosen.

Pure: vectors in, named figures out. Ties count against the model, so that equal vectors for everything score as chance does or
worse.
"""

from __future__ import annotations

import numpy as np

CUTOFFS = (1, 5, 10, 50)
DIRECTIONS = ("text_to_transcriptome", "transcriptome_to_text")
METRICS = tuple(f"{direction}_R@{k}" for direction in DIRECTIONS for k in CUTOFFS) + tuple(
    f"{direction}_AUC" for direction in DIRECTIONS
)


def retrieval(transcriptomes: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """Return recall at each cut-off and the mean ROC-AUC, in both directions.

    Parameters
    ----------
    transcriptomes, texts
        ``(n, dim)`` L2-normalised, row i of one belongs to row i of the other; texts are distinct.

    Notes
    -----
    Keys are :data:`METRICS`. With one right answer among n, the AUC of a query is (n - rank) / (n - 1).
    """
    scores = texts.astype(np.float64) @ transcriptomes.astype(np.float64).T
    figures: dict[str, float] = {}
    for direction, matrix in zip(DIRECTIONS, (scores, scores.T), strict=True):
        ranks = ranks_of_pairs(matrix)
        for k in CUTOFFS:
            figures[f"{direction}_R@{k}"] = float((ranks <= k).mean())
        figures[f"{direction}_AUC"] = float(((len(ranks) - ranks) / max(len(ranks) - 1, 1)).mean())
    return figures


def ranks_of_pairs(scores: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the place, from 1, of column i in row i; what ties with it stands before it."""
    own = np.diagonal(scores)[:, None]
    return np.asarray((scores >= own).sum(axis=1))
