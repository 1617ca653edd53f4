"""Which release is served: one immutable object that is swapped whole; and which older ones are kept open beside it.

The pointer file of the home decides. A watcher reads it every second, opens a new release beside the old, asks the database
whether it has it, and swaps; a request keeps the object it began with, and the old one is closed by its last request, or kept
for questions that name it. What fails keeps the old release and is told by ``/v1/health/ready``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from api.errors import NotReadyError
from api.held import Held, Pins
from api.overlay import CHECK_EVERY_S as LABELS_EVERY_S
from api.overlay import LabelOverlay
from api.protocols import Backend, OpenAtlas, OpenRelease
from atlas.errors import AtlasError, DatabaseUnavailableError
from atlas.release import Home

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0
"""Pause between two looks at the pointer."""

RETRY_EVERY_S = 30.0
"""Pause before a release that could not be opened is tried again, while the pointer still names it."""


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


class Serving:
    """Holds the served release and watches the pointer.

    Parameters
    ----------
    home
        Folder with the pointer.
    backend
        Opens releases; closed by ``stop``.
    n_pinned
        Most older releases kept open for questions that name them.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, home: Home, backend: Backend, *, n_pinned: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._home = home
        self._backend = backend
        self._clock = clock
        self.overlay = LabelOverlay(backend.labels)
        self._pins = Pins(home, self._open, n_kept=n_pinned, clock=clock)
        self._served: Held | None = None
        self._problem: str | None = "the release is being opened"
        self._retry: tuple[str, float] | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="release-watcher", daemon=True)
        self._labeller = threading.Thread(target=self._watch_labels, name="label-watcher", daemon=True)

    def start(self) -> None:
        """Open the current release, if there is one, and begin to watch the pointer."""
        self.look()
        self._watcher.start()
        self._labeller.start()

    def stop(self) -> None:
        """Stop watching, close the release and the backend."""
        self._stopping.set()
        for thread in (self._watcher, self._labeller):
            if thread.is_alive():
                thread.join()
        served, self._served = self._served, None
        if served is not None:
            served.retire()
        self._pins.close()
        self._backend.close()

    @property
    def release_name(self) -> str | None:
        """Name of the served release."""
        served = self._served
        return None if served is None else served.atlas.release.name

    @contextmanager
    def lease(self, name: str | None = None) -> Iterator[OpenAtlas]:
        """Lend the served atlas, or the one named; it stays open until the block ends, whatever the pointer says meanwhile.

        Raises
        ------
        NotReadyError
            If no release is served.
        ArtifactError
            If the background check found a changed file.
        NotFoundError, ReleaseRetiredError
            If the release named is not at hand.
        """
        held = self.try_take(name) or self.take(str(name))
        try:
            held.atlas.release.raise_if_corrupt()
            yield held.atlas
        finally:
            held.give_back()

    def try_take(self, name: str | None) -> Held | None:
        """Return an open release with one more user, who gives it back; ``None`` if it must be opened first."""
        while True:
            served = self._served
            if served is None and name is None:
                raise NotReadyError(
                    f"No release is served: {self._problem}.", details={"reasons": [str(self._problem)]}
                )
            if served is None or name not in (None, served.atlas.release.name):
                return self._pins.try_take(str(name))
            if served.take():
                return served

    def take(self, name: str) -> Held:
        """Return a release named by a question, with one more user; may take the seconds that opening it takes."""
        return self._pins.take(name)

    def atlases(self) -> list[OpenAtlas]:
        """Return every open atlas, the served one first."""
        served = self._served
        return ([] if served is None else [served.atlas]) + self._pins.atlases()

    def refresh_labels(self) -> None:
        """Show the label edits as they are now."""
        self.overlay.refresh(self.atlases())

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
                self._swap(self._pins.give_up(name) or Held(self._open(name)))
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

    def _open(self, name: str) -> OpenAtlas:
        atlas = self._backend.open(name)
        self.overlay.refresh([*self.atlases(), atlas])
        return atlas

    def _swap(self, new: Held) -> None:
        old, self._served = self._served, new
        if old is not None:
            self._pins.adopt(old)

    def _watch(self) -> None:
        while not self._stopping.wait(CHECK_EVERY_S):
            self.look()
            self._pins.sweep()

    def _watch_labels(self) -> None:
        while not self._stopping.wait(LABELS_EVERY_S):
            try:
                self.refresh_labels()
            except Exception as error:
                logger.error("label edits cannot be shown", exc_info=error)


def _failure_of(release: OpenRelease) -> str | None:
    try:
        release.raise_if_corrupt()
    except AtlasError as error:
        return error.message
    return None
