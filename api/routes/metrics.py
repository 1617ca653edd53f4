"""``GET /metrics``: figures for Prometheus, outside ``/v1`` where scrapers look for them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from api.deps import GatesDep

router = APIRouter(tags=["metrics"])


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, gates: GatesDep) -> Response:
    """Return the figures as text."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    async with gates.health.admit():
        body = await gates.health.run(lambda: encode(request.app.state.metrics.registry))
    return Response(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
