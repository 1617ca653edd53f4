"""A model folder on disk: ``config.json``, ``model.safetensors``, ``genes.parquet``, and ``memory.parquet`` if its head has one.

The files are one unit: :func:`model_hash` covers exactly them, :func:`read_model` checks every tensor's name, type and shape
against configuration and genes, and :func:`write_model` replaces them so that a reader never meets a half-written one.
Other files of the folder, such as the model card, are nobody's business here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError, ResourceError
from atlas.expression.genes import GeneMap
from atlas.model.config import MemoryHead, ModelConfig, StatisticsRecord, config_json, read_config
from atlas.model.gene_table import GeneTable
from atlas.model.libraries import check_libraries, installed_libraries
from atlas.model.statistics import GeneStatistics
from atlas.model.tensors import TensorSpec, tensor_specs

MODEL_FILES = ("config.json", "genes.parquet", "model.safetensors")
"""The files that every model folder has."""
MEMORY_FILE = "memory.parquet"
GENES_SCHEMA = pa.schema(
    [
        ("ensembl_id", pa.string()),
        ("symbol", pa.string()),
        ("synonyms", pa.list_(pa.string())),
        ("organism", pa.string()),
        ("ortholog", pa.string()),  # Ensembl id of the human ortholog of a mouse gene, "" where there is none
    ]
)
MEMORY_SCHEMA = pa.schema([("set", pa.string()), ("library", pa.string())])


@dataclass(frozen=True)
class ModelParts:
    """The content of a model folder.

    Attributes
    ----------
    config
        What the tensors mean.
    genes
        ``GENES_SCHEMA``; row order is that of every tensor with one entry a gene.
    tensors
        As :func:`atlas.model.tensors.tensor_specs` names them. ``GeneTable``, ``GeneStatistics``, ``Centre`` and ``Memory``
        give theirs by ``tensors()``.
    memory
        ``MEMORY_SCHEMA``, one row a key of the head ``memory``.
    """

    config: ModelConfig
    genes: pa.Table
    tensors: Mapping[str, np.ndarray] = field(repr=False)
    memory: pa.Table | None = None

    @cached_property
    def table(self) -> GeneTable:
        """The gene vectors of a model with the tower ``gene_text``."""
        return GeneTable.read(self.tensors)

    @cached_property
    def statistics(self) -> GeneStatistics | None:
        """The gene statistics, if they were fitted."""
        return GeneStatistics.read(self.tensors)

    @cached_property
    def gene_map(self) -> GeneMap:
        """Identity of the genes."""
        return gene_map_of(self.genes)

    def with_statistics(self, statistics: GeneStatistics, record: StatisticsRecord) -> ModelParts:
        """Return the same model with other gene statistics."""
        config = self.config.model_copy(update={"statistics": record})
        return replace(self, config=config, tensors={**self.tensors, **statistics.tensors()})


def gene_map_of(genes: pa.Table) -> GeneMap:
    """Return the identity of genes of ``GENES_SCHEMA``."""
    columns = {name: genes[name].to_pylist() for name in ("ensembl_id", "symbol", "organism", "synonyms")}
    return GeneMap(
        ensembl_ids=tuple(columns["ensembl_id"]),
        symbols=tuple(columns["symbol"]),
        organisms=tuple(columns["organism"]),
        synonyms=tuple(tuple(names or ()) for names in columns["synonyms"]),
    )


def model_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that make the model in ``folder``, sorted.

    Raises
    ------
    ArtifactError
        If there is no model, or one of another schema version.
    """
    head = read_config(folder / "config.json").text.head
    return tuple(sorted((*MODEL_FILES, MEMORY_FILE) if isinstance(head, MemoryHead) else MODEL_FILES))


def model_hash(folder: Path) -> str:
    """Return the sha256 over names and sha256 sums of all files of the model.

    Raises
    ------
    ArtifactError
        If one of them is missing.
    """
    return files_hash(folder, model_files(folder), what="model")


def files_hash(folder: Path, names: Sequence[str], *, what: str) -> str:
    """Return the sha256 over names and sha256 sums of files that are one unit; ``what`` they are is for messages.

    Raises
    ------
    ArtifactError
        If one of them is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for name in names:
        try:
            with (folder / name).open("rb") as stream:
                digest.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        except FileNotFoundError as error:
            raise ArtifactError(
                f"The {what} in {folder} is incomplete: {name} is missing. Give a complete {what} folder.",
                kind="missing",
                details={"path": str(folder / name)},
            ) from error
        except OSError as error:
            raise ArtifactError(
                f"{folder / name} cannot be read: {error.strerror or error}. Restore it.", kind="corrupt"
            ) from error
    return digest.hexdigest()


def gene_vocabulary(genes: pa.Table) -> str:
    """Return the sha256 of organisms and Ensembl ids in order: what every gene-wise tensor is aligned to."""
    columns = (genes[name].to_pylist() for name in ("organism", "ensembl_id"))
    listing = "".join(f"{organism} {ensembl_id}\n" for organism, ensembl_id in zip(*columns, strict=True))
    return hashlib.sha256(listing.encode()).hexdigest()


def write_model(folder: Path, parts: ModelParts) -> None:
    """Write the files, the configuration last; equal parts and libraries give equal bytes.

    ``vocabulary`` and ``libraries`` of the configuration are filled in here.

    Raises
    ------
    ArtifactError
        If the parts do not belong together.
    ResourceError
        If the disk is full or may not be written; what was there stays, and nothing half-written is left.
    """
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in parts.tensors.items()}
    _check_tensors(tensors, expected=tensor_specs(parts.config, n_genes=parts.genes.num_rows), path=folder)
    _check_memory(parts.config, parts.memory, path=folder)
    facts = {"vocabulary": gene_vocabulary(parts.genes), "libraries": installed_libraries()}
    contents = {"model.safetensors": save(tensors), "genes.parquet": parquet_bytes(parts.genes.cast(GENES_SCHEMA))}
    if parts.memory is not None:
        contents[MEMORY_FILE] = parquet_bytes(parts.memory.cast(MEMORY_SCHEMA))
    contents["config.json"] = config_json(parts.config.model_copy(update=facts)).encode()
    replace_files(folder, contents, what="model")
    if parts.memory is None:
        (folder / MEMORY_FILE).unlink(missing_ok=True)  # of the model that was here before


def replace_files(folder: Path, contents: Mapping[str, bytes], *, what: str) -> None:
    """Write all files beside the old ones, then put them in place, in order; a failure leaves the old ones and nothing else.

    Raises
    ------
    ResourceError
        If the disk is full or may not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in contents:
            (folder / f"{name}.tmp").write_bytes(contents[name])
        for name in contents:
            os.replace(folder / f"{name}.tmp", folder / name)
    except OSError as error:
        with suppress(OSError):  # what is wrong with the disk may also forbid this
            for name in contents:
                (folder / f"{name}.tmp").unlink(missing_ok=True)
        raise ResourceError(
            f"The {what} cannot be written into {folder}: {error.strerror or error}. Make room, or choose a folder that may be "
            "written.",
            details={"path": str(folder)},
        ) from error


def read_model(folder: Path) -> ModelParts:
    """Read and check a model folder.

    Raises
    ------
    ArtifactError
        ``missing``, ``incompatible`` (another schema, older libraries) or ``corrupt`` (a file that is not what the
        configuration says).
    """
    config = read_config(folder / "config.json")
    check_libraries(config.libraries, folder=folder)
    genes = read_genes(folder / "genes.parquet")
    if config.vocabulary is not None and gene_vocabulary(genes) != config.vocabulary:
        raise ArtifactError(
            f"{folder / 'genes.parquet'} holds other genes, or in another order, than the model was made for "
            f"({genes.num_rows:,} genes, vocabulary {gene_vocabulary(genes)[:12]}, expected {config.vocabulary[:12]}). "
            "Restore the model folder.",
            kind="corrupt",
            details={"seen": gene_vocabulary(genes), "expected": config.vocabulary},
        )
    tensors = read_tensors(folder / "model.safetensors")
    expected = tensor_specs(config, n_genes=genes.num_rows)
    _check_tensors(tensors, expected=expected, path=folder / "model.safetensors")
    memory = _read_table(folder / MEMORY_FILE, MEMORY_SCHEMA) if isinstance(config.text.head, MemoryHead) else None
    _check_memory(config, memory, path=folder / MEMORY_FILE)
    return ModelParts(config, genes, tensors, memory)


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def _read_table(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing. Give a complete model folder.", kind="missing") from error
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} is not a readable table: {error}. Restore it.", kind="corrupt") from error
    if table.schema.names != schema.names:
        raise ArtifactError(
            f"{path} has the columns {table.schema.names}, expected {schema.names}. Restore it.", kind="corrupt"
        )
    try:
        return table.cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise ArtifactError(f"{path} has a column of another type: {error}. Restore it.", kind="corrupt") from error


def read_genes(path: Path) -> pa.Table:
    """Read and check ``genes.parquet``.

    Raises
    ------
    ArtifactError
        If it is missing, damaged, or names a gene twice.
    """
    genes = _read_table(path, GENES_SCHEMA)
    keys = list(zip(genes["organism"].to_pylist(), genes["ensembl_id"].to_pylist(), strict=True))
    if len(set(keys)) != len(keys):
        raise ArtifactError(f"{path} names a gene twice. Restore it.", kind="corrupt")
    return genes


def _check_memory(config: ModelConfig, memory: pa.Table | None, *, path: Path) -> None:
    head = config.text.head
    expected = head.n_terms if isinstance(head, MemoryHead) else None
    seen = None if memory is None else memory.num_rows
    if seen != expected:
        raise ArtifactError(
            f"{path} names {seen} gene sets, the configuration {expected}. Restore the model folder.", kind="corrupt"
        )


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a file of tensors.

    Raises
    ------
    ArtifactError
        If it is missing or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing. Give a complete model folder.", kind="missing") from error
    except (OSError, SafetensorError, KeyError) as error:  # KeyError: a type numpy does not have
        raise ArtifactError(f"{path} is not a readable tensor file: {error}. Restore it.", kind="corrupt") from error


def _check_tensors(tensors: Mapping[str, np.ndarray], *, expected: Mapping[str, TensorSpec], path: Path) -> None:
    """Names, types, shapes, and the numbers that each may hold."""
    if set(tensors) != set(expected):
        missing, strange = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        raise ArtifactError(
            f"{path}: of the tensors the configuration asks for {missing[:8]} are missing, and {strange[:8]} are not asked for. "
            "Restore the model folder.",
            kind="corrupt",
            details={"missing": missing, "unexpected": strange},
        )
    for name, spec in expected.items():
        problem = spec.problem(tensors[name])
        if problem is not None:
            raise ArtifactError(f"{path}: {name} {problem}. Restore the model folder.", kind="corrupt")
