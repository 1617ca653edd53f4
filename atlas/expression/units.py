"""Units of expression values: what a source declares, and what undeclared values turn out to be.

A declared unit decides how values are read. Only undeclared values are examined: they are taken as counts, and refused where
they cannot be counts. Nothing is converted here.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError

_FLAG = "Declare the unit (--unit counts|tpm|fpkm|log2, over REST the field unit), or give read counts."
_LOG2_CEILING = 40.0  # 2**40 reads are more than any library holds


class Unit(StrEnum):
    """Unit of one sample's values; all but ``LOG2`` are linear and non-negative."""

    COUNTS = "counts"
    TPM = "tpm"
    FPKM = "fpkm"
    LOG2 = "log2"
    NORMALISED = "normalised"  # linear on any scale: RSEM normalised, NX, averages of scaled coverage


def parse_unit(declared: str, *, is_log2: bool = False) -> Unit:
    """Return the unit that a source's own words declare.

    Parameters
    ----------
    declared
        Free text such as ``"RSEM counts"``, ``"TPM"`` or ``"log2 normalised (as deposited)"``.
    is_log2
        The source's separate flag that the values are logarithms; it wins over the words.

    Raises
    ------
    InputError
        If the words name no unit we can read.
    """
    text = declared.strip().lower()
    if is_log2 or "log2" in text:
        return Unit.LOG2
    if "tpm" in text:
        return Unit.TPM
    if "fpkm" in text or "rpkm" in text:
        return Unit.FPKM
    words = ("normalised", "normalized", "average", "mean", "nx", "cpm", "scaled counts")
    if any(word in text for word in words):
        return Unit.NORMALISED
    if "count" in text or "coverage" in text:
        return Unit.COUNTS
    raise InputError(
        f"The declared unit {declared!r} is not known. "
        f"Expected words naming counts, TPM, FPKM, log2 or normalised values. {_FLAG}",
        details={"unit": declared},
    )


def detect_scale(values: npt.NDArray[np.floating]) -> str:
    """Name in words the scale that measured ``values`` (any shape) seem to have; only for messages."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return "no finite value"
    low, high = float(finite.min()), float(finite.max())
    if finite.size < values.size:
        return f"missing or infinite values ({values.size - finite.size:,} of {values.size:,})"
    if low < 0:
        scale = "log2 ratios or log2 of small values" if high <= _LOG2_CEILING else "values with an offset"
        return f"negative values, likely {scale} (range {low:g} to {high:g})"
    if bool(np.any(finite != np.round(finite))):
        likely = "log2" if high <= _LOG2_CEILING else "TPM, FPKM or another normalised scale"
        return f"fractional values, likely {likely} (range {low:g} to {high:g})"
    return "counts"


def check_scale(
    values: npt.NDArray[np.floating], measured: npt.NDArray[np.bool_] | None = None, *, unit: Unit | None = None
) -> Unit:
    """Return the unit to read ``values`` in: the declared one, else counts if they can be counts.

    Parameters
    ----------
    values
        Expression of one or more samples, any shape.
    measured
        Mask of the same shape; values outside it are not looked at.
    unit
        The declared unit, ``None`` if the source declares none.

    Raises
    ------
    InputError
        If nothing is declared and a value is negative, fractional or not finite.
    """
    if unit is not None:
        return unit
    shown = values if measured is None else values[measured]
    if shown.size == 0 or bool(np.all((shown >= 0) & (shown == np.round(shown)) & np.isfinite(shown))):
        return Unit.COUNTS
    scale = detect_scale(shown)
    raise InputError(
        f"The source declares no unit and its values are not counts: {scale}. Expected non-negative whole numbers. {_FLAG}",
        details={"detected": scale, "flag": "--unit"},
    )
