"""Permalinks: the address bar holds release, question, filters, view and the opened sample, so every copy of it restores them.

A page reads its part once when somebody arrives (``arrived``), keeps its state in widgets, and writes it back at the end of
each run (``write``). Links between pages are made by ``link`` and ``go``.

The browser sends its address with everything that is clicked, and hears of a new one only a moment after the page wrote it.
A click within that moment brings an earlier address along. Pages remember which ones they wrote since the browser last
confirmed one, so that such a click counts as a click and never as somebody who follows an old address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

Query = Mapping[str, "str | Sequence[str]"]

LONGEST_VALUE = 2_000
"""Characters of one value of an address that are read; the rest of a longer one is left."""

MOST_VALUES = 50
"""Values of one key of an address that are read."""


def arrived(page: str) -> bool:
    """Return whether the address was followed, typed or gone back to, rather than written by this page itself."""
    state, present = st.session_state, _present()
    written: list[dict[str, list[str]]] = state.get(f"addresses of {page}", [])
    stayed, state["page shown"] = state.get("page shown") == page, page
    newest = stayed and written[-1:] == [present]
    on_the_way = stayed and present in written and not _went_back()
    if newest or not on_the_way:
        state[f"addresses of {page}"] = [present]
    return not newest and not on_the_way


def left() -> None:
    """Let the next run count as an arrival: this one drew no widgets, so that what they held is in the address alone."""
    st.session_state.pop("page shown", None)


def read(key: str, default: str = "") -> str:
    """Return one value of the address."""
    return str(st.query_params.get(key, default))[:LONGEST_VALUE]


def read_all(key: str) -> list[str]:
    """Return all values of a key of the address, without repeats."""
    return list(dict.fromkeys(value[:LONGEST_VALUE] for value in st.query_params.get_all(key)[:MOST_VALUES] if value))


def read_number(key: str, default: int, *, low: int, high: int) -> int:
    """Return a whole number of the address, pushed into its bounds; what is no number counts as not given."""
    text = read(key)
    return min(max(int(text), low), high) if text.isascii() and text.isdigit() and len(text) < 12 else default


def write(page: str, query: Query, *, release: str) -> None:
    """Make the address bar say what the page shows; empty values are left out."""
    wanted = _lists({"release": release, **{key: value for key, value in query.items() if value}})
    written = st.session_state.get(f"addresses of {page}", [])
    if written[-1:] != [wanted]:  # before it is sent: a click may end this run on the way
        st.session_state[f"addresses of {page}"] = [*written, wanted]
    if _present() != wanted or written[-1:] != [wanted]:
        st.query_params.from_dict(wanted)


def link(page: str, *, release: str, **query: str | Sequence[str]) -> str:
    """Return the address of another page, relative to the site."""
    path = "" if page == "search" else page
    return f"/{path}?{urlencode({**query, 'release': release}, doseq=True)}"


def go(page: str, **query: str | Sequence[str]) -> None:
    """Change to another page; usable in callbacks (the shell follows at the start of the next run)."""
    st.session_state["go to"] = (page, query)
    left()


def asked_to_go() -> tuple[str, dict[str, Any]] | None:
    """Return where ``go`` wants to be, once."""
    wanted = st.session_state.pop("go to", None)
    return wanted if wanted is None else (str(wanted[0]), dict(wanted[1]))


def unpin() -> None:
    """Leave the release that the address names for the served one; a callback."""
    st.session_state.pop("release", None)
    st.query_params.pop("release", None)


def _present() -> dict[str, list[str]]:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def _went_back() -> bool:
    """Return whether the browser's back or forward button asked for this run."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _lists(query: Query) -> dict[str, list[str]]:
    return {key: [value] if isinstance(value, str) else list(value) for key, value in query.items()}
