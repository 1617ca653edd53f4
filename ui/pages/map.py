"""Map: all samples in the map application of the service, as large as the page lets it be; its state stands in the address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from ui import address, atlas_map, parts, views
from ui.service import Service, public_url
from ui.text import safe_url

LONGEST_STATE = address.LONGEST_VALUE
HEIGHT_PX = {"desk": 780, "phone": 760}


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page."""
    state = st.session_state
    if address.arrived("map"):
        state["map-state"] = state["map-begun"] = address.read("state")
    views.heading(
        "Map",
        "Every sample of the atlas; near means similar expression. Colour it by a phrase, rest on a point, draw a line around "
        "a group to see what it has in common.",
    )
    if state.get(atlas_map.NO_WEBGL):
        atlas_map.draw(
            service, key="map-figure", title="Map of the atlas", height_px=640, width_px=1_000, on_open=_open
        )
    else:
        atlas_map.application(
            service,
            key="map-whole",
            on_told=_told,
            height_px=HEIGHT_PX["phone" if parts.is_phone() else "desk"],
            title="Map of the atlas",
            whole=True,
            state=state.get("map-begun", ""),
        )
    if whole := safe_url(f"{public_url(service.url, page=st.context.url or '')}/map/"):
        st.link_button("Open in a window of its own", whole, icon=":material/open_in_new:", type="tertiary")
    address.write("map", {"state": str(state.get("map-state") or "")}, release=service.release)


def _told(said: Mapping[str, Any]) -> None:
    if said.get("visit"):
        _open(str(said["visit"]))
    elif isinstance(said.get("state"), str) and len(said["state"]) <= LONGEST_STATE:
        st.session_state["map-state"] = said["state"].lstrip("#")


def _open(accession: str) -> None:
    address.go("sample", accession=accession)
