"""A tiny model with readable vectors: each known word is an axis, genes are texts of such words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from atlas.model.checkpoint import GENES_SCHEMA, ModelParts, write_model
from atlas.model.config import GeneTextConfig, ModelConfig, StatisticsRecord, TextConfig
from atlas.model.gene_tower import GeneTable
from atlas.model.statistics import GeneStatistics

WORDS = ("heart", "liver", "brain", "blood", "lung", "kidney", "muscle", "skin")


class ToyTextTower:
    """One axis a known word, one more for everything else."""

    name = "toy"
    dim = len(WORDS) + 1
    fingerprint = hashlib.sha256(b"toy").hexdigest()

    def __init__(self, *, threads: int | None = None) -> None:
        self.threads = threads
        self.n_calls = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.n_calls += 1
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace(".", " ").split():
                vectors[row, WORDS.index(word) if word in WORDS else len(WORDS)] += 1.0
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


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
        text=TextConfig(tower="toy", fingerprint=ToyTextTower.fingerprint),
        transcriptome=recipe or GeneTextConfig(),
        statistics=record if fitted else None,
    )
    table = GeneTable.from_vectors(vectors, reference=np.arange(n) < n_human)
    return ModelParts(config, genes, table, statistics if fitted else None)


def write_toy_model(folder: Path, n_human: int = 64, *, n_mouse: int = 0, fitted: bool = True) -> Path:
    """Write a toy model; register ``ToyTextTower`` in ``TEXT_TOWERS`` before loading it."""
    write_model(folder, toy_parts(n_human, n_mouse=n_mouse, fitted=fitted))
    return folder
