"""What surrounds and repeats on every page: style, headings, failures, empty states, the map, the foot.

Each part draws what it is given; what a click does is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from atlas.client import AtlasHTTPError
from ui import address, downloads
from ui.charts import MOST_POINTS, SCORES, map_figure, sampling_step, score_range
from ui.parts import clicked, is_phone, theme
from ui.parts import style as parts_style
from ui.service import sentence
from ui.text import as_markdown, markup

OnOpen = Callable[[str], None]

_STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.svg").read_text(encoding="utf-8")
"""The page's icon, of our own: a named one would be fetched from elsewhere."""

_MIME: dict[Literal["png", "svg"], str] = {"png": "image/png", "svg": "image/svg+xml"}

__all__ = ["ICON", "OnOpen", "as_markdown", "atlas_map", "empty", "failure", "footer", "heading", "pinned", "style"]


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


def atlas_map(
    columns: Mapping[str, Any],
    *,
    key: str,
    title: str,
    highlighted: Collection[str] = (),
    opened: str | None = None,
    members: Collection[str] | None = None,
    place: tuple[float, float] | None = None,
    unit: str = "score",
    note: str = "",
    width_px: int = 600,
    height_px: int = 500,
    on_open: OnOpen | None = None,
) -> None:
    """Draw the map with its colour scale beneath and figures to save; a click on a point opens its sample.

    Parameters
    ----------
    columns
        ``GET /v1/map``.
    title
        What the map shows, for screen readers and as the title of the saved figure.
    highlighted, opened, members, place
        As for ``ui.charts.map_figure``.
    unit
        What the score is.
    note
        What rings or colours mean here.
    """
    narrow = is_phone()
    marks: dict[str, Any] = {"highlighted": highlighted, "opened": opened, "members": members}
    width, height = (340, 380) if narrow else (width_px, height_px)
    figure = map_figure(columns, **marks, place=place, theme=theme(), width_px=width, height_px=height)

    def pressed() -> None:
        data = clicked(key)
        if on_open is not None and data:
            on_open(str(data[0] if isinstance(data, list) else data))

    with st.container(gap="small"):
        st.plotly_chart(
            figure, key=key, alt=title, selection_mode="points", on_select=pressed if on_open is not None else "ignore",
            config={"displaylogo": False, "displayModeBar": False, "scrollZoom": not narrow},
        )  # fmt: skip
        _legend(columns, unit=unit, note=note, plain=members is not None)
        _save_map(columns, key=key, title=title, unit=unit, marks=marks)


def _legend(columns: Mapping[str, Any], *, unit: str, note: str, plain: bool) -> None:
    """Draw the colour scale under the map, where no point lies, and say what near means."""
    ends = None if plain else score_range(columns)
    scale = ""
    if ends:
        stops = ", ".join(SCORES[theme()])
        scale = (
            f'<span class="ga-scale">{markup(unit)} {ends[0]:.2f} <i style="background:linear-gradient(90deg, {stops})"></i> '
            f"{ends[1]:.2f}</span> "
        )
    step = sampling_step(len(columns["accession"]))
    part = f" Of more than {MOST_POINTS:,} samples every {step}th is drawn, hits always." if step > 1 else ""
    words = note or ("" if ends else "Colour: clusters.")
    st.html(f'<p class="ga-legend">{scale}{markup(words)} Near means similar expression.{part}</p>')


def _save_map(
    columns: Mapping[str, Any], *, key: str, title: str, unit: str, marks: Mapping[str, Any]
) -> None:  # fmt: skip
    def write(suffix: Literal["png", "svg"]) -> bytes:
        from ui.figures import map_file  # the drawing library is loaded when somebody wants a figure

        return map_file(columns, suffix, title=title, unit=unit, **marks)

    with st.container(horizontal=True, gap="small"):
        for suffix, mime in _MIME.items():
            st.download_button(
                f"Figure {suffix.upper()}", partial(write, suffix), mime=mime, key=f"save-{key}-{suffix}",
                file_name=downloads.file_name(title, suffix=suffix), icon=":material/image:", on_click="ignore", type="tertiary",
                help="For print, 180 mm wide" + (", 300 dpi" if suffix == "png" else ", names stay text"),
            )  # fmt: skip


def footer(release: Mapping[str, Any], *, url: str) -> None:
    """Name the release, and say what a score does and does not mean."""
    built = markup(str(release.get("created_at", ""))[:10])
    st.html(
        f'<div class="ga-foot">Release <b>{markup(release["release"])}</b>, built {built}, {release["n_samples"]:,} samples. '
        "A sample's place comes from its expression alone. A score says that genes and phrase point the same way; it is no "
        "diagnosis, and for many diseases it finds the tissue rather than the disease. Texts are the depositors' own. "
        f'Your words go to the atlas service ({markup(url)}) and nowhere else.</div>'
    )  # fmt: skip
