"""``ExpressionMatrix``: samples x genes as a source gives them, with identifiers and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from atlas.expression.units import Unit, check_scale, detect_scale


@dataclass(frozen=True)
class ExpressionMatrix:
    """Expression values of some samples, genes in the source's own order and names.

    Attributes
    ----------
    values
        (n_samples, n_genes) float32, each row in its unit.
    genes
        One label a column: Ensembl id (a version is allowed) or symbol.
    sample_ids
        One id a row.
    units
        One unit a row.
    measured
        (n_samples, n_genes) bool; ``None`` means that every listed gene was measured. An unmeasured value is not zero.
    symbols
        A second label a column, where the source has both; empty strings allowed.
    """

    values: npt.NDArray[np.float32]
    genes: tuple[str, ...]
    sample_ids: tuple[str, ...]
    units: tuple[Unit, ...]
    measured: npt.NDArray[np.bool_] | None = None
    symbols: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        expected = (len(self.sample_ids), len(self.genes))
        if self.values.shape != expected:
            raise InputError(
                f"Expression values have shape {self.values.shape}, expected {expected} (samples, genes) from the names."
            )
        if len(self.units) != expected[0]:
            raise InputError(f"{len(self.units)} units were given for {expected[0]} samples; give one a sample.")
        if self.measured is not None and self.measured.shape != expected:
            raise InputError(f"The mask of measured genes has shape {self.measured.shape}, expected {expected}.")
        if self.symbols is not None and len(self.symbols) != expected[1]:
            raise InputError(f"{len(self.symbols)} symbols were given for {expected[1]} genes; give one a gene.")

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.sample_ids)

    @property
    def n_genes(self) -> int:
        """Number of columns."""
        return len(self.genes)


def build_matrix(
    values: npt.ArrayLike,
    *,
    genes: Sequence[str],
    sample_ids: Sequence[str],
    unit: Unit | None = None,
    symbols: Sequence[str] | None = None,
) -> ExpressionMatrix:
    """Return a checked matrix of a person's own samples, each gene measured in each.

    Parameters
    ----------
    values
        (n_samples, n_genes) numbers.
    genes, sample_ids, symbols
        As in ``ExpressionMatrix``.
    unit
        The declared unit; ``None`` means counts, which is then checked.

    Raises
    ------
    InputError
        If there is no sample or gene, shapes disagree, ids repeat, a value is not finite, a linear unit has a negative value,
        or undeclared values are not counts.
    """
    try:
        array = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError("The expression values are not a table of numbers (samples x genes).") from error
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise InputError(f"The expression values have shape {array.shape}; expected at least one sample and one gene.")
    refuse_duplicates(sample_ids, what="sample")
    used = check_scale(array, unit=unit)
    if not bool(np.isfinite(array).all()):
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise InputError(
            f"Sample {sample_ids[row]!r} has no finite value for gene {genes[column]!r}. Leave genes out that were not measured."
        )
    if used is not Unit.LOG2 and bool((array < 0).any()):
        raise InputError(
            f"The unit is {used.value} but there are {detect_scale(array)}. Declare the unit log2 (--unit log2) if they are logs."
        )
    return ExpressionMatrix(
        values=array,
        genes=tuple(genes),
        sample_ids=tuple(sample_ids),
        units=(used,) * array.shape[0],
        symbols=None if symbols is None else tuple(symbols),
    )


def refuse_duplicates(names: Sequence[str], *, what: str) -> None:
    """Raise ``InputError`` naming the values of ``names`` that stand there twice."""
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
    shown = ", ".join(repr(name) for name in twice[:10]) + (" ..." if len(twice) > 10 else "")
    raise InputError(
        f"{len(twice)} {what} name(s) stand there more than once: {shown}. Give each {what} one unique name.",
        details={"duplicates": twice[:100], "n_duplicates": len(twice)},
    )
