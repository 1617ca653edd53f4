"""The sweeps at hand for one release: those it was built with, and ad-hoc lists worked off for it later.

In: ``<release>/scans/<vocabulary>/`` and ``<home>/scans/<release>/<key>/``. Out: the records of ``atlas.answers``. Reading
never needs the model, the vectors of samples (but ``term_scores``) or a database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from atlas.answers import ScanMatrix, ScanReport, ScanSamples, ScanSummary, ScanTermReport
from atlas.release import Release


class ScanShelf:
    """The sweeps of one open release.

    Parameters
    ----------
    release
        The open release.
    home
        Folder with ``scans/<release>/<key>/``.
    labels
        Gives the labels of the clusters as they are now (a person may have edited one); default: the release's own.
    """

    def __init__(
        self, release: Release, home: Path, *, labels: Callable[[], Mapping[int, str]] | None = None
    ) -> None:
        self._release = release
        self._home = home

    def names(self) -> tuple[str, ...]:
        """Return the names of all sweeps: vocabularies of the release first, then keys of ad-hoc lists."""
        return ()

    def summaries(self) -> tuple[ScanSummary, ...]:
        """Return all sweeps, in the order of ``names``."""
        return ()

    def report(self, name: str, *, n_top: int = 5) -> ScanReport:
        """Return the terms of a sweep, best first, and the ``n_top`` best terms of each cluster."""
        raise NotImplementedError

    def term(self, name: str, term: str) -> ScanTermReport:
        """Return one term of a sweep in every cluster, best first; case does not matter."""
        raise NotImplementedError

    def matrix(self, name: str, *, max_terms: int = 60) -> ScanMatrix:
        """Return the best ``max_terms`` terms x all clusters, similar ones beside each other."""
        raise NotImplementedError

    def samples(self, name: str) -> ScanSamples:
        """Return, of each sample in the order of rows, the sum of z over the terms and its percentile."""
        raise NotImplementedError

    def term_scores(self, name: str, term: str) -> np.ndarray:
        """Return the z of one term for every sample, (n_samples,) float32."""
        raise NotImplementedError

    def tables(self, name: str) -> dict[str, Path]:
        """Return the parquet files of a sweep: ``terms``, ``clusters`` (terms x clusters), ``samples``."""
        raise NotImplementedError
