"""A person's own samples, sent as a file: held in memory, bounded, never stored or logged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from atlas.errors import InputError, TooLargeError
from atlas.expression import hdf5
from atlas.expression.genes import GeneMap
from atlas.expression.isolated import read_h5ad_isolated
from atlas.expression.limits import Limits
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.tables import Orientation, read_table
from atlas.expression.units import Unit
from atlas.settings import Settings


def read_upload(
    name: str,
    data: bytes | BinaryIO,
    settings: Settings,
    *,
    unit: Unit | None = None,
    genes: GeneMap | None = None,
    orientation: Orientation = "auto",
) -> ExpressionMatrix:
    """Return the samples of an uploaded CSV, TSV (plain or gzipped) or h5ad file.

    Parameters
    ----------
    name
        The file's name, for messages only; what the file is, its bytes tell.
    data
        The bytes, or a stream of them.
    settings
        ``upload_max_bytes``, ``upload_max_expanded_bytes`` and ``upload_max_samples`` bound it.
    unit
        Declared unit; ``None``: counts, which is checked.
    genes
        The model's genes; they tell which axis of a table names genes.
    orientation
        Axis of the genes of a table, if it is known.

    Raises
    ------
    TooLargeError
        If a bound is passed, before anything larger is read or decompressed.
    InputError
        If the file is none of these, is damaged, or holds a value that is not finite or does not fit the unit.
    """
    limits = Limits(settings.upload_max_bytes, settings.upload_max_expanded_bytes, settings.upload_max_samples)
    raw = data if isinstance(data, bytes) else data.read(limits.max_bytes + 1)
    if len(raw) > limits.max_bytes:
        raise TooLargeError(
            f"The file is larger than the limit of {limits.max_bytes:,} bytes. Send fewer samples or genes.",
            details={"limit_bytes": limits.max_bytes},
        )
    if not raw:
        raise InputError("The file is empty. Expected a CSV or TSV table, or an h5ad file.")
    label = Path(name).name[:100] or "the file"
    if raw.startswith(hdf5.SIGNATURE):
        return read_h5ad_isolated(raw, name=label, unit=unit, limits=limits)
    return read_table(
        io.BytesIO(raw),
        name=label,
        max_bytes=limits.max_bytes,
        max_expanded_bytes=limits.max_expanded_bytes,
        max_samples=limits.max_samples,
        unit=unit,
        genes=genes,
        orientation=orientation,
    )
