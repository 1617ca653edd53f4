"""Why a sample answers a question: the genes that carry the similarity.

In: the release's gene weights and vectors, the model's gene vectors, one query vector (a phrase, a sample or a combination of
them: whatever the search ranked by). Out: each kept gene's contribution, which is the score less the score without the gene.
A sample's vector is a weighted sum of gene vectors, so leaving a gene out is a subtraction, not a second embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.answers import GeneContribution
from atlas.errors import ArtifactError, InputError
from atlas.model.joint import JointModel
from atlas.model.transcriptome import without_gene_weights
from atlas.release import Release
from atlas.vectors.gene_weights import N_KEPT, GeneWeights, open_records, unpack
from atlas.vectors.store import VectorStore

_NOTHING_LEFT = 2e-3  # what is left of a unit vector of float16 components is rounding below this length


@dataclass(frozen=True)
class GeneExplanation:
    """The genes behind one score.

    Attributes
    ----------
    score
        Cosine of query and sample, as the search gives it.
    genes, against
        Genes that raise the score, strongest first; genes that lower it, strongest first.
    kept_weight
        Share in (0, 1] of the sample's gene weights that the release keeps; the other genes are weaker and not judged.
    n_genes
        Number of genes judged.
    """

    score: float
    genes: tuple[GeneContribution, ...]
    against: tuple[GeneContribution, ...]
    kept_weight: float
    n_genes: int


def explain_hit(release: Release, model: JointModel, *, row: int, query: np.ndarray, top: int = 20) -> GeneExplanation:
    """Return the genes that carry the similarity of one sample to a query.

    Parameters
    ----------
    release, model
        The release and the model that embedded it.
    row
        Row of the sample.
    query
        (dim,) unit vector that the search ranked by.
    top
        Most genes listed for and against, 1 to 256.

    Raises
    ------
    ArtifactError
        ``missing`` if the release or its starter keeps no weights of this sample; ``incompatible`` if vectors of the model are no
        sums over genes.
    InputError
        If ``top`` is out of bounds.
    """
    if not model.explains_by_genes:
        raise without_gene_weights(model.config.transcriptome.tower)
    if not 1 <= top <= N_KEPT:
        raise InputError(f"{top} genes were asked for; between 1 and {N_KEPT} can be listed.")
    weights = unpack(open_records(release.checked("gene_weights.npy")), row=row)
    if weights.genes.size == 0:
        raise ArtifactError(
            "The weights of this sample's genes are not kept in this release: its vector came from a starter without them. "
            "Build the release again with a newer starter.",
            kind="missing",
        )
    path, guard = release.guarded("vectors.npy")
    with VectorStore.open(path, guard=guard) as store:
        rows = np.array([row])
        vector, score = store.rows(rows)[0], float(store.exact_scores(query, rows)[0])
    lost = contributions(weights, vector=vector, query=query, gene_vectors=model.gene_vectors(weights.genes))
    order = np.argsort(-lost, kind="stable")
    return GeneExplanation(
        score=score,
        genes=_named([i for i in order[:top] if lost[i] > 0], weights=weights, lost=lost, model=model),
        against=_named([i for i in order[::-1][:top] if lost[i] < 0], weights=weights, lost=lost, model=model),
        kept_weight=min(weights.kept, 1.0),
        n_genes=int(weights.genes.size),
    )


def contributions(
    weights: GeneWeights, *, vector: np.ndarray, query: np.ndarray, gene_vectors: np.ndarray
) -> np.ndarray:
    """Return the cosine with the query less the cosine without each gene.

    Parameters
    ----------
    weights
        m genes of the sample.
    vector, query
        (dim,), of unit length.
    gene_vectors
        (m, dim) float64, not normalised.

    Returns
    -------
    (m,) float64 in [-2, 2]; leaving out the only gene of a sample leaves the cosine 0.
    """
    unit = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    wanted = query.astype(np.float64)
    score = float(unit @ wanted)
    without = unit - weights.weights[:, None] * gene_vectors
    lengths = np.linalg.norm(without, axis=1)
    left = np.divide(without @ wanted, lengths, out=np.zeros_like(lengths), where=lengths > _NOTHING_LEFT)
    return np.asarray(score - left)


def _named(
    places: list[np.intp], *, weights: GeneWeights, lost: np.ndarray, model: JointModel
) -> tuple[GeneContribution, ...]:
    genes = model.genes
    return tuple(
        GeneContribution(
            symbol=genes.symbols[weights.genes[i]],
            ensembl_id=genes.ensembl_ids[weights.genes[i]],
            contribution=float(lost[i]),
            weight=float(weights.weights[i]),
        )
        for i in places
    )
