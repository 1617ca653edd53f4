"""The gene vectors of a model: one int8 row a gene, or rows that several genes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from atlas.model.quantised import Int8Rows

_ROWS_AT_ONCE = 1_024


@dataclass(frozen=True)
class GeneTable:
    """Vectors of the model's genes, int8 with one scale a row.

    Attributes
    ----------
    codes, scales
        ``(n_rows, dim)`` int8 and ``(n_rows,)`` float32: vector = scale * codes.
    rows
        ``(n_genes,)`` int32, the row of each gene, -1 where it has no vector; a mouse gene may name the row of its human
        ortholog. ``None``: gene i has row i.
    """

    codes: np.ndarray
    scales: np.ndarray
    rows: np.ndarray | None = None

    @classmethod
    def from_vectors(cls, vectors: np.ndarray, *, rows: np.ndarray | None = None, rescaled: bool = False) -> GeneTable:
        """Quantise ``(n_rows, dim)`` vectors.

        ``rescaled`` divides them all by their mean length: samples' vectors stay the same, and the weights of genes, over the
        length of a sample's sum, are then of a size that half precision keeps.
        """
        if rescaled:
            vectors = vectors / max(float(np.linalg.norm(vectors, axis=1).mean()), np.finfo(np.float32).tiny)
        made = Int8Rows.from_vectors(vectors)
        return cls(made.codes, made.scales, None if rows is None else rows.astype(np.int32))

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> GeneTable:
        """Return the table stored in ``tensors``."""
        return cls(tensors["gene_codes"], tensors["gene_scales"], tensors.get("gene_rows"))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors of the model file."""
        found = {"gene_codes": self.codes, "gene_scales": self.scales}
        return found if self.rows is None else found | {"gene_rows": self.rows}

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.codes.shape[1])

    @property
    def n_genes(self) -> int:
        """Genes, with or without a vector."""
        return len(self.codes) if self.rows is None else len(self.rows)

    @cached_property
    def gene_scales(self) -> np.ndarray:
        """``(n_genes,)`` float64 scale of each gene's row, 0 where it has no vector."""
        scales = self.scales.astype(np.float64)
        if self.rows is None:
            return scales
        return np.where(self.rows >= 0, scales[np.maximum(self.rows, 0)], 0.0)

    @cached_property
    def code_lengths(self) -> np.ndarray:
        """``(n_genes,)`` float64 lengths of the genes' codes."""
        lengths = np.asarray(np.sqrt(np.einsum("ij,ij->i", self.codes, self.codes, dtype=np.float64)))
        return lengths if self.rows is None else np.where(self.rows >= 0, lengths[np.maximum(self.rows, 0)], 0.0)

    def vectors(self, genes: np.ndarray) -> np.ndarray:
        """Return the vectors of ``genes`` as ``(m, dim)`` float64, not normalised; zeros where a gene has none."""
        places = genes if self.rows is None else np.maximum(self.rows[genes], 0)
        return np.asarray(self.codes[places].astype(np.float64) * self.gene_scales[genes][:, None])

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Return weighted sums of the rows' codes, without their scales.

        Parameters
        ----------
        weights
            ``(n, n_rows)`` float64 whole numbers.

        Returns
        -------
        ``(n, dim)`` float64, exact as long as the sums of the weights' sizes stay below 2**53 / 127.
        """
        sums = np.zeros((len(weights), self.dim), dtype=np.float64)
        wide = np.empty((min(_ROWS_AT_ONCE, len(self.codes)), self.dim), dtype=np.float64)
        for start in range(0, len(self.codes), _ROWS_AT_ONCE):
            part = weights[:, start : start + _ROWS_AT_ONCE]
            if part.any():
                codes = wide[: part.shape[1]]
                codes[...] = self.codes[start : start + _ROWS_AT_ONCE]
                sums += part @ codes  # whole numbers: no rounding, and therefore no order
        return sums
