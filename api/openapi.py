"""The description of the service: stable operation ids, examples, one error body, and the limits that are really in force."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter

from api.media import ARROW, BYTES, CSV, PARQUET
from api.questions import TranscriptomeQuestion
from api.schemas import ErrorBody
from atlas.settings import Settings

_REFUSALS = {
    401: "The administrator's token is missing or wrong.",
    403: "Edits are off: the service has no administrator's token.",
    404: "There is no such record, release or address.",
    406: "The answer is not to be had in that media type.",
    408: "The body stopped arriving.",
    409: "As many jobs wait or run as are allowed.",
    410: "The release was removed, or the cursor belongs to another one.",
    413: "The body is larger than the limit.",
    415: "The body has another media type.",
    422: "A parameter or the body is not valid.",
    500: "The service failed; report the request id.",
    503: "Not now: no release, no database, or too many questions. `Retry-After` says when to try again.",
}
_EVERYWHERE = (406, 422, 500, 503)
_OF_RELEASE = (404, 410)
_FILE = {"schema": {"type": "string", "format": "binary"}}

TOKEN: dict[str, Any] = {"security": [{"administrator": []}]}
"""Marks a route that asks for the administrator's token."""

UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": TranscriptomeQuestion.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "CSV, TSV (also .gz) or h5ad; the file name's ending says which.",
                        },
                        "unit": {"type": "string", "enum": ["counts", "tpm", "fpkm", "log2", "normalised"]},
                    },
                }
            },
        },
    }
}
"""Body of the upload route, which is read from the raw stream and so unknown to the framework."""


def operation_id(route: APIRoute) -> str:
    """Name an operation ``tag-function``; permanent, for generated clients."""
    return f"{route.tags[0]}-{route.name}"


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a JSON body that is read from the raw stream, under a limit, and so unknown to the framework."""
    schema = model.model_json_schema()
    inner = schema.pop("$defs", {})
    resolved = _inlined(schema, inner)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": resolved}}}}


def responses(example: object, *codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route: its example, and the refusals it can give."""
    told = _refusals(*codes)
    told[200] = {"content": {"application/json": {"example": _payload(example)}}}
    return told


def tables(example: object, *codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route whose answer is offered as a table too."""
    told = responses(example, *codes)
    told[200]["content"] |= {CSV: {"schema": {"type": "string"}}, PARQUET: _FILE, ARROW: _FILE}
    return told


def binary(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route that sends numbers as bytes."""
    told = _refusals(*codes)
    number = {"schema": {"type": "string"}}
    told[200] = {
        "description": "The numbers.",
        "content": {BYTES: _FILE},
        "headers": {
            "X-Geo-Atlas-Dtype": {"description": "Their type, as numpy names it.", **number},
            **{f"X-Geo-Atlas-{end}": {"description": "Of scores.", **number} for end in ("Low", "Middle", "High")},
        },
    }
    return told


def accepted(example: object, *codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route that begins work which goes on after the answer."""
    told = _refusals(*codes)
    told[202] = {"description": "The job.", "content": {"application/json": {"example": _payload(example)}}}
    return told


def describe(app: FastAPI, settings: Settings) -> None:
    """Replace the application's description by one with the configured limits; made once, when first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            for path in schema["paths"].values():
                for operation in path.values():
                    _tell_limits(operation.get("parameters", []), settings)
                    _tell_releases(operation)
            schema["components"]["securitySchemes"] = {"administrator": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorBody, "description": _REFUSALS[code]} for code in sorted({*codes, *_EVERYWHERE})}


def _payload(example: object) -> Any:
    return TypeAdapter(type(example)).dump_python(example, mode="json")


def _inlined(schema: Any, inner: dict[str, Any]) -> Any:
    """Return a schema with its own definitions in place of references to them."""
    if isinstance(schema, list):
        return [_inlined(one, inner) for one in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref", "")
    if reference.startswith("#/$defs/"):
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return {**_inlined(inner[reference.removeprefix("#/$defs/")], inner), **rest}
    return {name: _inlined(value, inner) for name, value in schema.items()}


def _tell_releases(operation: dict[str, Any]) -> None:
    """Add the refusals of a route that takes ``release``: gone, or never there."""
    if any(parameter["name"] == "release" for parameter in operation.get("parameters", [])):
        body = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
        for code in _OF_RELEASE:
            operation["responses"].setdefault(str(code), {"description": _REFUSALS[code], "content": body})


def _tell_limits(parameters: list[dict[str, Any]], settings: Settings) -> None:
    for parameter in parameters:
        schema = parameter["schema"]
        if parameter["name"] == "k":
            schema["maximum"] = settings.max_k
        if parameter["name"] == "q":
            target = next((option for option in schema.get("anyOf", []) if option.get("type") == "string"), schema)
            target["maxLength"] = settings.query_max_chars
