"""Opaque cursors, bound to the release and the question that gave them out: a page never mixes two of either."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from api.errors import CursorExpiredError
from atlas.errors import InputError


def make_cursor(release: str, *, offset: int, question: str = "") -> str:
    """Return the cursor of the page that begins at ``offset``; ``question`` is whatever decides rows and their order."""
    payload = {"release": release, "offset": offset, "of": _digest(question)}
    text = json.dumps(payload, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, *, release: str, question: str = "") -> int:
    """Return the offset of a cursor; 0 for none.

    Raises
    ------
    InputError
        If it is not one of ours, or belongs to another question.
    CursorExpiredError
        If another release gave it out.
    """
    if cursor is None:
        return 0
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        payload = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        named, offset, of = payload["release"], payload["offset"], payload["of"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        named, offset, of = None, None, None
    if not isinstance(named, str) or not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < 2**31:
        raise _refused("The cursor is not one that this service gave out.", "not a cursor of this service")
    if named != release:
        raise CursorExpiredError(
            f"The cursor belongs to release {named[:64]!r}; {release!r} answers now. Begin again without a cursor, "
            "or name the release of the cursor in `release`.",
            details={"seen": named[:64], "expected": release},
        )
    if of != _digest(question):
        raise _refused("The cursor belongs to a question with other filters or another order.", "of another question")
    return offset


def _refused(sentence: str, message: str) -> InputError:
    return InputError(
        f"{sentence} Pass next_cursor unchanged with the question that gave it out, or leave it away to begin.",
        details={"problems": [{"where": "query.cursor", "message": message}]},
    )


def _digest(question: str) -> str:
    return hashlib.sha256(question.encode("utf-8", "replace")).hexdigest()[:12]
