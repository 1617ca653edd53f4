"""The pages in headless Chromium: how they are served, opened, and waited for without guessing at times."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader",  # WebGL in software: the map needs one
)  # fmt: skip
WAIT_MS = 90_000

MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def pages_over(api: str, folder: Path) -> Iterator[str]:
    """Serve the pages alone, over the API at an address where something answers, or not yet."""
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "GEO_ATLAS_API_URL": api, "GEO_ATLAS_UI_PORT": str(port), "GEO_ATLAS_UI_HOST": "127.0.0.1"
    }  # fmt: skip
    with (folder / "pages.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.children", "ui"], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while not _answers(f"{url}/_stcore/health"):
            assert process.poll() is None, (folder / "pages.txt").read_text()
            assert time.monotonic() < deadline, (folder / "pages.txt").read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=WAIT_MS)
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=60_000)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A desk-wide tab in which no script may fail."""
    with tab(browser, viewport={"width": 1366, "height": 1000}) as opened:
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
    assert errors == []


@contextmanager
def tab(browser: Any, **looks: Any) -> Iterator[Any]:
    """A tab that waits long enough for a busy machine, and closes whatever happens."""
    opened = browser.new_page(**looks)
    opened.set_default_timeout(WAIT_MS)
    try:
        yield opened
    finally:
        opened.close()


def settled(page: Any) -> None:
    """Wait until the page is drawn to its end: what stood there before is gone, and nothing will move under a click.

    Call it once the effect of the last click was seen; before that the page may not have begun.
    """
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()


def wait_for_value(page: Any, label: str, said: str) -> None:
    """Wait until a field holds a text: its script comes after the words around it, and its text after the field."""
    page.wait_for_function(
        '([label, said]) => document.querySelector(`:is(input, textarea)[aria-label="${label}"]`)?.value.includes(said)',
        arg=[label, said],
    )


def has_no_sideways_scroll(page: Any, width: int) -> None:
    """Wait until everything fits the width; what is wider for good fails."""
    page.locator(".ga-foot").wait_for()
    settled(page)
    page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
    page.wait_for_function(
        "() => { const main = document.querySelector('[data-testid=\"stMain\"]');"
        " return main !== null && main.scrollWidth <= main.clientWidth }"
    )
