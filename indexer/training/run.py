"""A run of training from preset and sources to a model folder.

Writes into one folder: the model (format of ``atlas.model.checkpoint``), ``training.json`` (preset, data, split, versions, what
was chosen), ``log.csv``, ``tensorboard/``, ``checkpoints/`` and ``features/`` of frozen towers. The checkpoint that finds
held-out pairs best becomes the model; where training began counts as one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from atlas.errors import ConfigError, InputError
from atlas.model.checkpoint import ModelParts, model_hash, write_model
from atlas.model.quantised import Int8Rows
from indexer.stage import Progress, silent_progress
from indexer.training.batches import Batches
from indexer.training.disk import writing
from indexer.training.draws import MixtureSampler
from indexer.training.features import FeatureCache
from indexer.training.held_out import HeldOut
from indexer.training.modules import GeneTableModule, MemoryModule
from indexer.training.presets import Preset
from indexer.training.record import Rows, RunRecord
from indexer.training.sources.source import PairSource
from indexer.training.start import refuse_seen
from indexer.training.towers import Base, begin_with_closed_form, build, model_parts, open_base
from indexer.training.trainer import CHECKPOINTS, COUNTS, ContrastiveTrainer, Run, load_learned, save_learned
from indexer.training.two_towers import TwoTowers

logger = logging.getLogger(__name__)

START = "start"
"""Name of what training began with, among the checkpoints."""


@dataclass(frozen=True)
class TrainingReport:
    """What a run did.

    Attributes
    ----------
    model
        Folder of the model.
    model_hash
        Of that folder.
    n_steps
        Optimiser steps made.
    started_with, ended_with
        Retrieval on the held-out pairs before training, and of the model that was written with its rounded numbers; empty
        where nothing was held out.
    n_pool
        Pairs of that retrieval.
    chosen
        ``start`` or the checkpoint's name.
    n_texts, n_truncated
        Texts read in training, and those of them that were cut.
    n_without_signal
        Drawn items whose expression said nothing to the model; they took no part.
    """

    model: Path
    model_hash: str
    n_steps: int
    started_with: Mapping[str, float]
    ended_with: Mapping[str, float]
    n_pool: int
    chosen: str
    n_texts: int
    n_truncated: int
    n_without_signal: int


def train(
    preset: Preset,
    sources: Sequence[tuple[PairSource, float]],
    *,
    out: Path,
    rows: Rows,
    base: Base | None = None,
    resume: bool = False,
    max_steps: int | None = None,
    device: str | None = None,
    save_every: int | None = None,
    features: Path | None = None,
    progress: Progress = silent_progress,
) -> TrainingReport:
    """Train and write a model folder.

    Parameters
    ----------
    preset
        What to do.
    sources
        Sources with their share of the draws; their expression is in the order of ``base.genes``.
    out
        New folder, or with ``resume`` the folder of the run to go on with.
    rows
        Which items are learned from and which are held out.
    base
        What to start from; default: what the preset names.
    resume
        Go on from the newest checkpoint, if there is one.
    max_steps
        Optimiser steps; default: the preset's.
    device
        ``cpu`` or ``cuda``; default: a GPU if there is one.
    save_every
        Steps between checkpoints; default: as often as the preset evaluates.
    features
        Folder of kept features of locked towers, which runs may share; default: ``out/features``.
    progress
        Draws a bar.

    Raises
    ------
    ConfigError
        If the folder is in use, the preset cannot be trained, or the start may have seen what is held out.
    InputError
        If nothing is left to train on, a batch is empty, or the loss is no number.
    ArtifactError
        If weights are missing, or a run is to go on with another preset or other data.
    ResourceError
        If the disk is full, or the folder may not be written.
    """
    from transformers import set_seed

    base = base or open_base(preset)
    if preset.closed_form is None and base.geneformer is None:
        refuse_seen(base, rows)
    n_steps = _n_steps(preset, rows=rows, max_steps=max_steps)
    sampler = _order(preset, sources, rows=rows, n_steps=n_steps)
    record = RunRecord.make(
        out, preset=preset, sources=sources, rows=rows, start=model_hash(base.folder), n_steps=n_steps, world=_world()
    ).enter(resume=resume, first=_is_first())
    if preset.closed_form is not None:
        base = begin_with_closed_form(base, preset, [source for source, _ in sources], rows=rows.train)
    set_seed(preset.seed)
    model = build(preset, base)
    with writing(out):
        if _is_first():
            record.begin()
    batches = _batches(preset, sources, model=model, features=features or out / "features")
    held_out = HeldOut(
        batches,
        rows=rows.validation,
        n_items=preset.validation.n_items,
        template=preset.text.templates[0],
        seed=preset.seed,
    )
    if n_steps == 0:
        return _finish(
            base.parts if _is_first() else None, model=model, held_out=held_out, record=record.add(chosen=START)
        )
    trainer = ContrastiveTrainer(
        Run(preset, out, n_steps=n_steps, device=device, save_every=save_every),
        model=model,
        batches=batches,
        sampler=sampler,
        validate=held_out.measure if len(held_out) >= 2 else None,
        progress=progress,
    )
    with writing(out):
        record = _start(trainer, model=model, held_out=held_out, record=record)
    trainer.start_or_resume(resume=resume)
    chosen = _choose(trainer, model=model, record=record, choose_by=preset.validation.choose_by)
    parts = None
    if _is_first():
        began_whole = isinstance(model.text_head, MemoryModule) and model.text.locked  # the start is a model itself
        again = chosen == START and began_whole
        with writing(out):
            parts = base.parts if again else model_parts(model.eval(), preset=preset, base=base, out=out)
    facts = {"chosen": chosen, "n_steps": trainer.state.global_step, **trainer.counts}
    return _finish(parts, model=model, held_out=held_out, record=record.add(**facts))


def _n_steps(preset: Preset, *, rows: Rows, max_steps: int | None) -> int:
    """Return the number of steps; 0 writes what training would start from."""
    told = preset.max_steps if max_steps is None else max_steps
    if told == 0 and preset.closed_form is None:
        raise ConfigError("A run of 0 steps needs a preset with a closed form; give --max-steps 1 or more.")
    if told is not None:
        return told
    n_items, per_step = sum(len(kept) for kept in rows.train), _per_step(preset)
    n_steps = int(preset.epochs * n_items / per_step)
    if n_steps < 1:
        raise InputError(
            f"{n_items:,} items are left to train on, and a step takes {per_step:,}: {preset.epochs:g} passes make no step. "
            "Give more data, --max-steps, or a smaller batch (--set batch.size=...)."
        )
    return n_steps


def _order(preset: Preset, sources: Sequence[tuple[PairSource, float]], *, rows: Rows, n_steps: int) -> MixtureSampler:
    """Return the order of draws."""
    names = [source.name for source, _ in sources]
    if not names:
        raise ConfigError("There is nothing to train on; give --data KIND:PATH.")
    if len(set(names)) != len(names):
        raise ConfigError(f"Two sources share a name ({', '.join(sorted(names))}); give each file or folder once.")
    weights = [weight for _, weight in sources]
    return MixtureSampler(
        rows.train, names=names, weights=weights, n_draws=n_steps * _per_step(preset), seed=preset.seed
    )


def _per_step(preset: Preset) -> int:
    return preset.batch.size * preset.batch.accumulation * _world()


def _batches(
    preset: Preset, sources: Sequence[tuple[PairSource, float]], *, model: TwoTowers, features: Path
) -> Batches:
    """Return what makes batches; features of a locked encoder are kept, those of a gene table are as quick to make."""
    caches: dict[str, FeatureCache | None] = {"transcriptome": None, "text": None}
    for name in caches:
        tower: Any = getattr(model, name)
        if tower.locked and not isinstance(tower, GeneTableModule):
            caches[name] = FeatureCache(features / f"{name}-{tower.fingerprint[:32]}", dim=tower.dim)
    return Batches(
        [source for source, _ in sources],
        model,
        seed=preset.seed,
        replicates=preset.sampling.caption_replicates,
        augment=preset.sampling.augment,
        sample_weights=preset.sampling.sample_weights,
        templates=preset.text.templates,
        transcriptome_cache=caches["transcriptome"],
        text_cache=caches["text"],
    )


def _start(trainer: ContrastiveTrainer, *, model: TwoTowers, held_out: HeldOut, record: RunRecord) -> RunRecord:
    """Measure and keep where training begins, once."""
    if "started_with" in record.content:
        return record
    model.eval()
    record = record.add(started_with=held_out.measure() if len(held_out) >= 2 else {}, n_pool=len(held_out))
    if trainer.is_world_process_zero():
        save_learned(model, record.folder / CHECKPOINTS / f"{START}.safetensors")
        record.write()
    return record


def _choose(trainer: ContrastiveTrainer, *, model: TwoTowers, record: RunRecord, choose_by: str) -> str:
    """Leave in the model what found held-out pairs best; the Trainer has loaded the best of its checkpoints."""
    before = record.content["started_with"].get(choose_by)
    best = trainer.state.best_metric
    if before is None or best is None:
        return f"checkpoint-{trainer.state.global_step}"
    if best > before:
        return Path(trainer.state.best_model_checkpoint or f"checkpoint-{trainer.state.best_global_step}").name
    logger.warning(
        "training did not improve %s (%.3f at the start, %.3f at best): the model is what it started from",
        choose_by, before, best,
    )  # fmt: skip
    load_learned(model, record.folder / CHECKPOINTS / f"{START}.safetensors")
    return START


def _finish(parts: ModelParts | None, *, model: TwoTowers, held_out: HeldOut, record: RunRecord) -> TrainingReport:
    """Write the model, measure it as written, and close the record; processes beyond the first have no parts to write."""
    digest = ""
    if parts is not None:
        with writing(record.folder):
            write_model(record.folder, parts)
        digest = model_hash(record.folder)
        _round(model, parts)
    figures = held_out.measure() if len(held_out) >= 2 else {}
    facts = record.content
    report = TrainingReport(
        model=record.folder,
        model_hash=digest,
        n_steps=facts["n_steps"],
        started_with=facts.get("started_with", figures),
        ended_with=figures,
        n_pool=len(held_out),
        chosen=facts["chosen"],
        **{name: facts.get(name, 0) for name in COUNTS},
    )
    if report.n_truncated:
        logger.warning(
            "%d of %d texts were longer than the text tower reads and were cut", report.n_truncated, report.n_texts
        )
    if parts is not None:
        with writing(record.folder):
            record.add(state="done", **{k: v for k, v in asdict(report).items() if k != "model"}).write()
    return report


@torch.no_grad()
def _round(model: TwoTowers, parts: ModelParts) -> None:
    """Give the model in memory the rounded numbers of the one on disk."""
    if isinstance(model.transcriptome, GeneTableModule):
        table = Int8Rows(parts.table.codes, parts.table.scales).vectors()
        model.transcriptome.table.copy_(torch.from_numpy(table))
    if isinstance(model.text_head, MemoryModule):
        values = Int8Rows(parts.tensors["memory_values"], parts.tensors["memory_value_scales"]).vectors()
        model.text_head.values.copy_(torch.from_numpy(values))


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
