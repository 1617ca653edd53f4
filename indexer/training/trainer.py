"""The loop: ``transformers.Trainer`` with our batches, groups of parameters, schedule, validation and logs.

Everything that makes a run large or robust - several processes, mixed precision, accumulation, checkpoints, resuming - is the
Trainer's own. Ours is what it cannot know: pairs of several sources in a fixed order, a loss over all of them, retrieval as the
measure, and that a loss which is no number ends the run.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.trainer_callback import TrainerCallback

from atlas.errors import InputError
from indexer.stage import Progress, silent_progress
from indexer.training.batches import Batches
from indexer.training.checkpoints import (
    CHECKPOINTS,
    COMPLETE,
    MarkComplete,
    learned_state,
    newest_checkpoint,
    other_checkpoint,
    save_learned,
)
from indexer.training.disk import writing
from indexer.training.draws import Draw, Identity, MixtureSampler
from indexer.training.locking import learning
from indexer.training.logs import CsvLog, ProgressBar, TensorBoardLog
from indexer.training.presets import Preset
from indexer.training.schedule import Schedule
from indexer.training.two_towers import TwoTowers

logger = logging.getLogger(__name__)

COUNTS = ("n_texts", "n_truncated", "n_without_signal")
_N_CHECKPOINTS = 3
_LOGS_BETWEEN_EVALUATIONS = 10


@dataclass(frozen=True)
class Run:
    """One run of training.

    Attributes
    ----------
    preset
        What to do.
    out
        Folder of logs and checkpoints.
    n_steps
        Optimiser steps.
    device
        ``cpu``, ``cuda``, or ``None`` for whatever there is.
    save_every
        Steps between checkpoints and evaluations; ``None``: as often as the preset evaluates.
    """

    preset: Preset
    out: Path
    n_steps: int
    device: str | None = None
    save_every: int | None = None

    @property
    def log_every(self) -> int:
        """Steps between lines of the log."""
        return max(1, self._between // _LOGS_BETWEEN_EVALUATIONS)

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations and checkpoints: whole lines of the log, so that a resumed log has the same lines."""
        return self.log_every * max(1, self._between // self.log_every)

    @property
    def _between(self) -> int:
        return self.save_every or max(1, self.n_steps // self.preset.validation.times)

    def arguments(self, *, validated: bool) -> TrainingArguments:
        """Return the Trainer's arguments."""
        preset = self.preset
        batch = preset.batch
        merged = batch.cached_gradients
        return TrainingArguments(
            output_dir=str(self.out / CHECKPOINTS),
            per_device_train_batch_size=batch.size * (batch.accumulation if merged else 1),
            gradient_accumulation_steps=1 if merged else batch.accumulation,
            max_steps=self.n_steps,
            learning_rate=preset.optimiser.learning_rate,
            max_grad_norm=preset.optimiser.max_grad_norm,
            bf16=self._bf16(),
            logging_steps=self.log_every,
            logging_nan_inf_filter=False,
            eval_strategy="steps" if validated else "no",
            eval_steps=self.evaluate_every,
            save_strategy="steps",
            save_steps=self.evaluate_every,
            save_total_limit=_N_CHECKPOINTS,
            load_best_model_at_end=validated,
            metric_for_best_model=f"eval_{preset.validation.choose_by}" if validated else None,
            greater_is_better=True,
            dataloader_drop_last=True,
            dataloader_pin_memory=self._on_gpu(),
            remove_unused_columns=False,
            seed=preset.seed,
            use_cpu=self.device == "cpu",
            ddp_backend="gloo" if "LOCAL_RANK" in os.environ and not self._on_gpu() else None,  # set by torchrun
            ddp_find_unused_parameters=False,
            disable_tqdm=True,
            report_to="none",
            log_level="error",
            log_level_replica="error",
        )

    def _bf16(self) -> bool:
        if self.preset.precision == "auto":
            return self._on_gpu() and torch.cuda.is_bf16_supported()
        return self.preset.precision == "bf16"

    def _on_gpu(self) -> bool:
        return self.device != "cpu" and torch.cuda.is_available()


class ContrastiveTrainer(Trainer):
    """Trains :class:`TwoTowers`.

    Parameters
    ----------
    run, model, batches, sampler
        What is trained, on what, in which order.
    validate
        Returns figures named as ``validation.choose_by`` is; ``None``: nothing is held out and the last checkpoint counts.
    progress
        Draws a bar.
    """

    def __init__(
        self,
        run: Run,
        *,
        model: TwoTowers,
        batches: Batches,
        sampler: MixtureSampler,
        validate: Callable[[], Mapping[str, float]] | None,
        progress: Progress = silent_progress,
    ) -> None:
        arguments = run.arguments(validated=validate is not None)
        # several GPUs in one process would split a batch and lose negatives; several GPUs take torchrun
        arguments._n_gpu = min(arguments.n_gpu, 1)
        self.counts = dict.fromkeys(COUNTS, 0)
        self._run = run
        self._towers = model
        self._sampler = sampler
        self._schedule = Schedule.of(run.preset.optimiser, n_steps=run.n_steps)
        self._validate = validate
        self._parts: dict[str, list[float]] = {}
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Identity(len(sampler)),
            eval_dataset=Identity(0) if validate is not None else None,
            data_collator=batches,
            callbacks=[
                _StepRules(model),
                MarkComplete(self.counts),
                CsvLog(run.out / "log.csv"),
                TensorBoardLog(run.out / "tensorboard"),
                ProgressBar(progress),
            ],
        )
        self.remove_callback(PrinterCallback)

    def start_or_resume(self, *, resume: bool) -> None:
        """Train to the end, from the newest whole checkpoint if asked to and there is one.

        Raises
        ------
        InputError
            If the loss or its gradient is no number.
        ResourceError
            If the disk is full.
        """
        newest = newest_checkpoint(self._run.out) if resume else None
        if newest is not None:
            self.counts.update(json.loads((newest / COMPLETE).read_text(encoding="utf-8")))
        with writing(self._run.out):
            self.train(resume_from_checkpoint=None if newest is None else str(newest))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return AdamW over heads and towers; biases, norms and the temperature do not decay."""
        if self.optimizer is None:
            spec = self._run.preset.optimiser
            rates = {False: spec.learning_rate, True: spec.tower_learning_rate or spec.learning_rate}
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": found, "lr": rates[tower], "weight_decay": spec.weight_decay if decays else 0.0}
                    for (tower, decays), found in parameter_groups(self._towers).items()
                ],
                betas=spec.betas,
            )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the preset's schedule, one function a group."""
        if self.lr_scheduler is None:
            inner: Any = optimizer or self.optimizer
            groups = parameter_groups(self._towers)  # in the order of the optimiser's
            shares: Any = [self._schedule.towers if tower else self._schedule.heads for tower, _ in groups]
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(inner, shares)
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss.

        Raises
        ------
        InputError
            If it is no number, naming the batch.
        """
        self._items = inputs["items"]
        parts = model(**{name: value for name, value in inputs.items() if name not in ("items", "counts")})
        if not bool(torch.isfinite(parts["loss"])):
            raise self._not_a_number("loss", {name: float(part.detach()) for name, part in parts.items()})
        counted = self.accelerator.gather(inputs["counts"]).reshape(-1, len(COUNTS)).sum(dim=0)
        for name, n in zip(COUNTS, counted.tolist(), strict=True):
            self.counts[name] += n
        for name, part in parts.items():
            if name != "loss":
                self._parts.setdefault(name, []).append(float(part))
        return (parts["loss"], parts) if return_outputs else parts["loss"]

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run forward and backward; refuse a gradient that is no number before it reaches the weights.

        Gradients of towers that are still frozen are dropped before the norm is clipped: they are no part of it.
        """
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.state.global_step < self._schedule.frozen:
            for name, parameter in learning(self._towers).items():
                if _of_tower(name):
                    parameter.grad = None  # the optimiser then keeps no moments for it either
        norms = [p.grad.norm().float() for p in learning(self._towers).values() if p.grad is not None]
        finite = torch.isfinite(torch.stack(norms)).all() if norms else torch.ones((), dtype=torch.bool)
        if not _everywhere(finite.to(loss.device)):
            raise self._not_a_number("gradient", {})
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss and the logit scale to a line of training."""
        if "loss" in logs:
            logs |= {name: sum(values) / len(values) for name, values in self._parts.items()}
            logs["logit_scale"] = float(self._towers.loss.scale.detach())
            self._parts.clear()
        super().log(logs, start_time)

    def evaluate(self, *arguments: Any, metric_key_prefix: str = "eval", **named: Any) -> dict[str, float]:
        """Return retrieval on the held-out pairs; every process computes the same."""
        if self._validate is None:
            return {}
        training = self._towers.training
        self._towers.eval()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._validate().items()}
        self._towers.train(training)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[Draw]:
        return self._sampler

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Save what learns and the running statistics beside it; frozen weights are where they came from."""
        if self.args.should_save and output_dir is not None:
            save_learned(self._towers, Path(output_dir) / "model.safetensors")

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        missing = set(load_result.missing_keys) & set(learned_state(self._towers))
        if missing or load_result.unexpected_keys:
            raise other_checkpoint(sorted(missing) + list(load_result.unexpected_keys))

    def _not_a_number(self, what: str, parts: Mapping[str, float]) -> InputError:
        items = list(self._items)
        if distributed.is_available() and distributed.is_initialized():
            gathered: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, items)
            items = [item for part in gathered for item in part]
        return InputError(
            f"The {what} at step {self.state.global_step + 1} is no number, and training stopped. The batch held "
            f"{', '.join(items[:5])}{' ...' if len(items) > 5 else ''} ({len(items)} items). "
            "Look at their expression, or lower the learning rate; go on from the last checkpoint with --resume.",
            details={
                "step": self.state.global_step + 1,
                "items": items[:1000],
                **{k: str(v) for k, v in parts.items()},
            },
        )


class _StepRules(TrainerCallback):
    """What must hold around each step: the temperature stays in its bounds, and the last step is logged and measured."""

    def __init__(self, model: TwoTowers) -> None:
        self._model = model

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._model.loss.clamp()

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_evaluate = args.eval_strategy != "no"


def _of_tower(name: str) -> bool:
    """Whether a parameter belongs to a tower, not to a head or the loss."""
    return name.startswith(("transcriptome.", "text."))


def parameter_groups(model: TwoTowers) -> dict[tuple[bool, bool], list[nn.Parameter]]:
    """Return what learns, by whether it belongs to a tower and whether it decays: matrices do, vectors and scalars do not."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in learning(model).items():
        groups.setdefault((_of_tower(name), parameter.ndim >= 2), []).append(parameter)
    return dict(sorted(groups.items()))


def _everywhere(fact: Tensor) -> bool:
    """Return whether a fact holds in every process: all must stop together, or the others wait for good."""
    if distributed.is_available() and distributed.is_initialized():
        held = fact.to(torch.int32)
        distributed.all_reduce(held, op=distributed.ReduceOp.MIN)
        return bool(held)
    return bool(fact)
