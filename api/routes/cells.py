"""``POST /v1/cells/interpret``: which type a person's own cells are, and which genes say so."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import CellDeskDep, GatesDep, SettingsDep, render
from api.examples import CELLS
from api.limits import JSON_MAX_BYTES, read_body
from api.media import choose
from api.openapi import UPLOAD_BODY, responses
from api.questions import CellsQuery
from api.schemas import CellsAnswer
from api.uploads import is_json, matrix_of

router = APIRouter(prefix="/cells", tags=["cells"])
_SCHEMA = TypeAdapter(CellsAnswer)


@router.post(
    "/interpret", response_model=CellsAnswer, responses=responses(CELLS, 404, 408, 413, 415), openapi_extra=UPLOAD_BODY
)
async def interpret(
    request: Request, query: Annotated[CellsQuery, Query()], settings: SettingsDep, gates: GatesDep, desk: CellDeskDep
) -> Response:
    """Return the type of each cell of a table, how sure the interpreter is, and the genes that moved the answer.

    A gene's effect is the log-probability of the label less that of the same cell without the gene. 404 where the service has no
    interpreter. The table is held in memory until the answer is made, then forgotten.
    """
    content_type = request.headers.get("content-type", "")
    choose(request)
    most = min(settings.upload_max_bytes, JSON_MAX_BYTES) if is_json(content_type) else settings.upload_max_bytes

    def answer(body: bytes) -> CellsAnswer:
        matrix = matrix_of(content_type, body, settings, genes=desk.genes())
        return desk.interpret(
            matrix,
            label=query.label,
            n_genes=query.genes,
            texts=tuple(dict.fromkeys(query.text)),
            organism=query.organism,
        )

    async with gates.uploads.admit():
        body = await read_body(request, max_bytes=most)
        found = await gates.uploads.run(lambda: answer(body))
    response = render(request, _SCHEMA, found, kind=choose(request))
    response.headers["Cache-Control"] = "no-store"
    return response
