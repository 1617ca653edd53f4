"""Strong validators of answers that follow from release, question and label edits alone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from fastapi import Request

from atlas import __version__


@dataclass(frozen=True)
class Origin:
    """What an answer was made from: the release by name and content, and the label edits it shows."""

    release: str
    content_key: str
    edits: str


_OWN_LIST = re.compile(r"[0-9a-f]{16}")


def lasts(scan: str | None) -> bool:
    """Whether a sweep is the release's own: that of a person's list goes after its time, and may return with another title."""
    return scan is None or _OWN_LIST.fullmatch(scan) is None


def tag_of(request: Request, origin: Origin, *, media: str, packed: bool) -> str:
    """Return the entity tag of an answer, quotes included; the order of parameters does not matter."""
    query = sorted(request.query_params.multi_items())
    parts = (__version__, origin.release, origin.content_key, origin.edits, request.url.path, media, packed, query)
    return f'"{hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether the client says it holds the answer with this tag; ``*`` is not such a claim."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return tag in {one.strip().removeprefix("W/") for one in given.split(",")}
