"""What the values of an AnnData matrix are, and how to bring them to a linear scale.

AnnData files rarely say in which unit ``X`` stands. In: rows. Out: :class:`ReadRows`, non-negative linear values of any factor.
A declared unit holds for all rows; else each row is read as its own values show, so that a row is read alike alone, in its
file and in any part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from atlas.expression.units import Unit

LOG_CEILING = 30.0  # base 2; 2**30 reads of one gene are more than any cell or library holds
_STEEP = 20.0  # a logarithm's largest value is seldom so many times what a tenth of its genes exceed; a linear one's mostly is
_WHOLE = 1e-3  # farthest from a whole number that a ratio of counts is after rounding
_FEW_READS = 3.0  # half of the genes of a shallow row have no more; rounded logarithms are multiples too, but of many
_USUAL_TOTALS = (1e4, 1e5, 1e6)  # what rows are scaled to before a logarithm is taken
_SAME_TOTAL = 5e-4  # relative

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RowScale:
    """What one row's values are: counts, linear on any scale, ``log(1 + v)`` to ``base``, or declared ``log2``."""

    kind: Literal["counts", "linear", "log", "log2"]
    base: float = float(np.e)

    @property
    def unit(self) -> Unit:
        """Unit of the values once a ``log`` is undone; a declared ``log2`` is left to the model's own rule."""
        return {"counts": Unit.COUNTS, "log2": Unit.LOG2}.get(self.kind, Unit.NORMALISED)

    @property
    def words(self) -> str:
        """Name the scale for a person."""
        if self.kind != "log":
            return self.kind
        return f"log(1 + value), {'natural' if np.isclose(self.base, np.e) else f'base {self.base:g}'}"


@dataclass(frozen=True)
class ReadRows:
    """Rows on a linear scale, but for those declared ``log2``.

    Attributes
    ----------
    values
        ``(n_rows, n_genes)`` float32.
    measured
        ``(n_rows, n_genes)`` bool, false where a value was not finite; ``None`` where all were.
    scales
        One a row.
    """

    values: Values
    measured: npt.NDArray[np.bool_] | None
    scales: tuple[RowScale, ...]


@dataclass(frozen=True)
class Scale:
    """How the rows of a matrix are read.

    Attributes
    ----------
    unit
        The unit that a person declared; ``None``: each row shows its own.
    base
        Base of logarithms, if the file names it.
    """

    unit: Unit | None = None
    base: float | None = None

    def read(self, values: Values, *, row_ids: Sequence[str]) -> ReadRows:
        """Bring rows to a linear scale; ``values``, ``(n_rows, n_genes)`` float32, are left as they are.

        Raises
        ------
        InputError
            If a value is negative where there are no negative values; the row is named.
        """
        finite = np.isfinite(values)
        measured = None if bool(finite.all()) else finite
        if measured is not None:
            values = np.where(finite, values, np.float32(0))
        if self.unit is not Unit.LOG2 and bool((values < 0).any()):
            row, column = np.argwhere(values < 0)[0]
            raise _negative(float(values[row, column]), row_id=row_ids[row])
        scales = self._scales(values)
        logs = [row for row, scale in enumerate(scales) if scale.kind == "log"]
        if logs:
            values = values.copy()
        for row in logs:
            there = np.flatnonzero(values[row])
            values[row, there] = _undone(values[row, there].astype(np.float64), base=scales[row].base)
        return ReadRows(values, measured, scales)

    def read_head(self, values: Values, *, row_ids: Sequence[str]) -> str:
        """Say how the first rows are read, as the rest will be, each by itself.

        Raises
        ------
        InputError
            As :meth:`read`, before anything else is done.
        """
        seen = dict.fromkeys(scale.words for scale in self.read(values, row_ids=row_ids).scales)
        how = "as declared" if self.unit is not None else "as the values of each row show"
        undone = "; logarithms are undone before embedding" if any(name.startswith("log(") for name in seen) else ""
        return f"{' or '.join(seen)} ({how}){undone}"

    def _scales(self, values: Values) -> tuple[RowScale, ...]:
        if self.unit is not None:
            kinds: dict[Unit, Literal["counts", "log2"]] = {Unit.COUNTS: "counts", Unit.LOG2: "log2"}
            return (RowScale(kinds.get(self.unit, "linear")),) * len(values)
        return tuple(
            RowScale("counts")
            if bool((row == np.rint(row)).all())
            else fractional_scale(row[row > 0].astype(np.float64), base=self.base)
            for row in values
        )


def fractional_scale(values: npt.NDArray[np.float64], *, base: float | None = None) -> RowScale:
    """Return what the values of one row, positive and not all whole, are.

    Linear are values that no logarithm reaches, values of which one stands far above a tenth of the others (means of profiles),
    and small whole multiples of the smallest (counts of a shallow row over its size factor). Others are ``log(1 + v)``: to
    ``base`` if the file names it, else base 2 where that alone makes them add up to a usual total, else natural.
    """
    largest = float(values.max())
    if largest > LOG_CEILING or largest > _STEEP * np.quantile(values, 0.9) or _are_few_reads(values / values.min()):
        return RowScale("linear")
    if base is None:
        base = 2.0 if _adds_up(values, base=2.0) and not _adds_up(values, base=np.e) else float(np.e)
    return RowScale("log", base) if largest * np.log2(base) <= LOG_CEILING else RowScale("linear")


def _are_few_reads(ratios: npt.NDArray[np.float64]) -> bool:
    return bool((np.abs(ratios - np.rint(ratios)) < _WHOLE).all()) and float(np.median(ratios)) <= _FEW_READS


def _undone(logs: npt.NDArray[np.float64], *, base: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.expm1(logs * np.log(base)))


def _adds_up(logs: npt.NDArray[np.float64], *, base: float) -> bool:
    total = float(_undone(logs, base=base).sum())
    return any(abs(total / usual - 1.0) < _SAME_TOTAL for usual in _USUAL_TOTALS)


def _negative(value: float, *, row_id: str) -> InputError:
    return InputError(
        f"There is a negative value ({value:g}) in row {row_id!r}: centred or scaled expression cannot be undone. "
        "Expected counts, TPM or log(1 + value); choose another matrix of the file (--layer counts or --layer raw; over REST "
        "send a file whose X it is), or declare --unit log2 for log2 values.",
        details={"value": str(value), "row": row_id},
    )
