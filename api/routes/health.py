"""``GET /v1/health/live`` and ``GET /v1/health/ready``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import GatesDep, ServingDep, render
from api.errors import NotReadyError
from api.examples import LIVE, READY
from api.openapi import responses
from api.questions import NoQuery
from api.schemas import LiveReport, ReadyReport

router = APIRouter(prefix="/health", tags=["health"])
_LIVE = TypeAdapter(LiveReport)
_READY = TypeAdapter(ReadyReport)


@router.get("/live", response_model=LiveReport, responses=responses(LIVE))
async def live(request: Request, query: Annotated[NoQuery, Query()], serving: ServingDep) -> Response:
    """Say that the process answers, whatever it can answer."""
    return render(request, _LIVE, LiveReport(status="live", release=serving.release_name))


@router.get("/ready", response_model=ReadyReport, responses=responses(READY))
async def ready(request: Request, query: Annotated[NoQuery, Query()], serving: ServingDep, gates: GatesDep) -> Response:
    """Say whether model, index and database serve the same release.

    503 ``not_ready`` otherwise, with this report as ``details``: ``degraded`` still answers semantic search, neighbours,
    clusters and map; ``unavailable`` answers nothing. Watch ``/v1/health/live`` to keep serving those without the database.
    """
    async with gates.health.admit():
        report = await gates.health.run(serving.readiness)
    if report.status != "ready":
        raise NotReadyError(f"Not ready ({report.status}): {'; '.join(report.reasons)}.", details=asdict(report))
    return render(request, _READY, ReadyReport(**asdict(report)))
