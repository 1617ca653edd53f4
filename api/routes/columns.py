"""``GET /v1/map/columns``: the map as columns of small numbers, which a browser draws without reading any text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api import media
from api.deps import AtlasDep, GatesDep, SettingsDep, answer
from api.errors import ReleaseRetiredError
from api.etags import is_known, lasts, tag_of
from api.examples import MAP_LAYOUT, SAMPLE_ANSWER
from api.openapi import binary, responses
from api.protocols import OpenAtlas
from api.questions import ColumnQuery, PinnedQuery, ScoreQuery
from api.routes.map import check, refused, sweep_scores
from api.schemas import SampleAnswer
from atlas.map_answers import MapLayout
from atlas.opened.map_table import quantise
from atlas.search.queries import read_phrase
from atlas.settings import Settings

router = APIRouter(prefix="/map", tags=["map"])
_LAYOUT = TypeAdapter(MapLayout)
_SAMPLE = TypeAdapter(SampleAnswer)
_ASKED = ("score", "percentile")
_PACKED = frozenset({"cluster", "tissue", "date"})
"""Columns that gzip halves; positions and scores are noise to it."""
_YEAR_S = 365 * 86_400

Name = Annotated[
    Literal["position", "cluster", "tissue", "date", "score", "percentile"],
    Path(description="`score` takes a question or a sweep, `percentile` a sweep."),
]
Row = Annotated[int, Path(ge=0, le=2**31 - 1, description="Row of the sample in every column.")]


@router.get("/columns", response_model=MapLayout, responses=responses(MAP_LAYOUT))
async def layout(
    request: Request, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return which columns the map has, their types and codes, the bounds of the positions, and the clusters."""
    return await answer(request, gates.questions, schema=_LAYOUT, ask=atlas.map_layout, lasting=True)


@router.get("/columns/{name}", response_class=Response, responses=binary(404, 410))
async def column(
    request: Request,
    name: Name,
    query: Annotated[ColumnQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    atlas: AtlasDep,
) -> Response:
    """Return a column as bytes: little-endian numbers, one row a sample; `X-Geo-Atlas-Dtype` names their type.

    `score` is uint16, 0 at `X-Geo-Atlas-Low` and 65,535 at `X-Geo-Atlas-High`; the median is `X-Geo-Atlas-Middle`. It takes a
    question or a sweep as `GET /v1/map` does. `percentile` is that of a sample's sum over a sweep, likewise. With `key`
    (of `GET /v1/map/columns`) the answer may be kept for ever; a release that was built anew under its name is then 410.
    """
    _check_key(atlas, query.key)
    ask = _asked(atlas, name, query, settings)
    kind = media.choose(request, (media.BYTES,))
    lasting, packed = lasts(query.scan), name in _PACKED and media.packed(request)
    headers: dict[str, str] = {"Vary": "Accept, Accept-Encoding"}
    if lasting:
        tag = tag_of(request, request.state.origin, media=kind, packed=packed)
        headers |= {"ETag": tag, "Cache-Control": _kept(query.key, private=name in _ASKED)}
        if is_known(request, tag):
            return Response(status_code=304, headers=headers)

    def make() -> Response:
        array, told = ask()
        body = array.tobytes()
        told["X-Geo-Atlas-Dtype"] = array.dtype.str
        if packed and (small := media.pack(body, media=kind)) is not None:
            body, told["Content-Encoding"] = small, "gzip"
        return Response(body, headers=headers | told, media_type=kind)

    gate = (
        gates.wide if name in _ASKED else gates.questions
    )  # the others are made once: a room of people may open the map
    async with gate.admit():
        return await gate.run(make)


@router.get("/rows/{row}", response_model=SampleAnswer, responses=responses(SAMPLE_ANSWER, 404))
async def sample(
    request: Request, row: Row, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return the sample of a row of the map."""
    return await answer(
        request,
        gates.questions,
        schema=_SAMPLE,
        ask=lambda: SampleAnswer(atlas.release.name, atlas.sample_at(row)),
        lasting=True,
    )


def _asked(
    atlas: OpenAtlas, name: str, query: ColumnQuery, settings: Settings
) -> Callable[[], tuple[np.ndarray, dict[str, str]]]:
    """Return what makes the column and its headers; wrong questions are refused at once."""
    check(query)
    asked = query.q is not None or bool(query.plus or query.minus)
    if name == "percentile":
        if query.scan is None or query.term is not None:
            raise refused("query.scan", "Percentiles are of the sum over a sweep: name it in scan, and no term.")
        scan = query.scan
        return lambda: _quantised(atlas.scans.sums(scan)[1])
    if name != "score":
        if asked or query.scan is not None:
            raise refused("query", f"The column {name} takes no question: ask for the column score.")
        return lambda: (atlas.map_column(name), {})
    if not asked and query.scan is None:
        raise refused("query.q", "Nothing says what the samples are scored by: give q, plus, minus or scan.")
    text = None if query.q is None else read_phrase(query.q, settings).text
    return lambda: _quantised(_scores(atlas, query, text))


def _scores(atlas: OpenAtlas, query: ScoreQuery, text: str | None) -> np.ndarray:
    """Return the scores that a map's question asks for, (n_samples,)."""
    if query.scan is not None:
        return sweep_scores(atlas, query.scan, query.term)
    return atlas.map_scores(text, plus=query.plus, minus=query.minus)


def _quantised(values: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    finite = values[np.isfinite(values)]
    low, middle, high = (
        (float(finite.min()), float(np.median(finite)), float(finite.max())) if finite.size else (0, 0, 0)
    )
    told: dict[str, Any] = {"X-Geo-Atlas-Low": low, "X-Geo-Atlas-Middle": middle, "X-Geo-Atlas-High": high}
    return quantise(values, low, high), {header: f"{value:.6g}" for header, value in told.items()}


def _check_key(atlas: OpenAtlas, key: str | None) -> None:
    present = atlas.release.manifest.content_key[:16]
    if key is not None and key != present:
        raise ReleaseRetiredError(
            f"Release {atlas.release.name!r} was built anew, or another one is served now. Ask for the map's columns again.",
            details={"seen": key, "expected": present, "release": atlas.release.name},
        )


def _kept(key: str | None, *, private: bool) -> str:
    if key is None:
        return "no-cache"
    return f"{'private' if private else 'public'}, max-age={_YEAR_S}, immutable"
