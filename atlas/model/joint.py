"""``JointModel``: phrases and transcriptomes as vectors of one space, compared by cosine.

In: a model folder. Out: ``(n, dim)`` float32 L2-normalised rows. Loading is cheap; the text tower loads on the first phrase.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from atlas.errors import ArtifactError
from atlas.expression.align import AlignedExpression, Coverage, align
from atlas.expression.genes import GeneMap
from atlas.expression.matrix import ExpressionMatrix
from atlas.model.checkpoint import ModelParts, model_hash, read_model
from atlas.model.gene_tower import TRANSCRIPTOME_TOWERS, TranscriptomeTower, missing_statistics
from atlas.model.statistics import GeneStatistics
from atlas.model.text_tower import TEXT_TOWERS, TextTower
from atlas.vectors.gene_weights import GeneWeights


class JointModel:
    """A text tower and a transcriptome tower over one space; safe to share between threads.

    Use :meth:`load`.

    Attributes
    ----------
    folder
        Where it was read.
    hash
        sha256 over the folder's files; vectors of models with different hashes must not be compared.
    dim
        Length of a vector.
    genes
        Identity and order of the model's genes.
    """

    def __init__(self, parts: ModelParts, *, folder: Path, digest: str, threads: int | None = None) -> None:
        self.folder = folder
        self.hash = digest
        self.dim = parts.config.dim
        self.config = parts.config
        self.genes = gene_map(parts)
        self._parts = parts
        self._threads = threads
        self._lock = Lock()
        self._text_tower: TextTower | None = None
        self._transcriptome_tower: TranscriptomeTower | None = None
        if parts.statistics is not None:
            self._transcriptome_tower = self._make_transcriptome_tower(parts.statistics)

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> JointModel:
        """Read and check a model folder.

        Parameters
        ----------
        folder
            ``config.json``, ``model.safetensors``, ``genes.parquet``.
        threads
            Torch threads of the text tower; ``None`` leaves torch's choice.

        Raises
        ------
        ArtifactError
            ``missing``, ``corrupt`` or ``incompatible``.
        """
        parts = read_model(folder)
        name = parts.config.text.tower
        if name not in TEXT_TOWERS:
            raise ArtifactError(
                f"The model in {folder} needs the text tower {name!r}; this geo-atlas has {sorted(TEXT_TOWERS)}. "
                "Use a geo-atlas that has it.",
                kind="incompatible",
                details={"seen": name, "expected": sorted(TEXT_TOWERS)},
            )
        return cls(parts, folder=folder, digest=model_hash(folder), threads=threads)

    def with_statistics(self, statistics: GeneStatistics) -> JointModel:
        """Return a copy in memory with other gene statistics; its hash is empty, for it has no folder of its own."""
        copy = JointModel(
            replace(self._parts, statistics=statistics), folder=self.folder, digest="", threads=self._threads
        )
        copy._text_tower = self._text_tower
        return copy

    @property
    def text_key(self) -> str:
        """sha256 of everything a phrase's vector depends on; models that differ in gene statistics alone share it."""
        table = self._parts.table
        digest = hashlib.sha256(self.config.text.model_dump_json().encode())
        for tensor in (table.centre, table.removed):
            digest.update(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
        return digest.hexdigest()

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n_texts, dim)`` float32, L2-normalised: one vector a phrase, every template of the model averaged.

        Raises
        ------
        ArtifactError
            If the text tower's files are not those the model was built with.
        """
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        tower = self._loaded_text_tower()
        templates = self.config.text.templates
        filled = [template.replace("{x}", text) for template in templates for text in texts]
        vectors = tower.embed(filled).reshape(len(templates), len(texts), self.dim).mean(axis=0, dtype=np.float32)
        return self._parts.table.centre_texts(vectors)

    def embed_expression(self, aligned: AlignedExpression) -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, L2-normalised; each row depends on that row alone, bit for bit.

        Raises
        ------
        InputError
            If a sample has no signal.
        ArtifactError
            If the model has no gene statistics yet.
        """
        if self._transcriptome_tower is None:
            raise missing_statistics(str(self.folder))
        return self._transcriptome_tower.embed(aligned)

    def embed_with_weights(self, aligned: AlignedExpression, *, top: int) -> tuple[np.ndarray, list[GeneWeights]]:
        """Return the vectors of :meth:`embed_expression`, bit for bit, and of each sample its ``top`` strongest genes.

        Raises
        ------
        InputError, ArtifactError
            As :meth:`embed_expression`.
        """
        if self._transcriptome_tower is None:
            raise missing_statistics(str(self.folder))
        return self._transcriptome_tower.embed_with_weights(aligned, top=top)

    def gene_vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of genes ``rows`` as ``(m, dim)`` float64, centred as phrases are, not normalised."""
        return self._parts.table.vectors(rows)

    def embed_matrix(self, matrix: ExpressionMatrix, *, organism: str = "human") -> tuple[np.ndarray, Coverage]:
        """Align and embed; also return how many of the genes were recognised.

        Raises
        ------
        InputError
            If no gene is recognised, the genes are another organism's, or a sample has no signal.
        """
        aligned = align(matrix, self.genes, organism=organism)
        return self.embed_expression(aligned), aligned.coverage

    def _make_transcriptome_tower(self, statistics: GeneStatistics) -> TranscriptomeTower:
        config = self.config.transcriptome
        return TRANSCRIPTOME_TOWERS[config.tower](self._parts.table, statistics, config)

    def _loaded_text_tower(self) -> TextTower:
        """Load the tower once, whichever thread asks first."""
        with self._lock:
            if self._text_tower is None:
                tower = TEXT_TOWERS[self.config.text.tower](threads=self._threads)
                if tower.fingerprint != self.config.text.fingerprint or tower.dim != self.dim:
                    raise ArtifactError(
                        f"The text tower {tower.name!r} installed here is not the one the model in {self.folder} was built "
                        f"with: fingerprint {tower.fingerprint[:12]}, expected {self.config.text.fingerprint[:12]}. "
                        "Install the pinned version of its package.",
                        kind="incompatible",
                        details={"seen": tower.fingerprint, "expected": self.config.text.fingerprint},
                    )
                self._text_tower = tower
            return self._text_tower


def gene_map(parts: ModelParts) -> GeneMap:
    """Return the identity of the model's genes."""
    columns = {name: parts.genes[name].to_pylist() for name in ("ensembl_id", "symbol", "organism", "synonyms")}
    return GeneMap(
        ensembl_ids=tuple(columns["ensembl_id"]),
        symbols=tuple(columns["symbol"]),
        organisms=tuple(columns["organism"]),
        synonyms=tuple(tuple(names) for names in columns["synonyms"]),
    )
