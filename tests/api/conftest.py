"""A served application over the fake atlas, one a test module, reset before each test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from api_checks import TOKEN
from api_server import served
from fake_atlas import FakeBackend
from pydantic import SecretStr

from api.main import create_app
from atlas.release import write_pointer
from atlas.settings import Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    write_pointer(home / "current", "one")
    return Settings(
        home=home,
        upload_max_bytes=20_000,
        max_k=50,
        query_max_chars=200,
        upload_max_samples=3,
        admin_token=SecretStr(TOKEN),
    )


@pytest.fixture(scope="module")
def running(settings: Settings) -> Iterator[tuple[FakeBackend, str]]:
    backend = FakeBackend()
    with served(create_app(settings, lambda _: backend)) as url:
        yield backend, url


@pytest.fixture
def backend(running: tuple[FakeBackend, str]) -> FakeBackend:
    running[0].reset()
    return running[0]


@pytest.fixture
def base_url(running: tuple[FakeBackend, str], backend: FakeBackend) -> str:
    return running[1]


@pytest.fixture
def http(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=20) as client:
        yield client
