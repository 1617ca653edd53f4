"""Opaque cursors, bound to the release that gave them out: a page never mixes two releases."""

from __future__ import annotations

import base64
import binascii
import json

from api.errors import CursorExpiredError
from atlas.errors import InputError


def make_cursor(release: str, *, offset: int) -> str:
    """Return the cursor of the page that begins at ``offset``."""
    text = json.dumps({"release": release, "offset": offset}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, *, release: str) -> int:
    """Return the offset of a cursor.

    Raises
    ------
    InputError
        If it is not one of ours.
    CursorExpiredError
        If another release gave it out.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        payload = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        named, offset = payload["release"], payload["offset"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        named, offset = None, None
    if not isinstance(named, str) or not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
        raise InputError(
            "The cursor is not one that this service gave out. Pass next_cursor unchanged, or leave it away to begin.",
            details={"problems": [{"where": "query.cursor", "message": "not a cursor of this service"}]},
        )
    if named != release:
        raise CursorExpiredError(
            f"The cursor belongs to release {named[:64]!r}; {release!r} is served now. Begin again without a cursor.",
            details={"seen": named[:64], "expected": release},
        )
    return offset
