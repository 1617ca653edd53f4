"""How long pages and searches take as a person sees them, in Chromium on the machine that serves them.

Run: python -m benchmarks.page_latency [--home HOME] [--n 12] [--write]   (about a minute; needs Chromium)

From the click, or Enter, until the page's run is over and its foot or its verdict is drawn. ``--write`` puts the table into
``docs/measurements-pages.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from atlas.client import Client
from benchmarks.screenshots import ROOT, chromium, served

PAGES = ("Map", "Clusters", "Disease scan", "Nearest samples", "Series", "Sample", "About", "Search")
WAIT_MS = 60_000
_IDLE = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.getAttribute('data-test-script-state') === 'notRunning' && !document.querySelector('[data-stale="true"]');
}"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time pages and searches in a browser.")
    parser.add_argument("--home", type=Path, help="folder of the atlas (default: that of the settings)")
    parser.add_argument("--n", type=int, default=12, help="searches, and visits of each page")
    parser.add_argument("--write", action="store_true", help="write docs/measurements-pages.md")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    with served(options.home) as (pages, api), sync_playwright() as playwright, Client(api) as client:
        browser = playwright.chromium.launch(**chromium())
        page = browser.new_page(viewport={"width": 1366, "height": 900})
        rows = measure(page, pages, phrases=_phrases(client, options.n), n=options.n)
        release = client.release()
        browser.close()
    table = render(rows, release=release)
    print(table)
    if options.write:
        (ROOT / "docs" / "measurements-pages.md").write_text(table, encoding="utf-8")


def measure(page: Any, pages: str, *, phrases: Sequence[str], n: int) -> list[tuple[str, list[float]]]:
    """Return the seconds of each action, its first time left out where it is done more than once."""
    rows = [("the first page of all, opened anew", [_timed(page, lambda: page.goto(pages), done=_foot)])]
    _timed(page, lambda: _ask(page, "blood"), done=lambda p: _verdict(p, "blood"))
    searches = [_search(page, phrase) for phrase in phrases]
    rows.append(
        ("a search, phrases never asked before: until its answer stands there", [answered for answered, _ in searches])
    )
    rows.append(("the same: until map and table are drawn as well", [drawn for _, drawn in searches]))
    visits: dict[str, list[float]] = {name: [] for name in PAGES}
    for _ in range(max(2, n // 3)):
        for name in PAGES:
            link = page.get_by_role("link", name=name, exact=True).first
            visits[name].append(_timed(page, link.click, done=_foot))
    rows += [(f"to the page {name}, for the first time", times[:1]) for name, times in visits.items()]
    rows += [(f"to the page {name}, again", times[1:]) for name, times in visits.items()]
    return rows


def render(rows: Sequence[tuple[str, list[float]]], *, release: dict[str, Any]) -> str:
    """Return the page of measurements."""
    lines = [
        "# Pages, measured",
        "",
        f"Written by `python -m benchmarks.page_latency --write` on {platform.machine()}, {os.cpu_count()} cores, browser "
        f"included; release `{release['release']}`, {release['n_samples']:,} samples. From the click until the page has run "
        "and is drawn.",
        "",
        "| what | times | median, s | slowest, s |",
        "|---|---|---|---|",
    ]
    lines += [f"| {what} | {len(t)} | {statistics.median(t):.2f} | {max(t):.2f} |" for what, t in rows]
    return "\n".join(lines) + "\n"


def _phrases(client: Client, n: int) -> list[str]:
    """Return terms that nobody asked for yet: names of the atlas' own clusters with a word in front."""
    return [f"human {cluster['label'].lower()}" for cluster in client.clusters()[:n]]


def _timed(page: Any, act: Callable[[], Any], *, done: Callable[[Any], None]) -> float:
    began = time.perf_counter()
    act()
    done(page)
    page.wait_for_function(_IDLE, timeout=WAIT_MS, polling=10)
    return time.perf_counter() - began


def _search(page: Any, phrase: str) -> tuple[float, float]:
    """Return the seconds from Enter until the sentence that answers is there, and until all is drawn."""
    page.get_by_label("Phrase").first.fill(phrase)
    began = time.perf_counter()
    page.keyboard.press("Enter")
    _verdict(page, phrase)
    answered = time.perf_counter() - began
    page.wait_for_function(_IDLE, timeout=WAIT_MS, polling=10)
    return answered, time.perf_counter() - began


def _ask(page: Any, phrase: str) -> None:
    page.get_by_label("Phrase").first.fill(phrase)
    page.keyboard.press("Enter")


def _verdict(page: Any, phrase: str) -> None:
    page.locator(".ga-verdict b", has_text=phrase).first.wait_for(timeout=WAIT_MS)


def _foot(page: Any) -> None:
    page.wait_for_timeout(30)  # the click must have reached the page before its foot is looked for
    page.locator(".ga-foot").first.wait_for(timeout=WAIT_MS)


if __name__ == "__main__":
    main()
