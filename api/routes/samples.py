"""``GET /v1/samples``, one sample, its neighbours, and why it answers a question."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api.cursors import make_cursor, read_cursor
from api.deps import AtlasDep, GatesDep, SettingsDep, answer
from api.examples import EXPLANATION, NEIGHBORS, SAMPLE_ANSWER, SAMPLES
from api.openapi import responses, tables
from api.protocols import OpenAtlas
from api.questions import ExplanationQuery, NeighborsQuery, PinnedQuery, SamplesQuery
from api.schemas import SampleAnswer, SamplePage
from atlas.answers import HitExplanation, NeighborsResult
from atlas.errors import InputError
from atlas.search.queries import check_k

router = APIRouter(prefix="/samples", tags=["samples"])
_PAGE = TypeAdapter(SamplePage)
_SAMPLE = TypeAdapter(SampleAnswer)
_NEIGHBORS = TypeAdapter(NeighborsResult)
_EXPLANATION = TypeAdapter(HitExplanation)

Accession = Annotated[
    str, Path(min_length=1, max_length=200, description="A sample accession.", examples=["GSM1234567"])
]


@router.get("", name="list", response_model=SamplePage, responses=tables(SAMPLES, 410))
async def list_page(
    request: Request, query: Annotated[SamplesQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one page of the samples that pass the filters; a cursor holds for the release and question that gave it out."""
    return await answer(
        request, gates.of(query.filters()), schema=_PAGE, ask=lambda: _page(atlas, query), table=True, lasting=True
    )


@router.get("/{accession}", response_model=SampleAnswer, responses=responses(SAMPLE_ANSWER, 404))
async def get(
    request: Request, accession: Accession, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one sample; an unknown accession is a 404 with ``details.near_matches``."""
    return await answer(
        request,
        gates.questions,
        schema=_SAMPLE,
        ask=lambda: SampleAnswer(atlas.release.name, atlas.sample(accession)),
        lasting=True,
    )


@router.get("/{accession}/neighbors", response_model=NeighborsResult, responses=tables(NEIGHBORS, 404))
async def neighbors(
    request: Request,
    accession: Accession,
    query: Annotated[NeighborsQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    atlas: AtlasDep,
) -> Response:
    """Return the samples nearest to one of the atlas, itself left out."""
    check_k(query.k, settings)
    return await answer(
        request,
        gates.of(query.filters(), k=query.k),
        schema=_NEIGHBORS,
        ask=lambda: atlas.similar_samples(
            accession, k=query.k, exclude_same_series=query.exclude_same_series, filters=query.filters()
        ),
        table=True,
        lasting=True,
    )


@router.get("/{accession}/explanation", response_model=HitExplanation, responses=tables(EXPLANATION, 404))
async def explanation(
    request: Request,
    accession: Accession,
    query: Annotated[ExplanationQuery, Query()],
    gates: GatesDep,
    atlas: AtlasDep,
) -> Response:
    """Return the genes that carry a sample's similarity to a phrase, a sample or a combination: score less score without them.

    The question is put as in ``GET /v1/search``; at least one of ``q``, ``plus``, ``minus`` is needed. 503 ``artifact`` from a
    release that was built without gene weights.
    """
    if not (query.q or query.plus or query.minus):
        raise InputError(
            "Nothing says what the sample is to be explained by: give q, plus or minus.",
            details={"problems": [{"where": "query.q", "message": "q, plus or minus is needed"}]},
        )
    return await answer(
        request,
        gates.questions,
        schema=_EXPLANATION,
        ask=lambda: atlas.explain(
            accession, atlas.read_parts(query.q, plus=query.plus, minus=query.minus), top=query.top
        ),
        table=True,
        lasting=True,
    )


def _page(atlas: OpenAtlas, query: SamplesQuery) -> SamplePage:
    name, filters = atlas.release.name, query.filters()
    question = f"samples {query.sort} {filters!r}"
    offset = read_cursor(query.cursor, release=name, question=question)
    samples, n_samples = atlas.samples_page(filters=filters, sort=query.sort, offset=offset, limit=query.limit)
    end = offset + query.limit
    cursor = make_cursor(name, offset=end, question=question) if end < n_samples else None
    return SamplePage(name, n_samples, samples, cursor)
