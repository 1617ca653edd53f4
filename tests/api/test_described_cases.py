"""The description of the service is the promise: generated requests, right and wrong, are answered as it says, never by a 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from api_checks import TOKEN
from fake_atlas import FakeBackend
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.main import create_app
from atlas.release import write_pointer
from atlas.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_CASES = 5_000
N_PER_OPERATION = {GenerationMode.POSITIVE: 130, GenerationMode.NEGATIVE: 25}
N_REAL = 8
NEVER_WRONG = ("GET /v1/health/live", "GET /v1/health/ready")
"""Routes that take nothing: no request to them can be wrong."""
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
quiet = hypothesis_settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The description of a service over the fake atlas, whose lists are those a real one would give."""
    home = tmp_path_factory.mktemp("home")
    write_pointer(home / "current", "one")
    return schemathesis.openapi.from_asgi("/openapi.json", service(home))


def service(home: Path) -> Any:
    settings = Settings(home=home, admin_token=SecretStr(TOKEN), jobs_per_client=1_000, max_k=200)
    return create_app(settings, lambda _: FakeBackend())


def operations(schema: Any) -> Iterator[Any]:
    for found in schema.get_all_operations():
        yield found.ok()


def test_generated_requests_are_answered_as_described(described: Any) -> None:
    counts = {
        f"{mode.value} {operation.label}": answered(operation, mode, n=n)
        for mode, n in N_PER_OPERATION.items()
        for operation in operations(described)
        if mode is GenerationMode.POSITIVE or operation.label not in NEVER_WRONG
    }
    assert len(counts) >= 60
    assert sum(counts.values()) >= N_CASES, counts


@pytest.mark.timeout(300)
def test_generated_requests_to_a_real_release_are_answered_as_described(tiny_home: Path) -> None:
    real = schemathesis.openapi.from_asgi("/openapi.json", create_app(Settings(home=tiny_home, max_k=200)))
    for operation in operations(real):
        answered(operation, GenerationMode.POSITIVE, n=N_REAL, also=(503,))


def answered(operation: Any, mode: GenerationMode, *, n: int, also: tuple[int, ...] = ()) -> int:
    """Ask and check up to ``n`` generated requests; return how many there were.

    A service without a database answers 503 where it needs one, which its description says; that is no failure if ``also``
    names it.
    """
    asked = 0

    @hypothesis_settings(quiet, max_examples=n)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        headers = {"Authorization": f"Bearer {TOKEN}"} if asked % 2 else None
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS[1:] if response.status_code in also else CHECKS)

    ask()
    return asked
