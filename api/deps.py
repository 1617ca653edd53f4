"""What handlers are given: the served atlas, the gates, the settings; and the one way to answer."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from pydantic import TypeAdapter

from api.limits import N_RUNNING, N_UPLOADS, N_WAITING, Gate
from api.serving import OpenAtlas, Serving
from atlas.errors import InputError
from atlas.settings import Settings

T = TypeVar("T")

REPEATABLE = frozenset({"tissue", "series", "organism", "exclude_series"})
"""Query parameters that may be given more than once."""

_GZIP_FROM_BYTES = 1_000
_GZIP_LEVEL = 1  # the map of 650,000 samples is 24 MB: time counts more than the last tenth of its size


@dataclass(frozen=True)
class Gates:
    """One gate a kind of work, so that a slow database or a heavy upload holds up its own kind only."""

    questions: Gate
    database: Gate
    uploads: Gate
    health: Gate

    @classmethod
    def create(cls) -> Gates:
        """Create them; inside the running event loop."""
        return cls(
            questions=Gate(n_running=N_RUNNING, n_waiting=N_WAITING),
            database=Gate(n_running=4, n_waiting=N_WAITING),
            uploads=Gate(n_running=1, n_waiting=N_UPLOADS - 1),
            health=Gate(n_running=2, n_waiting=N_WAITING),
        )


async def refuse_repeated(request: Request) -> None:
    """Refuse a single-valued parameter given twice; frameworks differ in which value wins."""
    for name in request.query_params:
        if name not in REPEATABLE and len(request.query_params.getlist(name)) > 1:
            raise InputError(
                f"The parameter {name[:100]!r} is given more than once; give it once.",
                details={"problems": [{"where": f"query.{name[:100]}", "message": "given more than once"}]},
            )


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


def _gates(request: Request) -> Gates:
    gates: Gates = request.app.state.gates
    return gates


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


ServingDep = Annotated[Serving, Depends(_serving)]
GatesDep = Annotated[Gates, Depends(_gates)]
SettingsDep = Annotated[Settings, Depends(_settings)]


async def _leased(request: Request, serving: ServingDep) -> AsyncIterator[OpenAtlas]:
    with serving.lease() as atlas:
        request.state.release = atlas.release.name
        yield atlas


AtlasDep = Annotated[OpenAtlas, Depends(_leased)]


async def answer(request: Request, gate: Gate, *, schema: TypeAdapter[T], ask: Callable[[], T]) -> Response:
    """Ask behind a gate and return the JSON; question, JSON and compression all happen in the thread."""
    async with gate.admit():
        return await gate.run(lambda: render(request, schema, ask()))


def render(request: Request, schema: TypeAdapter[T], value: T, *, status: int = 200) -> Response:
    """Return a value as JSON (NaN and infinities as ``null``), compressed if the client reads gzip and it is worth it."""
    body = schema.dump_json(value)
    headers: dict[str, Any] = {"Vary": "Accept-Encoding"}
    if len(body) >= _GZIP_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=_GZIP_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status_code=status, headers=headers, media_type="application/json")
