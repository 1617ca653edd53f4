"""A model folder on disk: ``config.json``, ``model.safetensors``, ``genes.parquet``.

The three files are one unit: :func:`model_hash` covers exactly them, :func:`read_model` checks every tensor's name, type and
shape against configuration and genes, and :func:`write_model` replaces them so that a reader never meets a half-written one.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.model.config import ModelConfig, config_json, read_config
from atlas.model.gene_tower import GeneTable
from atlas.model.statistics import GeneStatistics

MODEL_FILES = ("config.json", "genes.parquet", "model.safetensors")
GENES_SCHEMA = pa.schema(
    [
        ("ensembl_id", pa.string()),
        ("symbol", pa.string()),
        ("synonyms", pa.list_(pa.string())),
        ("organism", pa.string()),
        ("ortholog", pa.string()),  # Ensembl id of the human ortholog of a mouse gene, "" where there is none
    ]
)


@dataclass(frozen=True)
class ModelParts:
    """The content of a model folder; the rows of ``genes``, ``table`` and ``statistics`` are the same genes."""

    config: ModelConfig
    genes: pa.Table
    table: GeneTable
    statistics: GeneStatistics | None


def model_hash(folder: Path) -> str:
    """Return the sha256 over names and sha256 sums of the three files.

    Raises
    ------
    ArtifactError
        If one of them is missing.
    """
    digest = hashlib.sha256()
    for name in MODEL_FILES:
        try:
            with (folder / name).open("rb") as stream:
                digest.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        except FileNotFoundError as error:
            raise ArtifactError(
                f"The model in {folder} is incomplete: {name} is missing. Give a complete model folder.",
                kind="missing",
                details={"path": str(folder / name)},
            ) from error
    return digest.hexdigest()


def write_model(folder: Path, parts: ModelParts) -> None:
    """Write the three files, the configuration last; equal parts give equal bytes."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "gene_codes": parts.table.codes,
        "gene_scales": parts.table.scales,
        "centre": parts.table.centre,
        "removed": parts.table.removed,
    }
    if parts.statistics is not None:
        tensors |= {
            "statistics_mean": parts.statistics.mean,
            "statistics_deviation": parts.statistics.deviation,
            "statistics_n_studies": parts.statistics.n_studies,
        }
    sink = pa.BufferOutputStream()
    pq.write_table(parts.genes.cast(GENES_SCHEMA), sink, compression="zstd")
    contents = {
        "model.safetensors": save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}),
        "genes.parquet": sink.getvalue().to_pybytes(),
        "config.json": config_json(parts.config).encode(),
    }
    for name in contents:
        (folder / f"{name}.tmp").write_bytes(contents[name])
    for name in contents:
        os.replace(folder / f"{name}.tmp", folder / name)


def read_model(folder: Path) -> ModelParts:
    """Read and check a model folder.

    Raises
    ------
    ArtifactError
        ``missing``, ``incompatible`` (another schema) or ``corrupt`` (a file that is not what the configuration says).
    """
    config = read_config(folder / "config.json")
    genes = _read_genes(folder / "genes.parquet")
    tensors = _read_tensors(folder / "model.safetensors")
    n_genes, n_removed = genes.num_rows, config.transcriptome.removed_components
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "gene_codes": (np.int8, (n_genes, config.dim)),
        "gene_scales": (np.float32, (n_genes,)),
        "centre": (np.float32, (config.dim,)),
        "removed": (np.float32, (n_removed, config.dim)),
    }
    if config.statistics is not None:
        expected |= {
            "statistics_mean": (np.float32, (n_genes,)),
            "statistics_deviation": (np.float32, (n_genes,)),
            "statistics_n_studies": (np.int32, (n_genes,)),
        }
    _check_tensors(tensors, expected=expected, path=folder / "model.safetensors")
    table = GeneTable(tensors["gene_codes"], tensors["gene_scales"], tensors["centre"], tensors["removed"])
    statistics = None
    if config.statistics is not None:
        statistics = GeneStatistics(
            tensors["statistics_mean"], tensors["statistics_deviation"], tensors["statistics_n_studies"]
        )
    return ModelParts(config, genes, table, statistics)


def _read_genes(path: Path) -> pa.Table:
    try:
        genes = pq.read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing. Give a complete model folder.", kind="missing") from error
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} is not a readable table: {error}. Restore it.", kind="corrupt") from error
    if genes.schema.names != GENES_SCHEMA.names:
        raise ArtifactError(
            f"{path} has the columns {genes.schema.names}, expected {GENES_SCHEMA.names}. Restore it.", kind="corrupt"
        )
    keys = list(zip(genes["organism"].to_pylist(), genes["ensembl_id"].to_pylist(), strict=True))
    if len(set(keys)) != len(keys):
        raise ArtifactError(f"{path} names a gene twice. Restore it.", kind="corrupt")
    return genes.cast(GENES_SCHEMA)


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing. Give a complete model folder.", kind="missing") from error
    except SafetensorError as error:
        raise ArtifactError(f"{path} is not a readable tensor file: {error}. Restore it.", kind="corrupt") from error


def _check_tensors(
    tensors: dict[str, np.ndarray], *, expected: dict[str, tuple[type, tuple[int, ...]]], path: Path
) -> None:
    """Names, types, shapes; finite numbers where numbers must be finite."""
    if set(tensors) != set(expected):
        raise ArtifactError(
            f"{path} holds {sorted(tensors)}, expected {sorted(expected)}. Restore the model folder.", kind="corrupt"
        )
    for name, (dtype, shape) in expected.items():
        seen = tensors[name]
        if seen.dtype != dtype or seen.shape != shape:
            raise ArtifactError(
                f"{path}: {name} is {seen.dtype} {seen.shape}, expected {np.dtype(dtype)} {shape}. Restore the model folder.",
                kind="corrupt",
            )
        if name != "statistics_deviation" and not np.isfinite(seen).all():
            raise ArtifactError(f"{path}: {name} is not finite. Restore the model folder.", kind="corrupt")
    deviation = tensors.get("statistics_deviation")
    if deviation is not None and not (deviation >= 0).all():  # also false for NaN
        raise ArtifactError(f"{path}: a gene's deviation is negative or NaN. Restore the model folder.", kind="corrupt")
