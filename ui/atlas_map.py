"""The map on a page: of a small atlas a figure of the page's own, of a large one the map application of the service.

The application runs in the reader's browser and fetches its data from the API as binary columns. From here it is only told what
to show, and it tells which sample was clicked. Where a browser has no WebGL it says so, and a figure of few samples is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import streamlit as st
from streamlit.components.v1 import declare_component

from atlas.client import AtlasHTTPError, Client
from ui import downloads
from ui.charts import SCORES, map_figure, score_range
from ui.parts import clicked, is_phone, theme
from ui.service import Service, public_url
from ui.text import markup

WHOLE_UP_TO = 20_000
"""Samples of which the map is sent to the page as text and drawn as its figure; more are left to the application."""
FEW = 4_000
"""Samples of a large atlas that are drawn where the application cannot draw."""

_MIME: dict[Literal["png", "svg"], str] = {"png": "image/png", "svg": "image/svg+xml"}
NO_WEBGL = "browser without WebGL"

OnOpen = Callable[[str], None]
Samples = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """What the samples are coloured by: a question, a sweep or a term of it; nothing of that: their clusters.

    ``percentile`` asks for the percentile of a sample's sum over the sweep instead of the sum.
    """

    phrase: str | None = None
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    scan: str | None = None
    term: str | None = None
    percentile: bool = False

    @property
    def is_score(self) -> bool:
        """Whether samples get a score."""
        return bool(self.phrase or self.plus or self.minus or self.scan)

    def query(self) -> dict[str, Any]:
        """Return the question as ``Client.map`` takes it, without what is not asked."""
        fields = {"plus": self.plus, "minus": self.minus, "scan": self.scan, "term": self.term}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True)
class Marks:
    """What is pointed out on the map.

    ``hits`` are samples with rings, ``members`` and ``cluster`` those that the map is about, all others grey; ``opened`` is the
    accession of the open sample, ``place`` a place that is no sample's.
    """

    hits: Samples = ()
    members: Samples | None = None
    cluster: int | None = None
    opened: str | None = None
    place: tuple[float, float] | None = None


def draw(
    service: Service,
    asked: Asked | None = None,
    marks: Marks | None = None,
    *,
    key: str,
    title: str,
    unit: str = "score",
    note: str = "",
    width_px: int = 600,
    height_px: int = 500,
    on_open: OnOpen | None = None,
) -> None:
    """Draw the map; a click on a point opens its sample.

    Parameters
    ----------
    title
        What the map shows, for screen readers and as the title of the saved figure.
    unit
        What the score is.
    note
        What rings or colours mean here.
    width_px, height_px
        About the size on a desk.
    """
    asked, marks = asked or Asked(), marks or Marks()
    large = service.n_samples > WHOLE_UP_TO
    if large and not st.session_state.get(NO_WEBGL):
        _application(service, asked, marks, key=key, title=title, note=note, height_px=height_px, on_open=on_open)
        return
    columns = _columns(service, asked, most=FEW if large else None)
    if large:
        st.caption(f"This browser offers no WebGL 2: {FEW:,} evenly chosen samples of {service.n_samples:,} are drawn.")
    _figure(
        columns,
        key=key,
        title=title,
        marks=_of_figure(columns, marks),
        place=marks.place,
        unit=unit,
        note=note,
        width_px=width_px,
        height_px=height_px,
        on_open=on_open,
    )


def application(
    service: Service, *, key: str, on_told: Callable[[Mapping[str, Any]], None], height_px: int, **shown: Any
) -> None:
    """Draw the map application in a frame; ``on_told`` is called with what it tells."""

    def told() -> None:
        said = st.session_state.get(key)
        if isinstance(said, Mapping):
            if said.get("webgl") is False:
                st.session_state[NO_WEBGL] = True
            on_told(said)

    address = public_url(service.url, page=st.context.url or "")
    _component(address)(
        release=service.release, height=height_px, **shown, key=key, default=None, on_change=told
    )  # fmt: skip


def _application(
    service: Service, asked: Asked, marks: Marks, *, key: str, title: str, note: str, height_px: int, on_open: OnOpen | None
) -> None:  # fmt: skip
    def told(said: Mapping[str, Any]) -> None:
        if on_open is not None and said.get("open"):
            on_open(str(said["open"]))

    by = "percentile" if asked.percentile else "score" if asked.is_score else "cluster"
    application(
        service,
        key=f"{key}-application",
        on_told=told,
        height_px=380 if is_phone() else height_px,
        title=title,
        by=by,
        q=asked.phrase or "",
        plus=list(asked.plus),
        minus=list(asked.minus),
        scan=asked.scan or "",
        term=asked.term or "",
        focus="" if marks.cluster is None else str(marks.cluster),
        hits=[_placed(one) for one in (*(marks.members or ()), *marks.hits)],
        opened=_placed_by_name(service, marks),
        place=None if marks.place is None else ["", *marks.place],
    )
    words = note or ("" if asked.is_score else "Colour: clusters.")
    st.html(f'<p class="ga-legend">{markup(words)} Near means similar expression.</p>')


def _component(address: str) -> Any:
    return declare_component("atlas_map", url=f"{address}/map/")


def _placed(sample: Mapping[str, Any]) -> list[Any]:
    return [sample["accession"], sample["x"], sample["y"]]


def _placed_by_name(service: Service, marks: Marks) -> list[Any] | None:
    """Return the open sample with its place; ``None`` if none is open, or the atlas lacks it, which its card tells."""
    if marks.opened is None:
        return None
    known = (one for one in (*marks.hits, *(marks.members or ())) if one["accession"] == marks.opened)
    sample = next(known, None)
    try:
        return _placed(sample or service.ask(Client.sample, marks.opened)["sample"])
    except AtlasHTTPError:
        return None


def _columns(service: Service, asked: Asked, *, most: int | None) -> Mapping[str, Any]:
    if not asked.percentile:
        return service.ask(Client.map, asked.phrase, most=most, **asked.query())
    columns = service.ask(Client.map, most=most)
    sums = service.ask(Client.scan_samples, str(asked.scan))
    of = dict(zip(sums["accession"], sums["percentile"], strict=True))
    return {**columns, "score": [of.get(name, 0.0) for name in columns["accession"]]}


def _of_figure(columns: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """Return the marks as the figure takes them: by accession."""
    members: frozenset[str] | None = None
    if marks.members is not None:
        members = frozenset(one["accession"] for one in marks.members)
    elif marks.cluster is not None:
        places = zip(columns["accession"], columns["cluster"], strict=True)
        members = frozenset(name for name, cluster in places if cluster == marks.cluster)
    return {"highlighted": [one["accession"] for one in marks.hits], "opened": marks.opened, "members": members}


def _figure(
    columns: Mapping[str, Any],
    *,
    key: str,
    title: str,
    marks: Mapping[str, Any],
    place: tuple[float, float] | None,
    unit: str,
    note: str,
    width_px: int,
    height_px: int,
    on_open: OnOpen | None,
) -> None:
    """Draw the map as a figure of the page, its colour scale beneath, and figures to save."""
    narrow = is_phone()
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
        _legend(columns, unit=unit, note=note, plain=marks["members"] is not None)
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
    words = note or ("" if ends else "Colour: clusters.")
    st.html(f'<p class="ga-legend">{scale}{markup(words)} Near means similar expression.</p>')


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
