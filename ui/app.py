"""The pages' frame: navigation, the release that is shown, and what is said when the service fails.

Run by its absolute path: ``streamlit run /…/ui/app.py [-- API_URL]``. A page is a module ``ui/pages/<name>.py`` with
``page(service: Service, release: dict) -> None``; it may let ``AtlasHTTPError`` fly, the frame turns it into a sentence.

What pages share: ``ui.service`` asks the API, ``ui.address`` keeps permalinks and changes pages, ``ui.views`` draws headings,
empty states, failures and the foot, ``ui.atlas_map`` the map, ``ui.charts`` makes figures, ``ui.tables`` rows,
``ui.text`` makes text of strangers safe.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError
from ui import address, views
from ui.service import Service, api_url

PAGES = (
    ("search", "Search", ":material/search:"),
    ("map", "Map", ":material/map:"),
    ("clusters", "Clusters", ":material/bubble_chart:"),
    ("scan", "Disease scan", ":material/grid_on:"),
    ("nearest", "Nearest samples", ":material/near_me:"),
    ("series", "Series", ":material/dataset:"),
    ("sample", "Sample", ":material/science:"),
    ("about", "About", ":material/info:"),
)  # fmt: skip


def main() -> None:
    """Draw the chosen page for the present state."""
    st.set_page_config(page_title="geo-atlas", page_icon=views.ICON, layout="wide")
    views.style()
    pages = {
        name: st.Page(_runner(name), title=title, icon=icon, url_path="" if name == "search" else name, default=name == "search")
        for name, title, icon in PAGES
        if importlib.util.find_spec(f"ui.pages.{name}")
    }  # fmt: skip
    chosen = st.navigation(list(pages.values()), position="top")
    if wanted := address.asked_to_go():
        st.switch_page(pages[wanted[0]], query_params=wanted[1])
    chosen.run()


def _runner(name: str) -> Callable[[], None]:
    def run() -> None:
        service = Service(api_url())
        try:
            release = _release(service)
            service.release, service.n_samples = str(release["release"]), int(release["n_samples"])
            importlib.import_module(f"ui.pages.{name}").page(service, release)
        except AtlasHTTPError as error:
            address.left()
            views.failure(error, url=service.url)
        else:
            views.footer(release, url=service.url)

    return run


def _release(service: Service) -> dict[str, Any]:
    """Return the release the address names, else the served one; say so where they differ."""
    current = service.current()
    named = address.read("release") or st.session_state.get("release")
    if not named or named == current["release"]:
        st.session_state.pop("release", None)
        return current
    st.session_state["release"] = named  # the pages opened from here stay with it
    release = service.pinned(str(named))
    views.pinned(release, current=str(current["release"]))
    return release


main()
