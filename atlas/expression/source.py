"""``ExpressionSource``: one reader a file format, all with bounded memory; ``open_source`` picks it by what the file holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.errors import InputError
from atlas.expression import hdf5
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit, check_scale

BLOCK_BYTES = 64 << 20

SAMPLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("id_kind", pa.string()),
        ("series_ids", pa.list_(pa.string())),
        ("title", pa.string()),
        ("source_name", pa.string()),
        ("characteristics", pa.string()),
        ("organism", pa.string()),
        ("molecule", pa.string()),
        ("platform", pa.string()),
        ("date", pa.string()),  # of deposition: "YYYY-MM-DD" or "YYYY-MM", empty where not stated
        ("unit", pa.string()),  # null: undeclared
        ("singlecell_probability", pa.float64()),  # null: not stated
        ("source_row", pa.int32()),
    ]
)
SERIES_SCHEMA = pa.schema([("series_id", pa.string()), ("title", pa.string())])

Block = tuple[npt.NDArray[np.int64], ExpressionMatrix]


class ExpressionSource(Protocol):
    """Samples of one file, read in blocks; a context manager.

    Labels that a curator added (``curated_*``) are never read.
    """

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def n_samples(self) -> int:
        """Number of samples in the file."""

    @property
    def genes(self) -> tuple[str, ...]:
        """Gene labels, one a column of every block."""

    @property
    def symbols(self) -> tuple[str, ...] | None:
        """Second gene labels, if the file has both."""

    def sample_table(self) -> pa.Table:
        """Return one row a sample in source order, columns of ``SAMPLE_SCHEMA``."""

    def series_table(self) -> pa.Table:
        """Return the series the file describes, columns of ``SERIES_SCHEMA``; may be empty."""

    def blocks(self, rows: npt.NDArray[np.integer] | None = None, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield ``(source rows, matrix)`` in source order.

        Parameters
        ----------
        rows
            Source rows wanted, strictly increasing; ``None`` means all.
        block_bytes
            Aim for the size of one block's values.

        Raises
        ------
        InputError
            If a read fails, or undeclared values are not counts. Never zeros in place of values.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(path: Path, *, unit: Unit | None = None) -> ExpressionSource:
    """Open a file of expression values.

    Parameters
    ----------
    path
        ARCHS4 HDF5 (``.h5``), AnnData (``.h5ad``), or a gene x sample table (CSV/TSV, also gzipped).
    unit
        The unit of samples for which the file declares none; what the file declares wins.

    Raises
    ------
    InputError
        If the file cannot be read or is none of these.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(len(hdf5.SIGNATURE))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path} cannot be opened: {reason}.", details={"file": str(path)}) from error
    if head == hdf5.SIGNATURE:
        return _open_hdf5_source(path, unit=unit)
    if path.suffix.lower() in {".h5", ".hdf5", ".h5ad"}:
        raise InputError(
            f"{path} is not an HDF5 file (it starts with {head!r}). "
            "It may be an error page saved under this name; fetch it again.",
            details={"file": str(path)},
        )
    from atlas.expression.tables import TableSource

    return TableSource(path, unit=unit)


def _open_hdf5_source(path: Path, *, unit: Unit | None) -> ExpressionSource:
    from atlas.expression.archs4 import Archs4Source

    with hdf5.open_hdf5(str(path), name=str(path)) as file, hdf5.reading(str(path)):
        if hdf5.find(file, "data/expression") is not None or hdf5.find(file, "meta") is not None:
            return Archs4Source(path, unit=unit)
        if hdf5.find(file, "obs") is not None and hdf5.find(file, "var") is not None:
            from atlas.expression.h5ad import H5adSource

            return H5adSource(path, unit=unit)
        names = sorted(file)[:10]
    raise InputError(
        f"{path} is an HDF5 file of an unknown kind: its top level has {names}. "
        "Expected ARCHS4 (data/expression, meta) or h5ad (X, obs, var).",
        details={"file": str(path), "found": names},
    )


def check_rows(rows: npt.NDArray[np.integer] | None, *, n_samples: int) -> npt.NDArray[np.int64]:
    """Return the wanted rows as int64; all of them for ``None``.

    Raises
    ------
    InputError
        If they are not strictly increasing or not in the source.
    """
    if rows is None:
        return np.arange(n_samples, dtype=np.int64)
    wanted = np.asarray(rows, dtype=np.int64)
    if wanted.size and (wanted[0] < 0 or wanted[-1] >= n_samples or bool((np.diff(wanted) <= 0).any())):
        raise InputError(f"Rows must be strictly increasing and below {n_samples}.")
    return wanted


def settle_units(
    values: npt.NDArray[np.float32],
    *,
    declared: Sequence[Unit | None],
    sample_ids: Sequence[str],
    measured: npt.NDArray[np.bool_] | None = None,
) -> tuple[Unit, ...]:
    """Return one unit a row: the declared one, else counts where the values can be counts.

    Raises
    ------
    InputError
        If a row declares nothing and holds no counts; the message names the sample and the scale.
    """
    units: list[Unit] = []
    for row, unit in enumerate(declared):
        try:
            units.append(check_scale(values[row], None if measured is None else measured[row], unit=unit))
        except InputError as error:
            raise InputError(f"Sample {sample_ids[row]!r}: {error.message}", details=error.details) from error
    return tuple(units)
