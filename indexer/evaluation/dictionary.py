"""The dictionary baseline: libraries of gene sets as they are, without factorisation or training.

A row's gene weights are those of the measured model, so that what differs is the other side alone: a label is the mean of the
gene sets whose names are nearest to its text, each set scaled by the root of its size, and a score is the cosine of both over
genes. Sets of the same origin as what is measured are left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import diags_array

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression
from atlas.model.joint import JointModel
from indexer.evaluation.baselines import Embed, LabelSet, Scorer
from indexer.training.sources.gene_set_files import GeneSets, read_gene_sets

N_NEAREST = 10
TEMPERATURE = 0.05
CELL_LIBRARIES = (
    "ARCHS4_Tissues",
    "Azimuth_2023",
    "Azimuth_Cell_Types_2021",
    "CellMarker_2024",
    "CellMarker_Augmented_2021",
    "Descartes_Cell_Types_and_Tissue_2021",
    "GTEx_Tissues_V8_2023",
    "HuBMAP_ASCTplusB_augmented_2022",
    "Human_Gene_Atlas",
    "PanglaoDB_Augmented_2021",
    "Tabula_Muris",
    "Tabula_Sapiens",
)


@dataclass(frozen=True)
class Dictionary:
    """Gene sets of cells and tissues.

    Attributes
    ----------
    folder
        Holds ``LIBRARY.gmt`` files; of :data:`CELL_LIBRARIES` those that are there are read.
    model
        Gives the gene weights of rows; its tower must be linear in genes.
    embed
        A text tower alone, which remembers what it embedded.
    """

    folder: Path
    model: JointModel
    embed: Embed

    def scorer(self, asked: LabelSet, *, leave_out: Collection[str] = ()) -> Scorer:
        """Return the scorer of some labels, from sets of all libraries but ``leave_out``.

        Raises
        ------
        InputError
            If no library is left.
        """
        sets = self._of(asked.organism)
        allowed = ~np.isin(np.array(sets.libraries), list(leave_out))
        if not allowed.any():
            raise InputError(
                f"Every library of {self.folder} must be left out ({', '.join(sorted(set(sets.libraries)))}: the origin of what "
                "is measured); no dictionary is left. Add libraries of other origin, or measure without --gene-sets."
            )
        cosines = np.where(allowed, self.embed(asked.texts) @ self.embed(sets.texts).T, -np.inf)
        attention = np.zeros(cosines.shape)
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : min(N_NEAREST, int(allowed.sum()))]
        logits = np.take_along_axis(cosines, nearest, axis=1) / TEMPERATURE
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.put_along_axis(attention, nearest, weights / weights.sum(axis=1, keepdims=True), axis=1)
        size = np.sqrt(np.asarray(abs(sets.matrix).sum(axis=1)).ravel())
        labels = (attention / size) @ sets.matrix
        return self._cosines(labels / np.maximum(np.linalg.norm(labels, axis=1, keepdims=True), 1e-12))

    def profiler(self, organism: str) -> Scorer:
        """Describe a row by its cosine with every set."""
        matrix = self._of(organism).matrix
        length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        return self._cosines(diags_array(1.0 / np.maximum(length, 1e-12)) @ matrix)

    def _cosines(self, vectors: Any) -> Scorer:
        """Return the cosines of rows with ``(n, n_genes)`` unit vectors, dense or sparse."""

        def score(aligned: AlignedExpression) -> np.ndarray:
            n_genes = vectors.shape[1]
            _, samples = self.model.embed_with_weights(aligned, top=n_genes)
            found = np.zeros((len(samples), vectors.shape[0]))
            for i, one in enumerate(samples):
                weights = np.zeros(n_genes)
                weights[one.genes] = one.weights / max(float(np.linalg.norm(one.weights)), 1e-12)
                found[i] = vectors @ weights
            return found

        return score

    def _of(self, organism: str) -> GeneSets:
        return self._of_mouse if organism == "mouse" else self._of_human

    @cached_property
    def _of_human(self) -> GeneSets:
        return self._read("human")

    @cached_property
    def _of_mouse(self) -> GeneSets:
        return self._read("mouse")

    def _read(self, organism: str) -> GeneSets:
        paths = [path for path in (self.folder / f"{name}.gmt" for name in CELL_LIBRARIES) if path.is_file()]
        return read_gene_sets(paths or [self.folder], genes=self.model.genes, organism=organism)
