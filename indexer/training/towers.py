"""From a preset to modules that learn.

In: a :class:`Preset` and what it starts from. Out: :class:`TwoTowers`; :mod:`indexer.training.at_rest` goes the other way.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from atlas.errors import ArtifactError, ConfigError
from atlas.expression.genes import GeneMap
from atlas.model.checkpoint import ModelParts, read_model
from atlas.model.config import GeneTextConfig, MemoryHead, Source
from atlas.model.projection import projection_module
from atlas.model.text_heads import Memory
from atlas.resources import resource_path
from indexer.training.geneformer import open_geneformer
from indexer.training.locking import Locking, lock
from indexer.training.losses import ContrastiveLoss, LossWeights
from indexer.training.modules import GeneTableModule, MemoryModule, TextModule, UnitLength
from indexer.training.presets import LoraSpec, Preset, TextSpec
from indexer.training.sources.source import PairSource
from indexer.training.two_towers import TwoTowers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Base:
    """What a run starts from.

    Attributes
    ----------
    parts
        A model folder: genes, statistics and, for ``gene_text``, the table and the memory to start from.
    folder
        Where it lies.
    geneformer
        Folder of Geneformer's weights, for that tower.
    """

    parts: ModelParts
    folder: Path
    geneformer: Path | None = None

    @property
    def genes(self) -> GeneMap:
        """The genes that sources must bring their expression to."""
        return self.parts.gene_map


def open_base(preset: Preset) -> Base:
    """Open what the preset's transcriptome tower starts from.

    Raises
    ------
    ArtifactError
        If a folder is missing, has no weights, or is no start for this preset.
    """
    spec = preset.transcriptome
    if spec.tower == "geneformer":
        folder = resource_path("starter/model")
        weights = Path(spec.source or "")
        if not spec.source or not weights.is_dir():
            raise ArtifactError(
                f"The preset {preset.name} starts from the Geneformer weights {spec.source!r}, which is no folder here. "
                "Fetch them (geo-atlas model fetch geneformer-v1-12l) and give their folder with --transcriptome.",
                kind="missing",
                details={"seen": spec.source},
            )
        return Base(read_model(folder), folder, weights)
    folder = Path(spec.source) if spec.source else resource_path("starter/model")
    parts = read_model(folder)
    if not isinstance(parts.config.transcriptome, GeneTextConfig) or parts.statistics is None:
        raise ArtifactError(
            f"The model in {folder} is no start for the tower 'gene_text': it has "
            f"{'no gene statistics' if parts.statistics is None else 'the tower ' + parts.config.transcriptome.tower}. "
            "Give a fitted gene_text model with --transcriptome.",
            kind="incompatible",
        )
    return Base(parts, folder)


def begin_with_closed_form(base: Base, preset: Preset, sources: Sequence[PairSource], *, rows: Sequence[Any]) -> Base:
    """Return a base whose gene table and memory are made from the data in closed form.

    Parameters
    ----------
    rows
        Of each source, the rows that may be used.

    Raises
    ------
    ConfigError
        If the preset has no closed form, or another text tower than the base.
    InputError
        If the data hold no gene sets of its libraries, or no samples.
    """
    from atlas.model.joint import JointModel
    from indexer.training.closed_form import closed_form

    if preset.closed_form is None or preset.text.tower != base.parts.config.text.tower:
        raise ConfigError(
            f"The closed form names its sets by the text tower {base.parts.config.text.tower!r} of {base.folder}; "
            f"the preset has {preset.text.tower!r}. Use the same, or leave closed_form out."
        )
    embed = JointModel.of_parts(base.parts, folder=base.folder).embed_raw_texts
    return replace(base, parts=closed_form(base.parts, sources, rows=rows, spec=preset.closed_form, embed=embed))


def build(preset: Preset, base: Base) -> TwoTowers:
    """Make the modules, as the preset locks them; random numbers must be seeded before.

    Raises
    ------
    ArtifactError
        If weights are missing or do not fit.
    ConfigError
        If the preset asks for what cannot be trained or stored.
    """
    locking = Locking.parse(preset.locking)
    transcriptome: Any
    if base.geneformer is None:
        transcriptome = _gene_table(base)
    else:
        transcriptome = open_geneformer(base.geneformer, genes=base.parts.genes, spec=preset.transcriptome)
    dim = int(transcriptome.dim) if preset.transcriptome.head is None else preset.dim
    text = _text(preset.text, unlocked=locking.text)
    model = TwoTowers(
        transcriptome=transcriptome,
        transcriptome_head=UnitLength()
        if preset.transcriptome.head is None
        else projection_module(transcriptome.dim, dim),
        text=text,
        text_head=_text_head(preset.text, base, text_dim=text.dim, dim=dim),
        loss=ContrastiveLoss(
            LossWeights(preset.loss.clip, preset.loss.jsd, preset.loss.siglip),
            scale=preset.loss.scale,
            max_scale=preset.loss.max_scale,
            learnable=preset.loss.learnable_scale,
        ),
        chunk=preset.batch.size if preset.batch.cached_gradients else None,
        ignore_equal_texts=preset.loss.equal_texts == "ignored",
        anchor=preset.loss.anchor,
    )
    lock(model.transcriptome, unlocked=locking.transcriptome)
    lock(model.text, unlocked=locking.text)
    if preset.loss.anchor:
        closed_form = ("transcriptome.table", "text_head.values", "text_head.projection")
        model.anchor_to_start(*(n for n, p in model.named_parameters() if n in closed_form and p.requires_grad))
    return model


def _gene_table(base: Base) -> GeneTableModule:
    from atlas.model.gene_tower import GeneTextTower

    parts = base.parts
    tower = GeneTextTower.read(parts)

    def weigh(aligned: Any) -> np.ndarray:
        return np.stack([tower.weights(aligned, row) for row in range(len(aligned.sample_ids))])

    table = parts.table
    rows = np.arange(table.n_genes) if table.rows is None else table.rows.astype(np.int64)
    vectors = table.codes.astype(np.float32) * table.scales[:, None]
    return GeneTableModule(vectors, rows_of_genes=rows, weigh=weigh)


def _text(spec: TextSpec, *, unlocked: bool) -> TextModule:
    from atlas.model.text_encoder import encoder_fingerprint, find_source, load_encoder, n_positions
    from atlas.model.text_tower import MINILM_MAX_TOKENS, minilm_fingerprint, packaged_minilm_folder

    packaged = spec.tower == "minilm"
    folder = (
        packaged_minilm_folder() if packaged else find_source(Source(path=spec.source or "", revision=spec.revision))
    )
    tokenizer, encoder, has_pooler = load_encoder(folder)
    if spec.pooling == "pooler" and not has_pooler:
        raise ArtifactError(
            f"The encoder in {folder} has no trained pooler. Use --set text.pooling=mean or cls.", kind="incompatible"
        )
    limit = n_positions(encoder, tokenizer)
    max_tokens = MINILM_MAX_TOKENS if packaged else spec.max_tokens  # it is pinned with its files
    if max_tokens > limit:
        raise ConfigError(f"text.max_tokens is {max_tokens}; the encoder in {folder} reads at most {limit} tokens.")
    fingerprint = (
        minilm_fingerprint()
        if packaged
        else encoder_fingerprint(folder, pooling=spec.pooling, max_tokens=spec.max_tokens)
    )
    adapter = spec.adapter
    if unlocked and packaged and adapter is None:
        adapter = LoraSpec()  # its files are pinned by their sums: it can only change by what lies beside them
        logger.info("the packaged text tower learns by low-rank adapters of rank %d", adapter.rank)
    return TextModule(
        with_adapter(encoder, adapter) if unlocked and adapter else encoder,
        tokenizer,
        pooling=spec.pooling,
        max_tokens=max_tokens,
        dim=int(encoder.config.hidden_size),
        adapted=unlocked and adapter is not None,
        fingerprint=fingerprint,
    )


def with_adapter(encoder: Any, spec: LoraSpec) -> nn.Module:
    """Put low-rank adapters beside the linear layers whose names end as ``targets`` say.

    Raises
    ------
    ConfigError
        If no layer is called so.
    """
    from peft import LoraConfig, get_peft_model

    if not any(name.endswith(spec.targets) for name, part in encoder.named_modules() if isinstance(part, nn.Linear)):
        raise ConfigError(
            f"No linear layer of the encoder is called {' or '.join(spec.targets)}; set the adapter's targets "
            "(text.adapter.targets; of an interpreter reader.adapter.targets) to names it has."
        )
    config = LoraConfig(
        r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=list(spec.targets), bias="none"
    )
    with warnings.catch_warnings():  # it asks transformers for a name that is about to change
        warnings.simplefilter("ignore", FutureWarning)
        adapted: nn.Module = get_peft_model(encoder, config)
    return adapted


def _text_head(spec: TextSpec, base: Base, *, text_dim: int, dim: int) -> nn.Module:
    if spec.head == "projection":
        return projection_module(text_dim, dim)
    config = base.parts.config
    if not isinstance(config.text.head, MemoryHead) or config.dim != dim:
        raise ArtifactError(
            f"The head 'memory' starts from a model that has one; the one in {base.folder} has the head "
            f"{config.text.head.kind!r} and {config.dim} dimensions. Give another with --transcriptome, or "
            "--set text.head=projection.",
            kind="incompatible",
        )
    if text_dim != config.text.dim:
        raise ConfigError(
            f"The names of the memory are read by a text tower of {config.text.dim} dimensions, this one has {text_dim}. "
            "Use the text tower the memory was made with."
        )
    if config.text.tower != spec.tower or config.text.adapter is not None:
        made_with = config.text.tower if config.text.adapter is None else f"{config.text.tower} with an adapter"
        raise ConfigError(
            f"The names of the memory in {base.folder} are read by the text tower {made_with}, not by the {spec.tower} that "
            "training begins with. Use the text tower the memory was made with, or --set text.head=projection."
        )
    memory = Memory.read(base.parts.tensors, config.text)
    module = MemoryModule(memory, projected=spec.memory_keys, dropout=spec.memory_dropout)
    module.values.requires_grad_(spec.memory_values)
    if module.projection is not None:
        module.projection.requires_grad_(spec.memory_keys)
    return module
