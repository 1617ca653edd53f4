"""A Hugging Face encoder of a few thousand parameters, saved as a real one is, and models that start from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from toy_model import WORDS, toy_memory_parts

from atlas.model.checkpoint import write_model
from atlas.model.config import Source, TextConfig
from atlas.model.encoding import quiet_transformers
from atlas.model.quantised import Int8Rows
from atlas.model.text_heads import Memory

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
HIDDEN = 16
LONGEST = 32


def write_tiny_encoder(folder: Path, *, seed: int = 0, dropout: float = 0.0) -> Path:
    """Write config, weights and tokenizer of a one-layer BERT whose words are those of the toy model and digits."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    words = [*SPECIALS, *WORDS, "number", "a", "piece", "of", *map(str, range(10)), *(f"##{i}" for i in range(10))]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=LONGEST,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with quiet_transformers():
        BertModel(config).save_pretrained(str(folder))
        BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=LONGEST).save_pretrained(str(folder))
    return folder


def write_tiny_memory_model(folder: Path, encoder: Path, n_human: int = 64, *, max_tokens: int = LONGEST) -> Path:
    """Write a toy model with the head ``memory`` whose keys are the tiny encoder's vectors of the words."""
    from atlas.model.text_encoder import EncoderTower

    tower = EncoderTower(encoder, pooling="mean", max_tokens=max_tokens)
    parts = toy_memory_parts(n_human)
    values = Int8Rows(parts.tensors["memory_values"], parts.tensors["memory_value_scales"])
    memory = Memory(Int8Rows.from_vectors(tower.embed(WORDS)), values, n_neighbours=3)
    text = TextConfig(
        tower="encoder",
        source=Source(path=str(encoder)),
        dim=HIDDEN,
        fingerprint=tower.fingerprint,
        pooling="mean",
        max_tokens=max_tokens,
        head=memory.config,
    )
    config = parts.config.model_copy(update={"text": text})
    write_model(folder, replace(parts, config=config, tensors={**parts.tensors, **memory.tensors()}))
    return folder


def spread(n: int, *, every: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and every fifth held out."""
    rows = np.arange(n)
    return rows[rows % every != 0], rows[rows % every == 0]
