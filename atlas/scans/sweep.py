"""A sweep: every term of a vocabulary against every cluster of the atlas, with tests, intervals and sums.

In: the vectors of an atlas and of the terms, the background. Out: ``Scan``, columns that ``atlas.scans.files`` writes.
Memory does not grow with samples times terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from atlas.answers import ScanCalibration
from atlas.scans.ground import Ground, TermEffects
from atlas.scans.null import Null, Tests
from atlas.scans.stream import SampleNull, Streamed, SumNull, stream
from atlas.scans.testing import LEVEL, benjamini_hochberg, selected_families
from atlas.vectors.store import VectorStore

Progress = Callable[[float], None]
"""Told the share done, in [0, 1]; what it raises ends the work."""
_TESTING = 0.4  # of the time of a sweep, about


@dataclass(frozen=True)
class Scan:
    """A sweep of m terms over K clusters.

    Attributes
    ----------
    measured
        Mean and deviation of each term's similarity, mean z in each cluster.
    tests
        p-values of terms and cells.
    q
        (m,) over terms.
    q_within
        (m, K) over the clusters of each term.
    q_cells
        (m, K) the same, paid for the choice of the term; NaN where a term was not selected.
    """

    vectors: np.ndarray
    measured: TermEffects
    tests: Tests
    q: np.ndarray
    q_within: np.ndarray
    q_cells: np.ndarray
    streamed: Streamed
    calibration: ScanCalibration
    n_background: int

    @property
    def selected(self) -> np.ndarray:
        """Which terms are findings, (m,) bool."""
        return np.asarray(self.q < LEVEL)


def sweep(
    store: VectorStore,
    ground: Ground,
    vectors: np.ndarray,
    *,
    background: np.ndarray,
    seed: int = 0,
    progress: Progress = lambda share: None,
) -> Scan:
    """Sweep terms over an atlas.

    Parameters
    ----------
    store, ground
        The samples' vectors, and their moments.
    vectors
        (m, dim) float32 unit rows, the terms.
    background
        (n, dim) float32 unit rows, terms of other vocabularies embedded with the same templates.
    """
    null = Null(background, ground)
    measured = ground.effects(vectors)
    m = vectors.shape[0]
    tests = null.test(vectors, measured, step=_counting(progress, total=m, start=0.0, stop=_TESTING))
    q = benjamini_hochberg(tests.p)
    q_within = benjamini_hochberg(tests.cell_p)
    chosen = q < LEVEL
    q_cells = np.where(chosen[:, None], selected_families(q_within, n_selected=int(chosen.sum())), np.nan)
    samples = SampleNull.of(background)
    streamed = stream(
        store,
        ground,
        vectors,
        terms=measured,
        samples=samples,
        sums=SumNull.of(vectors, measured, background=background, measured=null.measured, samples=samples, seed=seed),
        step=_counting(progress, total=m * store.n, start=_TESTING, stop=1.0),
    )
    calibration = null.calibration(n_terms=m, seed=seed)
    return Scan(vectors, measured, tests, q, q_within, q_cells, streamed, calibration, background.shape[0])


def _counting(progress: Progress, *, total: int, start: float, stop: float) -> Callable[[int], None]:
    done = 0

    def step(n: int) -> None:
        nonlocal done
        done += n
        progress(start + (stop - start) * min(done / max(total, 1), 1.0))

    return step
