"""What a run of training is told: preset, data, rows, start, folder; and what follows before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import ConfigError, InputError
from indexer.training.draws import MixtureSampler
from indexer.training.presets import Preset
from indexer.training.record import Rows
from indexer.training.sources.source import PairSource
from indexer.training.towers import Base


@dataclass(frozen=True)
class Job:
    """What a run is told.

    Attributes
    ----------
    preset
        What to do.
    sources
        Sources with their share of the draws; their expression is in the order of the base's genes.
    rows
        Which items are learned from and which are held out.
    out
        New folder, or that of the run to go on with.
    base
        What to start from; default: what the preset names.
    max_steps
        Optimiser steps; default: the preset's.
    device
        ``cpu`` or ``cuda``; default: a GPU if there is one.
    save_every
        Steps between checkpoints; default: as often as the preset evaluates.
    features
        Folder of kept features of locked towers, which runs may share; default: ``out/features``.
    """

    preset: Preset
    sources: Sequence[tuple[PairSource, float]]
    rows: Rows
    out: Path
    base: Base | None = None
    max_steps: int | None = None
    device: str | None = None
    save_every: int | None = None
    features: Path | None = None

    @property
    def items(self) -> list[PairSource]:
        """The sources without their shares."""
        return [source for source, _ in self.sources]

    @property
    def n_steps(self) -> int:
        """Optimiser steps; 0 writes what training would start from."""
        told = self.preset.max_steps if self.max_steps is None else self.max_steps
        if told == 0 and self.preset.closed_form is None:
            raise ConfigError("A run of 0 steps needs a preset with a closed form; give --max-steps 1 or more.")
        if told is not None:
            return told
        n_steps = int(self.preset.epochs * self._n_items / self._per_step)
        if n_steps < 1:
            raise InputError(
                f"{self._n_items:,} items are left to train on, and a step takes {self._per_step:,}: "
                f"{self.preset.epochs:g} passes make no step. Give more data, --max-steps, or a smaller batch (--set "
                "batch.size=...)."
            )
        return n_steps

    def order(self) -> MixtureSampler:
        """Return the order of draws.

        Raises
        ------
        ConfigError
            If there is no source, two share a name, or a weight is 0.
        InputError
            If a source has nothing left, or fewer items are left than meet in a batch.
        """
        names = [source.name for source in self.items]
        if not names:
            raise ConfigError("There is nothing to train on; give --data KIND:PATH.")
        if len(set(names)) != len(names):
            raise ConfigError(f"Two sources share a name ({', '.join(sorted(names))}); give each file or folder once.")
        n_steps, batch = self.n_steps, self.preset.batch
        sampler = MixtureSampler(
            self.rows.train,
            names=names,
            weights=[weight for _, weight in self.sources],
            n_draws=n_steps * self._per_step,
            seed=self.preset.seed,
        )
        n_together = batch.size * n_processes() * (batch.accumulation if batch.cached_gradients else 1)
        if n_steps and self._n_items < n_together:
            raise InputError(
                f"{self._n_items:,} items are left to train on, and {n_together:,} pairs meet in a batch: items would meet "
                "themselves. Give more data, or a smaller batch (--set batch.size=...)."
            )
        return sampler

    @property
    def _n_items(self) -> int:
        return sum(len(kept) for kept in self.rows.train)

    @property
    def _per_step(self) -> int:
        return self.preset.batch.size * self.preset.batch.accumulation * n_processes()


def n_processes() -> int:
    """Return how many processes train together; torchrun says so."""
    return int(os.environ.get("WORLD_SIZE", "1"))
