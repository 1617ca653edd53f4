"""Small parts that the pages of clusters, scans and nearest samples share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from ui.text import markup

_STYLE = Path(__file__).with_name("landscape.css")

Theme = Literal["light", "dark"]


def style() -> None:
    """Add the rules that these pages need beside those of the frame."""
    st.html(_STYLE)


def theme() -> Theme:
    """Return the theme the reader chose, or that of the system."""
    return "dark" if st.context.theme.type == "dark" else "light"


def is_phone() -> bool:
    """Return whether the browser says it is a phone's."""
    return "Mobi" in (st.context.headers.get("User-Agent") or "")


def figures(items: Sequence[tuple[str, str, str]]) -> None:
    """Draw (name, figure, what it means) side by side."""
    cells = "".join(
        f"<div><dt>{markup(name)}</dt><dd><b>{markup(figure)}</b><small>{markup(note)}</small></dd></div>"
        for name, figure, note in items
    )
    st.html(f'<dl class="ga-figures">{cells}</dl>')


def share_bars(title: str, shares: Sequence[Mapping[str, Any]], *, most: int = 8, unnamed: str = "not stated") -> None:
    """Draw how a group falls on values: one bar a value, the rest together."""
    if not shares:
        return
    shown = [(str(share["value"]) or unnamed, int(share["n"]), float(share["share"])) for share in shares[:most]]
    if rest := shares[most:]:
        n, share = sum(int(one["n"]) for one in rest), sum(float(one["share"]) for one in rest)
        shown.append((f"{len(rest):,} others", n, share))
    rows = "".join(
        f'<tr><th scope="row">{markup(value)}</th><td><span style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></span></td>'
        f"<td>{100 * share:.0f} %</td><td>{n:,}</td></tr>"
        for value, n, share in shown
    )
    st.html(f'<table class="ga-shares"><caption>{markup(title)}</caption>{rows}</table>')


def selected_row(key: str) -> int | None:
    """Return the row of the table ``key`` that was just chosen; for callbacks."""
    rows = st.session_state[key]["selection"]["rows"]
    return int(rows[0]) if rows else None


def clicked(key: str) -> Any:
    """Return what the chart ``key`` keeps about the point that was just clicked, or ``None``; for callbacks."""
    points = st.session_state[key]["selection"]["points"]
    return points[0].get("customdata") if points else None


def pick(
    label: str,
    options: Mapping[Any, str],
    *,
    key: str,
    then: Callable[[Any], None],
    value: Any = None,
    placeholder: str = "",
) -> None:
    """Draw a list that is typed into and opens what is chosen: the way in for keyboards and screen readers."""
    keys = list(options)

    def changed() -> None:
        if (chosen := st.session_state.get(key)) is not None:
            then(chosen)

    st.selectbox(
        label,
        keys,
        index=keys.index(value) if value in options else None,
        format_func=lambda one: options.get(one, str(one)),
        key=key,
        on_change=changed,
        label_visibility="collapsed",
        placeholder=placeholder or label,
    )
