"""``POST /v1/texts/embedding`` and ``POST /v1/keywords``: texts into the joint space, and a selection back into words."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import AtlasDep, GatesDep, SettingsDep, answer, read_json
from api.examples import KEYWORDS, TEXT_VECTORS
from api.openapi import json_body, responses, tables
from api.protocols import OpenAtlas
from api.questions import KeywordsQuestion, PinnedQuery, TextsQuestion
from api.schemas import KeywordList, TextVectors
from atlas.search.queries import read_phrase

router = APIRouter(tags=["texts"])
_VECTORS = TypeAdapter(TextVectors)
_KEYWORDS = TypeAdapter(KeywordList)


@router.post(
    "/texts/embedding",
    response_model=TextVectors,
    responses=responses(TEXT_VECTORS, 408, 413, 415),
    openapi_extra=json_body(TextsQuestion),
)
async def embedding(
    request: Request, query: Annotated[PinnedQuery, Query()], settings: SettingsDep, gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return up to 256 texts as unit vectors of the joint space; their inner product with a sample's vector is its score."""
    question = await read_json(request, TextsQuestion)
    texts = [read_phrase(raw, settings).text for raw in question.texts]
    return await answer(request, gates.questions, schema=_VECTORS, ask=lambda: _vectors(atlas, texts))


@router.post(
    "/keywords",
    response_model=KeywordList,
    responses=tables(KEYWORDS, 404, 408, 413, 415),
    openapi_extra=json_body(KeywordsQuestion),
)
async def keywords(
    request: Request, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return the vocabulary terms that match the mean of a selection of samples best; a sample named twice counts once."""
    question = await read_json(request, KeywordsQuestion)
    return await answer(
        request, gates.questions, schema=_KEYWORDS, ask=lambda: _keywords(atlas, question.accessions), table=True
    )


def _vectors(atlas: OpenAtlas, texts: list[str]) -> TextVectors:
    vectors = atlas.embed_texts(texts)
    return TextVectors(
        release=atlas.release.name,
        model_hash=atlas.release.manifest.model_hash,
        dim=int(vectors.shape[1]),
        vectors=np.round(vectors.astype(np.float64), 7).tolist(),
    )


def _keywords(atlas: OpenAtlas, accessions: list[str]) -> KeywordList:
    chosen = list(dict.fromkeys(accessions))
    return KeywordList(atlas.release.name, len(chosen), atlas.keywords(chosen))
