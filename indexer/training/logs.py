"""Where a run reports: ``log.csv``, TensorBoard events, and a bar."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback

from indexer.stage import Advance, Progress
from indexer.training.retrieval import METRICS

_TRAINING = (
    "step",
    "loss",
    "clip_loss",
    "jsd_loss",
    "siglip_loss",
    "anchor_loss",
    "logit_scale",
    "grad_norm",
    "learning_rate",
)
COLUMNS = (*_TRAINING, *(f"eval_{name}" for name in METRICS))


class CsvLog(TrainerCallback):
    """One line a log entry; a resumed run first rewrites the file as it stood at its checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Write the head and the lines up to the checkpoint."""
        if not state.is_world_process_zero:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_line(entry) for entry in state.log_history if _wanted(entry))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
        """Add a line."""
        entry = {**(logs or {}), "step": state.global_step}
        if state.is_world_process_zero and _wanted(entry) and self._path.exists():
            with self._path.open("a", newline="", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator="\n").writerow(_line(entry))


class TensorBoardLog(TrainerCallback):
    """Scalars as TensorBoard events; a resumed run hides what it is about to write again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Open the events."""
        if state.is_world_process_zero:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(
                str(self._folder), purge_step=state.global_step + 1 if state.global_step else None
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
        """Add the scalars of a line."""
        if self._writer is not None:
            for name in COLUMNS[1:]:
                if name in (logs or {}):
                    self._writer.add_scalar(name, logs[name], state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Close the events."""
        if self._writer is not None:
            self._writer.close()


class ProgressBar(TrainerCallback):
    """A bar over the steps, drawn by the first process."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open = ExitStack()
        self._bar: Advance | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Start the bar where the run stands."""
        if state.is_world_process_zero:
            self._bar = self._open.enter_context(self._progress(state.max_steps, "steps"))
            self._bar.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Count a step."""
        if self._bar is not None:
            self._bar.advance()

    def on_train_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Take the bar down."""
        self._open.close()


def _wanted(entry: dict[str, Any]) -> bool:
    """Lines of training and of evaluation; not the Trainer's closing summary."""
    return "loss" in entry or any(name.startswith("eval_") for name in entry)


def _line(entry: dict[str, Any]) -> list[Any]:
    return [entry.get(name, "") for name in COLUMNS]
