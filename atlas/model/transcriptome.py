"""Transcriptome towers: what any of them must do, and which there are.

A tower turns aligned expression into one vector a sample, from that sample alone. :data:`TRANSCRIPTOME_TOWERS` maps the
``tower`` of a model's configuration to a factory; heavy libraries are imported inside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from atlas.errors import ArtifactError
from atlas.expression.align import AlignedExpression
from atlas.vectors.gene_weights import GeneWeights

if TYPE_CHECKING:
    from atlas.model.checkpoint import ModelParts

InputKind = Literal["auto", "bulk", "cells"]
"""How rows are read: told apart one by one, all as bulk samples, or all as single cells."""


class TranscriptomeTower(Protocol):
    """Embeds aligned expression."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def embed(self, aligned: AlignedExpression, *, kind: InputKind = "auto") -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, before the model's transcriptome head if it has one.

        A row depends on that row alone. Towers that know no difference between bulk and cells ignore ``kind``.

        Raises
        ------
        InputError
            If a sample has no signal, or shares too few genes with the model.
        """
        ...


@runtime_checkable
class LinearTower(TranscriptomeTower, Protocol):
    """A tower whose vector is the normalised weighted sum of gene vectors, so that genes explain it."""

    def embed_with_weights(
        self, aligned: AlignedExpression, *, top: int, kind: InputKind = "auto"
    ) -> tuple[np.ndarray, list[GeneWeights]]:
        """Return the vectors of ``embed``, bit for bit, and of each sample its ``top`` strongest genes."""
        ...

    def gene_vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of genes ``rows`` of the model as ``(m, dim)`` float64, not normalised."""
        ...


def missing_statistics(folder: str) -> ArtifactError:
    """Return the error of a model that cannot embed expression yet."""
    return ArtifactError(
        f"The model in {folder} has no gene statistics yet. "
        f"Run: geo-atlas model fit-statistics --model {folder} --counts FILE --out DIR",
        kind="missing",
        details={"path": folder},
    )


def without_gene_weights(tower: str) -> ArtifactError:
    """Return the error of a model whose vectors are no sums over genes."""
    return ArtifactError(
        f"Vectors of the transcriptome tower {tower!r} are no weighted sums of gene vectors, so no genes can be named for them. "
        "Use a model with the tower 'gene_text' to explain hits by genes.",
        kind="incompatible",
        details={"tower": tower, "expected": "gene_text"},
    )


def _make_gene_text(parts: ModelParts, *, folder: Path, threads: int | None) -> TranscriptomeTower:
    from atlas.model.gene_tower import GeneTextTower

    return GeneTextTower.read(parts)


def _make_geneformer(parts: ModelParts, *, folder: Path, threads: int | None) -> TranscriptomeTower:
    from atlas.model.config import GeneformerConfig
    from atlas.model.geneformer.tower import GeneformerTower

    config = parts.config.transcriptome
    if not isinstance(config, GeneformerConfig):
        raise TypeError(f"expected the configuration of a Geneformer, got {type(config).__name__}")
    return GeneformerTower(config, folder, genes=parts.genes, threads=threads)


TRANSCRIPTOME_TOWERS: dict[str, Callable[..., TranscriptomeTower]] = {
    "gene_text": _make_gene_text,
    "geneformer": _make_geneformer,
}
"""Name -> factory, called with the model's parts, its folder (``folder=``) and ``threads=``."""
