"""What the values of an AnnData matrix are, and how to bring them to a linear scale.

AnnData files rarely say in which unit ``X`` stands. In: some rows. Out: a :class:`Scale` that turns every block of the file
into non-negative linear values, of any factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from atlas.expression.units import Unit

LOG_CEILING = 30.0  # values that stay below are logarithms: 2**30 reads of one gene are more than any cell holds
_SAME_TOTAL = 0.01  # relative spread of row totals below which rows were scaled to one total


@dataclass(frozen=True)
class Scale:
    """How values are read.

    Attributes
    ----------
    kind
        ``counts``, ``linear`` (TPM, normalised, corrected counts), ``log`` (``log(1 + v)`` to ``base``) or ``log2`` (declared:
        the model undoes it by its own rule).
    base
        Base of the logarithm, e for scanpy's ``log1p``.
    declared
        Whether a person or the file said so; else it was seen in the values.
    """

    kind: Literal["counts", "linear", "log", "log2"]
    base: float = float(np.e)
    declared: bool = False

    @property
    def unit(self) -> Unit:
        """Unit of the values after :meth:`linear`."""
        return {"counts": Unit.COUNTS, "log2": Unit.LOG2}.get(self.kind, Unit.NORMALISED)

    @property
    def words(self) -> str:
        """Name the scale for a person."""
        how = "declared" if self.declared else "as the values show"
        if self.kind == "log":
            base = "natural" if np.isclose(self.base, np.e) else f"base {self.base:g}"
            return f"log(1 + value), {base} ({how}); undone before embedding"
        return f"{self.kind} ({how})"

    def linear(self, values: npt.NDArray[np.float32], *, row_ids: tuple[str, ...]) -> npt.NDArray[np.float32]:
        """Return ``(n_rows, n_genes)`` float32 in :attr:`unit`.

        Raises
        ------
        InputError
            If a value is not finite, or negative where the scale has no negative values; the row is named.
        """
        wrong = ~np.isfinite(values) if self.kind == "log2" else ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise _not_readable(float(values[row, column]), where=f"row {row_ids[row]!r}")
        if self.kind != "log":
            return values
        return np.asarray(np.expm1(values.astype(np.float64) * np.log(self.base)), dtype=np.float32)


def declared_scale(unit: Unit) -> Scale:
    """Return the scale of a unit that a person declared."""
    if unit is Unit.COUNTS:
        return Scale("counts", declared=True)
    return Scale("log2" if unit is Unit.LOG2 else "linear", declared=True)


def seen_scale(values: npt.NDArray[np.float32], *, base: float | None = None) -> Scale:
    """Return the scale that rows of a matrix show.

    Whole numbers are counts; fractions below ``LOG_CEILING`` are ``log(1 + v)``, natural unless the file says another ``base``
    or base 2 makes all rows add up to one total; other fractions are linear.

    Raises
    ------
    InputError
        If values are negative or not finite: scaled or centred values cannot be undone.
    """
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise _not_readable(float(values[bad][0]), where="the matrix")
    if bool((values == np.round(values)).all()):
        return Scale("counts")
    if float(values.max()) > LOG_CEILING:
        return Scale("linear")
    if base is not None:
        return Scale("log", base=base, declared=True)
    return Scale("log", base=2.0 if _same_totals(np.exp2(values.astype(np.float64)) - 1.0) else float(np.e))


def _same_totals(linear: npt.NDArray[np.float64]) -> bool:
    totals = linear.sum(axis=1)
    totals = totals[totals > 0]
    return len(totals) > 1 and bool(totals.std() / totals.mean() < _SAME_TOTAL)


def _not_readable(value: float, *, where: str) -> InputError:
    if np.isfinite(value):
        what = f"a negative value ({value:g}) in {where}: centred or scaled expression cannot be undone"
        advice = ", or declare --unit log2 for log2 values"
    else:
        what = f"a value that is not finite ({value:g}) in {where}: what was not measured cannot be scored"
        advice = ", or leave such rows out"
    return InputError(
        f"There is {what}. Expected counts, TPM or log(1 + value); "
        f"choose another matrix of the file (--layer counts or --layer raw){advice}.",
        details={"value": str(value)},
    )
