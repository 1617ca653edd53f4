"""A tiny model with readable vectors: each known word is an axis, genes are texts of such words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from atlas.expression.align import AlignedExpression
from atlas.model.checkpoint import GENES_SCHEMA, MEMORY_SCHEMA, ModelParts, write_model
from atlas.model.config import (
    CellRecipe,
    CentreHead,
    Gate,
    GeneformerConfig,
    GeneTextConfig,
    ModelConfig,
    ProjectionHead,
    Source,
    StatisticsRecord,
    TextConfig,
    TextHeadConfig,
)
from atlas.model.gene_table import GeneTable
from atlas.model.projection import projection_module, projection_tensors
from atlas.model.quantised import Int8Rows
from atlas.model.statistics import GeneStatistics
from atlas.model.text_heads import Centre, Memory
from atlas.model.transcriptome import InputKind

WORDS = ("heart", "liver", "brain", "blood", "lung", "kidney", "muscle", "skin")


class ToyTextTower:
    """One axis a known word, one more for everything else."""

    name = "toy"
    dim = len(WORDS) + 1
    fingerprint = hashlib.sha256(b"toy").hexdigest()
    max_tokens = 64  # words

    def __init__(self, config: TextConfig | None = None, *, threads: int | None = None, **_: object) -> None:
        self.threads = threads
        self.n_calls = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.n_calls += 1
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace(".", " ").split()[: self.max_tokens]:
                vectors[row, WORDS.index(word) if word in WORDS else len(WORDS)] += 1.0
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def n_truncated(self, texts: Sequence[str]) -> int:
        return sum(len(text.split()) > self.max_tokens for text in texts)


def gene_word(number: int) -> str:
    """Gene G0 speaks of the heart, G1 of the liver, and so on in turn."""
    return WORDS[number % len(WORDS)]


def toy_genes(n_human: int, *, n_mouse: int = 0) -> pa.Table:
    """Genes G0, G1, ... with the ids of ``expression_files``; mouse gene m is the ortholog of human gene m."""
    rows = [
        {
            "ensembl_id": f"ENSG{i + 1:011d}",
            "symbol": f"G{i}",
            "synonyms": [f"OLD{i}"],
            "organism": "human",
            "ortholog": "",
        }
        for i in range(n_human)
    ]
    rows += [
        {
            "ensembl_id": f"ENSMUSG{i + 1:011d}",
            "symbol": f"Mus{i}",
            "synonyms": [],
            "organism": "mouse",
            "ortholog": f"ENSG{i + 1:011d}",
        }
        for i in range(n_mouse)
    ]
    return pa.Table.from_pylist(rows, schema=GENES_SCHEMA)


def toy_parts(
    n_human: int,
    *,
    n_mouse: int = 0,
    recipe: GeneTextConfig | None = None,
    statistics: GeneStatistics | None = None,
    fitted: bool = True,
) -> ModelParts:
    """Content of a toy model; without given statistics every gene has mean 0 and deviation 1."""
    genes = toy_genes(n_human, n_mouse=n_mouse)
    numbers = [*range(n_human), *range(n_mouse)]
    vectors = ToyTextTower().embed([f"{gene_word(number)} gene" for number in numbers])
    n = len(numbers)
    if statistics is None:
        statistics = GeneStatistics(np.zeros(n, np.float32), np.ones(n, np.float32), np.full(n, 3, np.int32))
    record = StatisticsRecord(n_samples=3, n_studies=3, excluded_series=(), sources=())
    config = ModelConfig(
        dim=ToyTextTower.dim,
        text=toy_text_config(CentreHead()),
        transcriptome=recipe or GeneTextConfig(),
        statistics=record if fitted else None,
    )
    centre = Centre.fit(vectors[:n_human])
    table = GeneTable.from_vectors(centre.apply(vectors))
    tensors = {**table.tensors(), **centre.tensors(), **(statistics.tensors() if fitted else {})}
    return ModelParts(config, genes, tensors)


def toy_text_config(head: TextHeadConfig, *, templates: tuple[str, ...] = ("{x}",)) -> TextConfig:
    """The text side of a toy model."""
    return TextConfig(
        tower="toy",
        dim=ToyTextTower.dim,
        fingerprint=ToyTextTower.fingerprint,
        max_tokens=ToyTextTower.max_tokens,
        templates=templates,
        head=head,
    )


def toy_memory_parts(
    n_human: int,
    *,
    n_mouse: int = 0,
    dim: int = 16,
    recipe: GeneTextConfig | None = None,
    projection: np.ndarray | None = None,
    gates: tuple[Gate, ...] = (),
    seed: int = 0,
) -> ModelParts:
    """Content of a toy model whose phrases attend to gene sets: one set a word, of the human genes that speak of that word.

    A word's set and its genes share a random direction of ``dim`` numbers, so phrases find samples as in :func:`toy_parts`.
    Weights are signed, single cells are read as such, and mouse genes borrow the row of their human ortholog. With
    gates, words belong to the groups in turn.
    """
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(len(WORDS), dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    numbers = np.arange(n_human) % len(WORDS)
    genes = toy_genes(n_human, n_mouse=n_mouse)
    rows = np.concatenate([np.arange(n_human), np.arange(n_mouse)])
    table = GeneTable.from_vectors(directions[numbers] + 0.02 * rng.normal(size=(n_human, dim)), rows=rows)
    keys = ToyTextTower().embed(WORDS)
    if projection is not None:
        keys = keys @ projection
    memory = Memory(
        Int8Rows.from_vectors(keys),
        Int8Rows.from_vectors(directions),
        n_neighbours=3,
        projection=projection,
        groups=(np.arange(len(WORDS)) % (1 + len(gates))).astype(np.uint8) if gates else None,
        gates=gates,
    )
    n = n_human + n_mouse
    statistics = GeneStatistics(np.zeros(n, np.float32), np.ones(n, np.float32), np.full(n, 3, np.int32))
    recipe = recipe or GeneTextConfig(signed=True, power=1.0, cells=CellRecipe())
    config = ModelConfig(
        dim=dim,
        logit_scale=20.0,
        text=toy_text_config(memory.config),
        transcriptome=recipe.model_copy(update={"n_rows": n_human}),
        statistics=StatisticsRecord(n_samples=3, n_studies=3, excluded_series=(), sources=()),
    )
    tensors = {**table.tensors(), **memory.tensors(), **statistics.tensors()}
    if recipe.cells is not None:
        tensors["cell_medians"] = np.ones(n, np.float32)
    names = pa.table({"set": list(WORDS), "library": ["Toy"] * len(WORDS)}, schema=MEMORY_SCHEMA)
    return ModelParts(config, genes, tensors, names)


class ToyFeatures:
    """A transcriptome tower that is no sum over genes: features of a sample are the squares of its log values, folded."""

    dim = 6

    def __init__(self, *_: object, **__: object) -> None: ...

    def embed(self, aligned: AlignedExpression, *, kind: InputKind = "auto") -> np.ndarray:
        logs = np.square(np.log1p(aligned.values))
        folded = np.resize(logs, (len(logs), -(-logs.shape[1] // self.dim) * self.dim))
        folded[:, logs.shape[1] :] = 0
        return np.asarray(folded.reshape(len(logs), -1, self.dim).sum(axis=1), dtype=np.float32)


def toy_features_parts(n_human: int, *, head: bool = False) -> ModelParts:
    """Content of a model that names the tower ``geneformer``; put :class:`ToyFeatures` in its place before embedding."""
    parts = toy_parts(n_human)
    dim = parts.config.dim if head else ToyFeatures.dim
    tower = GeneformerConfig(
        source=Source(path="nowhere"),
        fingerprint="0" * 64,
        vocabulary="v1",
        dim=ToyFeatures.dim,
        head=ProjectionHead() if head else None,
    )
    if head:
        tensors = {name: parts.tensors[name] for name in ("centre", "removed")}
        text = parts.config.text
        tensors |= projection_tensors(projection_module(ToyFeatures.dim, dim), prefix="transcriptome_head.")
    else:
        words = Int8Rows.from_vectors(np.eye(ToyFeatures.dim))
        memory = Memory(Int8Rows.from_vectors(ToyTextTower().embed(WORDS[: ToyFeatures.dim])), words, n_neighbours=2)
        tensors, text = memory.tensors(), toy_text_config(memory.config)
    names = pa.table({"set": WORDS[:dim], "library": ["Toy"] * dim}, schema=MEMORY_SCHEMA)
    config = ModelConfig(dim=dim, text=text, transcriptome=tower)
    return ModelParts(config, parts.genes, tensors, None if head else names)


def write_toy_memory_model(folder: Path, n_human: int = 64, *, n_mouse: int = 0) -> Path:
    """Write a toy model with the head ``memory``; register ``ToyTextTower`` in ``TEXT_TOWERS`` before loading it."""
    write_model(folder, toy_memory_parts(n_human, n_mouse=n_mouse))
    return folder


def write_toy_model(folder: Path, n_human: int = 64, *, n_mouse: int = 0, fitted: bool = True) -> Path:
    """Write a toy model; register ``ToyTextTower`` in ``TEXT_TOWERS`` before loading it."""
    write_model(folder, toy_parts(n_human, n_mouse=n_mouse, fitted=fitted))
    return folder
