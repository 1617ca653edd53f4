"""What surrounds and repeats on every page: style, headings, failures, empty states, the foot.

Each part draws what it is given; what a click does is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError
from ui import address
from ui.parts import style as parts_style
from ui.service import sentence
from ui.text import as_markdown, markup

OnOpen = Callable[[str], None]

_STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.svg").read_text(encoding="utf-8")
"""The page's icon, of our own: a named one would be fetched from elsewhere."""

__all__ = ["ICON", "OnOpen", "as_markdown", "empty", "failure", "footer", "heading", "pinned", "style"]


def style() -> None:
    """Add the pages' few style rules."""
    st.html(_STYLE)
    parts_style()


def heading(title: str, lead: str = "") -> None:
    """Head a page: its name, and in a sentence what it is for."""
    st.html(f'<h1 class="ga-title">{markup(title)}</h1>' + (f'<p class="ga-lead">{markup(lead)}</p>' if lead else ""))


def failure(error: AtlasHTTPError, *, url: str) -> None:
    """Say what went wrong, with a way on: try again, or the served release where the named one is gone."""
    if error.status == 410 or (error.status == 404 and "release" in error.details):
        st.error(as_markdown(sentence(error, url=url)), icon=":material/history_toggle_off:")
        st.button("Show the current release", key="unpin", icon=":material/update:", on_click=address.unpin)
        return
    st.error(as_markdown(sentence(error, url=url)), icon=":material/cloud_off:")
    st.button("Try again", key="retry", icon=":material/refresh:")


def pinned(release: Mapping[str, Any], *, current: str) -> None:
    """Say that an older release is shown, and offer the served one."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="pinned"):
        st.markdown(
            f":material/history: This link names release **{as_markdown(str(release['release']))}**, built "
            f"{as_markdown(str(release.get('created_at', ''))[:10])}. The atlas now serves **{as_markdown(current)}**."
        )
        st.button("Show the current release", key="unpin", on_click=address.unpin)


def empty(title: str, hint: str = "", *, icon: str = ":material/search_off:") -> None:
    """Say that there is nothing to show, and what would change that."""
    with st.container(border=True):
        st.markdown(f"{icon} **{as_markdown(title)}**" + (f"  \n{as_markdown(hint)}" if hint else ""))


def footer(release: Mapping[str, Any], *, url: str) -> None:
    """Name the release, and say what a score does and does not mean."""
    built = markup(str(release.get("created_at", ""))[:10])
    st.html(
        f'<div class="ga-foot">Release <b>{markup(release["release"])}</b>, built {built}, {release["n_samples"]:,} samples. '
        "A sample's place comes from its expression alone. A score says that genes and phrase point the same way; it is no "
        "diagnosis, and for many diseases it finds the tissue rather than the disease. Texts are the depositors' own. "
        f'Your words go to the atlas service ({markup(url)}) and nowhere else.</div>'
    )  # fmt: skip
