"""The application object: ``create_app(settings)`` wires rooms together and reads nothing at import.

Served as ``uvicorn.Server(uvicorn.Config(create_app(settings), **SERVER_OPTIONS))`` or ``uvicorn --factory api.main:create_app``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI

from api.backend import ReleaseBackend
from api.deps import Gates, refuse_repeated
from api.errors import register_handlers
from api.interpreting import CellDesk
from api.metrics import Metrics, count_jobs
from api.middleware import RequestFrame
from api.openapi import describe, operation_id
from api.protocols import Backend
from api.routes import (
    cells,
    clusters,
    columns,
    health,
    jobs,
    labels,
    map,
    metrics,
    releases,
    samples,
    scans,
    search,
    selections,
    series,
    texts,
    transcriptomes,
    viewer,
)
from api.serving import Serving
from atlas import __version__
from atlas.release import Home
from atlas.settings import Settings, load_settings

_DESCRIPTION = """\
An atlas of public human transcriptomes: search it by phrase, by sample and by expression.

Every answer names its release, in the field `release` and the header `X-Geo-Atlas-Release`; `?release=` asks another one at
hand. Lists are to be had as JSON, CSV, Parquet or Arrow, by `Accept`. Every refusal has one body,
`{"error": {"code", "message", "details", "request_id"}}`. Unknown query parameters are refused. Fields may be added to
answers, never renamed or removed within `/v1`. Cursors are opaque.
"""
SERVER_OPTIONS: dict[str, Any] = {
    "access_log": False,  # ours names no query string
    "server_header": False,
    "ws": "none",
    "h11_max_incomplete_event_size": 256 * 1024,  # the longest phrase, percent-encoded, must reach our own check
}
"""What ``uvicorn.Config`` is to be given beside the application, host and port."""

_ROUTERS = (
    search, samples, series, transcriptomes, cells, clusters, labels, scans, jobs, texts, map, columns, selections, releases,
    health,
)  # fmt: skip


def create_app(settings: Settings | None = None, atlas_factory: Callable[[Settings], Backend] | None = None) -> FastAPI:
    """Return the service over the current release of a home.

    Parameters
    ----------
    settings
        Home, limits, database; ``None``: read from file and environment.
    atlas_factory
        Makes the backend that opens releases; ``None``: the real one. Called when the service starts, not before.
    """
    used = load_settings() if settings is None else settings
    factory: Callable[[Settings], Backend] = ReleaseBackend if atlas_factory is None else atlas_factory

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.gates = Gates.create()
        backend = await anyio.to_thread.run_sync(factory, used)
        serving = Serving(Home(used.home_path), backend, n_pinned=used.pinned_releases)
        app.state.backend, app.state.serving = backend, serving
        app.state.metrics.watch(serving, app.state.gates, lambda: count_jobs(backend))
        try:
            await anyio.to_thread.run_sync(serving.start)
            yield
        finally:
            await anyio.to_thread.run_sync(serving.stop)

    app = FastAPI(
        title="geo-atlas",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        license_info={"name": "MIT"},
    )
    app.state.settings = used
    app.state.metrics = Metrics()
    folder = None if used.interpreter is None else used.interpreter.expanduser().absolute()
    app.state.cells = CellDesk(folder, reader=used.interpreter_reader, domain=used.interpreter_domain)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(refuse_repeated)])
    for module in _ROUTERS:
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(metrics.router)
    app.include_router(viewer.router)
    register_handlers(app)
    app.add_middleware(RequestFrame)
    describe(app, used)
    return app
