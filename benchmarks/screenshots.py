"""Take a picture of every page, at desk and at phone width, into ``docs/screenshots``.

Run: python -m benchmarks.screenshots [--home HOME] [--out FOLDER] [--only NAME ...]   (about a minute; needs Chromium)

Serves the atlas of HOME (default: that of the settings), asks it what it holds, and opens the pages on that.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from atlas.client import AtlasHTTPError, Client

ROOT = Path(__file__).resolve().parent.parent
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 "
    "Mobile/15E148 Safari/604.1"
)
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader",  # WebGL in software: the map needs one
)  # fmt: skip
WIDTHS = {"desk": 1366, "phone": 390}
TALLEST = {"desk": 1800, "phone": 3200}
COLOURS = 255


@dataclass(frozen=True)
class Shot:
    """A picture: its name, the address it shows, and whether the system asks for dark pages."""

    name: str
    address: str
    dark: bool = False


@contextmanager
def served(home: Path | None) -> Iterator[tuple[str, str]]:
    """Serve an atlas on free ports; yields the addresses of the pages and of the API."""
    command = [sys.executable, "-P", "-m", "cli.main", "serve", "--api-port", "0", "--ui-port", "0"]
    command += ["--home", str(home)] if home else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            found: dict[str, str] = {}
            assert process.stdout is not None
            for line in process.stdout:
                if match := re.match(r"(Atlas pages|REST API)\s+(http://[^\s/]+)", line):
                    found[match[1]] = match[2]
                if len(found) == 2:
                    break
            else:
                log.seek(0)
                raise SystemExit(f"The atlas could not be served: {log.read()}")
            yield found["Atlas pages"], found["REST API"]
        finally:
            process.terminate()
            process.wait(60)


def chromium() -> dict[str, Any]:
    """Return how to launch this machine's Chromium, without a sandbox for root, who cannot have one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("No Chromium on this machine (Debian: apt-get install chromium).")
    return {"executable_path": found, "args": [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]}


def plan(client: Client) -> list[Shot]:
    """Return the pictures, with questions that this atlas can answer."""
    phrase = "cardiomyopathy"
    best = client.search(phrase, k=5)["hits"][0]["sample"]
    cluster = client.clusters()[0]["cluster"]
    asked = {"q": phrase, "sample": best["accession"]}
    shots = [
        Shot("search-empty", "/"),
        Shot("search", _to("", q=phrase)),
        Shot("search-opened", _to("", **asked)),
        Shot("search-opened-dark", _to("", **asked), dark=True),
        Shot("search-combined", _to("", q="heart", minus="cardiomyopathy^0.5", plus=best["accession"])),
        Shot("search-compared", _to("", q=phrase, vs="skeletal muscle")),
        Shot("map", _to("map", state="by=score&q=cardiomyopathy")),
        Shot("map-dark", _to("map"), dark=True),
        Shot("clusters", _to("clusters")),
        Shot("cluster", _to("clusters", cluster=str(cluster))),
        Shot("nearest", _to("nearest", accession=best["accession"])),
        Shot("series", _to("series", accession=best["series"][0])),
        Shot("sample", _to("sample", accession=best["accession"], q=phrase)),
        Shot("about", _to("about")),
    ]
    return shots + _scans(client)


def _scans(client: Client) -> list[Shot]:
    try:
        scans = [scan for scan in client.scans()["scans"] if scan["stored"] == "release"]
        terms = [(scan["name"], client.scan(scan["name"])["terms"][0]["term"]) for scan in scans[:1]]
    except AtlasHTTPError as error:
        sys.stderr.write(f"No pictures of a scan: {error.message}\n")
        return []
    views = [Shot("scan", _to("scan")), Shot("scan-dark", _to("scan"), dark=True)]
    return views + [Shot("scan-term", _to("scan", scan=name, view="clusters", term=term)) for name, term in terms]


def take(browser: Any, shot: Shot, *, pages: str, kind: str) -> bytes:
    """Return a picture of a page as PNG, as tall as the page is."""
    phone = {"user_agent": PHONE, "is_mobile": True, "has_touch": True} if kind == "phone" else {}
    context = browser.new_context(
        viewport={"width": WIDTHS[kind], "height": 900}, color_scheme="dark" if shot.dark else "light", **phone
    )
    try:
        page = context.new_page()
        page.goto(f"{pages}{shot.address}")
        page.locator(".ga-foot").wait_for(timeout=120_000)  # the foot is drawn last
        _run(page)
        tall = page.locator('[data-testid="stMain"]').evaluate("element => element.scrollHeight")
        page.set_viewport_size({"width": WIDTHS[kind], "height": max(700, min(tall, TALLEST[kind]))})
        page.mouse.move(1, 400)
        _settle(page)
        return bytes(page.screenshot())
    finally:
        context.close()


def _run(page: Any) -> None:
    """Wait until the page has run."""
    page.wait_for_function("!document.querySelector('[data-testid=\"stStatusWidget\"]')", timeout=120_000)


def _settle(page: Any) -> None:
    """Wait until the page has run, and what it drew has stopped moving; a map is not drawn before it can be seen."""
    _run(page)
    for frame in page.locator("iframe[title*=atlas_map]").all():
        frame.content_frame.locator("html[data-ready]").wait_for(timeout=120_000)
    page.wait_for_timeout(1_500)


def smaller(picture: bytes) -> bytes:
    """Return a PNG with a palette, a third of the size; pages have few colours, and the rare ones say most."""
    from PIL import Image

    out = BytesIO()
    whole = Image.open(BytesIO(picture)).convert("RGB")
    flat = whole.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    flat.save(out, format="PNG", optimize=True)
    return out.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Take a picture of every page.")
    parser.add_argument("--home", type=Path, help="folder of the atlas (default: that of the settings)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures; default: all")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    with served(options.home) as (pages, api), sync_playwright() as playwright, Client(api) as client:
        browser = playwright.chromium.launch(**chromium())
        for shot in plan(client):
            if options.only and shot.name not in options.only:
                continue
            for kind in WIDTHS:
                began = time.monotonic()
                path = options.out / f"{shot.name}-{kind}.png"
                path.write_bytes(smaller(take(browser, shot, pages=pages, kind=kind)))
                print(f"{path.name}  {path.stat().st_size / 1e3:.0f} kB  {time.monotonic() - began:.1f} s", flush=True)
        browser.close()


def _to(page: str, **query: str) -> str:
    return f"/{page}" + (f"?{urlencode(query)}" if query else "")


if __name__ == "__main__":
    main()
