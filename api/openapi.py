"""The description of the service: stable operation ids, examples, one error body, and the limits that are really in force."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from api.schemas import ErrorBody, TranscriptomeQuestion
from atlas.settings import Settings

_REFUSALS = {
    404: "There is no such sample, cluster or address.",
    408: "The body stopped arriving.",
    410: "The cursor belongs to another release.",
    413: "The body is larger than the limit.",
    415: "The body has another media type.",
    422: "A parameter or the body is not valid.",
    500: "The service failed; report the request id.",
    503: "Not now: no release, no database, or too many questions. `Retry-After` says when to try again.",
}
_EVERYWHERE = (422, 500, 503)

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


def responses(example: object, *codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route: its example, and the refusals it can give."""
    told: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorBody, "description": _REFUSALS[code]} for code in sorted({*codes, *_EVERYWHERE})
    }
    payload = TypeAdapter(type(example)).dump_python(example, mode="json")
    told[200] = {"content": {"application/json": {"example": payload}}}
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
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _tell_limits(parameters: list[dict[str, Any]], settings: Settings) -> None:
    for parameter in parameters:
        schema = parameter["schema"]
        if parameter["name"] == "k":
            schema["maximum"] = settings.max_k
        if parameter["name"] == "q":
            target = next((option for option in schema.get("anyOf", []) if option.get("type") == "string"), schema)
            target["maxLength"] = settings.query_max_chars
