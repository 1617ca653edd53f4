"""Language models of a few thousand parameters in the layouts of real ones, and interpreters of toy genes around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from cell_files import cells, write_cells
from tiny_encoder import write_tiny_encoder
from toy_model import ToyTextTower, gene_word, toy_genes

from atlas.interpreter.cell_genes import GeneReader
from atlas.interpreter.config import GeneTokens, GeneVectorsRecord, NetworkConfig, StrengthForm
from atlas.interpreter.gene_vectors import GeneVectors
from atlas.interpreter.network import Cells, Network
from atlas.interpreter.reader import Reader, load_reader
from atlas.model.config import Source
from atlas.model.encoding import quiet_transformers
from indexer.interpreter.presets import Preset

SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")
WORDS = (
    "what",
    "is",
    "the",
    "cell",
    "type",
    "of",
    "this",
    "given",
    "embedding",
    "?",
    "heart",
    "liver",
    "brain",
    "blood",
    "skin",
)
INSTRUCTION = "what is the cell type"
ENCODER_INSTRUCTION = "heart liver a piece of"  # words the tiny encoder knows
TOP_K = 6


def write_tiny_llama(folder: Path, *, seed: int = 0) -> Path:
    """Write a Llama of two layers with its tokenizer, which begins every text with ``<s>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: i for i, word in enumerate((*SPECIALS, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1200, bos_token_id=1, eos_token_id=2, pad_token_id=3,
        initializer_range=0.2,
    )  # fmt: skip
    with quiet_transformers():
        LlamaForCausalLM(config).save_pretrained(str(folder))
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
        ).save_pretrained(str(folder))
    return folder


def write_reader(folder: Path, kind: str) -> Path:
    """Write a tiny ``llama`` or ``bert``."""
    return write_tiny_llama(folder) if kind == "llama" else write_tiny_encoder(folder)


def tiny_reader(folder: Path, kind: str) -> Reader:
    """Write and load one."""
    return load_reader(Source(path=str(write_reader(folder, kind))))


def instruction(reader: Reader) -> str:
    """Return words that the reader knows."""
    return INSTRUCTION if reader.kind == "causal" else ENCODER_INSTRUCTION


def toy_gene_vectors(n: int = 64, *, without: tuple[int, ...] = ()) -> GeneVectors:
    """Genes G0... and Mus0..., each of which speaks of one word in its description."""
    table = toy_genes(n, n_mouse=n)
    vectors = ToyTextTower().embed([gene_word(i) for i in range(n)] * 2)
    rows = np.arange(2 * n)
    rows[list(without)] = -1
    return GeneVectors.of(table, vectors, rows=rows, record=GeneVectorsRecord(kind="descriptions", encoder="toy"))


def toy_gene_reader(vectors: GeneVectors | None = None, *, top_k: int = TOP_K) -> GeneReader:
    """Reads toy genes by expression."""
    found = vectors or toy_gene_vectors()
    return GeneReader(
        found.gene_map, found.has_vector, GeneTokens(top_k=top_k, order="expression", strength="direction")
    )


def tiny_network(
    reader: Reader,
    *,
    n_labels: int = 3,
    domain_dim: int = 0,
    strength: StrengthForm = "direction",
    dropout: float = 0.0,
    label_texts: torch.Tensor | None = None,
    label_words: torch.Tensor | None = None,
) -> Network:
    """Return a network that has learned nothing."""
    torch.manual_seed(1)
    vectors = toy_gene_vectors()
    config = NetworkConfig(
        gene_dim=vectors.dim, hidden=8, instruction=instruction(reader), dropout=dropout, answers=True
    )
    return Network(
        reader,
        torch.from_numpy(vectors.table()),
        config,
        n_labels=n_labels,
        domain_dim=domain_dim,
        strength=strength,
        label_texts=label_texts,
        label_words=label_words,
    )


def some_cells(n: int = 5, *, domain_dim: int = 0, seed: int = 0) -> Cells:
    """Cells of one to six genes."""
    rng = np.random.default_rng(seed)
    genes = rng.integers(0, 64, (n, TOP_K))
    genes[np.arange(TOP_K)[None, :] > rng.integers(0, TOP_K, n)[:, None]] = -1
    strengths = np.where(genes >= 0, rng.random((n, TOP_K)), 0.0).astype(np.float32)
    domain = torch.from_numpy(rng.normal(size=(n, domain_dim)).astype(np.float32)) if domain_dim else None
    return Cells(torch.from_numpy(genes), torch.from_numpy(strengths), domain)


def tiny_preset(reader: Path, **changes: Any) -> Preset:
    """A preset that trains in a second; ``changes`` replace whole sections."""
    told: dict[str, Any] = {
        "name": "tiny",
        "summary": "of toys",
        "reader": {"source": str(reader)},
        "genes": {"top_k": TOP_K, "order": "expression", "strength": "direction"},
        "vectors": {"kind": "symbols"},
        "network": {"hidden": 8, "dropout": 0.0, "instruction": "what is the cell type"},
        "training": {"epochs": 2, "batch": 8, "learning_rate": 0.01, "gene_dropout": 0.0},
    }
    return Preset.model_validate({**told, **changes})


def toy_file(folder: Path, labels: list[str], *, name: str = "toy.h5ad", **options: Any) -> Path:
    """Write cells of toy genes."""
    return write_cells(folder / name, cells(labels, **options))
