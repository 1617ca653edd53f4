"""Around every request: its id, its headers, one log line, and an answer even to what nobody foresaw.

The log line names method, path, status and time; never the query string, never a body, and of a path neither a person's term
nor a job's number, which is the key to it. As ``fields`` of the record it is there for structured logs.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import MutableMapping
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import internal_error
from api.metrics import template_of

access_logger = logging.getLogger("api.access")
logger = logging.getLogger(__name__)

_LONGEST_PATH = 300
_PRIVATE = frozenset({"term", "job_id"})
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestFrame:
    """ASGI middleware, the outermost of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = _request_id(scope)
        began = time.perf_counter()
        sent: dict[str, int] = {}

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                _add_headers(MutableHeaders(scope=message), scope)
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except ClientDisconnect:
            sent.setdefault("status", 499)
        except Exception as error:  # noqa: BLE001  the border: whatever it was, the client gets the one error body
            _log_failure(error, state["request_id"])
            if not sent:
                await internal_error(Request(scope))(scope, receive, send_framed)
        finally:
            seconds = time.perf_counter() - began
            status = sent.get("status", 500)
            scope["app"].state.metrics.count(scope, status=status, seconds=seconds)
            _log_access(scope, status=status, seconds=seconds)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _release(scope: Scope) -> str | None:
    """Name the release that answered, else the one that is served now."""
    named: str | None = scope["state"].get("release")
    return named or scope["app"].state.serving.release_name


def _add_headers(headers: MutableHeaders, scope: Scope) -> None:
    headers["X-Request-ID"] = scope["state"]["request_id"]
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    release = _release(scope)
    if release is not None:
        headers["X-Geo-Atlas-Release"] = release


def _log_access(scope: MutableMapping[str, Any], *, status: int, seconds: float) -> None:
    fields = {
        "request_id": scope["state"]["request_id"],
        "method": scope["method"],
        "path": _told(scope),
        "status": status,
        "ms": round(seconds * 1000, 1),
        "release": _release(scope),
        "client": (scope.get("client") or [None])[0],
    }
    line = " ".join(f"{name}={json.dumps(value)}" for name, value in fields.items())
    access_logger.info("%s", line, extra={"fields": fields})


def _told(scope: MutableMapping[str, Any]) -> str:
    """Return the path of a request as it is logged."""
    if _PRIVATE & scope.get("path_params", {}).keys():
        return template_of(scope)
    return str(scope["path"][:_LONGEST_PATH])


def _log_failure(error: Exception, request_id: str) -> None:
    """Log type and frames only: the text of an exception may quote a person's expression values."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("request %s failed with %s at\n%s", request_id, type(error).__qualname__, frames)
