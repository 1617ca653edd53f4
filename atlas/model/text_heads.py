"""Text heads: from the text tower's vectors to vectors of the joint space.

In: ``(n, text dim)`` float32 raw vectors. Out: ``(n, dim)`` float32, L2-normalised; each row depends on its own raw vector
alone, bit for bit. Which head a model has is told by ``config.text.head``; :data:`TEXT_HEADS` maps its kind to a factory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np

from atlas.model.config import CentreHead, MemoryHead, ProjectionHead, TextConfig
from atlas.model.projection import Projection
from atlas.model.quantised import Int8Rows

Tensors = Mapping[str, np.ndarray]

_TINY = float(np.finfo(np.float32).tiny)
_ROWS_AT_ONCE = 256
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
        ``(n_terms, key dim)`` unit vectors of the names, and ``(n_terms, dim)`` vectors of the sets, int8 with scales.
    n_neighbours, temperature
        Names that a phrase attends to, and how sharply.
    projection
        ``(text dim, key dim)`` float32 or ``None``, applied to a phrase before it meets the keys.

    Notes
    -----
    The nearest names are found with one float32 product and then measured again in float64, row by row, so that the answer
    depends neither on the texts asked together nor on the machine's way of multiplying; of equally near names the first wins.

    Source: attention as in Vaswani et al. 2017, over a fixed memory; cosines, few neighbours and int8 are ours.
    """

    keys: Int8Rows
    values: Int8Rows
    n_neighbours: int = 10
    temperature: float = 0.05
    projection: np.ndarray | None = None

    @property
    def config(self) -> MemoryHead:
        """What ``config.json`` says of this head."""
        return MemoryHead(
            n_terms=len(self.keys),
            key_dim=self.keys.codes.shape[1],
            n_neighbours=self.n_neighbours,
            temperature=self.temperature,
            projected=self.projection is not None,
        )

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors of the model file."""
        found = {
            "memory_keys": self.keys.codes,
            "memory_key_scales": self.keys.scales,
            "memory_values": self.values.codes,
            "memory_value_scales": self.values.scales,
        }
        return found if self.projection is None else found | {"memory_projection": self.projection}

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
        )

    def embed(self, raw: np.ndarray) -> np.ndarray:
        """Return ``(n, dim)`` float32, L2-normalised."""
        vectors = np.zeros((len(raw), self.values.codes.shape[1]), dtype=np.float64)
        terms, weights = self.attend(raw)
        for i, (rows, shares) in enumerate(zip(terms, weights, strict=True)):
            vectors[i] = shares @ self.values.vectors(rows)
        return _normalised(vectors)

    def attend(self, raw: np.ndarray, *, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the ``k`` nearest terms of each phrase and their softmax weights.

        Parameters
        ----------
        raw
            ``(n, text dim)`` float32.
        k
            How many; the head's own number by default.

        Returns
        -------
        ``(n, k)`` int64 rows of the memory, nearest first, and ``(n, k)`` float64 weights that add up to 1 over the
        ``n_neighbours`` nearest; terms beyond those weigh 0.
        """
        used = min(self.n_neighbours, len(self.keys))
        k = used if k is None else min(k, len(self.keys))
        terms = np.zeros((len(raw), k), dtype=np.int64)
        weights = np.zeros((len(raw), k), dtype=np.float64)
        for start in range(0, len(raw), _ROWS_AT_ONCE):
            queries = self._queries(raw[start : start + _ROWS_AT_ONCE])
            near = queries.astype(np.float32) @ self._keys.T
            for i, (query, scores) in enumerate(zip(queries, near, strict=True), start=start):
                rows, cosines = self._nearest(query, scores, k=max(k, used))
                shares = np.exp((cosines[:used] - cosines[0]) / self.temperature)
                terms[i], weights[i, : min(k, used)] = rows[:k], (shares / shares.sum())[:k]
        return terms, weights

    def _queries(self, raw: np.ndarray) -> np.ndarray:
        wide = raw.astype(np.float64)
        if self.projection is not None:
            matrix = self.projection.astype(np.float64)
            wide = np.array([row @ matrix for row in wide])
        return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _TINY))

    def _nearest(self, query: np.ndarray, scores: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ``k`` nearest terms and their exact cosines; ``scores`` are those of a quick product."""
        reach = np.partition(scores, -k)[-k] - _CANDIDATE_MARGIN
        candidates = np.flatnonzero(scores >= reach)
        exact = np.einsum("ij,j->i", self.keys.codes[candidates].astype(np.float64), query) * self._factors[candidates]
        order = np.argsort(-exact, kind="stable")[:k]
        return candidates[order], exact[order]

    @cached_property
    def _factors(self) -> np.ndarray:
        """``(n_terms,)`` float64: one over the length of a key's codes, so that keys are of unit length."""
        squares = np.einsum("ij,ij->i", self.keys.codes, self.keys.codes, dtype=np.float64)
        return np.asarray(1.0 / np.maximum(np.sqrt(squares), 1.0))

    @cached_property
    def _keys(self) -> np.ndarray:
        return np.asarray((self.keys.codes * self._factors[:, None]).astype(np.float32))


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
