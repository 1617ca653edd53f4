"""Checkpoints of a run: what learns, as safetensors, and which of them are whole.

Frozen weights are not in them: they are where they came from. The Trainer adds its own state of optimiser, schedule and order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.trainer_callback import TrainerCallback

from atlas.errors import ArtifactError
from indexer.training.locking import learning
from indexer.training.two_towers import TwoTowers

CHECKPOINTS = "checkpoints"
COMPLETE = "complete.json"
"""Written into a checkpoint once everything else of it is there."""


class MarkComplete(TrainerCallback):
    """Marks a checkpoint as whole, with the counts that are not in it."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def on_save(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Mark it; the Trainer calls this after it has written everything else."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / COMPLETE).write_text(json.dumps(self._counts), encoding="utf-8")


def newest_checkpoint(out: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, if any."""
    whole = [path.parent for path in (out / CHECKPOINTS).glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def learned_state(model: TwoTowers) -> dict[str, Tensor]:
    """Return parameters that learn, and buffers of the heads (running statistics)."""
    state = model.state_dict()
    names = set(learning(model)) | {n for n, _ in model.named_buffers() if n.split(".")[0].endswith("_head")}
    return {name: tensor for name, tensor in state.items() if name in names}


def save_learned(model: TwoTowers, path: Path) -> None:
    """Write :func:`learned_state` as safetensors."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in learned_state(model).items()}, path)


def load_learned(model: TwoTowers, path: Path) -> None:
    """Read what :func:`save_learned` wrote.

    Raises
    ------
    ArtifactError
        If it is of another model.
    """
    from safetensors.torch import load_file

    found = model.load_state_dict(load_file(path), strict=False)
    missing = set(found.missing_keys) & set(learned_state(model))
    if missing or found.unexpected_keys:
        raise other_checkpoint(sorted(missing) + list(found.unexpected_keys))


def other_checkpoint(names: list[str]) -> ArtifactError:
    """Return the error of a checkpoint that has other tensors than the model."""
    return ArtifactError(
        f"The checkpoint is of another model: {', '.join(names[:5])} do not fit. Resume with the preset it was made with.",
        kind="incompatible",
        details={"names": names[:100]},
    )
