"""The same sample as other laboratories would have measured it: fewer genes, fewer reads, one cell's sparsity, another unit.

In: aligned expression and one random generator a row. Out: aligned expression of the same shape; what is left out is marked as
not measured, never as zero. A row's result depends on its values and its generator alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atlas.errors import ConfigError
from atlas.expression.align import AlignedExpression
from atlas.expression.log import linear_values
from atlas.expression.units import Unit

_FEWEST_GENES = 200  # a row keeps at least so many measured genes, or all it has


@dataclass(frozen=True)
class Augmentation:
    """How often, and how far, a row is changed. All zero: nothing is.

    Attributes
    ----------
    p_genes
        Probability that genes are left out; the kept share is then uniform in ``[min_genes, 1]``.
    min_genes
        Smallest share of measured genes kept.
    p_depth
        Probability that reads are thinned, as by sequencing less deeply; the depth is log-uniform in
        ``[min_depth, max_depth]`` counts.
    min_depth, max_depth
        Counts a thinned bulk sample may have.
    p_cell
        Probability that a row becomes as sparse as one cell: thinned to ``[500, 20,000]`` counts, log-uniform. Comes before
        ``p_depth``, which then does not apply.
    p_unit
        Probability that the unit changes: linear values are scaled by any factor or logged with a pseudo-count.

    Raises
    ------
    ConfigError
        If a probability or share is outside [0, 1], or the depths are not ordered.
    """

    p_genes: float = 0.0
    min_genes: float = 0.1
    p_depth: float = 0.0
    min_depth: float = 1e5
    max_depth: float = 2e7
    p_cell: float = 0.0
    p_unit: float = 0.0

    def __post_init__(self) -> None:
        for name in ("p_genes", "min_genes", "p_depth", "p_cell", "p_unit"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augmentation: {name} is {getattr(self, name)}; expected a number from 0 to 1.")
        if not 0 < self.min_depth <= self.max_depth:
            raise ConfigError(
                f"augmentation: depths {self.min_depth:g} to {self.max_depth:g}; expected 0 < min_depth <= max_depth."
            )


MODERATE = Augmentation(p_genes=0.3, p_depth=0.3, p_cell=0.1, p_unit=0.3)
"""A mixture that leaves about four in ten rows as they are."""

_CELL_DEPTH = (500.0, 20_000.0)


def augment(
    aligned: AlignedExpression, augmentation: Augmentation, *, rngs: Sequence[np.random.Generator]
) -> AlignedExpression:
    """Return augmented rows.

    Parameters
    ----------
    aligned
        (n_samples, n_model_genes) values with masks and units; not changed.
    augmentation
        What may happen.
    rngs
        One generator a row.
    """
    values = aligned.values.copy()
    measured = np.array(aligned.measured)
    units = list(aligned.units)
    for row, rng in enumerate(rngs):
        places = np.flatnonzero(measured[row])
        kept = _keep_genes(places, augmentation, rng)
        measured[row, :] = False
        measured[row, kept] = True
        changed, units[row] = _change(values[row, kept], units[row], augmentation, rng)
        values[row, :] = 0
        values[row, kept] = changed
    return AlignedExpression(values, measured, tuple(units), aligned.sample_ids, aligned.coverage)


def _keep_genes(
    places: npt.NDArray[np.intp], augmentation: Augmentation, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    if rng.random() >= augmentation.p_genes:
        return places
    share = rng.uniform(augmentation.min_genes, 1.0)
    n = min(places.size, max(_FEWEST_GENES, round(share * places.size)))
    return np.sort(rng.choice(places, size=n, replace=False))


def _change(
    values: npt.NDArray[np.float32], unit: Unit, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], Unit]:
    """Thin and rescale the measured values of one row."""
    depth = _depth(augmentation, rng)
    if depth is not None:
        thinned = thin(linear_values(values, unit=unit), depth=depth, rng=rng)
        if thinned.any():  # a row of nothing teaches nothing: it stays as it was
            values, unit = thinned, Unit.COUNTS
    if rng.random() < augmentation.p_unit:
        values, unit = _other_unit(values, unit, rng)
    return values, unit


def _depth(augmentation: Augmentation, rng: np.random.Generator) -> float | None:
    is_cell, is_thinned, place = rng.random(3)
    if is_cell < augmentation.p_cell:
        low, high = _CELL_DEPTH
    elif is_thinned < augmentation.p_depth:
        low, high = augmentation.min_depth, augmentation.max_depth
    else:
        return None
    return float(low * (high / low) ** place)


def thin(linear: npt.NDArray[np.float64], *, depth: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return counts as if ``depth`` reads had been drawn from these proportions, ``(n_genes,)`` float32.

    Each gene is Poisson with its share of ``depth``; the total varies as that of a library does. Values of any linear scale
    serve, for only their proportions matter.
    """
    total = float(linear.sum())
    if total <= 0:
        return np.zeros(linear.shape, dtype=np.float32)
    return rng.poisson(linear * (depth / total)).astype(np.float32)


def _other_unit(
    values: npt.NDArray[np.float32], unit: Unit, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], Unit]:
    """Parts per million, the same times any factor, or their log2 with a pseudo-count."""
    linear = linear_values(values, unit=unit)
    total = float(linear.sum())
    if total <= 0:
        return values, unit
    scaled = linear * (1e6 / total)
    kind = rng.integers(3)
    if kind == 0:
        return scaled.astype(np.float32), Unit.TPM
    if kind == 1:
        return (scaled * 10.0 ** rng.uniform(-2, 2)).astype(np.float32), Unit.NORMALISED
    return np.log2(scaled + 10.0 ** rng.uniform(-1, 1)).astype(np.float32), Unit.LOG2
