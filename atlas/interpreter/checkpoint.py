"""An interpreter on disk: configuration, genes, and what learned; the reader's own weights lie elsewhere.

The tensors are the vectors of genes and everything that learned. Files are one unit and are replaced as one; names, types,
shapes and numbers are checked on reading, so that a network is never half another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from atlas.digests import sha256_file
from atlas.errors import ArtifactError
from atlas.interpreter.config import AGAIN, InterpreterConfig, config_json, read_config
from atlas.interpreter.gene_vectors import GeneVectors
from atlas.model.checkpoint import (
    GENES_SCHEMA,
    files_hash,
    gene_vocabulary,
    parquet_bytes,
    read_genes,
    read_tensors,
    replace_files,
)
from atlas.model.libraries import check_libraries, installed_libraries

TENSORS = "interpreter.safetensors"
FILES = ("config.json", "genes.parquet", TENSORS)
_GENE_TENSORS = frozenset({"gene_codes", "gene_scales", "gene_rows"})


@dataclass(frozen=True)
class InterpreterParts:
    """The content of an interpreter's folder.

    Attributes
    ----------
    config
        What the tensors mean.
    vectors
        Of the genes it reads.
    learned
        Name -> float32 tensor: ``projection.*``, ``class_token``, ``head.*``, ``domain.*``, ``strength.*``, and
        ``adapter.<module>.a`` and ``.b`` of a reader that changed.
    """

    config: InterpreterConfig
    vectors: GeneVectors
    learned: Mapping[str, np.ndarray] = field(repr=False)


def interpreter_hash(folder: Path) -> str:
    """Return the sha256 over names and sums of the files.

    Raises
    ------
    ArtifactError
        If one is missing.
    """
    return files_hash(folder, FILES, what="interpreter")


def write_interpreter(folder: Path, parts: InterpreterParts) -> None:
    """Write the files, the configuration last; equal parts and libraries give equal bytes.

    Raises
    ------
    ResourceError
        If the disk is full or may not be written; what was there stays.
    """
    from safetensors.numpy import save

    tensors = {**parts.vectors.tensors(), **{name: tensor.astype(np.float32) for name, tensor in parts.learned.items()}}
    packed = save({name: np.ascontiguousarray(one) for name, one in tensors.items()})
    facts = {
        "vocabulary": gene_vocabulary(parts.vectors.genes),
        "libraries": installed_libraries(),
        "tensors": sha256(packed).hexdigest(),
    }
    contents = {
        TENSORS: packed,
        "genes.parquet": parquet_bytes(parts.vectors.genes.cast(GENES_SCHEMA)),
        "config.json": config_json(parts.config.model_copy(update=facts)).encode(),
    }
    replace_files(folder, contents, what="interpreter")


def read_interpreter(folder: Path) -> InterpreterParts:
    """Read an interpreter's folder; that its tensors fit the network is checked when they are loaded into it.

    Raises
    ------
    ArtifactError
        ``missing``, ``incompatible`` or ``corrupt``.
    """
    config = read_config(folder / "config.json")
    check_libraries(config.libraries, folder=folder)
    genes = read_genes(folder / "genes.parquet")
    if gene_vocabulary(genes) != config.vocabulary:
        raise ArtifactError(
            f"{folder / 'genes.parquet'} holds other genes than the interpreter was made for. {AGAIN}",
            kind="corrupt",
        )
    path = folder / TENSORS
    tensors = read_tensors(path)
    if sha256_file(path) != config.tensors:
        raise ArtifactError(f"{path} is not the file that was written with config.json. {AGAIN}", kind="corrupt")
    vectors = GeneVectors.from_tensors(tensors, genes=genes, record=config.vectors, path=path)
    learned = {name: tensor for name, tensor in tensors.items() if name not in _GENE_TENSORS}
    for name, tensor in learned.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise ArtifactError(f"{path}: {name} holds what is no float32 number. {AGAIN}", kind="corrupt")
    return InterpreterParts(config, vectors, learned)
