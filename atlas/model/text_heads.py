"""Text heads: from the text tower's vectors to vectors of the joint space.

In: ``(n, text dim)`` float32 raw vectors. Out: ``(n, dim)`` float32, L2-normalised; each row depends on its own raw vector
alone, bit for bit. Which head a model has is told by ``config.text.head``; :data:`TEXT_HEADS` maps its kind to a factory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np

from atlas.model.config import CentreHead, Gate, MemoryHead, ProjectionHead, TextConfig
from atlas.model.projection import Projection
from atlas.model.quantised import Int8Rows

Tensors = Mapping[str, np.ndarray]

_TINY = float(np.finfo(np.float32).tiny)
_ROWS_AT_ONCE = 256
_FEW_QUERIES = 4
_CANDIDATE_MARGIN = 1e-4  # far above the rounding of a float32 product of unit vectors


class TextHead(Protocol):
    """Turns raw text vectors into joint ones."""

    def embed(self, raw: np.ndarray) -> np.ndarray:
        """Return ``(n, dim)`` float32, L2-normalised, of ``(n, text dim)`` float32."""
        ...


@dataclass(frozen=True)
class Centre:
    """The head ``centre``: what all gene texts share is taken away.

    Attributes
    ----------
    centre
        ``(dim,)`` float32, the mean gene text vector, subtracted from genes and phrases.
    removed
        ``(n_removed, dim)`` float32, orthonormal directions projected out of both sides.
    """

    centre: np.ndarray
    removed: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, *, n_removed: int = 0) -> Centre:
        """Return the mean of ``(n, dim)`` reference vectors and their leading principal components."""
        centre = vectors.mean(axis=0)
        removed = np.zeros((0, vectors.shape[1]), dtype=np.float32)
        if n_removed:
            removed = np.linalg.svd(vectors - centre, full_matrices=False)[2][:n_removed]
        return cls(centre.astype(np.float32), removed.astype(np.float32))

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Return ``(n, dim)`` vectors centred and without the removed directions, not normalised."""
        centred = vectors - self.centre
        return np.asarray(centred - (centred @ self.removed.T) @ self.removed)

    def embed(self, raw: np.ndarray) -> np.ndarray:
        """Return ``(n, dim)`` float32, L2-normalised."""
        centred = np.zeros(raw.shape, dtype=np.float64)
        for i, row in enumerate(raw):  # row by row: a product of many rows rounds differently with their number
            centred[i] = self.apply(row)
        return _normalised(centred)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors of the model file."""
        return {"centre": self.centre, "removed": self.removed}

    @classmethod
    def read(cls, tensors: Tensors, config: TextConfig) -> Centre:
        """Return the head stored in ``tensors``."""
        return cls(tensors["centre"], tensors["removed"])


@dataclass(frozen=True)
class Memory:
    """The head ``memory``: a phrase is the mixture of the gene sets whose names mean nearly the same.

    Attributes
    ----------
    keys, values
        ``(n_terms, key dim)`` vectors of the names, of any length, and ``(n_terms, dim)`` vectors of the sets, which enter as
        long as they are; int8 with scales.
    n_neighbours, temperature
        Names that a phrase attends to, and how sharply.
    projection
        ``(text dim, key dim)`` float32 or ``None``, applied to a phrase before it meets the keys.
    groups, gates
        ``(n_terms,)`` uint8 and how much groups 1, 2, ... add to group 0; ``None`` and none where all sets are one group.

    Notes
    -----
    The nearest names are found with one float32 product and then measured again in float64, row by row, so that the answer
    depends neither on the texts asked together nor on the machine's way of multiplying; of equally near names the first wins.

    Source: attention as in Vaswani et al. 2017, over a fixed memory; cosines, few neighbours, groups and int8 are ours.
    """

    keys: Int8Rows
    values: Int8Rows
    n_neighbours: int = 10
    temperature: float = 0.05
    projection: np.ndarray | None = None
    groups: np.ndarray | None = None
    gates: tuple[Gate, ...] = ()

    @property
    def config(self) -> MemoryHead:
        """What ``config.json`` says of this head."""
        return MemoryHead(
            n_terms=len(self.keys),
            key_dim=self.keys.codes.shape[1],
            n_neighbours=self.n_neighbours,
            temperature=self.temperature,
            projected=self.projection is not None,
            gates=self.gates,
        )

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors of the model file."""
        found = {
            "memory_keys": self.keys.codes,
            "memory_key_scales": self.keys.scales,
            "memory_values": self.values.codes,
            "memory_value_scales": self.values.scales,
            "memory_projection": self.projection,
            "memory_groups": None if self.groups is None else self.groups.astype(np.uint8),
        }
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    @classmethod
    def read(cls, tensors: Tensors, config: TextConfig) -> Memory:
        """Return the head stored in ``tensors``."""
        head = config.head
        if not isinstance(head, MemoryHead):
            raise TypeError(f"the head is {head.kind}")
        return cls(
            Int8Rows(tensors["memory_keys"], tensors["memory_key_scales"]),
            Int8Rows(tensors["memory_values"], tensors["memory_value_scales"]),
            head.n_neighbours,
            head.temperature,
            tensors.get("memory_projection"),
            tensors.get("memory_groups"),
            head.gates,
        )

    def embed(self, raw: np.ndarray) -> np.ndarray:
        """Return ``(n, dim)`` float32, L2-normalised."""
        vectors = np.zeros((len(raw), self.values.codes.shape[1]), dtype=np.float64)
        for i, (terms, weights) in enumerate(self.attend(raw)):
            vectors[i] = weights @ self.values.vectors(terms)
        return _normalised(vectors)

    def attend(self, raw: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield what each phrase attends to: ``(m,)`` rows of the memory and their ``(m,)`` float64 weights.

        Within a group terms stand nearest first and their weights add up to 1, times the gate in a further group.

        Parameters
        ----------
        raw
            ``(n, text dim)`` float32.
        """
        for start in range(0, len(raw), _ROWS_AT_ONCE):
            queries = self._queries(raw[start : start + _ROWS_AT_ONCE])
            near = self._quick(queries.astype(np.float32))
            for query, scores in zip(queries, near, strict=True):
                yield self._attend_one(query, scores)

    def _quick(self, queries: np.ndarray) -> np.ndarray:
        """Return cosines with all keys in float32; few queries go without BLAS, whose threads would fight those of torch."""
        if len(queries) <= _FEW_QUERIES:
            return np.stack([np.einsum("ij,j->i", self._keys, query) for query in queries])
        return np.asarray(queries @ self._keys.T)

    def _attend_one(self, query: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, first = [], 0.0
        for terms, gate in self._members:
            near, shares, best = self._attend_group(query, scores, terms=terms)
            if gate is None:
                first = best
            else:
                shares = shares * gate.weight * _sigmoid((best - first - gate.offset) / gate.slope)
            found.append((near, shares))
        return np.concatenate([near for near, _ in found]), np.concatenate([shares for _, shares in found])

    def _attend_group(
        self, query: np.ndarray, scores: np.ndarray, *, terms: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the nearest of ``terms``, their softmax weights and the best cosine; ``scores`` are of a quick product."""
        quick, k = scores[terms], min(self.n_neighbours, terms.size)
        candidates = terms[np.flatnonzero(quick >= np.partition(quick, -k)[-k] - _CANDIDATE_MARGIN)]
        exact = np.einsum("ij,j->i", self.keys.codes[candidates].astype(np.float64), query) * self._factors[candidates]
        order = np.argsort(-exact, kind="stable")[:k]
        cosines = exact[order]
        shares = np.exp((cosines - cosines[0]) / self.temperature)
        return candidates[order], shares / shares.sum(), float(cosines[0])

    def _queries(self, raw: np.ndarray) -> np.ndarray:
        wide = raw.astype(np.float64)
        if self.projection is not None:
            matrix = self.projection.astype(np.float64)
            wide = np.array([row @ matrix for row in wide]).reshape(len(raw), -1)
        return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _TINY))

    @cached_property
    def _members(self) -> list[tuple[np.ndarray, Gate | None]]:
        return members(len(self.keys), self.groups, self.gates)

    @cached_property
    def _factors(self) -> np.ndarray:
        """``(n_terms,)`` float64: one over the length of a key's codes, so that keys are of unit length."""
        squares = np.einsum("ij,ij->i", self.keys.codes, self.keys.codes, dtype=np.float64)
        return np.asarray(1.0 / np.maximum(np.sqrt(squares), 1.0))

    @cached_property
    def _keys(self) -> np.ndarray:
        return np.asarray((self.keys.codes * self._factors[:, None]).astype(np.float32))


def members(n_terms: int, groups: np.ndarray | None, gates: Sequence[Gate]) -> list[tuple[np.ndarray, Gate | None]]:
    """Return the rows of each group that has any, with its gate; the first has none. Without a first group all are one."""
    if groups is None or not (groups == 0).any():
        return [(np.arange(n_terms), None)]
    found = [(np.flatnonzero(groups == group), gate) for group, gate in enumerate((None, *gates))]
    return [(rows, gate) for rows, gate in found if rows.size]


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(value, -500.0, 500.0))))


def _normalised(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(vectors / np.maximum(lengths, _TINY)[:, None], dtype=np.float32)


def _read_projection(tensors: Tensors, config: TextConfig) -> Projection:
    return Projection.read(tensors, prefix="text_head.")


TEXT_HEADS: Mapping[str, Callable[[Tensors, TextConfig], TextHead]] = MappingProxyType(
    {
        CentreHead().kind: Centre.read,
        "memory": Memory.read,
        ProjectionHead().kind: _read_projection,
    }
)
