"""Text of strangers made safe to show: titles, sources and labels of public records are data, never markup.

Everything that ends in HTML goes through ``markup``, everything in a chart through ``chart_text``, every address through
``safe_url`` and every cell of a download through ``csv_table``.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

_STRENGTHS = ((99.0, "strong"), (95.0, "clear"), (75.0, "moderate"), (50.0, "weak"))
"""Least percentile against random phrases, and the word for it."""

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


def as_markdown(text: str) -> str:
    """Return plain text for Streamlit's markdown: every character that could mean something is escaped; `code` stays."""
    text = text.replace("://", ":\u2060//").replace("www.", "www\u2060.")  # no address becomes a link by itself
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if i % 2 else re.sub(r"([\\*_{}\[\]()#+\-.!|<>$:~&@`])", r"\\\1", part) for i, part in enumerate(parts)
    )


def strength(percentile: float | None) -> str:
    """Return in a word or two how an answer compares with what random phrases reach (percentile in [0, 100])."""
    if percentile is None:
        return ""
    for least, word in _STRENGTHS:
        if percentile >= least:
            return word
    return "chance"


def percent(percentile: float) -> str:
    """Return a percentile; the best of all is not called a hundred, for a random phrase might reach it yet."""
    return f"{min(percentile, 99.9):.1f} %"


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
