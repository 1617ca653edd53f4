"""One series: its samples, where they lie, what they are."""

from __future__ import annotations

from typing import Any

from ui import views
from ui.service import Service


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page of the series that the address names."""
    views.heading("Series", "The samples of one study, where they lie and what they are.")
