"""A packaged starter: public samples with their vectors and gene weights but no expression, taken into a build as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.vectors.gene_weights import RECORD, open_records

STARTER_SOURCE = -1  # samples.parquet: the source_file of a starter's samples; source_row is their row in the starter


@dataclass(frozen=True)
class Starter:
    """The samples of a starter folder.

    Attributes
    ----------
    samples, series
        The columns of a release's ``samples.parquet`` and ``series.parquet``.
    vectors
        (n_samples, d) float16 memory map, row = row of ``samples``.
    gene_weights
        (n_samples,) records of ``atlas.vectors.gene_weights``, row = row of ``samples``; zeros in a starter without them.
    """

    samples: pa.Table
    series: pa.Table
    vectors: npt.NDArray[np.float16]
    gene_weights: np.ndarray


def read_starter(folder: Path) -> Starter:
    """Read a starter folder: ``samples.parquet``, ``series.parquet``, ``vectors.npy``, and ``gene_weights.npy`` if it is there.

    Raises
    ------
    ArtifactError
        If a file is missing or damaged, or samples and vectors differ in number.
    """
    paths = [folder / name for name in ("samples.parquet", "series.parquet", "vectors.npy")]
    for path in paths:
        if not path.is_file():
            raise ArtifactError(
                f"The starter {folder} has no {path.name}. Fetch the package or checkout again.", kind="missing"
            )
    try:
        samples, series = pq.read_table(paths[0]), pq.read_table(paths[1])
        vectors = np.load(paths[2], mmap_mode="r", allow_pickle=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ArtifactError(f"The starter {folder} cannot be read: {error}", kind="corrupt") from error
    if vectors.ndim != 2 or vectors.shape[0] != samples.num_rows:
        raise ArtifactError(
            f"The starter {folder} has {samples.num_rows:,} samples but vectors of shape {vectors.shape}.",
            kind="corrupt",
        )
    if "date" not in samples.column_names:  # starters written before dates were kept
        samples = samples.append_column("date", pa.array([""] * samples.num_rows, pa.string()))
    return Starter(samples, series, vectors, _gene_weights(folder / "gene_weights.npy", n=samples.num_rows))


def _gene_weights(path: Path, *, n: int) -> np.ndarray:
    if not path.exists():
        return np.zeros(n, dtype=RECORD)
    records = open_records(path)
    if len(records) != n:
        raise ArtifactError(f"{path} has {len(records):,} rows for {n:,} samples.", kind="corrupt")
    return records
