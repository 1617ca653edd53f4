"""What every answer of the service must be like."""

from __future__ import annotations

from typing import Any

import httpx

TOKEN = "a token of the tests"
"""Token of the administrator of a service under test."""
AS_ADMINISTRATOR = {"Authorization": f"Bearer {TOKEN}"}


def assert_named(response: httpx.Response, release: str = "one") -> None:
    assert response.headers["x-geo-atlas-release"] == release
    assert response.json()["release"] == release
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == "nosniff"


def assert_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check status and the one error body; return its inside."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"code", "message", "details", "request_id"}
    assert error["code"] == code
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["details"], dict)
    assert error["request_id"] == response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == "nosniff"
    return dict(error)
