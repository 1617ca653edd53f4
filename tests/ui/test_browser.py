"""Search, sample and series in a real browser: over a real release once, over made-up samples for each thing a person does."""

from __future__ import annotations

import csv
import io
import os
import re
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
from pages_api import FakeAtlas, fake_api

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip

WAIT_MS = 90_000
MAP = ".js-plotly-plot:visible"

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
            command, cwd=log.parent, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE, stderr=stderr
        )  # fmt: skip
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


@contextmanager
def pages_over(api: str, folder: Path) -> Iterator[str]:
    """Serve the pages alone, over an API of ours."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GEO_ATLAS_API_URL": api, "GEO_ATLAS_UI_PORT": str(port)}
    with (folder / "pages.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.children", "ui"], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while not answers(f"{url}/_stcore/health"):
            assert time.monotonic() < deadline, (folder / "pages.txt").read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of pages over made-up samples."""
    with fake_api() as api, pages_over(api, tmp_path_factory.mktemp("made-up")) as url:
        yield url


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


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A desk-wide tab in which no script may fail."""
    opened = browser.new_page(viewport={"width": 1366, "height": 1000})
    opened.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert errors == []


def ask(page: Any, phrase: str) -> None:
    page.get_by_label("Phrase").first.fill(phrase)
    page.keyboard.press("Enter")
    page.locator(".ga-verdict b", has_text=phrase).first.wait_for()


def test_a_search_and_an_opened_hit(pages: str, page: Any) -> None:
    elsewhere: list[str] = []
    page.on(
        "request", lambda r: None if r.url.startswith((pages, "ws:", "data:", "blob:")) else elsewhere.append(r.url)
    )
    page.goto(pages)
    page.locator(MAP).first.wait_for()  # the page before any question
    ask(page, "liver")
    page.get_by_text("Samples (20)").wait_for()
    page.locator(".js-plotly-plot .scatterlayer").first.wait_for(state="attached")
    labels = " ".join(page.locator(".js-plotly-plot .textpoint text").all_text_contents())
    assert labels.strip()

    page.get_by_label("Open a sample").click()
    page.get_by_role("option").first.click()
    card = page.locator(".st-key-sample-card")
    card.wait_for()
    assert "GSM90001" in card.inner_text()  # the liver samples of the tiny corpus
    card.get_by_role("link").first.wait_for()
    hrefs = [link.get_attribute("href") for link in card.get_by_role("link").all()]
    assert any(
        re.fullmatch(r"https://www\.ncbi\.nlm\.nih\.gov/geo/query/acc\.cgi\?acc=GSM90001\d\d", href) for href in hrefs
    )
    page.wait_for_url(re.compile(r"sample=GSM90001"))
    assert elsewhere == []


def test_filter_narrows_the_answer(made_up: str, page: Any) -> None:
    page.goto(f"{made_up}/?q=heart")
    page.get_by_text("Samples (20)").wait_for()
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Tissue or source").click()
    page.get_by_role("option", name=re.compile(r"^liver \(\d+\)$")).click()
    page.get_by_text("Filters (1)").wait_for()
    page.wait_for_url(re.compile("tissue=liver"))


def test_downloads_hold_what_the_page_shows(made_up: str, page: Any) -> None:
    page.goto(f"{made_up}/?q=heart&k=7")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV", exact=True).click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text("utf-8"))))
    assert waiting.value.suggested_filename == "geo-atlas-heart.csv"
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 8)]
    assert {row["release"] for row in rows} == {"made-up"}
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Figure PNG").click()
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Figure SVG").click()
    drawn = Path(waiting.value.path()).read_text("utf-8")
    assert "<svg" in drawn
    assert ">liver</text>" in drawn


def test_address_bar_is_a_permalink(made_up: str, page: Any, browser: Any) -> None:
    page.goto(f"{made_up}/?q=heart")
    page.get_by_text("Samples (20)").wait_for()
    page.get_by_text("What they are").click()
    page.wait_for_url(re.compile("view=clusters"))
    ask(page, "liver")
    page.wait_for_url(re.compile(r"release=made-up.*q=liver.*view=clusters"))
    other = browser.new_page(viewport={"width": 1366, "height": 1000})
    other.goto(page.url)
    other.locator(".ga-verdict b", has_text="liver").first.wait_for(timeout=WAIT_MS)
    other.get_by_text("By cluster").wait_for(timeout=WAIT_MS)
    other.wait_for_function("document.querySelector('input[aria-label=\"Phrase\"]').value == 'liver'", timeout=WAIT_MS)
    other.close()


def test_two_phrases_are_compared(made_up: str, page: Any) -> None:
    page.goto(f"{made_up}/?q=heart")
    page.get_by_text("Samples (20)").wait_for()
    page.get_by_text("Compare two phrases").click()
    page.get_by_label("Compare with").fill("heart ventricle")
    page.keyboard.press("Enter")
    page.locator(".ga-verdict", has_text="samples are among the").wait_for()
    page.locator(MAP).nth(1).wait_for()
    page.wait_for_url(re.compile("vs=heart"))


def test_from_a_hit_to_its_sample_and_its_series_and_back(made_up: str, page: Any) -> None:
    page.goto(f"{made_up}/?q=heart&sample=GSM4000007")
    page.get_by_role("button", name="Sample page").click()
    page.get_by_role("heading", name=re.compile("GSM4000007")).wait_for()
    page.wait_for_url(re.compile(r"/sample\?.*accession=GSM4000007"))
    page.get_by_role("button", name=re.compile("^GSE")).first.click()
    page.wait_for_url(re.compile(r"/series\?.*accession=GSE14000"))
    page.get_by_text(re.compile(r"\d+ samples in this atlas")).wait_for()
    page.get_by_role("link", name="Search").first.click()
    page.locator(".ga-verdict b", has_text="heart").first.wait_for()  # the question is still there


def test_service_that_goes_away_is_a_sentence_and_comes_back(tmp_path: Path, page: Any) -> None:
    port = free_port()
    with pages_over(f"http://127.0.0.1:{port}", tmp_path) as url:
        page.goto(f"{url}/?q=heart")
        page.get_by_text("does not answer").wait_for()
        with fake_api(port=port):
            page.get_by_role("button", name="Try again").click()
            page.get_by_text("Samples (20)").wait_for()


def test_text_of_strangers_runs_nothing(tmp_path: Path, page: Any) -> None:
    elsewhere: list[str] = []
    page.on("request", lambda r: elsewhere.append(r.url) if "elsewhere.example" in r.url else None)
    with fake_api(FakeAtlas(evil=True)) as api, pages_over(api, tmp_path) as url:
        for address in (
            "/?q=heart&sample=GSM4000007",
            "/sample?accession=GSM4000007&q=heart",
            "/series?accession=GSE140000",
        ):
            page.goto(f"{url}{address}")
            page.locator(MAP).first.wait_for()
            page.locator(".ga-foot").wait_for()
            page.wait_for_timeout(500)
            assert page.locator("img[src='x']").count() == 0
            assert page.locator("a[href^='javascript']").count() == 0
            assert page.title() != "1"
    assert elsewhere == []


@pytest.mark.parametrize(
    "address", ["/?q=heart&sample=GSM4000007", "/sample?accession=GSM4000007", "/series?accession=GSE140000"]
)
def test_phone_width_has_no_sideways_scroll(made_up: str, browser: Any, address: str) -> None:
    page = browser.new_page(
        viewport={"width": 390, "height": 844}, color_scheme="dark", user_agent="Mozilla/5.0 (iPhone) Mobi"
    )
    page.goto(f"{made_up}{address}")
    page.locator(MAP).first.wait_for(timeout=WAIT_MS)
    page.locator(".ga-foot").wait_for(timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    main = page.locator('[data-testid="stMain"]')
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth")
    page.close()
