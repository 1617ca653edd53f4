"""The terms of every vocabulary that fit each cluster best.

In: mean vectors of clusters, term vectors, each term's library. Out: ``keywords.parquet``: up to five terms a library and
cluster with positive cosine, the raw cosine, and its z-score over all terms for that cluster.

Source: the keyword matching of the CellWhisperer paper (five best positive terms a library); the raw cosine is kept beside z.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from atlas.vectors.moments import sums_by
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

TOP_TERMS = 5
SCHEMA = pa.schema(
    [
        ("cluster", pa.int32()),
        ("library", pa.string()),
        ("term", pa.string()),
        ("rank", pa.int16()),
        ("score", pa.float32()),
        ("z", pa.float32()),
    ]
)


def cluster_means(store: VectorStore, clusters: np.ndarray) -> np.ndarray:
    """Return the mean vector of each cluster, scaled to unit length: (n_clusters, dim) float32.

    Parameters
    ----------
    clusters
        (n,) int32, every number from 0 to the largest occurring.
    """
    sums = np.zeros((int(clusters.max()) + 1, store.dim))
    for start, block in rows_in_order(store):
        places, added = sums_by(block, clusters[start : start + block.shape[0]])
        sums[places] += added
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    means: np.ndarray = (sums / np.where(length > 0, length, 1.0)).astype(np.float32)
    return means


def match_keywords(
    means: np.ndarray,
    term_vectors: np.ndarray,
    *,
    libraries: Sequence[str],
    terms: Sequence[str],
    same_text: Sequence[str],
    top: int = TOP_TERMS,
) -> pa.Table:
    """Return the best positive terms of each cluster and library.

    Parameters
    ----------
    means
        (n_clusters, dim) float32, unit rows.
    term_vectors
        (n_terms, dim) float32, unit rows.
    libraries, terms
        Library and name of each term.
    same_text
        The text each term was embedded as: of terms of a library that read the same, the first alone is kept.
    top
        Most terms a library.

    Returns
    -------
    Table with :data:`SCHEMA`, ordered by cluster, library, rank.
    """
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    groups = rows_by_library(libraries, same_text)
    for cluster, scores in enumerate(term_scores(means, term_vectors)):
        z = standardise(scores)
        for library, rows in groups.items():
            # equal scores keep the order of the file
            best = rows[np.argsort(-scores[rows], kind="stable")][:top]
            for rank, row in enumerate(best[scores[best] > 0], start=1):
                values = (cluster, library, terms[row], rank, scores[row], z[row])
                for name, value in zip(SCHEMA.names, values, strict=True):
                    columns[name].append(value)
    return pa.table({name: pa.array(columns[name], type=SCHEMA.field(name).type) for name in SCHEMA.names})


def term_scores(means: np.ndarray, term_vectors: np.ndarray) -> np.ndarray:
    """Return cosines (n_clusters, n_terms) float32, summed in float64."""
    return np.asarray(means.astype(np.float64) @ term_vectors.astype(np.float64).T, dtype=np.float32)


def standardise(scores: np.ndarray) -> np.ndarray:
    """Return z-scores of one cluster's cosines over all terms, (n_terms,) float32; zeros where they do not differ."""
    wide = scores.astype(np.float64)
    spread = float(wide.std()) if wide.size else 0.0
    z: np.ndarray = ((wide - (wide.mean() if wide.size else 0.0)) / (spread if spread > 1e-12 else 1.0)).astype(
        np.float32
    )
    return z


def rows_by_library(libraries: Sequence[str], same_text: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the rows of each library's terms, ascending, by library name; of terms that read the same the first alone."""
    rows: dict[str, list[int]] = {}
    seen: set[tuple[str, str]] = set()
    for row, key in enumerate(zip(libraries, (text.casefold() for text in same_text), strict=True)):
        if key not in seen:
            seen.add(key)
            rows.setdefault(key[0], []).append(row)
    return {library: np.asarray(rows[library], dtype=np.int64) for library in sorted(rows)}
