"""The vectors that stand for genes: descriptions read by a sentence encoder, and what they are compared with.

In: genes and, for each, a vector. Out: ``(n_rows, dim)`` rows that genes share (a gene and its ortholog of the same words),
with zeros for a gene of which nothing is said. Source: GenePT and scInterpreter, which embed NCBI's description of each
gene.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from atlas.errors import ArtifactError
from atlas.expression.genes import GeneMap
from atlas.interpreter.config import GeneVectorsRecord
from atlas.model.checkpoint import gene_map_of, gene_vocabulary, read_genes, read_tensors
from atlas.model.gene_table import GeneTable
from atlas.resources import resource_path

PACKAGED = "starter/gene_texts"
"""Descriptions of human and mouse genes as the packaged MiniLM reads them; the genes are those of the packaged model."""
TENSORS = "gene_vectors.safetensors"


@dataclass(frozen=True)
class GeneVectors:
    """One vector a gene.

    Attributes
    ----------
    genes
        ``GENES_SCHEMA``.
    codes
        int8 rows that genes may share; every gene has its row, -1 for none.
    record
        Where they came from.
    """

    genes: pa.Table
    codes: GeneTable
    record: GeneVectorsRecord

    @classmethod
    def of(cls, genes: pa.Table, vectors: np.ndarray, *, rows: np.ndarray, record: GeneVectorsRecord) -> GeneVectors:
        """Quantise ``(n_rows, dim)`` float vectors, each brought to length 1 first."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return cls(genes, GeneTable.from_vectors(unit, rows=rows), record)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.codes.dim

    @property
    def has_vector(self) -> np.ndarray:
        """``(n_genes,)`` bool."""
        return np.asarray(self.rows >= 0)

    @property
    def rows(self) -> np.ndarray:
        """``(n_genes,)`` int32, the row of each gene, -1 for one without a vector."""
        rows = self.codes.rows
        return np.arange(self.codes.n_genes, dtype=np.int32) if rows is None else rows

    @cached_property
    def gene_map(self) -> GeneMap:
        """Identity of the genes."""
        return gene_map_of(self.genes)

    @cached_property
    def vocabulary(self) -> str:
        """Hash of the genes in order."""
        return gene_vocabulary(self.genes)

    def table(self) -> np.ndarray:
        """Return ``(n_genes, dim)`` float32, zeros for a gene without a vector."""
        return self.codes.vectors(np.arange(self.codes.n_genes)).astype(np.float32)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what is stored of them."""
        return self.codes.tensors()

    @classmethod
    def packaged(cls) -> GeneVectors:
        """Return the vectors that come with the program.

        Raises
        ------
        ArtifactError
            If they are missing or damaged.
        """
        folder = resource_path(PACKAGED)
        genes = read_genes(resource_path("starter/model") / "genes.parquet")
        return cls.read(folder / TENSORS, genes=genes, record=packaged_record())

    @classmethod
    def read(cls, path: Path, *, genes: pa.Table, record: GeneVectorsRecord) -> GeneVectors:
        """Read the tensors of a file; see :func:`from_tensors` for what is checked."""
        return cls.from_tensors(read_tensors(path), genes=genes, record=record, path=path)

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, np.ndarray], *, genes: pa.Table, record: GeneVectorsRecord, path: Path
    ) -> GeneVectors:
        """Return the vectors stored in ``tensors``.

        Raises
        ------
        ArtifactError
            ``corrupt`` if a tensor is missing, of another type or shape, or a gene's row is not there.
        """
        codes, scales, rows = (tensors.get(name) for name in ("gene_codes", "gene_scales", "gene_rows"))
        right = (
            codes is not None and scales is not None and rows is not None
            and codes.dtype == np.int8 and codes.ndim == 2 and codes.shape[1] > 0
            and scales.dtype == np.float32 and scales.shape == (len(codes),) and bool(np.isfinite(scales).all())
            and rows.dtype == np.int32 and rows.shape == (genes.num_rows,)
            and bool((rows >= -1).all()) and bool((rows < len(codes)).all())
        )  # fmt: skip
        if codes is None or scales is None or rows is None or not right:
            raise ArtifactError(f"{path} holds no vectors of {genes.num_rows:,} genes. Restore it.", kind="corrupt")
        return cls(genes, GeneTable(codes, scales, rows), record)


def packaged_record() -> GeneVectorsRecord:
    """Return where the packaged vectors came from."""
    from atlas.model.text_tower import MiniLmTower, minilm_fingerprint

    return GeneVectorsRecord(kind="descriptions", encoder=f"{MiniLmTower.name} {minilm_fingerprint()[:12]}")
