"""People's labels over the machine's: every open atlas shows the edits in force, seconds after they were made anywhere.

One cheap question to the database tells whether anything changed. While the database is away the labels known last stay.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from api.protocols import LabelDesk, OpenAtlas
from atlas.answers import LabelEdit
from atlas.errors import AtlasError

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 5.0
"""Pause between two looks at the label edits."""


class LabelOverlay:
    """Keeps open atlases and label edits together.

    Parameters
    ----------
    desk
        The label edits of the database.
    """

    def __init__(self, desk: LabelDesk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._seen: dict[int, tuple[OpenAtlas, str]] = {}
        self._versions: dict[str, str] = {}
        self._reachable = True

    def version_of(self, release: str) -> str:
        """Return a name of the labels a release shows now; empty while it shows the machine's alone."""
        return self._versions.get(release, "")

    def refresh(self, atlases: Sequence[OpenAtlas]) -> None:
        """Bring open atlases up to date; what cannot be asked now is left as it is."""
        with self._lock:
            self._seen = {key: seen for key, seen in self._seen.items() if any(seen[0] is one for one in atlases)}
            try:
                version = self._desk.version()
                for atlas in atlases:
                    if self._seen.get(id(atlas), (None, ""))[1] != version:
                        self._show(atlas, self._desk.for_release(atlas.release), version)
            except AtlasError as error:
                if self._reachable:
                    logger.info("label edits cannot be read now: %s", error.message)
                self._reachable = False
                return
            self._reachable = True

    def _show(self, atlas: OpenAtlas, edits: Sequence[LabelEdit], version: str) -> None:
        met = {edit.cluster: edit for edit in edits if edit.cluster is not None}
        name = atlas.release.name
        if met or self.version_of(name):
            # Until all labels are exchanged an answer may hold either: its name is none that could ever return.
            self._versions[name] = f"changing-{secrets.token_hex(8)}"
            atlas.relabel(met)
        self._versions[name] = _digest(met.values()) if met else ""
        self._seen[id(atlas)] = (atlas, version)


def _digest(edits: Iterable[LabelEdit]) -> str:
    shown = [asdict(edit) for edit in edits]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]
