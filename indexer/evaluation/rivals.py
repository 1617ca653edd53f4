"""Who a model is held against: other models, and scorers that need none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.model.joint import JointModel
from atlas.model.text_tower import MiniLmTower
from indexer.evaluation.baselines import (
    Embed,
    LabelSet,
    Scorer,
    lexical_scorer,
    marker_profiler,
    marker_scorer,
    read_markers,
    text_only_scorer,
)
from indexer.evaluation.dictionary import Dictionary


@dataclass(frozen=True)
class Rivals:
    """What the figures of a model stand beside.

    Attributes
    ----------
    models
        Name -> other model, for example the training-free one.
    markers
        Cell type -> marker genes; empty leaves that baseline away.
    embed
        The text tower alone.
    dictionary
        Libraries of gene sets as they are; ``None`` leaves that baseline away.
    """

    models: Mapping[str, JointModel]
    markers: Mapping[str, Sequence[str]]
    embed: Embed
    dictionary: Dictionary | None = None

    @classmethod
    def open(
        cls, model: JointModel, *, models: Mapping[str, Path], markers: Path | None, gene_sets: Path | None
    ) -> Rivals:
        """Load models and tables; the dictionary takes the gene weights of ``model``.

        Raises
        ------
        InputError, ArtifactError
            If one of them cannot be used.
        """
        embed = text_alone()
        return cls(
            models={name: JointModel.load(folder) for name, folder in models.items()},
            markers=read_markers(markers) if markers else {},
            embed=embed,
            dictionary=Dictionary(gene_sets, model, embed) if gene_sets else None,
        )

    def scorers(self, asked: LabelSet, *, leave_out: Collection[str] = ()) -> dict[str, Scorer]:
        """Return name -> scorer of rows by labels; the dictionary goes without the libraries in ``leave_out``."""
        found = {"lexical": lexical_scorer(asked), "text only": text_only_scorer(asked, embed=self.embed)}
        if self.markers:
            found["markers"] = marker_scorer(asked, markers=self.markers, embed=self.embed)
        if self.dictionary is not None:
            found["dictionary"] = self.dictionary.scorer(asked, leave_out=leave_out)
        return found

    def profilers(self, asked: LabelSet) -> dict[str, Scorer]:
        """Return name -> description of rows that needs no label; of ``asked`` the genes and organism count alone."""
        found: dict[str, Scorer] = {}
        if self.markers:
            found["markers"] = marker_profiler(asked, markers=self.markers)
        if self.dictionary is not None:
            found["dictionary"] = self.dictionary.profiler(asked.organism)
        return found


def text_alone() -> Embed:
    """Return the packaged text tower as a function of texts that embeds each distinct text once."""
    tower = MiniLmTower()
    known: dict[str, np.ndarray] = {}

    def embed(texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, tower.embed(new), strict=True))
        return np.stack([known[text] for text in texts])

    return embed
