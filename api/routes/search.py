"""``GET /v1/search``: the samples that answer a phrase."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, ServingDep, SettingsDep, answer
from api.examples import SEARCH
from api.openapi import responses
from api.schemas import SearchQuery
from atlas.answers import SearchResult
from atlas.queries import check_k, read_phrase

router = APIRouter(tags=["search"])
_SCHEMA = TypeAdapter(SearchResult)


@router.get("/search", response_model=SearchResult, responses=responses(SEARCH, 404))
async def phrase(
    request: Request,
    query: Annotated[SearchQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    serving: ServingDep,
    atlas: AtlasDep,
) -> Response:
    """Return the ``k`` samples that answer a phrase best.

    ``semantic`` needs the release alone; ``lexical`` and ``hybrid`` need the database and answer 503 with ``Retry-After``
    while it is away. A phrase that is an accession goes to that record (404 if there is none). ``no_match: true`` says that
    no sample answers better than it answers phrases that mean nothing here.
    """
    check_k(query.k, settings)
    text = read_phrase(query.q, settings).text
    gate = gates.questions if query.mode == "semantic" else gates.database

    def ask() -> SearchResult:
        if query.mode != "semantic":
            serving.require_database(atlas.release.name)
        return atlas.search_text(text, k=query.k, mode=query.mode, filters=query.filters())

    return await answer(request, gate, schema=_SCHEMA, ask=ask)
