"""A served application over the fake atlas, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_server import served
from fake_atlas import FakeBackend

from api.main import create_app
from atlas.release import write_pointer
from atlas.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_pointer(tmp_path / "current", "one")
    return Settings(home=tmp_path, upload_max_bytes=20_000, max_k=50, query_max_chars=200, upload_max_samples=3)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def base_url(settings: Settings, backend: FakeBackend) -> Iterator[str]:
    with served(create_app(settings, lambda _: backend)) as url:
        yield url


@pytest.fixture
def http(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=20) as client:
        yield client
