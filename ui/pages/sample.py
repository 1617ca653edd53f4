"""One sample: everything its source says, its place, its neighbours, what it resembles."""

from __future__ import annotations

from typing import Any

from ui import views
from ui.service import Service


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page of the sample that the address names."""
    views.heading("Sample", "What its depositors wrote, where it lies, and what is like it.")
