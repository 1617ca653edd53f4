"""Which form an answer takes: JSON, or a table as CSV, Parquet or an Arrow stream, by the request's ``Accept``."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

from fastapi import Request

from api.errors import NotAcceptableError

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
BYTES = "application/octet-stream"
TABLES = (JSON, CSV, PARQUET, ARROW)
"""What every list is offered as; the first is the default."""

_GZIP_FROM_BYTES = 1_000
_GZIP_LEVEL = 1  # the map of 650,000 samples is 24 MB: time counts more than the last tenth of its size


def choose(request: Request, offered: Sequence[str] = (JSON,)) -> str:
    """Return the media type that the request prefers among those offered; without ``Accept``, the first.

    Raises
    ------
    NotAcceptableError
        If it accepts none of them.
    """
    accept = ",".join(request.headers.getlist("accept"))
    if not accept.strip():
        return offered[0]
    wishes = _wishes(accept)
    best = max(offered, key=lambda media: _quality(media, wishes))
    if _quality(best, wishes) <= 0:
        raise NotAcceptableError(
            f"This answer is not to be had as {accept[:100]!r}; it is offered as {', '.join(offered)}.",
            details={"seen": accept[:100], "expected": list(offered)},
        )
    return best


def packed(request: Request) -> bool:
    """Whether the request reads gzip."""
    wishes = _wishes(",".join(request.headers.getlist("accept-encoding")))
    return max(wishes.get("gzip", -1.0), wishes.get("*", -1.0) if "gzip" not in wishes else -1.0) > 0


def pack(body: bytes, *, media: str) -> bytes | None:
    """Return the body compressed, ``None`` where that is not worth it."""
    if len(body) < _GZIP_FROM_BYTES or media == PARQUET:
        return None
    return gzip.compress(body, compresslevel=_GZIP_LEVEL, mtime=0)


def _wishes(header: str) -> dict[str, float]:
    """Return the quality of each item of an ``Accept`` header; what cannot be read counts as not wanted."""
    wishes: dict[str, float] = {}
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = min(max(float(parameter[2:]), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        if name:
            wishes[name] = quality
    return wishes


def _quality(media: str, wishes: dict[str, float]) -> float:
    for name in (media, f"{media.split('/')[0]}/*", "*/*"):
        if name in wishes:
            return wishes[name]
    return 0.0
