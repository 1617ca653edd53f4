"""Text as it comes from outside."""

from __future__ import annotations


def valid_utf8(text: str) -> str:
    """Return text with each half of a surrogate pair as "?": a shell hands over bytes that are no UTF-8 in this way."""
    return text.encode("utf-8", "replace").decode("utf-8")
