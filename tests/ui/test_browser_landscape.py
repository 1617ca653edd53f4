"""The pages of clusters, scans, nearest samples and About in a real browser, over a stand-in for the API."""

from __future__ import annotations

import csv
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from landscape_api import FakeLandscape, landscape_api

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)
WAIT_MS = 90_000
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile Safari/537.36"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def api_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pages(api_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the pages, which ask the API at ``api_port``, running or not."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GEO_ATLAS_API_URL": f"http://127.0.0.1:{api_port}",
                                "GEO_ATLAS_UI_PORT": str(port), "GEO_ATLAS_UI_HOST": "127.0.0.1"}  # fmt: skip
    folder = tmp_path_factory.mktemp("pages")
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.children", "ui"], cwd=folder, env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail("the pages did not come up")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=60_000)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must not raise an error in the browser."""
    opened = browser.new_page(viewport={"width": 1366, "height": 1000})
    opened.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert errors == []


@pytest.fixture
def atlas(api_port: int) -> Iterator[FakeLandscape]:
    made = FakeLandscape()
    with landscape_api(made, port=api_port):
        yield made


def choose(page: Any, label: str, typed: str) -> None:
    """Choose from a list by the keyboard alone."""
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.type(typed)
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("Enter")


def test_pick_a_cluster_by_keyboard_and_come_back_by_its_address(pages: str, page: Any, atlas: FakeLandscape) -> None:
    page.goto(f"{pages}/clusters")
    page.locator(".js-plotly-plot").get_by_text("pancreatic islet").first.wait_for(state="attached")
    assert page.locator(".js-plotly-plot .xaxislayer-above text").count() == 0  # free of axes
    choose(page, "Open a cluster", "pancreatic")
    page.get_by_role("heading", name="pancreatic islet").wait_for()
    page.wait_for_url(re.compile(r"cluster=4"))
    page.get_by_role("radio", name="Made of").or_(page.get_by_role("button", name="Made of")).first.click()
    page.get_by_text("By tissue").wait_for()
    page.wait_for_url(re.compile(r"view=made-of"))
    link = page.url
    page.goto(f"{pages}/about")
    page.get_by_role("heading", name="Model card").wait_for()
    page.goto(link)
    page.get_by_text("By tissue").wait_for()


def test_scan_term_and_download(pages: str, page: Any, atlas: FakeLandscape, tmp_path: Path) -> None:
    page.goto(f"{pages}/scan")
    page.locator(".js-plotly-plot .heatmaplayer").first.wait_for(state="attached")
    choose(page, "Open a term", "uveal")
    page.get_by_role("heading", name="Melanoma, uveal").wait_for()
    page.wait_for_url(re.compile(r"term=Melanoma"))
    with page.expect_download(timeout=WAIT_MS) as waiting:
        page.locator(".st-key-save-cells-csv button").first.click()
    saved = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    rows = list(csv.DictReader(saved.read_text(encoding="utf-8").splitlines()))
    assert saved.name == "geo-atlas-scan-omim-expanded-melanoma-uveal.csv"
    assert len(rows) == 18
    assert {row["term"] for row in rows} == {"Melanoma, uveal"}


def test_click_on_a_cell_opens_its_term(pages: str, page: Any, atlas: FakeLandscape) -> None:
    page.goto(f"{pages}/scan")
    plot = page.locator(".js-plotly-plot .heatmaplayer").first
    plot.wait_for(state="attached")
    page.wait_for_timeout(1_000)  # Plotly binds its clicks after it has drawn
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5 / 18, box["y"] + box["height"] * 0.5 / 20)
    page.mouse.down()
    page.mouse.up()
    page.get_by_role("heading", name="Dilated cardiomyopathy").wait_for()


def test_own_list_runs_as_a_job_and_can_be_stopped(pages: str, page: Any, atlas: FakeLandscape) -> None:
    atlas.job_steps = 1_000
    page.goto(f"{pages}/scan")
    page.get_by_role("button", name="Scan your own list").click()
    page.get_by_label("One term a line").fill("asthma\neczema")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("progressbar").first.wait_for()
    page.wait_for_url(re.compile(r"job=job-0"))
    page.reload()  # the job outlives the page
    page.locator(".st-key-cancel-job button").first.click()
    page.get_by_text("The scan was stopped").wait_for()
    assert atlas.jobs["job-0"]["status"] == "cancelled"


def test_nearest_by_accession_paste_and_wrong_file(pages: str, page: Any, atlas: FakeLandscape, tmp_path: Path) -> None:
    page.goto(f"{pages}/nearest")
    page.get_by_label("Accession of a sample").fill("GSM4000007")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=re.compile("GSM4000007")).wait_for()
    page.wait_for_url(re.compile(r"accession=GSM4000007"))

    page.get_by_role("radio", name="Paste a table").or_(page.get_by_role("button", name="Paste a table")).first.click()
    page.get_by_role("button", name="Fill in an example").click()
    page.get_by_role("button", name="Find the nearest").click()
    page.get_by_text("of your 500 genes were recognised").wait_for()

    wrong = tmp_path / "holiday.png"
    wrong.write_bytes(b"\x89PNG\r\n not a table")
    page.get_by_role("radio", name="Upload a file").or_(page.get_by_role("button", name="Upload a file")).first.click()
    page.locator('input[type="file"]').set_input_files(str(wrong))
    page.get_by_text("holiday.png").wait_for()
    page.get_by_role("button", name="Find the nearest").click()
    page.get_by_text("This file holds no table of genes").wait_for()


def test_api_that_is_down_is_a_sentence_and_comes_back(pages: str, page: Any, api_port: int) -> None:
    page.goto(f"{pages}/scan")
    page.get_by_text("does not answer").wait_for()
    with landscape_api(port=api_port):
        page.get_by_role("button", name="Try again").click()
        page.locator(".js-plotly-plot .heatmaplayer").first.wait_for(state="attached")


@pytest.mark.parametrize(
    "address", ["clusters", "clusters?cluster=1", "scan", "scan?term=Asthma", "nearest?by=paste", "about"]
)
def test_phone_width_has_no_sideways_scroll(pages: str, browser: Any, atlas: FakeLandscape, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", user_agent=PHONE)
    page.goto(f"{pages}/{address}")
    page.locator(".ga-foot").wait_for(timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator('[data-testid="stMain"]').evaluate("element => element.scrollWidth <= element.clientWidth")
    page.close()
