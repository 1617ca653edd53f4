"""A run of training in a process of its own, to be killed or to be one of several: base, encoder, out, then key=value."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from tiny_encoder import spread
from toy_training import ToySource

from indexer.training import run
from indexer.training.job import Job
from indexer.training.locking import learning
from indexer.training.presets import load_preset
from indexer.training.record import Rows

N = 48


class Slow(ToySource):
    """Takes its time, so that a kill meets the run at work."""

    seconds = 0.0

    def expression(self, rows: Any, *, rng: Any = None) -> Any:
        time.sleep(self.seconds)
        return super().expression(rows, rng=rng)


def poison(only_rank: str) -> None:
    """Make the first gradient of one process no number; the loss stays one."""
    if os.environ.get("RANK") != only_rank:
        return
    built = run.build

    def build(*arguments: Any) -> Any:
        model = built(*arguments)
        next(iter(learning(model).values())).register_hook(lambda gradient: gradient * float("nan"))
        return model

    run.build = build  # type: ignore[assignment]


def main(base: str, encoder: str, out: str, *options: str) -> None:
    Slow.seconds = 0.05 if "slow" in options else 0.0
    train_rows, held_out = spread(N)
    if "poisoned" in options:
        poison("1")
    preset = load_preset(
        "starter",
        changes=[
            "closed_form=null",
            f"transcriptome.source={base}", "text.tower=encoder", f"text.source={encoder}", "text.max_tokens=32",
            "text.head=projection", "locking=UU", "optimiser.learning_rate=0.005", "loss.anchor=0",
            "validation.choose_by=text_to_transcriptome_AUC", *(option for option in options if "=" in option),
        ],
    )  # fmt: skip
    job = Job(preset, [(Slow(N), 1.0)], Rows([train_rows], [held_out]), Path(out), device="cpu")
    run.train(job, resume="resume" in options)


if __name__ == "__main__":
    main(*sys.argv[1:])
