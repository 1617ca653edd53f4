"""Sets that interpreters are measured on, and what all measurements share: presets, data, results that are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.cells.rows import open_rows
from indexer.interpreter import comparison
from indexer.interpreter import evaluate as measuring
from indexer.interpreter.making import Ingredients
from indexer.interpreter.presets import load_preset


@dataclass(frozen=True)
class Set:
    """One labelled set: file without suffix, what it is called, and the column of donors."""

    file: str
    title: str
    donor: str | None = None


SETS = (
    Set("human_pbmc3k_10x", "PBMC 3k"),
    Set("human_pbmc68k_reduced", "PBMC 68k, 765 genes"),
    Set("human_pancreas_baron_small", "pancreas, human", donor="donor"),
    Set("mouse_pancreas_baron_mouse1", "pancreas, mouse"),
    Set("human_pbmc_facs_garnett", "PBMC sorted by FACS"),
    Set("mouse_cortex_zeisel_1000genes", "mouse cortex, 1,000 genes"),
)
EMBRYO = Set("human_embryo_yan", "human embryo before implantation")
TWO_SPECIES = Set("human_mouse_pancreas_baron_matched", "pancreas, human and mouse", donor="donor")
FASTER = ("training.precision=bf16",)
PRESETS = ("starter", "scinterpreter-paper", "screader-paper")


@dataclass(frozen=True)
class Bench:
    """What all sections share."""

    data: Path
    work: Path
    seeds: range
    paper_seeds: range = range(1)

    def seeds_of(self, preset: str) -> range:
        """Return the seeds a preset is trained with."""
        return self.seeds if preset == PRESETS[0] else self.paper_seeds

    def ingredients(self, preset: str, *changes: str) -> Ingredients:
        """Load a preset with changes."""
        return Ingredients.load(load_preset(preset, changes=(*FASTER, *changes)), work=self.work / "parts")

    def read(self, one: Set, ready: Ingredients) -> measuring.LabelledSet:
        """Read a set."""
        return measuring.read_set(
            self.data / "evaluation" / f"{one.file}.h5ad", ready, label="cell_type", donor=one.donor
        )

    def mouse(self, read: measuring.LabelledSet) -> np.ndarray:
        """Return which cells of the two species' set are of the mouse; its genes carry human names in the file."""
        with open_rows(self.data / "evaluation" / f"{TWO_SPECIES.file}.h5ad") as rows:
            species = dict(zip(rows.row_ids, rows.labels("organism"), strict=True))
        return np.array([species[name] == "Mus musculus" for name in read.cells.cells.row_ids])

    def kept(self, ready: Ingredients, name: tuple[str, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an array that is made once for a preset and kept."""
        network = ready.network_config.model_dump(mode="json")
        told = {"preset": ready.preset.model_dump(mode="json"), "network": network, "what": name}
        return comparison.kept(self.work / "kept", told, make)
