"""The map in headless Chromium, over a made-up atlas of 200 samples whose texts are hostile: drawn, asked, and in a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from browser_pages import MARKS, pages_over, tab
from landscape_api import FakeLandscape, landscape_api
from PIL import Image

pytestmark = [*MARKS, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def atlas() -> FakeLandscape:
    return FakeLandscape(200, evil=True)


@pytest.fixture(scope="module")
def api(atlas: FakeLandscape) -> Iterator[str]:
    with landscape_api(atlas) as url:
        yield url


def shown(page: Any, address: str) -> None:
    """Open the map and wait until it is drawn."""
    page.goto(address)
    page.locator("html[data-ready=yes]").wait_for()
    page.wait_for_function("() => performance.getEntriesByName('whole map drawn').length > 0")


def colours(page: Any) -> int:
    """Return how many strong colours the map shows."""
    picture = Image.open(BytesIO(page.locator("#stage").screenshot())).convert("RGB")
    found = picture.getcolors(picture.width * picture.height) or []
    return sum(1 for n, colour in found if n > 20 and max(colour) - min(colour) > 40)


def drag(page: Any, *corners: tuple[int, int]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()


def test_map_is_drawn_coloured_and_asked_for_a_part(page: Any, api: str, atlas: FakeLandscape) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shown(page, f"{api}/map/")
    assert all(url.startswith(api) or url.startswith("data:") for url in asked)
    assert "200 samples" in page.locator("#about").inner_text()
    assert page.locator("#by option[value=date]").is_disabled()  # no sample has a date
    page.locator("#phrase").fill("heart")
    page.locator("#phrase").press("Enter")
    page.locator("#legend.scale").wait_for()
    assert any("columns/score" in url and "q=heart" in url for url in asked)
    page.get_by_role("button", name="Lasso").click()
    drag(page, (100, 200), (500, 200), (500, 600), (100, 600), (100, 220))
    page.locator("#selection").wait_for()
    assert "30 samples selected" in page.locator("#selection h2").inner_text()
    page.locator("#samples table").wait_for()
    assert page.locator("#samples tbody tr").count() == 30
    assert page.title() != "1"  # no title of a sample ran as a script
    assert page.locator("#detail img, #detail script").count() == 0
    assert "<img src=x" in page.locator("#selection .words").inner_text()
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 31
    assert lines[0].startswith("accession,series,title")
    link = page.evaluate("location.hash")
    assert "q=heart" in link
    assert "sel=" in link
    shown(page, f"{api}/map/?again{link}")  # the link carries the state
    page.locator("#selection").wait_for()
    assert page.locator("#by").input_value() == "score"


def test_sample_is_told_under_the_pointer_and_keys_move_the_map(page: Any, api: str, atlas: FakeLandscape) -> None:
    shown(page, f"{api}/map/")
    place = page.evaluate(
        "() => { const at = document.getElementById('stage').getBoundingClientRect();"
        " return [at.left, at.top, at.width, at.height]; }"
    )
    wide, tall = float(atlas.x.max() - atlas.x.min()), float(atlas.y.max() - atlas.y.min())
    scale = min(place[2] / (wide * 1.08), place[3] / (tall * 1.08))
    x = place[0] + place[2] / 2 + (atlas.x[0] - (atlas.x.max() + atlas.x.min()) / 2) * scale
    y = place[1] + place[3] / 2 - (atlas.y[0] - (atlas.y.max() + atlas.y.min()) / 2) * scale
    page.mouse.move(x, y)
    page.locator("#tip b").wait_for()
    assert re.fullmatch(r"GSM\d+", page.locator("#tip b").inner_text())
    assert page.locator("#tip img").count() == 0
    page.mouse.click(x, y)
    page.locator("#sample").wait_for()
    assert page.locator("#sample a[href^='javascript']").count() == 0
    page.locator("#over").focus()
    for key in ("ArrowLeft", "+", "+"):
        page.keyboard.press(key)
    page.wait_for_function("() => location.hash.includes('view=')")
    page.keyboard.press("0")
    page.wait_for_function("() => !location.hash.includes('view=')")


def test_it_fits_a_phone_and_says_so_when_the_service_is_gone(browser: Any, api: str) -> None:
    with tab(browser, viewport={"width": 390, "height": 800}) as page:
        shown(page, f"{api}/map/")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert colours(page) > 3
        page.route("**/v1/**", lambda route: route.abort())
        page.locator("#in-view").click()
        page.locator("#note", has_text="does not answer").wait_for()
        page.reload()
        page.get_by_role("button", name="Try again").wait_for()
        page.unroute("**/v1/**")
        page.get_by_role("button", name="Try again").click()
        page.locator("html[data-ready=yes]").wait_for()


def test_question_that_is_refused_is_said_and_the_map_shown(page: Any, api: str) -> None:
    refused = (
        '{"error": {"code": "invalid_input", "message": "The phrase is too long.", "details": {}, "request_id": "r"}}'
    )
    page.route(
        "**/columns/score*", lambda route: route.fulfill(status=422, content_type="application/json", body=refused)
    )
    shown(page, f"{api}/map/#by=score&q=x")
    assert "too long" in page.locator("#note").inner_text()
    assert page.locator("#by").input_value() == "cluster"


def test_release_that_was_replaced_is_said_and_a_reload_offered(page: Any, api: str) -> None:
    shown(page, f"{api}/map/")
    gone = '{"error": {"code": "release_retired", "message": "It was built anew.", "details": {}, "request_id": "r"}}'
    page.route("**/v1/selections*", lambda route: route.fulfill(status=410, content_type="application/json", body=gone))
    page.locator("#in-view").click()
    page.locator("#banner", has_text="It was built anew.").wait_for()
    page.get_by_role("button", name="Reload").click()
    page.locator("html[data-ready=yes]").wait_for()


def test_browser_without_webgl_is_told_so(browser: Any, api: str) -> None:
    with tab(browser, viewport={"width": 800, "height": 600}) as page:
        page.add_init_script("delete HTMLCanvasElement.prototype.transferControlToOffscreen")
        page.goto(f"{api}/map/")
        page.locator("#wait", has_text="WebGL").wait_for()


def test_page_shows_the_map_in_a_frame(page: Any, api: str, tmp_path: Path) -> None:
    with pages_over(api, tmp_path) as pages:
        page.goto(f"{pages}/map")
        frame = page.frame_locator("iframe[title*=atlas_map]")
        frame.locator("html[data-ready=yes]").wait_for()
        frame.locator("#phrase").fill("liver")
        frame.locator("#phrase").press("Enter")
        page.wait_for_function("() => location.search.includes('liver')")  # the page's address carries the map's state
        page.locator(".ga-foot").wait_for()
