"""What learns: towers and heads as torch modules. Their counterparts at rest are in ``atlas.model``.

A tower turns a batch into features in two steps: ``collate`` makes tensors whose first axis is the batch (so that a batch can be
cut into chunks), ``forward`` makes ``(n, dim)`` features. A head turns features into L2-normalised vectors of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from atlas.expression.align import AlignedExpression
from atlas.model.config import Pooling
from atlas.model.encoding import pool
from atlas.model.quantised import Int8Rows
from atlas.model.text_heads import Memory, members
from atlas.texts import valid_utf8
from indexer.training.sources.source import GeneWeightSource, PairSource, RowRandom, Rows

_TEXTS_KEPT = 20_000  # texts whose tokens are kept: some 30 MB


class TranscriptomeModule(Protocol):
    """A transcriptome tower that can learn."""

    dim: int
    locked: bool
    fingerprint: str

    def read(self, source: PairSource, rows: Rows, *, rng: RowRandom | None) -> list[np.ndarray | None]:
        """Return what the tower reads of each row, ``None`` for a row without signal."""
        ...

    def collate(self, rows: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return tensors of a batch."""
        ...

    def tunable(self) -> Iterator[nn.Parameter]:
        """Yield what learns when the tower is unlocked."""
        ...


class GeneTableModule(nn.Module):
    """The table of gene vectors: a sample is the weighted sum of its genes' rows.

    Parameters
    ----------
    table
        ``(n_rows, dim)`` float32 to start from.
    rows_of_genes
        ``(n_genes,)`` int64, the table's row of each gene of the model, -1 for none; genes may share one.
    weigh
        Turns aligned expression into ``(n_samples, n_genes)`` float weights: the recipe of the model.
    fingerprint
        sha256 of the model the table comes from.
    """

    def __init__(
        self,
        table: np.ndarray,
        *,
        rows_of_genes: np.ndarray,
        weigh: Callable[[AlignedExpression], np.ndarray],
        fingerprint: str = "",
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float32))
        self.locked = False
        self.fingerprint = fingerprint
        self._rows_of_genes = rows_of_genes
        self.weigh = weigh

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.table.shape[1])

    def tunable(self) -> Iterator[nn.Parameter]:
        """Yield the table."""
        yield self.table

    def read(self, source: PairSource, rows: Rows, *, rng: RowRandom | None) -> list[np.ndarray | None]:
        """Return ``(n_rows of the table,)`` float32 weights of length 1 of each sample; gene lists bring their own weights."""
        if isinstance(source, GeneWeightSource):
            weights = source.gene_weights(rows, rng=rng)
        else:
            weights = self.weigh(source.expression(rows, rng=rng))
        return [self._on_table(row) for row in weights]

    def collate(self, rows: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return ``weights`` ``(n, n_rows)``."""
        return {"weights": torch.from_numpy(np.stack(rows))}

    def forward(self, weights: Tensor) -> Tensor:
        """Return ``(n, dim)``; most genes of a sample weigh something, so this is a plain matrix product."""
        return weights @ self.table

    def _on_table(self, weights: np.ndarray) -> np.ndarray | None:
        genes = np.flatnonzero(weights)
        genes = genes[self._rows_of_genes[genes] >= 0]
        out = np.zeros(self.table.shape[0], dtype=np.float64)
        np.add.at(out, self._rows_of_genes[genes], weights[genes])
        length = float(np.linalg.norm(out))
        return (out / length).astype(np.float32) if length > 0 else None


class TextModule(nn.Module):
    """A Hugging Face encoder: tokens in, pooled and L2-normalised features out.

    Parameters
    ----------
    encoder, tokenizer
        As ``transformers`` loads them.
    pooling
        ``mean`` over the tokens that are not padding, ``cls``, or ``pooler``.
    max_tokens
        Longer texts are cut, see :meth:`n_truncated`.
    dim
        Length of a vector.
    adapted
        Whether the encoder carries low-rank adapters, which then are all that learns.
    fingerprint
        sha256 of weights and tokenizer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        tokenizer: Any,
        *,
        pooling: Pooling,
        max_tokens: int,
        dim: int,
        adapted: bool = False,
        fingerprint: str = "",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.locked = False
        self.dim = dim
        self.fingerprint = fingerprint
        self.tokenizer = tokenizer
        self._pooling = pooling
        self._max_tokens = max_tokens
        self._read: dict[str, list[int]] = {}  # tokens of the texts met last
        self.adapted = adapted

    def tunable(self) -> Iterator[nn.Parameter]:
        """Yield the adapters' parameters if there are any, else all that the pooling uses."""
        for name, parameter in self.encoder.named_parameters():
            used = self._pooling == "pooler" or not name.startswith("pooler.")
            if "lora_" in name if self.adapted else used:
                yield parameter

    def collate(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask``, ``(n, longest)``."""
        texts = [valid_utf8(text) for text in texts]
        ids = self._tokens(texts)
        for i, tokens in enumerate(ids):
            if len(tokens) > self._max_tokens:  # cut by the tokenizer, which keeps the closing token
                ids[i] = self.tokenizer(texts[i], truncation=True, max_length=self._max_tokens)["input_ids"]
        width = max(map(len, ids))
        padded = torch.full((len(ids), width), self.tokenizer.pad_token_id or 0, dtype=torch.long)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for i, tokens in enumerate(ids):
            padded[i, : len(tokens)] = torch.tensor(tokens)
            mask[i, : len(tokens)] = 1
        return {"input_ids": padded, "attention_mask": mask}

    def n_truncated(self, texts: Sequence[str]) -> int:
        """Return how many of the texts :meth:`collate` cuts."""
        return sum(len(tokens) > self._max_tokens for tokens in self._tokens([valid_utf8(text) for text in texts]))

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, uncut; a text is read once, however often it comes."""
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        if len(self._read) + len(new) > _TEXTS_KEPT:
            self._read.clear()
            new = list(dict.fromkeys(texts))
        if new:
            self._read.update(zip(new, self.tokenizer(new, verbose=False)["input_ids"], strict=True))
        return [self._read[text] for text in texts]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return ``(n, dim)``."""
        width = int(attention_mask.sum(dim=1).max())  # a chunk may be narrower than its batch
        input_ids, attention_mask = input_ids[:, :width], attention_mask[:, :width]
        out = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        pooled: Tensor = pool(out, attention_mask, pooling=self._pooling)
        return functional.normalize(pooled.float(), dim=-1)


class MemoryModule(nn.Module):
    """Attention over gene sets: the head ``memory`` with values, and a matrix before the keys, that learn.

    Parameters
    ----------
    memory
        The head to start from.
    projected
        Learn a matrix before the keys, from the head's own or from the identity.
    dropout
        Chance, in training, that a set is out of sight for a text: what is learned must not hang on one name.
    """

    def __init__(self, memory: Memory, *, projected: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        keys = torch.tensor(memory.keys.vectors(), dtype=torch.float32)
        self.keys: Tensor
        self.register_buffer("keys", functional.normalize(keys, dim=-1), persistent=False)
        self.values = nn.Parameter(torch.tensor(memory.values.vectors(), dtype=torch.float32))
        start = memory.projection
        if start is None and projected:
            start = np.eye(keys.shape[1], dtype=np.float32)
        self.projection = None if start is None else nn.Parameter(torch.tensor(start, dtype=torch.float32))
        found = members(len(keys), memory.groups, memory.gates)
        self._members = [(torch.from_numpy(rows), gate) for rows, gate in found]
        self._memory = memory
        self._dropout = dropout

    def at_rest(self) -> Memory:
        """Return the head with what was learned."""
        projection = None if self.projection is None else self.projection.detach().cpu().numpy()
        values = Int8Rows.from_vectors(self.values.detach().cpu().numpy())
        return replace(self._memory, values=values, projection=projection)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(n, dim)``, L2-normalised."""
        with torch.autocast(features.device.type, enabled=False):  # else rounding, not the text, picks the nearest sets
            queries = features.float() if self.projection is None else features.float() @ self.projection
            cosines = functional.normalize(queries, dim=-1) @ self.keys.T
        if self.training and self._dropout:
            cosines = cosines.masked_fill(torch.rand_like(cosines) < self._dropout, -2.0)
        (terms, _), *further = self._members
        mixed, first = self._attend(cosines, terms.to(cosines.device))
        for terms, gate in further:
            added, best = self._attend(cosines, terms.to(cosines.device))
            if gate is not None:
                share = gate.weight * torch.sigmoid((best - first - gate.offset) / gate.slope)
                mixed = mixed + share[:, None] * added
        return functional.normalize(mixed, dim=-1)

    def _attend(self, cosines: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixture of the nearest of ``terms``, ``(n, dim)``, and their best cosine, ``(n,)``."""
        nearest = cosines[:, terms].topk(min(self._memory.n_neighbours, len(terms)), dim=1)
        shares = torch.softmax(nearest.values / self._memory.temperature, dim=1)
        mixed = functional.embedding_bag(
            terms[nearest.indices], self.values, per_sample_weights=shares.to(self.values.dtype), mode="sum"
        )
        return mixed, nearest.values[:, 0]


class UnitLength(nn.Module):
    """The head of a tower that is its own joint space."""

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(n, dim)``, L2-normalised."""
        return functional.normalize(features, dim=-1)
