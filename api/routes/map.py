"""``GET /v1/map``: where every sample lies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, SettingsDep, answer
from api.examples import MAP
from api.openapi import responses
from api.schemas import MapQuery
from atlas.answers import MapColumns
from atlas.queries import read_phrase

router = APIRouter(tags=["map"])
_SCHEMA = TypeAdapter(MapColumns)


@router.get("/map", response_model=MapColumns, responses=responses(MAP))
async def columns(
    request: Request, query: Annotated[MapQuery, Query()], settings: SettingsDep, gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return the map as columns of equal length; with ``q``, each sample's cosine to the phrase as well."""
    text = None if query.q is None else read_phrase(query.q, settings).text
    return await answer(request, gates.questions, schema=_SCHEMA, ask=lambda: atlas.map(text))
