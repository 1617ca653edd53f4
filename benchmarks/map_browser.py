"""The map in a real browser: bytes sent, first picture, memory, longest task, frames, from a lasso to its answer.

Run: python -m benchmarks.map_browser --home HOME [--phrase TEXT]         (a release of any size; needs Chromium)
     python -m benchmarks.map_browser --home SMALL --tiled 650000         (a small release repeated, see benchmarks.tiled_release)
     python -m benchmarks.map_browser --url http://127.0.0.1:8000         (a service that runs already)

Chromium draws by the processor (SwiftShader), on the machine that also serves: what a person with a graphics card waits is less.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.api_latency import served, wait
from benchmarks.screenshots import chromium

WAIT_MS = 120_000
SIZE = {"width": 1366, "height": 900}
MEMORY = ("--enable-precise-memory-info",)
_WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => { for (const one of list.getEntries()) window.longTasks.push(one.duration); })
  .observe({ type: 'longtask', buffered: true });
"""
_FRAMES = "() => Number(document.getElementById('points').dataset.frames)"
_RESTED = "() => performance.getEntriesByName('whole map drawn').length > 0"


@dataclass(frozen=True)
class Row:
    """What was measured, as text, and the bar it is held against."""

    what: str
    value: str
    bar: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--tiled", type=int, help="repeat the release of the home to this many samples")
    parser.add_argument("--url", help="a service that runs already")
    parser.add_argument("--phrase", default="cardiomyopathy")
    parser.add_argument("--picture", type=Path, help="save a picture of the map here")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    with _service(options) as url, sync_playwright() as playwright:
        launched = chromium()
        browser = playwright.chromium.launch(**{**launched, "args": [*launched["args"], *MEMORY]})
        version = browser.version
        rows = measure(browser, url, phrase=options.phrase, picture=options.picture)
        browser.close()
    print(render(rows, version=version, made=options.tiled))


def measure(browser: Any, url: str, *, phrase: str, picture: Path | None = None) -> list[Row]:
    """Open the map, look at it, ask it; returns what a person would have waited for."""
    page = browser.new_page(viewport=SIZE)
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(_WATCH)
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sent: list[int] = []
    session.on("Network.loadingFinished", lambda event: sent.append(int(event["encodedDataLength"])))
    page.goto(f"{url}/map/", wait_until="commit")
    page.locator("html[data-ready=yes]").wait_for()
    page.wait_for_function(_RESTED)
    first = page.evaluate("performance.getEntriesByName('whole map drawn')[0].startTime") / 1000
    about = page.locator("#about").inner_text()
    rows = [
        Row("what is shown", about),
        Row("bytes sent until the map is complete", f"{sum(sent) / 1e6:.2f} MB in {len(sent)} answers", "12 MB"),
        Row("first picture of all samples", f"{first:.2f} s", "10 s"),
        Row("longest task of the page until then", f"{_longest(page):.0f} ms", "200 ms"),
        Row("JavaScript heap", f"{_heap(page):.0f} MB", "500 MB"),
    ]
    if picture is not None:
        page.screenshot(path=picture)
    rows += _panned(page)
    rows += _asked(page, sent, phrase=phrase)
    rows += _lassoed(page)
    page.close()
    return rows


def render(rows: Sequence[Row], *, version: str, made: int | None) -> str:
    """Return the table."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    data = f"a small release repeated to {made:,} samples by seed 0" if made else "the release as it is"
    lines = [
        f"Chromium {version}, drawn by the processor (SwiftShader), {SIZE['width']} x {SIZE['height']}; {data}; "
        f"{platform.machine()}, {os.cpu_count()} cores, service on the same machine; load averages {load}.",
        "",
        "| what | measured | bar |",
        "|---|---|---|",
    ]
    return "\n".join(lines + [f"| {row.what} | {row.value} | {row.bar} |" for row in rows])


def _panned(page: Any, *, n_moves: int = 60) -> list[Row]:
    """Drag the map about for a while and count the pictures."""
    _forget(page)
    before, began = page.evaluate(_FRAMES), time.perf_counter()
    page.mouse.move(500, 450)
    page.mouse.down()
    for move in range(n_moves):
        page.mouse.move(500 + 4 * move, 450 + 2 * (move % 30))
        page.wait_for_timeout(30)
    page.mouse.up()
    seconds = time.perf_counter() - began
    frames = page.evaluate(_FRAMES) - before
    page.wait_for_timeout(1_500)
    return [
        Row("pictures a second while the map is dragged", f"{frames / seconds:.1f} (fewer points while it moves)"),
        Row("longest task while it is dragged", f"{_longest(page):.0f} ms", "200 ms"),
    ]


def _asked(page: Any, sent: list[int], *, phrase: str) -> list[Row]:
    """Colour by a phrase, the first time and by another one."""
    _forget(page)
    rows = []
    for words in (phrase, f"human {phrase}"):
        n, frames, began = len(sent), page.evaluate(_FRAMES), time.perf_counter()
        page.locator("#phrase").fill(words)
        page.locator("#phrase").press("Enter")
        page.locator("#legend.scale p", has_text=f"“{words}”").wait_for()
        told = time.perf_counter() - began
        page.wait_for_function(f"n => ({_FRAMES})() > n", arg=frames, polling=20)
        whole = time.perf_counter() - began
        size = sum(sent[n:]) / 1e6
        rows.append(Row(f"from Enter to colours of “{words}”", f"{told:.2f} s, drawn {whole:.2f} s; {size:.2f} MB"))
    rows.append(Row("longest task while it is coloured", f"{_longest(page):.0f} ms", "200 ms"))
    return rows


def _lassoed(page: Any) -> list[Row]:
    """Draw lines around a part and around nearly everything; the time is from letting go to the answer."""
    _forget(page)
    rows = []
    for name, (left, top, right, bottom) in {"a part": (300, 300, 600, 600), "nearly all": (20, 120, 950, 880)}.items():
        waits = []
        for _ in range(3):
            page.get_by_role("button", name="Lasso").click()
            page.mouse.move(left, top)
            page.mouse.down()
            for corner in ((right, top + 20), (right - 30, bottom), (left + 10, bottom - 10), (left, top + 15)):
                page.mouse.move(*corner, steps=12)
            page.evaluate("() => performance.clearMarks('selection told')")
            page.mouse.up()
            began = time.perf_counter()
            page.wait_for_function("() => performance.getEntriesByName('selection told').length > 0", polling=20)
            waits.append(time.perf_counter() - began)
        said = page.locator("#selection h2").inner_text()
        rows.append(
            Row(
                f"lasso around {name} to its answer ({said})",
                f"{statistics.median(waits):.2f} s, first {waits[0]:.2f} s",
                "2 s",
            )
        )
    rows.append(Row("longest task meanwhile", f"{_longest(page):.0f} ms", "200 ms"))
    rows.append(Row("JavaScript heap at the end", f"{_heap(page):.0f} MB", "500 MB"))
    return rows


def _forget(page: Any) -> None:
    page.evaluate("() => { window.longTasks.length = 0 }")


def _longest(page: Any) -> float:
    """Return the longest task in ms; 0 where none took 50 ms."""
    return max(map(float, page.evaluate("() => window.longTasks")), default=0.0)


def _heap(page: Any) -> float:
    """Return the megabytes in use by script, before garbage is collected."""
    return float(page.evaluate("() => performance.memory.usedJSHeapSize")) / 1e6


@contextmanager
def _service(options: argparse.Namespace) -> Iterator[str]:
    if options.url:
        yield options.url.rstrip("/")
    elif options.tiled:
        with _tiled(options.home, options.tiled) as url:
            yield url
    else:
        with served(options.home) as url:
            yield url


@contextmanager
def _tiled(home: Path, n: int) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "benchmarks.tiled_release",
        "--home",
        str(home),
        "--n",
        str(n),
        "--port",
        str(port),
    ]
    child = subprocess.Popen(command)
    try:
        wait(f"http://127.0.0.1:{port}", patience_s=600)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(60)


if __name__ == "__main__":
    main()
