"""One HTTP conversation with the service: requests out, JSON or the one typed error in."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx


class AtlasHTTPError(Exception):
    """The service refused, failed or could not be reached.

    Attributes
    ----------
    status
        HTTP status; 0 if no answer came.
    code, message, details, request_id
        The fields of the error body (``docs/errors.md``); ``code`` is ``unreachable`` if no answer came and
        ``unexpected_answer`` if the answer was not one of this service.
    retry_after_s
        Seconds after which trying again may help, if the service named them.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.details: dict[str, Any] = dict(details or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class Connection:
    """Sends requests to one address; safe to share between threads.

    Parameters
    ----------
    base_url
        Address of the service, e.g. ``http://127.0.0.1:8000``.
    timeout
        Longest wait for one answer, seconds.
    token
        Token of an administrator, sent with requests that edit and with no others.
    """

    def __init__(
        self,
        base_url: str,
        timeout: float = 60.0,
        *,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=base_url.rstrip("/"), timeout=timeout, transport=transport)
        self._token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._ask("GET", path, params=given(query or {}))

    def _post(self, path: str, body: Mapping[str, Any], *, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._ask("POST", path, json=given(body), params=given(query or {}))

    def _edit(self, method: str, path: str, *, token: str | None, **request: Any) -> dict[str, Any]:
        """Ask with the administrator's token: the one given, or that of the connection."""
        used = self._token if token is None else token
        headers = {} if used is None else {"Authorization": f"Bearer {used}"}
        return self._ask(method, path, headers=headers, **request)

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        response = self._send(method, path, **request)
        payload = _object(response)
        if payload is None:
            raise _error(response, None)
        return payload

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise AtlasHTTPError(
                f"No answer from {self._http.base_url}: {error or type(error).__name__}. Is the service running there?",
                status=0,
                code="unreachable",
            ) from error
        if response.is_success:
            return response
        raise _error(response, _object(response))


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not ``None``; sequences as lists, truth as JSON writes it."""
    return {name: _plain(value) for name, value in fields.items() if value is not None}


def segment(name: str) -> str:
    """Return a name as one segment of a path: a slash in an accession must not change the route."""
    return quote(name, safe="")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def _object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        payload = response.json()
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def _error(response: httpx.Response, payload: dict[str, Any] | None) -> AtlasHTTPError:
    body = (payload or {}).get("error")
    retry = response.headers.get("retry-after", "")
    retry_after_s = float(retry) if retry.isdigit() else None
    if not isinstance(body, dict):
        return AtlasHTTPError(
            f"{response.url.copy_with(query=None)} answered {response.status_code} without the body of this service. "
            "Check the address.",
            status=response.status_code,
            code="unexpected_answer",
            retry_after_s=retry_after_s,
        )
    return AtlasHTTPError(
        str(body.get("message", "")),
        status=response.status_code,
        code=str(body.get("code", "")),
        details=body.get("details"),
        request_id=body.get("request_id"),
        retry_after_s=retry_after_s,
    )
