"""Text of strangers made safe to show: titles, sources and labels of public records are data, never markup.

Everything that ends in HTML goes through ``markup``, everything in a chart through ``chart_text``, every address through
``safe_url`` and every cell of a download through ``csv_table``.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from urllib.parse import urlsplit

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def markup(text: object) -> str:
    """Return ``text`` as the content of an HTML element."""
    return html.escape(str(text), quote=True)


def chart_text(text: object, *, limit: int = 120) -> str:
    """Return ``text`` for a chart, whose labels understand a little HTML; longer text is cut with an ellipsis."""
    return html.escape(shorten(str(text), limit=limit), quote=False)


def shorten(text: str, *, limit: int) -> str:
    """Return ``text`` on one line and at most ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def safe_url(url: str | None) -> str | None:
    """Return the address if a browser may follow it (https or http with a host), else ``None``."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("https", "http") and parts.hostname else None


def csv_table(rows: Sequence[dict[str, object]]) -> str:
    """Return rows as CSV; a text cell that a spreadsheet would run as a formula gets a leading apostrophe."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
