"""Which release is served: one immutable object that is swapped whole.

The pointer file of the home decides. A watcher reads it every second, opens a new release beside the old, asks the database
whether it has it, and swaps; a request keeps the object it began with, and the old one is closed by its last request. What
fails keeps the old release and is told by ``/v1/health/ready``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from api.errors import NotReadyError
from atlas.answers import (
    ClusterDetail,
    ClusterSummary,
    MapColumns,
    NeighborsResult,
    SampleRecord,
    SearchMode,
    SearchResult,
)
from atlas.catalog.filters import SampleFilter
from atlas.errors import AtlasError, DatabaseUnavailableError
from atlas.manifest import Manifest
from atlas.release import Home

if TYPE_CHECKING:
    from atlas.expression.genes import GeneMap
    from atlas.expression.matrix import ExpressionMatrix

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0
"""Pause between two looks at the pointer."""

RETRY_EVERY_S = 30.0
"""Pause before a release that could not be opened is tried again, while the pointer still names it."""


class OpenRelease(Protocol):
    """What is asked of the release an atlas has opened."""

    name: str
    manifest: Manifest

    @property
    def verified(self) -> float:
        """Share of the release's bytes that were checked, in [0, 1]."""

    def raise_if_corrupt(self) -> None:
        """Raise the failure that a background check found, if any."""


class OpenAtlas(Protocol):
    """The questions the routes ask; ``atlas.atlas.Atlas`` answers them."""

    @property
    def release(self) -> OpenRelease:
        """The release it has opened."""

    @property
    def genes(self) -> GeneMap:
        """The genes its model knows."""

    def search_text(
        self, phrase: str, /, *, k: int = ..., mode: SearchMode = ..., filters: SampleFilter | None = ...
    ) -> SearchResult:
        """Return the samples that answer a phrase."""

    def similar_samples(
        self, accession: str, /, *, k: int = ..., exclude_same_series: bool = ..., filters: SampleFilter | None = ...
    ) -> NeighborsResult:
        """Return the samples nearest to one of the atlas."""

    def search_expression(
        self,
        matrix: ExpressionMatrix,
        *,
        k: int = ...,
        exclude_series: Sequence[str] = ...,
        filters: SampleFilter | None = ...,
    ) -> tuple[NeighborsResult, ...]:
        """Return the samples nearest to each row of a person's own table."""

    def sample(self, accession: str, /) -> SampleRecord:
        """Return one sample."""

    def clusters(self) -> tuple[ClusterSummary, ...]:
        """Return all clusters."""

    def cluster(self, cluster: int, /) -> ClusterDetail:
        """Return one cluster."""

    def map(self, phrase: str | None = None, /) -> MapColumns:
        """Return the map."""

    def close(self) -> None:
        """Give back what it holds."""


class Backend(Protocol):
    """Opens releases and knows the database; tests bring their own."""

    def open(self, release: str) -> OpenAtlas:
        """Open a published release by name."""

    def database_problem(self, release: str) -> str | None:
        """Say why lexical search of a release cannot be answered now; ``None`` if it can."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True)
class Readiness:
    """What ``/v1/health/ready`` tells.

    ``status`` is ``ready``, ``degraded`` (questions that need no database are answered) or ``unavailable``.
    """

    status: str
    release: str | None
    verified: float
    semantic: bool
    lexical: bool
    reasons: tuple[str, ...]


class _Served:
    """An open atlas, how many requests use it, and whether it was replaced."""

    def __init__(self, atlas: OpenAtlas) -> None:
        self.atlas = atlas
        self._lock = threading.Lock()
        self._n_users = 0
        self._retired = False

    def take(self) -> bool:
        """Count one more user; false if it was replaced meanwhile."""
        with self._lock:
            if self._retired:
                return False
            self._n_users += 1
            return True

    def give_back(self) -> None:
        """Count one user less; the last user of a replaced atlas closes it."""
        with self._lock:
            self._n_users -= 1
            last = self._retired and self._n_users == 0
        if last:
            self.atlas.close()

    def retire(self) -> None:
        """Take no more users, and close once the last has gone."""
        with self._lock:
            self._retired = True
            idle = self._n_users == 0
        if idle:
            self.atlas.close()


class Serving:
    """Holds the served release and watches the pointer.

    Parameters
    ----------
    home
        Folder with the pointer.
    backend
        Opens releases; closed by ``stop``.
    clock
        Monotonic seconds.
    """

    def __init__(self, home: Home, backend: Backend, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._backend = backend
        self._clock = clock
        self._served: _Served | None = None
        self._problem: str | None = "the release is being opened"
        self._retry: tuple[str, float] | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="release-watcher", daemon=True)

    def start(self) -> None:
        """Open the current release, if there is one, and begin to watch the pointer."""
        self.look()
        self._watcher.start()

    def stop(self) -> None:
        """Stop watching, close the release and the backend."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        served, self._served = self._served, None
        if served is not None:
            served.retire()
        self._backend.close()

    @property
    def release_name(self) -> str | None:
        """Name of the served release."""
        served = self._served
        return None if served is None else served.atlas.release.name

    @contextmanager
    def lease(self) -> Iterator[OpenAtlas]:
        """Lend the served atlas; it stays open until the block ends, whatever the pointer says meanwhile.

        Raises
        ------
        NotReadyError
            If no release is served.
        ArtifactError
            If the background check found a changed file.
        """
        while True:
            served = self._served
            if served is None:
                raise NotReadyError(
                    f"No release is served: {self._problem}.", details={"reasons": [str(self._problem)]}
                )
            if served.take():
                break
        try:
            served.atlas.release.raise_if_corrupt()
            yield served.atlas
        finally:
            served.give_back()

    def require_database(self, release: str) -> None:
        """Raise ``DatabaseUnavailableError`` unless the database can be reached and holds the release."""
        lacking = self._backend.database_problem(release)
        if lacking is not None:
            raise DatabaseUnavailableError(f"Lexical and hybrid search cannot be answered now: {lacking}")

    def readiness(self) -> Readiness:
        """Say whether model, index and database serve the same release, and if not, why."""
        reasons = [] if self._problem is None else [self._problem]
        served = self._served
        if served is None or not served.take():
            return Readiness("unavailable", None, 0.0, semantic=False, lexical=False, reasons=tuple(reasons))
        try:
            release = served.atlas.release
            broken = _failure_of(release)
            lacking = self._backend.database_problem(release.name)
            reasons += [reason for reason in (broken, lacking) if reason is not None]
            semantic = broken is None
            status = "unavailable" if not semantic else "degraded" if lacking else "ready"
            return Readiness(
                status, release.name, release.verified, semantic, semantic and lacking is None, tuple(reasons)
            )
        finally:
            served.give_back()

    def look(self) -> None:
        """Read the pointer once, and follow it if it names another release."""
        try:
            name = self._home.current()
        except (AtlasError, OSError, UnicodeDecodeError) as error:
            self._problem = f"the pointer cannot be followed: {error}"
            return
        if name == self.release_name:
            self._problem, self._retry = None, None
        elif self._retry is None or self._retry[0] != name or self._clock() >= self._retry[1]:
            self._follow(name)

    def _follow(self, name: str) -> None:
        try:
            lacking = None if self._served is None else self._backend.database_problem(name)
            if lacking is None:
                self._swap(_Served(self._backend.open(name)))
                self._problem, self._retry = None, None
                logger.info("serving release %s", name)
                return
            problem = lacking
        except AtlasError as error:
            problem = error.message
        except Exception as error:
            logger.error("release %s cannot be opened", name, exc_info=error)
            problem = f"unexpected {type(error).__name__}"
        self._problem = f"release {name!r} cannot be served: {problem}"
        self._retry = (name, self._clock() + RETRY_EVERY_S)
        logger.warning("%s; still serving %s", self._problem, self.release_name or "nothing")

    def _swap(self, new: _Served) -> None:
        old, self._served = self._served, new
        if old is not None:
            old.retire()

    def _watch(self) -> None:
        while not self._stopping.wait(CHECK_EVERY_S):
            self.look()


def _failure_of(release: OpenRelease) -> str | None:
    try:
        release.raise_if_corrupt()
    except AtlasError as error:
        return error.message
    return None
