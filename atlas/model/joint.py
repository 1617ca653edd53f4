"""``JointModel``: phrases and transcriptomes as vectors of one space, compared by cosine.

In: a model folder. Out: ``(n, dim)`` float32 L2-normalised rows. Loading is cheap; towers load when they are first asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from threading import RLock

import numpy as np

from atlas.errors import ArtifactError
from atlas.expression.align import AlignedExpression, Coverage, align
from atlas.expression.genes import GeneMap
from atlas.expression.matrix import ExpressionMatrix
from atlas.model.checkpoint import ModelParts, model_hash, read_model
from atlas.model.config import GeneformerConfig, GeneTextConfig, StatisticsRecord
from atlas.model.projection import Projection
from atlas.model.statistics import GeneStatistics
from atlas.model.tensors import ADAPTER_PREFIX, TRANSCRIPTOME_PREFIX
from atlas.model.text_heads import TEXT_HEADS, Memory, TextHead
from atlas.model.text_tower import TEXT_TOWERS, TextTower
from atlas.model.transcriptome import (
    TRANSCRIPTOME_TOWERS,
    InputKind,
    LinearTower,
    TranscriptomeTower,
    missing_statistics,
    without_gene_weights,
)
from atlas.vectors.gene_weights import GeneWeights


class JointModel:
    """A text tower and a transcriptome tower over one space; safe to share between threads.

    Use :meth:`load`, or :meth:`of_parts` for a model that has no folder.

    Attributes
    ----------
    folder
        Where it was read.
    hash
        sha256 over the folder's files; vectors of models with different hashes must not be compared. Empty in memory.
    dim
        Length of a vector.
    config
        What the model is.
    genes
        Identity and order of the model's genes.
    """

    def __init__(self, parts: ModelParts, *, folder: Path, digest: str, threads: int | None = None) -> None:
        name = parts.config.text.tower
        if name not in TEXT_TOWERS:
            raise ArtifactError(
                f"The model in {folder} needs the text tower {name!r}; this geo-atlas has {sorted(TEXT_TOWERS)}. "
                "Use a geo-atlas that has it.",
                kind="incompatible",
                details={"seen": name, "expected": sorted(TEXT_TOWERS)},
            )
        self.folder = folder
        self.hash = digest
        self.dim = parts.config.dim
        self.config = parts.config
        self._parts = parts
        self._threads = threads
        self._lock = RLock()
        self._text_tower: TextTower | None = None
        self._transcriptome_tower: TranscriptomeTower | None = None
        self._head: TextHead = TEXT_HEADS[parts.config.text.head.kind](parts.tensors, parts.config.text)

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> JointModel:
        """Read and check a model folder.

        Parameters
        ----------
        folder
            ``config.json``, ``model.safetensors``, ``genes.parquet``, and ``memory.parquet`` if its head has one.
        threads
            Torch threads of the towers; ``None`` leaves torch's choice.

        Raises
        ------
        ArtifactError
            ``missing``, ``corrupt`` or ``incompatible``.
        """
        return cls(read_model(folder), folder=folder, digest=model_hash(folder), threads=threads)

    @classmethod
    def of_parts(cls, parts: ModelParts, *, folder: Path = Path(), threads: int | None = None) -> JointModel:
        """Return a model in memory; ``folder`` is what relative sources of towers start from."""
        return cls(parts, folder=folder, digest="", threads=threads)

    def with_statistics(self, statistics: GeneStatistics) -> JointModel:
        """Return a copy in memory with other gene statistics; its hash is empty, for it has no folder of its own."""
        record = self.config.statistics or StatisticsRecord(n_samples=1, n_studies=1, excluded_series=(), sources=())
        return self.with_parts(self._parts.with_statistics(statistics, record))

    def with_parts(self, parts: ModelParts) -> JointModel:
        """Return a copy in memory with other parts; it shares this model's loaded text tower if its raw texts are the same."""
        copy = JointModel(parts, folder=self.folder, digest="", threads=self._threads)
        if copy.raw_text_key == self.raw_text_key:  # an adapter is merged into the tower
            copy._text_tower = self._text_tower
        return copy

    @property
    def genes(self) -> GeneMap:
        """Identity and order of the model's genes."""
        return self._parts.gene_map

    @property
    def logit_scale(self) -> float | None:
        """Factor of the cosine learned in training; ``None`` if none was."""
        return self.config.logit_scale

    @property
    def explains_by_genes(self) -> bool:
        """Whether vectors are weighted sums of gene vectors."""
        return isinstance(self.config.transcriptome, GeneTextConfig)

    @property
    def raw_text_dim(self) -> int:
        """Length of a raw text vector."""
        return self.config.text.dim

    @property
    def raw_text_key(self) -> str:
        """sha256 of everything a raw text vector depends on; models that differ in their heads alone share it."""
        text = self.config.text.model_dump_json(exclude={"head", "source"})
        digest = hashlib.sha256(text.encode())
        self._add_tensors(digest, ADAPTER_PREFIX)
        return digest.hexdigest()

    @property
    def text_key(self) -> str:
        """sha256 of everything a phrase's vector depends on; models that differ in gene statistics alone share it."""
        digest = hashlib.sha256(self.raw_text_key.encode() + self.config.text.head.model_dump_json().encode())
        self._add_tensors(digest, "centre", "removed", "memory_", "text_head.")
        return digest.hexdigest()

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n_texts, dim)`` float32, L2-normalised: the head's vectors of :meth:`embed_raw_texts`.

        Raises
        ------
        ArtifactError
            If the text tower's files are not those the model was built with.
        """
        return self.text_head(self.embed_raw_texts(texts))

    def embed_raw_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n_texts, text dim)`` float32, L2-normalised: the tower's vectors of every template filled in, averaged.

        What a phrase is before the head: caches keep these, by :attr:`raw_text_key`, and a new head asks for no text again.

        Raises
        ------
        ArtifactError
            As :meth:`embed_texts`.
        """
        text = self.config.text
        if not texts:
            return np.zeros((0, text.dim), dtype=np.float32)
        filled = [template.replace("{x}", one) for template in text.templates for one in texts]
        vectors = self._loaded_text_tower().embed(filled)
        if len(text.templates) == 1:
            return vectors
        means = vectors.reshape(len(text.templates), len(texts), text.dim).mean(axis=0, dtype=np.float32)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.maximum(lengths, np.finfo(np.float32).tiny))

    def text_head(self, raw: np.ndarray) -> np.ndarray:
        """Return ``(n, dim)`` float32, L2-normalised, of ``(n, text dim)`` raw vectors; a row depends on that row alone."""
        return self._head.embed(np.asarray(raw, dtype=np.float32))

    def nearest_sets(self, phrase: str, k: int = 10) -> list[tuple[str, str, float]]:
        """Return the gene sets whose names a phrase attends to: ``(set, library, weight)``, heaviest first.

        Parameters
        ----------
        phrase
            As for :meth:`embed_texts`.
        k
            Most sets returned; a phrase attends to a fixed few. Weights of all of them add up to 1.

        Raises
        ------
        ArtifactError
            If the model's head keeps no gene sets.
        """
        names = self._parts.memory
        if not isinstance(self._head, Memory) or names is None:
            raise ArtifactError(
                f"The model in {self.folder} has the text head {self.config.text.head.kind!r}, which keeps no gene sets. "
                "Use a model with the head 'memory'.",
                kind="incompatible",
                details={"seen": self.config.text.head.kind, "expected": "memory"},
            )
        ((terms, weights),) = self._head.attend(self.embed_raw_texts([phrase]))
        order = np.argsort(-weights, kind="stable")[:k]
        near = names.take(terms[order]).to_pylist()
        shares = weights[order] / weights.sum()
        return [(row["set"], row["library"], float(share)) for row, share in zip(near, shares, strict=True)]

    def score(self, texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        """Return ``(n_vectors, n_texts)`` float32 cosines; each depends on its vector and its text alone, bit for bit.

        Parameters
        ----------
        texts
            Phrases.
        vectors
            ``(n_vectors, dim)``, L2-normalised, of this model.
        """
        phrases = self.embed_texts(texts).astype(np.float64)
        wide = np.asarray(vectors, dtype=np.float64)
        scores = np.empty((len(wide), len(phrases)), dtype=np.float32)
        for column, phrase in enumerate(phrases):
            scores[:, column] = np.einsum("ij,j->i", wide, phrase)
        return np.clip(scores, -1.0, 1.0, out=scores)

    def embed_expression(self, aligned: AlignedExpression, *, kind: InputKind = "auto") -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, L2-normalised; each row depends on that row alone.

        Parameters
        ----------
        aligned
            Expression in the order of :attr:`genes`.
        kind
            Whether rows are bulk samples or single cells; by default told from each row itself.

        Raises
        ------
        InputError
            If a sample has no signal, or shares too few genes with the model.
        ArtifactError
            If the model has no gene statistics yet.
        """
        vectors = self._loaded_transcriptome_tower().embed(aligned, kind=kind)
        config = self.config.transcriptome
        if isinstance(config, GeneTextConfig):
            return vectors  # the tower's own vectors are those of the joint space
        if config.head is not None:
            return Projection.read(self._parts.tensors, prefix=TRANSCRIPTOME_PREFIX).embed(vectors)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)

    def embed_with_weights(
        self, aligned: AlignedExpression, *, top: int, kind: InputKind = "auto"
    ) -> tuple[np.ndarray, list[GeneWeights]]:
        """Return the vectors of :meth:`embed_expression`, bit for bit, and of each sample its ``top`` strongest genes.

        Raises
        ------
        InputError, ArtifactError
            As :meth:`embed_expression`; also if vectors of this model are no weighted sums of gene vectors.
        """
        return self._linear_tower().embed_with_weights(aligned, top=top, kind=kind)

    def gene_vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of genes ``rows`` as ``(m, dim)`` float64, not normalised.

        Raises
        ------
        ArtifactError
            If vectors of this model are no weighted sums of gene vectors.
        """
        if not self.explains_by_genes:
            raise without_gene_weights(self.config.transcriptome.tower)
        return self._parts.table.vectors(rows)

    def embed_matrix(
        self, matrix: ExpressionMatrix, *, organism: str = "human", kind: InputKind = "auto"
    ) -> tuple[np.ndarray, Coverage]:
        """Align and embed; also return how many of the genes were recognised.

        Raises
        ------
        InputError
            If no gene is recognised, the genes are another organism's, or a sample has no signal.
        """
        aligned = align(matrix, self.genes, organism=organism)
        return self.embed_expression(aligned, kind=kind), aligned.coverage

    def _linear_tower(self) -> LinearTower:
        tower = self._loaded_transcriptome_tower() if self.explains_by_genes else None
        if not isinstance(tower, LinearTower):
            raise without_gene_weights(self.config.transcriptome.tower)
        return tower

    def _loaded_transcriptome_tower(self) -> TranscriptomeTower:
        with self._lock:
            if self._transcriptome_tower is None:
                config = self.config.transcriptome
                if isinstance(config, GeneTextConfig) and self._parts.statistics is None:
                    raise missing_statistics(str(self.folder))
                tower = TRANSCRIPTOME_TOWERS[config.tower](self._parts, folder=self.folder, threads=self._threads)
                expected = config.dim if isinstance(config, GeneformerConfig) else self.dim
                if tower.dim != expected:
                    raise ArtifactError(
                        f"The transcriptome tower {config.tower!r} gives vectors of {tower.dim} numbers; the model in "
                        f"{self.folder} expects {expected}. Give the weights it was made with.",
                        kind="incompatible",
                        details={"seen": tower.dim, "expected": expected},
                    )
                self._transcriptome_tower = tower
            return self._transcriptome_tower

    def _loaded_text_tower(self) -> TextTower:
        """Load the tower once, whichever thread asks first."""
        with self._lock:
            if self._text_tower is None:
                text = self.config.text
                tower = TEXT_TOWERS[text.tower](
                    text, folder=self.folder, adapter=self._parts.tensors, threads=self._threads
                )
                if tower.fingerprint != text.fingerprint or tower.dim != text.dim:
                    raise ArtifactError(
                        f"The text tower {tower.name!r} installed here is not the one the model in {self.folder} was built "
                        f"with: fingerprint {tower.fingerprint[:12]}, expected {text.fingerprint[:12]}. "
                        "Install the pinned version of its package, or give the folder of the weights it was made with.",
                        kind="incompatible",
                        details={"seen": tower.fingerprint, "expected": text.fingerprint},
                    )
                self._text_tower = tower
            return self._text_tower

    def _add_tensors(self, digest: hashlib._Hash, *prefixes: str) -> None:
        for name in sorted(self._parts.tensors):
            if name.startswith(prefixes):
                tensor = self._parts.tensors[name]
                digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
                digest.update(np.ascontiguousarray(tensor).tobytes())
