"""From modules that learned to a model at rest: its configuration and tensors, and folders of towers that changed as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.model.checkpoint import ModelParts
from atlas.model.config import LoraRecord, MemoryHead, ModelConfig, ProjectionHead, Source, TextConfig
from atlas.model.encoding import quiet_transformers
from atlas.model.gene_table import GeneTable
from atlas.model.projection import projection_tensors
from atlas.model.tensors import ADAPTER_PREFIX, TEXT_PREFIX, TRANSCRIPTOME_PREFIX
from indexer.training.geneformer import geneformer_at_rest
from indexer.training.modules import MemoryModule
from indexer.training.presets import Preset
from indexer.training.towers import Base
from indexer.training.two_towers import TwoTowers

TEXT_FOLDER = "text_tower"


def model_parts(model: TwoTowers, *, preset: Preset, base: Base, out: Path) -> ModelParts:
    """Return the trained model at rest; towers that changed as a whole are written into folders of ``out``.

    Parameters
    ----------
    model
        In evaluation mode, on any device.
    out
        Folder the model will be written to.
    """
    text, text_tensors = _text_at_rest(model, preset=preset, out=out)
    tensors = dict(text_tensors)
    statistics = base.parts.config.statistics
    if base.geneformer is None:
        transcriptome: Any = base.parts.config.transcriptome
        table = GeneTable.from_vectors(_numpy(model.transcriptome.table), rows=base.parts.table.rows, rescaled=True)
        tensors |= table.tensors()
        tensors |= {n: t for n, t in base.parts.tensors.items() if n.startswith("statistics_") or n == "cell_medians"}
    else:
        statistics = None
        locked = model.transcriptome.locked
        transcriptome = geneformer_at_rest(model.transcriptome, spec=preset.transcriptome, out=None if locked else out)
        if preset.transcriptome.head is not None:
            tensors |= projection_tensors(model.transcriptome_head, prefix=TRANSCRIPTOME_PREFIX)
    dim = preset.dim if preset.transcriptome.head is not None else int(model.transcriptome.dim)
    config = ModelConfig(
        dim=dim,
        logit_scale=float(model.loss.scale.detach()),
        text=text,
        transcriptome=transcriptome,
        statistics=statistics,
    )
    memory = base.parts.memory if isinstance(text.head, MemoryHead) else None
    return replace(base.parts, config=config, tensors=tensors, memory=memory)


def _text_at_rest(model: TwoTowers, *, preset: Preset, out: Path) -> tuple[TextConfig, dict[str, np.ndarray]]:
    from atlas.model.text_encoder import encoder_fingerprint
    from atlas.model.text_tower import MINILM_MAX_TOKENS

    spec, module = preset.text, model.text
    tensors: dict[str, np.ndarray] = {}
    adapter = None
    source = None if spec.tower == "minilm" else Source(path=_absolute(spec.source or ""), revision=spec.revision)
    fingerprint = module.fingerprint
    if module.adapted:
        adapter, tensors = low_rank_changes(module.encoder)
    elif not module.locked:
        folder = out / TEXT_FOLDER
        with quiet_transformers():
            module.encoder.save_pretrained(str(folder))
            module.tokenizer.save_pretrained(str(folder))
        source = Source(path=TEXT_FOLDER)
        fingerprint = encoder_fingerprint(folder, pooling=spec.pooling, max_tokens=spec.max_tokens)
    head: MemoryHead | ProjectionHead = ProjectionHead()
    if isinstance(model.text_head, MemoryModule):
        learned = model.text_head.at_rest()
        head = learned.config
        tensors |= learned.tensors()
    else:
        tensors |= projection_tensors(model.text_head, prefix=TEXT_PREFIX)
    config = TextConfig(
        tower=spec.tower,
        source=source,
        dim=module.dim,
        fingerprint=fingerprint,
        pooling=spec.pooling,
        max_tokens=MINILM_MAX_TOKENS if spec.tower == "minilm" else spec.max_tokens,
        templates=spec.templates,
        adapter=adapter,
        head=head,
    )
    return config, tensors


def low_rank_changes(encoder: Any) -> tuple[LoraRecord, dict[str, np.ndarray]]:
    """Take the low-rank matrices out of a peft model."""
    tensors: dict[str, np.ndarray] = {}
    modules, rank, alpha = [], 0, 0.0
    for name, part in encoder.base_model.model.named_modules():
        if not hasattr(part, "lora_A"):
            continue
        modules.append(name)
        rank, alpha = int(part.r["default"]), float(part.lora_alpha["default"])
        tensors[f"{ADAPTER_PREFIX}{name}.a"] = _numpy(part.lora_A["default"].weight)
        tensors[f"{ADAPTER_PREFIX}{name}.b"] = _numpy(part.lora_B["default"].weight)
    return LoraRecord(rank=rank, alpha=alpha, modules=tuple(modules)), tensors


def _absolute(source: str) -> str:
    return str(Path(source).absolute()) if Path(source).is_dir() else source


def _numpy(tensor: Any) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
