"""The service over a release that was moved to Milvus, and what it says when the collection is not there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from api_checks import assert_error
from api_server import served
from milvus_collections import lite

from api import serving
from api.main import create_app
from atlas.release import Home, Release
from atlas.settings import Settings
from atlas.vectors import engines
from indexer.move_to_milvus import move_release

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def test_service_searches_in_milvus_and_answers_503_without_it(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home, ignore=shutil.ignore_patterns("postgres"))
    connection = lite()
    monkeypatch.setattr(engines, "connect_milvus", lambda settings, **_: connection)
    monkeypatch.setattr(serving, "RETRY_EVERY_S", 0.1)
    settings = Settings(home=home, search_engine="milvus", milvus_uri=connection.uri)
    with served(create_app(settings)) as base, httpx.Client(base_url=base, timeout=30) as http:
        refused = _await(http, lambda answer: "Milvus" in answer.text)
        assert_error(refused, 503, "not_ready")
        assert "geo-atlas release index tiny --engine milvus" in refused.text
        moved = move_release(Home(home), Release.open(Home(home), "tiny"), connection)
        assert _await(http, lambda answer: answer.status_code == 200).json()["hits"]
        connection.client.drop_collection(moved.collection)
        assert_error(http.get("/v1/search?q=liver"), 503, "upstream")


def _await(http: httpx.Client, wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
    ends = time.monotonic() + 120
    while not wanted(answer := http.get("/v1/search?q=heart")):
        assert time.monotonic() < ends, answer.text
        time.sleep(0.1)
    return answer
