"""A source of pairs and two towers small enough to train in a blink: words are genes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from toy_model import WORDS

from atlas.expression.align import AlignedExpression, Coverage
from atlas.expression.units import Unit
from indexer.training.losses import ContrastiveLoss, LossWeights
from indexer.training.modules import UnitLength
from indexer.training.two_towers import TwoTowers

COVERAGE = Coverage(1, 1, 1, 1, 0, "symbol", "human", ())


class ToySource:
    """Item i speaks of word i: its caption names the word, the genes of that word stand high."""

    kind = "corpus"

    def __init__(self, n_items: int, *, n_genes: int = 64, name: str = "toy", seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.name = name
        self.item_ids = tuple(f"S{i}" for i in range(n_items))
        self.blocks = np.array([f"study {i}" for i in range(n_items)])
        self.weights = np.ones(n_items, dtype=np.float32)
        self.values = rng.poisson(20, size=(n_items, n_genes)).astype(np.float32)
        for i in range(n_items):
            self.values[i, i % len(WORDS) :: len(WORDS)] += 300
        self.fingerprint = hashlib.sha256(self.values.tobytes() + name.encode()).hexdigest()
        self.asked: list[tuple[list[int], Any]] = []

    def __len__(self) -> int:
        return len(self.item_ids)

    def links(self) -> Iterator[tuple[int, str]]:
        yield from ((i, f"study:{block}") for i, block in enumerate(self.blocks))

    def captions(self, row: int) -> tuple[str, ...]:
        word = WORDS[row % len(WORDS)]
        return (f"{word} number {row}", f"a piece of {word} number {row}")

    def expression(self, rows: Sequence[int], *, rng: Any = None) -> AlignedExpression:
        self.asked.append((list(rows), rng))
        values = self.values[np.asarray(rows, dtype=np.int64)].copy()
        if rng is not None:
            for place, row in enumerate(rows):
                values[place] *= rng.of(self.name, row).uniform(0.5, 1.5)
        return AlignedExpression(
            values=values,
            measured=np.ones(values.shape, dtype=bool),
            units=(Unit.COUNTS,) * len(values),
            sample_ids=tuple(self.item_ids[row] for row in rows),
            coverage=COVERAGE,
        )


class ToyExpressionTower(nn.Module):
    """log1p of the values through one linear layer."""

    locked = False
    fingerprint = "0" * 64

    def __init__(self, n_genes: int = 64, dim: int = 12, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer = nn.Linear(n_genes, dim)
        self.dropout = nn.Dropout(dropout)
        self.dim = dim
        self.n_seen: list[int] = []

    def tunable(self) -> Iterator[nn.Parameter]:
        yield from self.parameters()

    def read(self, source: Any, rows: Sequence[int], *, rng: Any) -> list[np.ndarray | None]:
        values = np.log1p(source.expression(rows, rng=rng).values)
        return [row if row.any() else None for row in values]

    def collate(self, rows: Sequence[np.ndarray]) -> dict[str, Tensor]:
        return {"values": torch.from_numpy(np.stack(rows))}

    def forward(self, values: Tensor) -> Tensor:
        self.n_seen.append(len(values))
        return torch.tanh(self.layer(self.dropout(values)))


class ToyTextModule(nn.Module):
    """Bag of hashed words through one linear layer."""

    locked = False
    fingerprint = "1" * 64
    n_buckets = 64

    def __init__(self, dim: int = 12, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer = nn.Linear(self.n_buckets, dim)
        self.dropout = nn.Dropout(dropout)
        self.dim = dim
        self.n_seen: list[int] = []

    def tunable(self) -> Iterator[nn.Parameter]:
        yield from self.parameters()

    def collate(self, texts: Sequence[str]) -> dict[str, Tensor]:
        bags = torch.zeros(len(texts), self.n_buckets)
        for i, text in enumerate(texts):
            for word in text.split():
                bags[i, int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.n_buckets] += 1
        return {"bags": bags}

    def n_truncated(self, texts: Sequence[str]) -> int:
        return 0

    def forward(self, bags: Tensor) -> Tensor:
        self.n_seen.append(len(bags))
        return torch.tanh(self.layer(self.dropout(bags)))


def toy_towers(
    *,
    seed: int = 0,
    dropout: float = 0.0,
    heads: bool = False,
    loss: LossWeights | None = None,
    **options: Any,
) -> TwoTowers:
    """Two toy towers; with ``heads`` the paper's heads, whose batch normalisation sees the batch."""
    from atlas.model.projection import projection_module

    torch.manual_seed(seed)
    return TwoTowers(
        transcriptome=ToyExpressionTower(dropout=dropout),
        text=ToyTextModule(dropout=dropout),
        transcriptome_head=projection_module(12, 16) if heads else UnitLength(),
        text_head=projection_module(12, 16) if heads else UnitLength(),
        loss=ContrastiveLoss(loss or LossWeights()),
        **options,
    )
