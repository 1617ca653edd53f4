"""Search, sample and series in a real browser: over a real release once, over made-up samples for each thing a person does."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import MARKS, ROOT, free_port, has_no_sideways_scroll, pages_over, settled, tab, wait_for_value
from pages_api import FakeAtlas, fake_api

MAP = ".js-plotly-plot:visible"

pytestmark = MARKS


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


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of pages over made-up samples."""
    with fake_api() as api, pages_over(api, tmp_path_factory.mktemp("made-up")) as url:
        yield url


def ask(page: Any, phrase: str) -> None:
    page.get_by_label("Phrase").first.fill(phrase)
    page.keyboard.press("Enter")
    page.locator(".ga-verdict b", has_text=phrase).first.wait_for()


def goto(page: Any, address: str, *, sign: str = "Samples (20)") -> None:
    """Open an address and wait until its answer stands there whole."""
    page.goto(address)
    page.get_by_text(sign).wait_for()
    settled(page)


def test_a_search_and_an_opened_hit(pages: str, page: Any) -> None:
    elsewhere: list[str] = []
    page.on(
        "request", lambda r: None if r.url.startswith((pages, "ws:", "data:", "blob:")) else elsewhere.append(r.url)
    )
    page.goto(pages)
    page.locator(MAP).first.wait_for()  # the page before any question
    settled(page)
    ask(page, "liver")
    page.get_by_text("Samples (20)").wait_for()
    page.locator(".js-plotly-plot .textpoint text", has_text=re.compile(r"\w")).first.wait_for(state="attached")
    settled(page)

    page.get_by_label("Open a sample").click()
    page.get_by_role("option").first.click()
    card = page.locator(".st-key-sample-card")
    card.get_by_text(re.compile("GSM90001")).first.wait_for()  # the liver samples of the tiny corpus
    records = card.locator('a[href^="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSM90001"]')
    records.first.wait_for()
    assert re.fullmatch(r".*acc=GSM90001\d\d", records.first.get_attribute("href"))
    page.wait_for_url(re.compile(r"sample=GSM90001"))
    assert elsewhere == []


def test_filter_narrows_the_answer(made_up: str, page: Any) -> None:
    goto(page, f"{made_up}/?q=heart")
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Tissue or source").click()
    page.get_by_role("option", name=re.compile(r"^liver \(\d+\)$")).click()
    page.get_by_text("Filters (1)").wait_for()
    page.wait_for_url(re.compile("tissue=liver"))


def test_downloads_hold_what_the_page_shows(made_up: str, page: Any) -> None:
    goto(page, f"{made_up}/?q=heart&k=7", sign="Samples (7)")
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
    goto(page, f"{made_up}/?q=heart")
    page.get_by_text("What they are").click()
    page.wait_for_url(re.compile("view=clusters"))
    ask(page, "liver")
    page.wait_for_url(re.compile(r"release=made-up.*q=liver.*view=clusters"))
    with tab(browser, viewport={"width": 1366, "height": 1000}) as other:
        other.goto(page.url)
        other.locator(".ga-verdict b", has_text="liver").first.wait_for()
        other.get_by_text("By cluster").wait_for()
        settled(other)
        wait_for_value(other, "Phrase", "liver")


def test_two_phrases_are_compared(made_up: str, page: Any) -> None:
    goto(page, f"{made_up}/?q=heart")
    page.get_by_text("Compare two phrases").click()
    page.get_by_label("Compare with").fill("heart ventricle")
    page.keyboard.press("Enter")
    page.locator(".ga-verdict", has_text="samples are among the").wait_for()
    page.locator(MAP).nth(1).wait_for()
    page.wait_for_url(re.compile("vs=heart"))


def test_from_a_hit_to_its_sample_and_its_series_and_back(made_up: str, page: Any) -> None:
    goto(page, f"{made_up}/?q=heart&sample=GSM4000007")
    page.get_by_role("button", name="Sample page").click()
    page.get_by_role("heading", name=re.compile("GSM4000007")).wait_for()
    page.wait_for_url(re.compile(r"/sample\?.*accession=GSM4000007"))
    settled(page)  # buttons of the page before lie there until this one is drawn
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
            settled(page)
            page.wait_for_timeout(500)  # a picture that fails would say so by now
            assert page.locator("img[src='x']").count() == 0
            assert page.locator("a[href^='javascript']").count() == 0
            assert page.title() != "1"
    assert elsewhere == []


@pytest.mark.parametrize(
    "address", ["/?q=heart&sample=GSM4000007", "/sample?accession=GSM4000007", "/series?accession=GSE140000"]
)
def test_phone_width_has_no_sideways_scroll(made_up: str, browser: Any, address: str) -> None:
    looks = {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "dark",
        "user_agent": "Mozilla/5.0 (iPhone) Mobi",
    }
    with tab(browser, **looks) as page:
        page.goto(f"{made_up}{address}")
        page.locator(MAP).first.wait_for()
        has_no_sideways_scroll(page, 390)
