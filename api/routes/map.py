"""``GET /v1/map``: where every sample lies."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, SettingsDep, answer
from api.etags import lasts
from api.examples import MAP
from api.openapi import tables
from api.protocols import OpenAtlas
from api.questions import MapQuery, ScoreQuery
from atlas.answers import MapColumns
from atlas.errors import InputError
from atlas.search.queries import read_phrase

router = APIRouter(tags=["map"])
_SCHEMA = TypeAdapter(MapColumns)


@router.get("/map", response_model=MapColumns, responses=tables(MAP, 404))
async def columns(
    request: Request, query: Annotated[MapQuery, Query()], settings: SettingsDep, gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return the map as columns of equal length, scored if asked.

    ``score`` is each sample's cosine to the question (``q``, ``plus``, ``minus`` as in ``GET /v1/search``), its z for ``term`` of
    the sweep ``scan``, or its sum of z over that sweep.
    """
    check(query)
    text = None if query.q is None else read_phrase(query.q, settings).text

    def ask() -> MapColumns:
        if query.scan is None:
            return atlas.map(text, plus=query.plus, minus=query.minus, most=query.most)
        return atlas.map(scores=sweep_scores(atlas, query.scan, query.term), most=query.most)

    return await answer(request, gates.wide, schema=_SCHEMA, ask=ask, table=True, lasting=lasts(query.scan))


def check(query: ScoreQuery) -> None:
    """Refuse a question that contradicts itself."""
    if (query.q is not None or query.plus or query.minus) and query.scan is not None:
        raise refused(
            "query.q", "The map is scored by a question or by a sweep, not by both: give q, plus, minus or scan."
        )
    if query.term is not None and query.scan is None:
        raise refused("query.term", "A term belongs to a sweep: name it in scan.")


def sweep_scores(atlas: OpenAtlas, scan: str, term: str | None) -> np.ndarray:
    """Return every sample's z for a term of a sweep, or its sum of z over the sweep."""
    if term is not None:
        return atlas.scans.term_scores(scan, term)
    return atlas.scans.sums(scan)[0]


def refused(where: str, sentence: str) -> InputError:
    """Return the refusal of a parameter."""
    return InputError(sentence, details={"problems": [{"where": where, "message": sentence}]})
