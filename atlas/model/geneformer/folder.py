"""A Geneformer folder of ours: ``config.json``, ``model.safetensors``, ``vocabulary.parquet``, ``source.json``.

The first two are in the Hugging Face layout, ``vocabulary.parquet`` holds the converted dictionaries, ``source.json`` says where
all came from and carries the sha256 of each file. Made by ``geo-atlas model fetch`` or ``geo-atlas model import``; a model's
``config.json`` names it together with its fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atlas.errors import ArtifactError
from atlas.model.config import GeneformerConfig, ProjectionHead, Source
from atlas.model.geneformer.vocabulary import GeneVocabulary

SOURCE_FILE = "source.json"
_HASHED = ("config.json", "model.safetensors", "vocabulary.parquet")


class FileRecord(BaseModel):
    """One file: its sum and size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(min_length=64, max_length=64)
    bytes: int = Field(ge=0)

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Read a file and return its record."""
        with path.open("rb") as stream:
            return cls(sha256=hashlib.file_digest(stream, "sha256").hexdigest(), bytes=path.stat().st_size)


class SourceRecord(BaseModel):
    """``source.json``: what is in the folder and what it was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str | None = None  # published name, if the weights are a published model's
    made_from: dict[str, FileRecord]  # files as they were found or downloaded
    files: dict[str, FileRecord]  # files of this folder


@dataclass(frozen=True)
class GeneformerFolder:
    """A checked folder.

    Attributes
    ----------
    path
        Where it is.
    encoder_config
        Content of ``config.json``.
    vocabulary
        Genes, tokens, medians.
    source
        Content of ``source.json``.
    """

    path: Path
    encoder_config: Mapping[str, Any]
    vocabulary: GeneVocabulary
    source: SourceRecord

    @property
    def dim(self) -> int:
        """Length of a hidden vector."""
        return int(self.encoder_config["hidden_size"])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 that changes whenever vectors could: of configuration, weights and dictionaries."""
        sums = "".join(f"{name} {self.source.files[name].sha256}\n" for name in _HASHED[:2])
        return hashlib.sha256(f"geneformer\n{sums}{self.vocabulary.digest}\n".encode()).hexdigest()

    def config(
        self,
        *,
        path: str | None = None,
        layer: int = -2,
        pooling: Literal["mean", "mean_genes", "cls"] = "mean",
        head: ProjectionHead | None = None,
    ) -> GeneformerConfig:
        """Return the part of a model's configuration that names this folder.

        Parameters
        ----------
        path
            How the model's ``config.json`` writes the folder; default: its absolute path.
        layer, pooling, head
            As in ``GeneformerConfig``.
        """
        return GeneformerConfig(
            source=Source(path=str(self.path.absolute()) if path is None else path),
            fingerprint=self.fingerprint,
            vocabulary=self.vocabulary.version,
            dim=self.dim,
            layer=layer,
            pooling=pooling,
            max_length=min(self.vocabulary.max_length, int(self.encoder_config["max_position_embeddings"])),
            head=head,
        )


def read_geneformer(folder: Path, *, verify: bool = True) -> GeneformerFolder:
    """Read a folder that ``model fetch`` or ``model import`` made.

    Parameters
    ----------
    folder
        The folder.
    verify
        Compare every file with the sum in ``source.json``.

    Raises
    ------
    ArtifactError
        ``missing`` if it is no such folder; ``corrupt`` if a file changed; ``incompatible`` if vocabulary and embedding table
        differ in length.
    """
    from atlas.model.geneformer.encoder import read_encoder_config

    source = _read_source(folder / SOURCE_FILE)
    for name in _HASHED:
        _check_file(folder / name, source.files.get(name), verify=verify)
    vocabulary = GeneVocabulary.read(folder / "vocabulary.parquet")
    config = read_encoder_config(folder / "config.json")
    refuse_other_vocabulary(vocabulary, config, path=folder)
    return GeneformerFolder(folder, config, vocabulary, source)


def refuse_other_vocabulary(vocabulary: GeneVocabulary, config: Mapping[str, Any], *, path: Path) -> None:
    """Raise ``ArtifactError`` (``incompatible``) if tokens and embedding table differ in number."""
    if vocabulary.n_tokens != config["vocab_size"]:
        raise ArtifactError(
            f"The dictionaries of {path} have {vocabulary.n_tokens:,} tokens, its model {config['vocab_size']:,}. "
            "Give the dictionaries the model was trained with: V1 models have 25,426 tokens, V2 models 20,275.",
            kind="incompatible",
            details={"seen": vocabulary.n_tokens, "expected": config["vocab_size"]},
        )


def _read_source(path: Path) -> SourceRecord:
    try:
        return SourceRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path.parent} is no Geneformer folder of geo-atlas: {SOURCE_FILE} is missing. "
            f"Make one with: geo-atlas model fetch NAME, or geo-atlas model import {path.parent} --out DIR",
            kind="missing",
            details={"path": str(path)},
        ) from error
    except ValidationError as error:
        raise ArtifactError(f"{path} is not what geo-atlas writes. Import the model again.", kind="corrupt") from error


def _check_file(path: Path, expected: FileRecord | None, *, verify: bool) -> None:
    if expected is None or not path.is_file():
        raise ArtifactError(
            f"{path} is missing, or {SOURCE_FILE} does not name it. Import the model again.",
            kind="missing",
            details={"path": str(path)},
        )
    seen = FileRecord.of(path) if verify else FileRecord(sha256=expected.sha256, bytes=path.stat().st_size)
    if seen != expected:
        raise ArtifactError(
            f"{path} changed since it was imported: sha256 {seen.sha256[:12]} and {seen.bytes:,} bytes, "
            f"expected {expected.sha256[:12]} and {expected.bytes:,}. Import the model again.",
            kind="corrupt",
            details={"path": str(path), "seen": seen.sha256, "expected": expected.sha256},
        )
