"""``GET`` and ``POST /v1/search``: samples that answer a phrase or a combination; ``GET /v1/facets``: what to filter by."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, ServingDep, SettingsDep, answer, read_json
from api.examples import FACETS, SEARCH
from api.openapi import json_body, tables
from api.protocols import OpenAtlas
from api.questions import FilterQuery, PinnedQuery, SearchQuery, SearchQuestion
from api.schemas import SearchAnswer
from atlas.answers import FacetCounts, SearchResult
from atlas.catalog.filters import SampleFilter
from atlas.search.queries import check_k, read_phrase

router = APIRouter(tags=["search"])
_SEARCH = TypeAdapter(SearchAnswer)
_FACETS = TypeAdapter(FacetCounts)


@router.get("/search", response_model=SearchAnswer, responses=tables(SEARCH, 404))
async def phrase(
    request: Request,
    query: Annotated[SearchQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    serving: ServingDep,
    atlas: AtlasDep,
) -> Response:
    """Return the ``k`` samples that answer a phrase best.

    ``plus`` and ``minus`` add further phrases or accessions, each with a weight if need be (``ischemic^0.5``). ``per_series``
    bounds the hits of one series, ``diversity`` prefers hits that differ. ``semantic`` needs the release alone; ``lexical`` and
    ``hybrid`` need the database and answer 503 with ``Retry-After`` while it is away. A phrase that is an accession goes to that
    record (404 if there is none). ``no_match: true`` says that the phrase lies no nearer to the
    vocabularies than phrases that mean nothing here.
    """
    check_k(query.k, settings)
    text = read_phrase(query.q, settings).text

    def ask() -> SearchAnswer:
        if query.mode != "semantic":
            serving.require_database(atlas.release.name)
        found = atlas.search_text(
            text,
            k=query.k,
            mode=query.mode,
            filters=query.filters(),
            plus=query.plus,
            minus=query.minus,
            per_series=query.per_series,
            diversity=query.diversity,
        )
        return _with_facets(atlas, found, filters=query.filters(), wanted=query.facets)

    near = gates.of(query.filters(), k=query.k, compared=query.diversity > 0)
    gate = near if query.mode == "semantic" else gates.database
    return await answer(request, gate, schema=_SEARCH, ask=ask, table=True, lasting=True)


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses=tables(SEARCH, 404, 408, 413, 415),
    openapi_extra=json_body(SearchQuestion),
)
async def parts(
    request: Request,
    query: Annotated[PinnedQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    serving: ServingDep,
    atlas: AtlasDep,
) -> Response:
    """Return the ``k`` samples that answer a weighted combination of phrases and samples best."""
    question = await read_json(request, SearchQuestion)
    check_k(question.k, settings)
    filters = question.filters.filters()

    def ask() -> SearchAnswer:
        if question.mode != "semantic":
            serving.require_database(atlas.release.name)
        found = atlas.search_parts(
            [one.part() for one in question.parts],
            k=question.k,
            mode=question.mode,
            filters=filters,
            per_series=question.per_series,
            diversity=question.diversity,
        )
        return _with_facets(atlas, found, filters=filters, wanted=question.facets)

    near = gates.of(filters, k=question.k, compared=question.diversity > 0)
    gate = near if question.mode == "semantic" else gates.database
    return await answer(request, gate, schema=_SEARCH, ask=ask, table=True)


@router.get("/facets", response_model=FacetCounts, responses=tables(FACETS))
async def facets(
    request: Request, query: Annotated[FilterQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Count the values of every filter among the samples that pass; of each its own filter is left aside."""
    filters = query.filters()
    return await answer(
        request, gates.of(filters), schema=_FACETS, ask=lambda: atlas.facets(filters), table=True, lasting=True
    )


def _with_facets(atlas: OpenAtlas, found: SearchResult, *, filters: SampleFilter, wanted: bool) -> SearchAnswer:
    return SearchAnswer(**vars(found), facets=atlas.facets(filters) if wanted else None)
