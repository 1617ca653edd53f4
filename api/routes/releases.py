"""``GET /v1/releases`` and ``GET /v1/releases/current``: what is at hand, and what a release is made of."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, ServingDep, SettingsDep, answer
from api.examples import RELEASE, RELEASES
from api.openapi import responses, tables
from api.protocols import OpenAtlas
from api.questions import PinnedQuery
from api.schemas import ReleaseEntry, ReleaseList, ReleaseReport, StageReport
from atlas.errors import ArtifactError
from atlas.manifest import read_manifest
from atlas.release import Home

router = APIRouter(prefix="/releases", tags=["releases"])
_SCHEMA = TypeAdapter(ReleaseReport)
_LIST = TypeAdapter(ReleaseList)


@router.get("", name="list", response_model=ReleaseList, responses=tables(RELEASES))
async def list_releases(
    request: Request,
    query: Annotated[PinnedQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    serving: ServingDep,
    atlas: AtlasDep,
) -> Response:
    """Return the releases at hand, which of them is served, and the names of those that were removed."""
    return await answer(
        request,
        gates.health,
        schema=_LIST,
        ask=lambda: _releases(Home(settings.home_path), atlas.release.name, served=serving.release_name),
        table=True,
    )


@router.get("/current", response_model=ReleaseReport, responses=responses(RELEASE))
async def current(
    request: Request, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return name, origin, size, versions and stages of the served release, or of the one named."""
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


def _releases(home: Home, answering: str, *, served: str | None) -> ReleaseList:
    entries = []
    for name in home.names():
        try:
            manifest = read_manifest(home.releases / name / "manifest.json")
        except ArtifactError as error:
            entries.append(ReleaseEntry(name, name == served, None, None, f"its manifest is {error.kind}"))
        else:
            entries.append(ReleaseEntry(name, name == served, manifest.n_samples, manifest.created_at, None))
    return ReleaseList(answering, tuple(entries), tuple(home.retired_names()))
