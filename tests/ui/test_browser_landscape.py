"""The pages of clusters, scans, nearest samples and About in a real browser, over a stand-in for the API."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import MARKS, WAIT_MS, free_port, has_no_sideways_scroll, pages_over, settled, tab, wait_for_value
from landscape_api import FakeLandscape, landscape_api

PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile Safari/537.36"
TABLE = "gene\theart_1\nMYH6\t5321\nMYH7\t24780\nTNNT2\t9120\n"

pytestmark = MARKS


@pytest.fixture(scope="module")
def api_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pages(api_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the pages, which ask the API at ``api_port``, running or not."""
    with pages_over(f"http://127.0.0.1:{api_port}", tmp_path_factory.mktemp("pages")) as url:
        yield url


@pytest.fixture
def atlas(api_port: int) -> Iterator[FakeLandscape]:
    made = FakeLandscape()
    with landscape_api(made, port=api_port):
        yield made


def choose(page: Any, label: str, typed: str) -> None:
    """Choose from a list by the keyboard alone."""
    settled(page)
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.press_sequentially(typed)
    page.locator('[role="option"]:nth-of-type(1)', has_text=re.compile(typed, re.IGNORECASE)).first.wait_for()
    page.keyboard.press("Enter")


def take(page: Any, way: str) -> None:
    """Take one of several ways that stand side by side."""
    settled(page)
    page.get_by_role("radio", name=way).or_(page.get_by_role("button", name=way)).first.click()


def test_pick_a_cluster_by_keyboard_and_come_back_by_its_address(pages: str, page: Any, atlas: FakeLandscape) -> None:
    page.goto(f"{pages}/clusters")
    page.locator(".js-plotly-plot").get_by_text("pancreatic islet").first.wait_for(state="attached")
    assert page.locator(".js-plotly-plot .xaxislayer-above text").count() == 0  # free of axes
    choose(page, "Open a cluster", "pancreatic")
    page.get_by_role("heading", name="pancreatic islet").wait_for()
    page.wait_for_url(re.compile(r"cluster=4"))
    take(page, "Made of")
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
    settled(page)
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
    page.locator(".js-plotly-plot .heatmaplayer").first.wait_for(state="attached")
    settled(page)
    heading = page.get_by_role("heading", name="Dilated cardiomyopathy")
    for _ in range(20):  # Plotly hears clicks some time after it has drawn
        if heading.is_visible():
            break
        box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.5 / 18, box["y"] + box["height"] * 0.5 / 20)
        page.wait_for_timeout(2_000)
    heading.wait_for()


def test_own_list_runs_as_a_job_and_can_be_stopped(pages: str, page: Any, atlas: FakeLandscape) -> None:
    atlas.job_steps = 1_000
    page.goto(f"{pages}/scan")
    page.locator(".js-plotly-plot .heatmaplayer").first.wait_for(state="attached")
    settled(page)
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

    take(page, "Paste a table")
    page.get_by_role("textbox", name="Genes as rows, samples as columns").fill(TABLE)
    page.get_by_role("button", name="Find the nearest").click()
    page.get_by_text("of your 500 genes were recognised").wait_for()

    wrong = tmp_path / "holiday.png"
    wrong.write_bytes(b"\x89PNG\r\n not a table")
    take(page, "Upload a file")
    with page.expect_response(re.compile("upload_file"), timeout=WAIT_MS):
        page.locator('input[type="file"]').set_input_files(str(wrong))
    page.get_by_text("holiday.png").wait_for()
    page.get_by_role("button", name="Find the nearest").click()
    page.get_by_text("This file holds no table of genes").wait_for()


def test_example_of_a_table_takes_one_click(pages: str, page: Any, atlas: FakeLandscape) -> None:
    page.goto(f"{pages}/nearest?by=paste")
    page.get_by_role("button", name="Try an example").click()
    page.get_by_text("of your 500 genes were recognised").wait_for()
    settled(page)
    wait_for_value(page, "Genes as rows, samples as columns", "MYH7")


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
    with tab(browser, viewport={"width": 390, "height": 844}, color_scheme="dark", user_agent=PHONE) as page:
        page.goto(f"{pages}/{address}")
        has_no_sideways_scroll(page, 390)
