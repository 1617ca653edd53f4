"""The page in a real browser over a real API and a real release: one search, one hit opened, no request elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip

WAIT_MS = 90_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def pages(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the pages of ``geo-atlas serve`` over the tiny release."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "cli.main",
        "serve",
        "--home",
        str(tiny_home),
        "--api-port",
        "0",
        "--ui-port",
        "0",
    ]
    log = tmp_path_factory.mktemp("serve") / "stderr.txt"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"Atlas pages\s+(http://\S+)", line)
        assert found, f"{line!r}\n{log.read_text()}"
        yield found[1]
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    root = os.geteuid() == 0
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, *(["--no-sandbox"] if root else [])], timeout=60_000
        )
        yield opened
        opened.close()


def test_a_search_and_an_opened_hit(pages: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on(
        "request", lambda r: None if r.url.startswith((pages, "ws:", "data:", "blob:")) else elsewhere.append(r.url)
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(pages)
    page.locator(".js-plotly-plot").first.wait_for(timeout=WAIT_MS)  # the page before any question
    page.get_by_label("Phrase").fill("liver")
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Samples (20)").wait_for(timeout=WAIT_MS)
    page.locator(".js-plotly-plot .scatterlayer, .js-plotly-plot canvas").first.wait_for(state="attached")
    labels = " ".join(page.locator(".js-plotly-plot .annotation-text").all_text_contents())
    assert labels.strip()

    page.get_by_label("Open a sample").click()
    page.get_by_role("option").first.click()
    card = page.locator(".st-key-sample-card")
    card.wait_for(timeout=WAIT_MS)
    assert "GSM90001" in card.inner_text()  # the liver samples of the tiny corpus
    link = card.get_by_role("link").first
    assert re.fullmatch(
        r"https://www\.ncbi\.nlm\.nih\.gov/geo/query/acc\.cgi\?acc=GSM90001\d\d", link.get_attribute("href")
    )
    page.wait_for_url(re.compile(r"sample=GSM90001"))
    assert elsewhere == []
    assert errors == []
    page.close()


def test_phone_width_has_no_sideways_scroll(pages: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.goto(f"{pages}/?q=heart")
    page.get_by_role("tab", name="Samples (20)").wait_for(timeout=WAIT_MS)
    page.locator(".js-plotly-plot").first.wait_for(timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    main = page.locator('[data-testid="stMain"]')
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth")
    page.close()
