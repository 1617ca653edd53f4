"""``GET /v1/releases/current``: what the served release is made of."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, answer
from api.examples import RELEASE
from api.openapi import responses
from api.schemas import NoQuery, ReleaseReport, StageReport
from api.serving import OpenAtlas

router = APIRouter(prefix="/releases", tags=["releases"])
_SCHEMA = TypeAdapter(ReleaseReport)


@router.get("/current", response_model=ReleaseReport, responses=responses(RELEASE))
async def current(request: Request, query: Annotated[NoQuery, Query()], gates: GatesDep, atlas: AtlasDep) -> Response:
    """Return name, origin, size, versions and stages of the served release."""
    return await answer(request, gates.health, schema=_SCHEMA, ask=lambda: _report(atlas))


def _report(atlas: OpenAtlas) -> ReleaseReport:
    manifest = atlas.release.manifest
    return ReleaseReport(
        release=manifest.name,
        created_at=manifest.created_at,
        schema_version=manifest.schema_version,
        n_samples=manifest.n_samples,
        dim=manifest.dim,
        model_hash=manifest.model_hash,
        content_key=manifest.content_key,
        seed=manifest.seed,
        git_sha=manifest.git_sha,
        verified=atlas.release.verified,
        versions=manifest.versions,
        stages=tuple(
            StageReport(name=s.name, n_in=s.n_in, n_out=s.n_out, dropped=s.dropped, notes=s.notes)
            for s in manifest.stages
        ),
    )
