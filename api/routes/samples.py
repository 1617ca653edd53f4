"""``GET /v1/samples/{accession}`` and its neighbours."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, SettingsDep, answer
from api.examples import NEIGHBORS, SAMPLE_ANSWER
from api.openapi import responses
from api.schemas import NeighborsQuery, NoQuery, SampleAnswer
from atlas.answers import NeighborsResult
from atlas.queries import check_k

router = APIRouter(prefix="/samples", tags=["samples"])
_SAMPLE = TypeAdapter(SampleAnswer)
_NEIGHBORS = TypeAdapter(NeighborsResult)

Accession = Annotated[
    str, Path(min_length=1, max_length=200, description="A sample accession.", examples=["GSM1234567"])
]


@router.get("/{accession}", response_model=SampleAnswer, responses=responses(SAMPLE_ANSWER, 404))
async def get(
    request: Request, accession: Accession, query: Annotated[NoQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one sample; an unknown accession is a 404 with ``details.near_matches``."""
    return await answer(
        request,
        gates.questions,
        schema=_SAMPLE,
        ask=lambda: SampleAnswer(atlas.release.name, atlas.sample(accession)),
    )


@router.get("/{accession}/neighbors", response_model=NeighborsResult, responses=responses(NEIGHBORS, 404))
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
        gates.questions,
        schema=_NEIGHBORS,
        ask=lambda: atlas.similar_samples(
            accession, k=query.k, exclude_same_series=query.exclude_same_series, filters=query.filters()
        ),
    )
