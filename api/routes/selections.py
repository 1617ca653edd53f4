"""``POST /v1/selections``: a part of the map, given as a line around it, in words, in numbers and as a list of samples."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.cursors import make_cursor, read_cursor
from api.deps import AtlasDep, GatesDep, answer, read_json
from api.examples import SAMPLES, SELECTION
from api.openapi import json_body, responses, tables
from api.protocols import OpenAtlas
from api.questions import PinnedQuery, SelectedQuery, SelectionQuestion
from api.schemas import SamplePage
from atlas.map_answers import Selection

router = APIRouter(prefix="/selections", tags=["map"])
_SELECTION = TypeAdapter(Selection)
_PAGE = TypeAdapter(SamplePage)


@router.post(
    "",
    response_model=Selection,
    responses=responses(SELECTION, 404, 408, 413, 415),
    openapi_extra=json_body(SelectionQuestion),
)
async def selection(
    request: Request, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return what the samples within a line on the map have in common: keywords, clusters, tissues, series, near clusters.

    Keywords and near clusters are those of the mean vector: of all samples, or of 4,096 of more, drawn by a fixed seed;
    `n_averaged` says of how many. 404 if no sample lies within.
    """
    question = await read_json(request, SelectionQuestion)
    return await answer(request, gates.wide, schema=_SELECTION, ask=lambda: atlas.select(_corners(question)))


@router.post(
    "/samples",
    response_model=SamplePage,
    responses=tables(SAMPLES, 408, 410, 413, 415),
    openapi_extra=json_body(SelectionQuestion),
)
async def selected(
    request: Request, query: Annotated[SelectedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one page of the samples within a line on the map, in the order of their rows."""
    question = await read_json(request, SelectionQuestion)
    return await answer(request, gates.wide, schema=_PAGE, ask=lambda: _page(atlas, question, query), table=True)


def _page(atlas: OpenAtlas, question: SelectionQuestion, query: SelectedQuery) -> SamplePage:
    name, asked = atlas.release.name, repr(question.outline)
    offset = read_cursor(query.cursor, release=name, question=asked)
    samples, n_samples = atlas.selected_samples(_corners(question), offset=offset, limit=query.limit)
    end = offset + query.limit
    cursor = make_cursor(name, offset=end, question=asked) if end < n_samples else None
    return SamplePage(name, n_samples, samples, cursor)


def _corners(question: SelectionQuestion) -> np.ndarray:
    return np.array(question.outline, dtype=np.float64)
