"""The genes that make a vector: ``gene_weights.npy``, one record a sample, row = row of ``vectors.npy``.

A sample's unit vector is v = sum over genes of a_g e_g, with e_g the model's gene vector and a_g the gene's weight over the
length of the unnormalised sum; a gene below its usual level may weigh negatively. Kept are the ``N_KEPT`` genes with the
longest pull |a_g| |e_g|: on real samples they hold 92 % of the ten genes that matter most to a phrase (64 genes: 71 %). Leaving
a kept gene out is then one subtraction, v - a_g e_g.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.errors import ArtifactError

N_KEPT = 256
"""Genes kept of a sample."""

RECORD = np.dtype([("gene", "<u2", (N_KEPT,)), ("weight", "<f2", (N_KEPT,)), ("norm", "<f4"), ("kept", "<f4")])
"""One sample: model gene rows by decreasing pull, their a_g (0 fills up), length of the sum, share of all pull kept."""


@dataclass(frozen=True)
class GeneWeights:
    """The strongest genes of one sample.

    Attributes
    ----------
    genes
        (m,) int64 rows of the model's gene table, strongest pull first.
    weights
        (m,) float64 of either sign, each over the length of the unnormalised sum: the sample's unit vector is the sum of
        weight x gene vector over all its genes.
    norm
        Length of the unnormalised sum; ``weights * norm`` are the tower's own weights.
    kept
        Share of the pull of all genes, in (0, 1], that these genes hold.
    """

    genes: np.ndarray
    weights: np.ndarray
    norm: float
    kept: float


def pack(samples: Sequence[GeneWeights], *, n_genes: int) -> np.ndarray:
    """Return (n_samples,) ``RECORD``; genes beyond ``N_KEPT`` are left off.

    Raises
    ------
    ArtifactError
        If the model has more genes than a record can number, or vectors so long or short that half precision loses a weight.
    """
    if n_genes > np.iinfo(np.uint16).max + 1:
        raise ArtifactError(
            f"The model has {n_genes:,} genes; records of gene weights number at most {np.iinfo(np.uint16).max + 1:,}.",
            kind="incompatible",
        )
    records = np.zeros(len(samples), dtype=RECORD)
    for record, sample in zip(records, samples, strict=True):
        n = min(N_KEPT, sample.genes.size)
        record["gene"][:n] = sample.genes[:n]
        record["weight"][:n] = _halved(sample.weights[:n])
        record["norm"], record["kept"] = sample.norm, sample.kept
    return records


def _halved(weights: np.ndarray) -> np.ndarray:
    """Return the weights in half precision; a weak gene beside strong ones may lose digits but never its sign."""
    largest = float(np.abs(weights).max(initial=0.0))
    if largest > float(np.finfo(np.float16).max) or 0.0 < largest < 64 * float(np.finfo(np.float16).tiny):
        raise ArtifactError(
            f"The strongest gene of a sample weighs {largest:.3g}, which records of gene weights cannot hold: the model's gene "
            "vectors are too long or too short. Scale them all by one factor so that their mean length is 1.",
            kind="incompatible",
            details={"largest": largest},
        )
    smallest = np.copysign(np.finfo(np.float16).smallest_subnormal, weights)
    halved = weights.astype(np.float16)
    return np.where((halved == 0) & (weights != 0), smallest, halved)


def open_records(path: Path) -> np.ndarray:
    """Return the (n_samples,) ``RECORD`` of a file as a read-only memory map.

    Raises
    ------
    ArtifactError
        If the file is missing, cut short or holds something else.
    """
    try:
        records: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"There is no {path.name}: this release was built before gene weights were kept, or with a model whose vectors are "
            "no sums over genes. Build it again, with a model of the tower 'gene_text'.",
            kind="missing",
            details={"file": path.name},
        ) from error
    except (ValueError, EOFError, OSError) as error:
        raise ArtifactError(
            f"{path.name} is not a complete npy file: {error}. Restore it or rebuild.", kind="corrupt"
        ) from error
    if records.dtype != RECORD or records.ndim != 1:
        raise ArtifactError(
            f"{path.name} holds {str(records.dtype)[:80]} of shape {records.shape}; expected a record of gene weights a sample.",
            kind="corrupt",
        )
    return records


def unpack(records: np.ndarray, *, row: int) -> GeneWeights:
    """Return the gene weights of one row; no genes where they are not known."""
    record = records[row]
    weights = record["weight"].astype(np.float64)
    known = weights != 0.0
    genes = record["gene"].astype(np.int64)
    return GeneWeights(genes[known], weights[known], float(record["norm"]), float(record["kept"]))


def check_records(records: np.ndarray, *, n_genes: int, signed: bool = True, start: int = 0) -> None:
    """Refuse records that cannot be gene weights of a model with ``n_genes`` genes.

    Parameters
    ----------
    records
        (m,) ``RECORD``. A record of zeros alone is a sample whose weights are not known.
    n_genes
        Genes of the model.
    signed
        Whether the model's genes may weigh negatively.
    start
        Row of the first record, for the message.

    Raises
    ------
    ArtifactError
        Naming the first row that is wrong.
    """
    weights = records["weight"].astype(np.float32)
    used = weights != 0
    unknown = (records["norm"] == 0) & (records["kept"] == 0) & ~used.any(axis=1)
    whole = (
        np.isfinite(weights).all(axis=1)
        & (signed | (weights >= 0).all(axis=1))
        & used[:, 0]
        & (np.where(used, records["gene"], 0) < n_genes).all(axis=1)
        & (np.diff(used.astype(np.int8), axis=1) <= 0).all(axis=1)
        & np.isfinite(records["norm"])
        & (records["norm"] > 0)
        & (records["kept"] > 0)
        & (records["kept"] <= 1 + 1e-6)
    )
    if not (whole | unknown).all():
        row = start + int(np.flatnonzero(~(whole | unknown))[0])
        raise ArtifactError(f"Row {row} of gene_weights.npy is no record of gene weights.", kind="corrupt")
