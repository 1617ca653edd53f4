"""``POST /v1/transcriptomes/neighbors``: the samples nearest to a person's own expression."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, SettingsDep, render
from api.examples import TRANSCRIPTOMES
from api.limits import JSON_MAX_BYTES, read_body
from api.media import TABLES, choose
from api.openapi import UPLOAD_BODY, tables
from api.questions import TranscriptomesQuery
from api.schemas import TranscriptomesAnswer
from api.uploads import is_json, matrix_of
from atlas.search.queries import check_k
from atlas.settings import Settings

router = APIRouter(prefix="/transcriptomes", tags=["transcriptomes"])
_SCHEMA = TypeAdapter(TranscriptomesAnswer)


@router.post(
    "/neighbors",
    response_model=TranscriptomesAnswer,
    responses=tables(TRANSCRIPTOMES, 408, 413, 415),
    openapi_extra=UPLOAD_BODY,
)
async def neighbors(
    request: Request,
    query: Annotated[TranscriptomesQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    atlas: AtlasDep,
) -> Response:
    """Return the samples nearest to each sample of a table, sent as JSON or as a CSV, TSV or h5ad file.

    The table is held in memory until the answer is made, then forgotten: nothing of it is stored or logged.
    """
    check_k(query.k, settings)
    content_type = request.headers.get("content-type", "")
    choose(request, TABLES)  # a form that cannot be given is refused before the table is sent
    async with gates.uploads.admit():
        body = await read_body(request, max_bytes=_max_bytes(content_type, settings))
        response = await gates.uploads.run(lambda: _answer(request, query, settings, atlas, content_type, body))
    response.headers["Cache-Control"] = "no-store"
    return response


def _max_bytes(content_type: str, settings: Settings) -> int:
    return min(settings.upload_max_bytes, JSON_MAX_BYTES) if is_json(content_type) else settings.upload_max_bytes


def _answer(
    request: Request, query: TranscriptomesQuery, settings: Settings, atlas: AtlasDep, content_type: str, body: bytes
) -> Response:
    matrix = matrix_of(content_type, body, settings, genes=atlas.genes)
    results = atlas.search_expression(
        matrix, k=query.k, exclude_series=tuple(query.exclude_series), filters=query.filters()
    )
    return render(request, _SCHEMA, TranscriptomesAnswer(atlas.release.name, results), kind=choose(request, TABLES))
