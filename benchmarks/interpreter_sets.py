"""Sets that interpreters are measured on, and what all measurements share: presets, data, results that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.cells.rows import open_rows
from atlas.interpreter.cell_genes import joined
from indexer.interpreter import comparison
from indexer.interpreter import evaluate as measuring
from indexer.interpreter.comparison import Split
from indexer.interpreter.labelled_cells import LabelledCells
from indexer.interpreter.making import Ingredients
from indexer.interpreter.presets import load_preset
from indexer.training.provenance import withheld_from


@dataclass(frozen=True)
class Set:
    """One labelled set.

    Attributes
    ----------
    file, title
        Name without suffix, and what it is called.
    donor
        Column of donors.
    """

    file: str
    title: str
    donor: str | None = None

    @property
    def known(self) -> bool:
        """Whether the packaged model learned from the same study: such a set is judged with a domain model that did not."""
        return any(withheld_from(self.file))


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
BY_GENE = (measuring.LOG, measuring.RANDOM)
"""Features that mean nothing between species without a table of orthologs."""
OWN_NAMES = (SETS[2], SETS[3])
"""Human and mouse cells of one organ, each with the genes of its own species."""
FASTER = ("training.precision=bf16",)
PRESETS = ("starter", "scinterpreter-paper", "screader-paper")


@dataclass(frozen=True)
class Bench:
    """What all sections share."""

    data: Path
    work: Path
    without: Path
    seeds: range
    paper_seeds: range = range(1)

    def seeds_of(self, preset: str) -> range:
        """Return the seeds a preset is trained with."""
        return self.seeds if preset == PRESETS[0] else self.paper_seeds

    def ingredients(self, preset: str, *changes: str, one: Set) -> Ingredients:
        """Load a preset with changes, and the domain model that may judge a set."""
        told = load_preset(preset, changes=(*FASTER, *changes))
        if one.known and told.domain is not None:
            told = load_preset(preset, changes=(*FASTER, *changes, f"domain.source={json.dumps(str(self.without))}"))
        return Ingredients.load(told, work=self.work / "parts")

    def read(self, one: Set, ready: Ingredients) -> measuring.LabelledSet:
        """Read a set."""
        return measuring.read_set(
            self.data / "evaluation" / f"{one.file}.h5ad", ready, label="cell_type", donor=one.donor
        )

    def mouse(self, read: measuring.LabelledSet) -> np.ndarray:
        """Return which cells of the two species' set are of the mouse; its genes carry human names in the file."""
        with open_rows(self.data / "evaluation" / f"{TWO_SPECIES.file}.h5ad") as rows:
            species = np.array(rows.labels("organism"))
        return np.asarray(species[read.cells.rows] == "Mus musculus")

    def own_names(self, ready: Ingredients, *, min_cells: int) -> measuring.LabelledSet:
        """Read human and mouse cells by the names of their own genes: the labels with enough cells in both."""
        human, mouse = (
            measuring.read_set(
                self.data / "evaluation" / f"{one.file}.h5ad", ready, label="cell_type", min_cells=min_cells
            )
            for one in OWN_NAMES
        )
        common = [name for name in human.cells.labels if name in mouse.cells.labels]
        parts = [_only(one, common) for one in (human, mouse)]
        shared = [name for name in human.features if name not in BY_GENE]
        features = {name: np.concatenate([part.features[name] for part in parts]) for name in shared}
        cells = LabelledCells(
            joined([part.cells.cells for part in parts]), np.concatenate([part.cells.rows for part in parts]),
            parts[0].cells.labels, parts[0].cells.texts,
            np.concatenate([part.cells.codes for part in parts]), np.concatenate([part.cells.groups for part in parts]),
            np.concatenate([part.cells.organisms for part in parts]), {}, (),
        )  # fmt: skip
        name = " + ".join(one.file for one in OWN_NAMES)
        return measuring.LabelledSet(name, cells, features, measuring.nothing_learned(cells, ready))

    def kept(
        self, ready: Ingredients, cells: LabelledCells, name: tuple[str | int, ...], make: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Return an array that is made once for a preset and cells, and kept."""
        told = {**ready.told(), "cells": measuring.digest_of_cells(cells), "what": name}
        return comparison.kept(self.work / "kept", told, make)


def directions(mouse: np.ndarray) -> dict[str, Split]:
    """Return both ways between species, of which cells are the mouse's."""
    there = Split(np.flatnonzero(~mouse), np.flatnonzero(mouse))
    return {"human -> mouse": there, "mouse -> human": Split(there.test, there.train)}


def _only(one: measuring.LabelledSet, labels: list[str]) -> measuring.LabelledSet:
    """Return the cells of some labels."""
    rows = np.flatnonzero(np.isin(np.array(one.cells.labels)[one.cells.codes], labels))
    features = {name: values[rows] for name, values in one.features.items()}
    return measuring.LabelledSet(one.name, one.cells.take(rows), features)
