"""Fixtures shared by all tests: the real data, if present, and a home nobody else uses."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["catalog_fixtures", "tiny_release"]

# A run started in the background ignores SIGINT, and so would every process it starts; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
LONGEST = (
    "test_kill_and_resume.py",
    "test_described_cases.py",
    "test_wheel.py",
    "test_browser.py",
    "test_real_service.py",
    "test_browser_landscape.py",
    "test_command.py",
)
"""Files that begin first, so that of two processes none is left alone with a long one at the end."""

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all others keep their order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings, the home or the language model of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("GEO_ATLAS_") and name not in ("GEO_ATLAS_TEST_DATA",):
            monkeypatch.delenv(name)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real corpora; the test is skipped where it is absent."""
    root = Path(os.environ.get("GEO_ATLAS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "corpora" / "counts.h5").is_file():
        pytest.skip(f"the real corpora are not at {root} (set GEO_ATLAS_TEST_DATA)")
    return root
