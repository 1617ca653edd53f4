"""Open atlases that several requests share: counted, so that the last user of a replaced one closes it.

``Pins`` keeps a few older releases open for questions that name them; which ones is decided by use alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from api.errors import ReleaseRetiredError
from api.protocols import OpenAtlas
from atlas.accessions import near_matches
from atlas.errors import NotFoundError
from atlas.release import Home

logger = logging.getLogger(__name__)

PIN_IDLE_S = 1_800.0
"""A pinned release nobody asked for so long is closed."""


class Held:
    """An open atlas, how many requests use it, and whether it was replaced."""

    def __init__(self, atlas: OpenAtlas) -> None:
        self.atlas = atlas
        self.last_used_s = 0.0
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
            if self._retired:
                return
            self._retired = True
            idle = self._n_users == 0
        if idle:
            self.atlas.close()


class Pins:
    """Older releases kept open, the least recently used one closed first.

    Parameters
    ----------
    home
        Folder with the releases and the notes of those that were removed.
    open_release
        Opens a release by name; may take seconds.
    n_kept
        Most releases kept open; 0: none is answered.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        home: Home,
        open_release: Callable[[str], OpenAtlas],
        *,
        n_kept: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._open = open_release
        self._n_kept = n_kept
        self._clock = clock
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def atlases(self) -> list[OpenAtlas]:
        """Return what is open now."""
        with self._lock:
            return [held.atlas for held in self._held.values()]

    def try_take(self, name: str) -> Held | None:
        """Return a release that is open and at hand, with one more user; ``None`` if it must be opened first."""
        with self._lock:
            held = self._held.get(name)
            if held is None or not self._at_hand(name) or not held.take():
                return None
            self._held.move_to_end(name)
            held.last_used_s = self._clock()
            return held

    def take(self, name: str) -> Held:
        """Return a release with one more user; opens it if need be, one at a time.

        Raises
        ------
        ReleaseRetiredError
            If it was removed.
        NotFoundError
            If there never was one of this name, or this service keeps no older release open.
        """
        with self._opening:
            if (held := self.try_take(name)) is not None:
                return held
            if not self._at_hand(name) and (note := self._home.retired(name)) is not None:
                raise ReleaseRetiredError(
                    f"Release {name!r} was removed on {note.get('removed_at', 'an unknown day')}. "
                    "Leave `release` away to ask the one that is served.",
                    details={"release": name, "removed_at": note.get("removed_at")},
                )
            if not self._at_hand(name):
                names = self._home.names()
                raise NotFoundError(
                    f"There is no release {name!r}; at hand: {', '.join(names) or 'none'}.",
                    details={"releases": names, "near_matches": list(near_matches(name, names))},
                )
            if self._n_kept == 0:
                raise NotFoundError(
                    f"Release {name!r} is at hand, but this service answers from the current one only "
                    "(GEO_ATLAS_PINNED_RELEASES is 0).",
                    details={"release": name},
                )
            held = Held(self._open(name))
            held.take()
            self.adopt(held)
            return held

    def adopt(self, held: Held) -> None:
        """Keep an open atlas; what exceeds the number kept is closed."""
        with self._lock:
            held.last_used_s = self._clock()
            old = self._held.pop(held.atlas.release.name, None)
            if old is not None and old is not held:
                old.retire()
            self._held[held.atlas.release.name] = held
            surplus = [self._held.popitem(last=False)[1] for _ in range(len(self._held) - self._n_kept)]
        for one in surplus:
            one.retire()

    def give_up(self, name: str) -> Held | None:
        """Return a pinned release that is to be served from now on, and forget it."""
        with self._lock:
            return self._held.pop(name, None)

    def sweep(self) -> None:
        """Close what was removed from the home and what nobody asked for in a long while."""
        now = self._clock()
        with self._lock:
            over = [
                name
                for name, held in self._held.items()
                if now - held.last_used_s > PIN_IDLE_S or not self._at_hand(name)
            ]
            closed = [self._held.pop(name) for name in over]
        for held in closed:
            logger.info("release %s is kept open no longer", held.atlas.release.name)
            held.retire()

    def close(self) -> None:
        """Close all."""
        with self._lock:
            closed = list(self._held.values())
            self._held.clear()
        for held in closed:
            held.retire()

    def _at_hand(self, name: str) -> bool:
        return (self._home.releases / name / "manifest.json").is_file()
