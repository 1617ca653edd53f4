"""``/map/``: the map as an application for browsers. Its files are built from ``viewer/`` and lie in ``api/viewer``.

It speaks to ``/v1`` beside it, so it needs no cross-origin access; its policy forbids it to load anything from elsewhere.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

router = APIRouter(prefix="/map", include_in_schema=False, tags=["viewer"])

FOLDER = Path(__file__).resolve().parents[1] / "viewer"
_KINDS = {
    "index.html": "text/html; charset=utf-8",
    "map.js": "text/javascript; charset=utf-8",
    "paint.js": "text/javascript; charset=utf-8",
    "map.css": "text/css; charset=utf-8",
    "NOTICE.txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


@router.get("")
async def to_folder(request: Request) -> Response:
    """Send to the address with a slash, which the application's own links are relative to."""
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(status_code=307, headers={"Location": f"map/{query}"})


@router.get("/")
async def index(request: Request) -> Response:
    """Return the application."""
    return _file(request, "index.html")


@router.get("/{name}")
async def file(request: Request, name: str) -> Response:
    """Return one of its files."""
    if name not in _KINDS:
        raise HTTPException(404)
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    body, tag = _read(name)
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    headers["Access-Control-Allow-Origin"] = (
        "*"  # the pages look whether it is there before they show it; it is nobody's secret
    )
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=_KINDS[name])


@cache
def _read(name: str) -> tuple[bytes, str]:
    body = (FOLDER / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
