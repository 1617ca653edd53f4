"""``GET /v1/series/{accession}``: a series with its samples."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, answer
from api.examples import SERIES
from api.openapi import tables
from api.questions import PinnedQuery
from atlas.answers import SeriesRecord

router = APIRouter(prefix="/series", tags=["series"])
_SCHEMA = TypeAdapter(SeriesRecord)

SeriesAccession = Annotated[
    str, Path(min_length=1, max_length=200, description="A series accession.", examples=["GSE123456"])
]


@router.get("/{accession}", response_model=SeriesRecord, responses=tables(SERIES, 404))
async def get(
    request: Request,
    accession: SeriesAccession,
    query: Annotated[PinnedQuery, Query()],
    gates: GatesDep,
    atlas: AtlasDep,
) -> Response:
    """Return a series: its samples, their tissues, and the clusters they lie in."""
    return await answer(
        request, gates.questions, schema=_SCHEMA, ask=lambda: atlas.series(accession), table=True, lasting=True
    )
