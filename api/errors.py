"""Every refusal of the service in one body: ``{"error": {code, message, details, request_id}}``.

The library's typed errors are mapped to a status here and nowhere else; what is not one of them becomes a 500 that says nothing
of its cause. Values of an uploaded table never enter a message.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from atlas import errors

_MOST_PROBLEMS = 20
_LONGEST_SEEN = 100


class CursorExpiredError(errors.AtlasError):
    """A cursor was given out by another release (HTTP 410)."""

    code = "cursor_expired"


class ReleaseRetiredError(errors.AtlasError):
    """The release a question names was removed (HTTP 410)."""

    code = "release_retired"


class UnauthorizedError(errors.AtlasError):
    """A request that writes carries no token, or a wrong one (HTTP 401)."""

    code = "unauthorized"


class ForbiddenError(errors.AtlasError):
    """The service lets nobody do that (HTTP 403)."""

    code = "forbidden"


class NotAcceptableError(errors.AtlasError):
    """The answer is not to be had in a media type that the request accepts (HTTP 406)."""

    code = "not_acceptable"


class TimedOutError(errors.AtlasError):
    """The body of a request did not arrive in time (HTTP 408)."""

    code = "timeout"


class UnsupportedMediaError(errors.InputError):
    """A body of another media type than the route reads (HTTP 415)."""

    code = "unsupported_media_type"


class OverloadedError(errors.AtlasError):
    """More questions wait than the service has room for (HTTP 503)."""

    code = "overloaded"


class NotReadyError(errors.AtlasError):
    """No release is being served yet, or not all of it (HTTP 503)."""

    code = "not_ready"


STATUS: dict[type[errors.AtlasError], int] = {
    errors.AtlasError: 500,
    errors.ConfigError: 400,
    errors.InputError: 422,
    errors.TooLargeError: 413,
    errors.NotFoundError: 404,
    errors.ArtifactError: 503,
    errors.MissingExtraError: 501,
    errors.UpstreamError: 503,
    errors.BusyError: 409,
    errors.ResourceError: 503,
    CursorExpiredError: 410,
    ReleaseRetiredError: 410,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    NotAcceptableError: 406,
    TimedOutError: 408,
    UnsupportedMediaError: 415,
    OverloadedError: 503,
    NotReadyError: 503,
}
"""Status of each error type; a type that is not listed has that of its nearest listed base."""

RETRY_AFTER_S: dict[str, int] = {"database_unavailable": 5, "upstream": 5, "overloaded": 1, "not_ready": 5}
"""Seconds named in ``Retry-After`` for the errors that pass by themselves."""

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


def status_of(error: errors.AtlasError) -> int:
    """HTTP status of an error of ours."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_response(
    request: Request,
    *,
    status: int,
    code: str,
    message: str,
    details: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Build the one error body."""
    sent = dict(headers or {})
    if status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    if code in RETRY_AFTER_S:
        sent["Retry-After"] = str(RETRY_AFTER_S[code])
    request_id = request.scope.get("state", {}).get("request_id")
    told = without_home(request, {"message": message, "details": _plain(details or {})})
    body = {"code": code, **told, "request_id": request_id}
    return JSONResponse({"error": body}, status_code=status, headers=sent)


def problems_of(error: ValidationError | RequestValidationError, *, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return ``details`` that say where each field is wrong; of a body no value is repeated."""
    found = [dict(item) for item in error.errors()][:_MOST_PROBLEMS]
    return {"problems": [_problem(item, prefix) for item in found]}


def without_home(request: Request, value: Any) -> Any:
    """Return text, or JSON that holds text, without the place of the home: it is nobody's business outside the machine."""
    if isinstance(value, str):
        home: Path = request.app.state.settings.home_path
        for place in (str(home.resolve()), str(home)):
            value = value.replace(place, "HOME") if len(place) > 1 else value
        return value
    if isinstance(value, dict):
        return {name: without_home(request, item) for name, item in value.items()}
    return [without_home(request, item) for item in value] if isinstance(value, (list, tuple)) else value


def register_handlers(app: FastAPI) -> None:
    """Give the application the one error body for its own refusals and for FastAPI's."""
    app.add_exception_handler(errors.AtlasError, _on_atlas_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


def internal_error(request: Request) -> JSONResponse:
    """Build the answer to a failure nobody foresaw."""
    return error_response(
        request,
        status=500,
        code="internal",
        message="The service failed on this request. Report the request id to its operator.",
    )


async def _on_atlas_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.AtlasError):
        raise error
    status = status_of(error)
    if status == 500:
        return internal_error(request)
    return error_response(request, status=status, code=error.code, message=error.message, details=error.details)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    details = problems_of(error)
    first = details["problems"][0]
    message = f"The request is not valid: {first['where']}: {first['message']}."
    return error_response(request, status=422, code="invalid_input", message=message, details=details)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    code = _HTTP_CODES.get(status, "bad_request" if status < 500 else "internal")
    message = {
        404: "There is nothing at this address; /openapi.json lists what there is.",
        405: "This address does not answer this method; the Allow header names those it answers.",
    }.get(status, HTTPStatus(status).phrase + ".")
    return error_response(request, status=status, code=code, message=message, headers=dict(error.headers or {}))


def _problem(item: dict[str, Any], prefix: tuple[str, ...]) -> dict[str, Any]:
    where = ".".join(map(str, (*prefix, *item["loc"])))
    problem = {"where": where, "message": str(item["msg"])}
    if where.startswith("query.") and isinstance(item.get("input"), str):
        problem["seen"] = item["input"][:_LONGEST_SEEN]
    return problem


def _plain(value: Any) -> Any:
    """JSON-safe copy of ``details``: NaN and infinities become null, unknown objects their text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
