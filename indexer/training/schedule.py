"""The learning rate at each step, as a share of the rate a parameter group is given.

Linear warm-up, then constant, cosine or linear down to a last share. With frozen towers at first, heads warm up and learn alone;
when the towers join, everything warms up once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from indexer.training.presets import OptimiserSpec


@dataclass(frozen=True)
class Schedule:
    """Shares of the learning rate.

    Attributes
    ----------
    n_steps
        Optimiser steps of the run.
    warmup
        Steps of a warm-up.
    frozen
        Steps at the beginning in which towers stay as they are.
    decay
        ``constant``, ``cosine`` or ``linear``.
    final
        Share at the last step.
    """

    n_steps: int
    warmup: int
    frozen: int
    decay: str
    final: float

    @classmethod
    def of(cls, spec: OptimiserSpec, *, n_steps: int) -> Schedule:
        """Return the schedule of a run of ``n_steps``."""
        warmup = spec.warmup_steps or round(spec.warmup_fraction * n_steps)
        return cls(n_steps, warmup, round(spec.frozen_fraction * n_steps), spec.schedule, spec.final_fraction)

    def heads(self, step: int) -> float:
        """Share for heads and temperature at ``step``, from 0."""
        since = step if step < self.frozen else step - self.frozen
        warm = min(1.0, (since + 1) / (self.warmup + 1)) if self.warmup else 1.0
        return warm * self._decayed(step)

    def towers(self, step: int) -> float:
        """Share for towers at ``step``: nothing while they are frozen."""
        return 0.0 if step < self.frozen else self.heads(step)

    def _decayed(self, step: int) -> float:
        done = min(1.0, step / max(self.n_steps - 1, 1))
        if self.decay == "cosine":
            return self.final + (1.0 - self.final) * (1.0 + math.cos(math.pi * done)) / 2.0
        if self.decay == "linear":
            return 1.0 - (1.0 - self.final) * done
        return 1.0
