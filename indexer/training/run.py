"""A run of training from preset and sources to a model folder.

Writes into one folder: the model (format of ``atlas.model.checkpoint``), ``training.json`` (preset, data, split, versions, what
was chosen), ``log.csv``, ``tensorboard/``, ``checkpoints/`` and ``features/`` of frozen towers. The checkpoint that finds
held-out pairs best becomes the model; where training began counts as one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from atlas.locks import LOCK, one_writer
from atlas.model.checkpoint import ModelParts, model_hash, write_model
from atlas.model.quantised import Int8Rows
from indexer.stage import Progress, silent_progress
from indexer.training.at_rest import model_parts
from indexer.training.batches import Batches
from indexer.training.checkpoints import CHECKPOINTS, load_learned, save_learned
from indexer.training.data import weigh_by_density
from indexer.training.disk import writing
from indexer.training.draws import MixtureSampler
from indexer.training.features import FeatureCache
from indexer.training.held_out import HeldOut
from indexer.training.job import Job, n_processes
from indexer.training.modules import GeneTableModule, MemoryModule
from indexer.training.record import RunRecord
from indexer.training.start import refuse_seen
from indexer.training.towers import Base, begin_with_closed_form, build, open_base
from indexer.training.trainer import COUNTS, ContrastiveTrainer, Run
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


def train(job: Job, *, resume: bool = False, progress: Progress = silent_progress) -> TrainingReport:
    """Train and write a model folder.

    Parameters
    ----------
    job
        What to do.
    resume
        Go on from the newest checkpoint, if there is one.
    progress
        Draws a bar.

    Raises
    ------
    ConfigError
        If the folder is in use, the preset cannot be trained, or the start may have seen what is held out.
    InputError
        If nothing is left to train on, fewer items than meet in a batch, a batch is empty, or the loss is no number.
    ArtifactError
        If weights are missing, or a run is to go on with another preset or other data.
    BusyError
        If another process trains into the folder.
    ResourceError
        If the disk is full, or the folder may not be written.
    """
    base = job.base or open_base(job.preset)
    if job.preset.closed_form is None and base.geneformer is None:
        refuse_seen(base, job.rows)
    sampler = job.order()
    record = RunRecord.make(
        job.out,
        preset=job.preset,
        sources=job.sources,
        rows=job.rows,
        start=model_hash(base.folder),
        n_steps=job.n_steps,
        world=n_processes(),
    )
    record.enter(resume=resume, first=_is_first())  # a folder that is refused is left as it is
    with _alone(job.out):
        record = record.enter(resume=resume, first=_is_first())  # another run may have been there meanwhile
        return _run(job, base=base, sampler=sampler, record=record, resume=resume, progress=progress)


def _run(
    job: Job, *, base: Base, sampler: MixtureSampler, record: RunRecord, resume: bool, progress: Progress
) -> TrainingReport:
    from transformers import set_seed

    preset, n_steps = job.preset, record.content["n_steps"]
    if preset.closed_form is not None:
        base = begin_with_closed_form(base, preset, job.items, rows=job.rows.train)
    set_seed(preset.seed)
    model = build(preset, base)
    with writing(job.out):
        if _is_first():
            record.begin()
    batches = _batches(job, model=model)
    held_out = HeldOut(
        batches,
        rows=job.rows.validation,
        n_items=preset.validation.n_items,
        template=preset.text.templates[0],
        seed=preset.seed,
    )
    if n_steps == 0:
        parts = base.parts if _is_first() else None
        return _finish(parts, model=model, held_out=held_out, record=record.add(chosen=START))
    trainer = ContrastiveTrainer(
        Run(preset, job.out, n_steps=n_steps, device=job.device, save_every=job.save_every),
        model=model,
        batches=batches,
        sampler=sampler,
        validate=held_out.measure if len(held_out) >= 2 else None,
        progress=progress,
    )
    with writing(job.out):
        record = _start(trainer, model=model, held_out=held_out, record=record)
    trainer.start_or_resume(resume=resume)
    chosen = _choose(trainer, model=model, record=record, choose_by=preset.validation.choose_by)
    parts = _parts(job, model=model, base=base, chosen=chosen) if _is_first() else None
    facts = {"chosen": chosen, "n_steps": trainer.state.global_step, **trainer.counts}
    return _finish(parts, model=model, held_out=held_out, record=record.add(**facts))


def _parts(job: Job, *, model: TwoTowers, base: Base, chosen: str) -> ModelParts:
    """Return the model at rest: what was learned, or the start, which is a model itself if it came with its memory."""
    if chosen == START and isinstance(model.text_head, MemoryModule) and model.text.locked:
        return base.parts
    with writing(job.out):
        return model_parts(model.eval(), preset=job.preset, base=base, out=job.out)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder of a run, which leaves nothing behind if it ends before it began; further processes rely on the first."""
    if not _is_first():
        yield
        return
    new = not folder.exists()
    with one_writer(folder, purpose="training", who="run of training", option="--out"):
        try:
            yield
        finally:
            if new and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


def _batches(job: Job, *, model: TwoTowers) -> Batches:
    """Return what makes batches; features of a locked encoder are kept, those of a gene table are as quick to make."""
    sampling, features = job.preset.sampling, job.features or job.out / "features"
    if sampling.density:
        weigh_by_density(job.items, job.rows.train)
    caches: dict[str, FeatureCache | None] = {"transcriptome": None, "text": None}
    for name in caches:
        tower: Any = getattr(model, name)
        if tower.locked and not isinstance(tower, GeneTableModule):
            caches[name] = FeatureCache(features / f"{name}-{tower.fingerprint[:32]}", dim=tower.dim)
    return Batches(
        job.items,
        model,
        seed=job.preset.seed,
        replicates=sampling.caption_replicates,
        augment=sampling.augment,
        sample_weights=sampling.sample_weights,
        templates=job.preset.text.templates,
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


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
