"""What handlers are given: the leased atlas, the gates, the settings; and the one way to answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError

from api import media
from api.errors import UnsupportedMediaError, problems_of
from api.etags import Origin, is_known, tag_of
from api.interpreting import CellDesk
from api.limits import N_RUNNING, N_UPLOADS, N_WAITING, N_WIDE_WAITING, QUESTION_MAX_BYTES, Gate, read_body
from api.protocols import Backend, OpenAtlas
from api.serving import Serving
from api.uploads import is_json
from atlas.catalog.filters import SampleFilter
from atlas.errors import InputError
from atlas.release import check_name
from atlas.settings import Settings

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

REPEATABLE = frozenset(
    {
        "tissue",
        "series",
        "organism",
        "cluster",
        "unit",
        "molecule",
        "id_kind",
        "exclude_series",
        "plus",
        "minus",
        "text",
    }
)
"""Query parameters that may be given more than once."""

_N_PINS_WAITING = 8
_MANY_HITS = 1_000
_MANY_COMPARED = 100


@dataclass(frozen=True)
class Gates:
    """One gate a kind of work, so that a slow database or a heavy upload holds up its own kind only.

    ``wide`` is for questions that look at every sample or bring thousands of hits: half of the threads, and a short line.
    """

    questions: Gate
    wide: Gate
    database: Gate
    uploads: Gate
    health: Gate
    pins: Gate

    @classmethod
    def create(cls) -> Gates:
        """Create them; inside the running event loop."""
        return cls(
            questions=Gate(n_running=N_RUNNING, n_waiting=N_WAITING),
            wide=Gate(n_running=max(1, N_RUNNING // 2), n_waiting=N_WIDE_WAITING),
            database=Gate(n_running=4, n_waiting=N_WAITING),
            uploads=Gate(n_running=1, n_waiting=N_UPLOADS - 1),
            health=Gate(n_running=2, n_waiting=N_WAITING),
            pins=Gate(n_running=1, n_waiting=_N_PINS_WAITING),
        )

    def of(self, filters: SampleFilter, *, k: int = 0, compared: bool = False) -> Gate:
        """Return the gate of a question: ``k`` hits among the samples that pass, ``compared`` with each other or not."""
        wide = filters.exclude is not None or k > _MANY_HITS or (compared and k > _MANY_COMPARED)
        return self.wide if wide else self.questions


async def refuse_repeated(request: Request) -> None:
    """Refuse a single-valued parameter given twice; frameworks differ in which value wins."""
    for name in request.query_params:
        if name not in REPEATABLE and len(request.query_params.getlist(name)) > 1:
            raise InputError(
                f"The parameter {name[:100]!r} is given more than once; give it once.",
                details={"problems": [{"where": f"query.{name[:100]}", "message": "given more than once"}]},
            )


# These are coroutines though they wait for nothing: a plain function would be sent to a thread, with every request.
async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


async def _gates(request: Request) -> Gates:
    gates: Gates = request.app.state.gates
    return gates


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _cell_desk(request: Request) -> CellDesk:
    desk: CellDesk = request.app.state.cells
    return desk


ServingDep = Annotated[Serving, Depends(_serving)]
GatesDep = Annotated[Gates, Depends(_gates)]
BackendDep = Annotated[Backend, Depends(_backend)]
SettingsDep = Annotated[Settings, Depends(_settings)]
CellDeskDep = Annotated[CellDesk, Depends(_cell_desk)]


async def _leased(request: Request, serving: ServingDep, gates: GatesDep) -> AsyncIterator[OpenAtlas]:
    """Lend the served release, or the one that ``?release=`` names, which may have to be opened first."""
    name = request.query_params.get("release")
    if name is not None:
        check_name(name)
    held = serving.try_take(name)
    if held is None:
        async with gates.pins.admit():
            held = await gates.pins.run(lambda: serving.take(str(name)))
    try:
        release = held.atlas.release
        release.raise_if_corrupt()
        request.state.release = release.name
        edits = serving.overlay.version_of(release.name)
        request.state.origin = Origin(release.name, release.manifest.content_key, edits)
        yield held.atlas
    finally:
        held.give_back()


AtlasDep = Annotated[OpenAtlas, Depends(_leased)]


async def answer(
    request: Request,
    gate: Gate,
    *,
    schema: TypeAdapter[T],
    ask: Callable[[], T],
    table: bool = False,
    lasting: bool = False,
) -> Response:
    """Ask behind a gate and return the answer; question, encoding and compression all happen in the thread.

    Parameters
    ----------
    table
        Whether the answer is offered as a table too.
    lasting
        Whether it follows from release, question and label edits alone: it then has a validator, and a client that holds it
        is told so without asking again.
    """
    kind = media.choose(request, media.TABLES if table else (media.JSON,))
    headers = {}
    if lasting:
        tag = tag_of(request, request.state.origin, media=kind, packed=media.packed(request))
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if is_known(request, tag):
            return Response(status_code=304, headers={**headers, **_VARY})
    async with gate.admit():
        response = await gate.run(lambda: render(request, schema, ask(), kind=kind, headers=headers))
    if lasting and not _still(request):
        del response.headers["ETag"]
    return response


def _still(request: Request) -> bool:
    """Whether the labels are those that the validator was made of; else the answer may show others than it names."""
    origin: Origin = request.state.origin
    serving: Serving = request.app.state.serving
    return serving.overlay.version_of(origin.release) == origin.edits


_VARY = {"Vary": "Accept, Accept-Encoding"}


def render(
    request: Request,
    schema: TypeAdapter[T],
    value: T,
    *,
    status: int = 200,
    kind: str = media.JSON,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a value in one media type (NaN and infinities as ``null``), compressed for clients that read gzip."""
    body = schema.dump_json(value) if kind == media.JSON else _table(value, kind=kind)
    sent = {**(headers or {}), **_VARY}
    if (cursor := getattr(value, "next_cursor", None)) is not None:
        query = [(name, text) for name, text in request.query_params.multi_items() if name != "cursor"]
        sent["Link"] = f'<{request.url.path}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
    if media.packed(request) and (small := media.pack(body, media=kind)) is not None:
        body = small
        sent["Content-Encoding"] = "gzip"
    content_type = f"{kind}; charset=utf-8" if kind == media.CSV else kind
    return Response(body, status_code=status, headers={**sent, "Content-Type": content_type})


async def read_json(request: Request, model: type[M], *, max_bytes: int = QUESTION_MAX_BYTES) -> M:
    """Return the JSON body of a request as a model.

    Raises
    ------
    UnsupportedMediaError
        If the body has another media type.
    TooLargeError, InputError
        If it is too large, or not what the model describes.
    """
    content_type = request.headers.get("content-type", "")
    if not is_json(content_type):
        raise UnsupportedMediaError(
            f"The body has media type {content_type[:100]!r}; expected application/json.",
            details={"seen": content_type[:100], "expected": ["application/json"]},
        )
    body = await read_body(request, max_bytes=max_bytes)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        details = problems_of(error, prefix=("body",))
        first = details["problems"][0]
        raise InputError(
            f"The JSON body is not valid: {first['where']}: {first['message']}.", details=details
        ) from None


def _table(value: object, *, kind: str) -> bytes:
    from api.tables import encode, table_of

    return encode(table_of(value), media=kind)
