"""The map as an application: its files belong to their sources, carry their licences, and load nothing from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

from api.routes.viewer import FOLDER

SCRIPTS = ("map.js", "paint.js")
SOURCES = Path(__file__).resolve().parents[2] / "viewer"


def test_bundle_was_built_from_these_sources() -> None:
    digest = hashlib.sha256()
    names = [
        "build.mjs",
        "package-lock.json",
        "package.json",
        *(f"src/{one.name}" for one in (SOURCES / "src").iterdir()),
    ]
    for name in sorted(names):
        content = (SOURCES / name).read_bytes()
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    for name in SCRIPTS:
        first = (FOLDER / name).read_text(encoding="utf-8").splitlines()[0]
        assert digest.hexdigest() in first, "build it again: cd viewer && npm ci --ignore-scripts && npm run build"
    for name in ("index.html", "map.css"):
        assert (FOLDER / name).read_bytes() == (SOURCES / "src" / name).read_bytes()


def test_bundle_names_the_licence_of_everything_in_it() -> None:
    notice = (FOLDER / "NOTICE.txt").read_text(encoding="utf-8")
    for name, version in json.loads((SOURCES / "package.json").read_text())["dependencies"].items():
        assert f"{name} {version} (" in notice
    assert "Permission is hereby granted" in notice


def test_lock_file_names_no_address() -> None:
    lock = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in lock
    assert "://" not in lock


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,", "map.css", "map.js"]
    assert "style=" not in page  # the policy would not let it
    script = "".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)
    assert "url(" not in (FOLDER / "map.css").read_text(encoding="utf-8")


def test_files_are_served_with_a_strict_policy_and_a_validator(http: httpx.Client) -> None:
    for name, kind in (
        ("", "text/html"),
        ("map.js", "text/javascript"),
        ("paint.js", "text/javascript"),
        ("map.css", "text/css"),
        ("NOTICE.txt", "text/plain"),
    ):
        answer = http.get(f"/map/{name}", params={"streamlitUrl": "http://x", "any": "thing"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
        again = http.get(f"/map/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    moved = http.get("/map?a=b")
    assert (moved.status_code, moved.headers["location"]) == (307, "map/?a=b")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fmain.py", "%2e%2e/main.py", "index.html%00"])
def test_nothing_else_is_served(http: httpx.Client, name: str) -> None:
    assert http.get(f"/map/{name}").status_code == 404
