"""A person's own expression: from the body of a request to an ``ExpressionMatrix``, in memory, never stored, never logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import UnsupportedMediaError, problems_of
from api.questions import TranscriptomeQuestion
from atlas.errors import InputError, TooLargeError
from atlas.expression.units import Unit
from atlas.settings import Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

    from atlas.expression.genes import GeneMap
    from atlas.expression.matrix import ExpressionMatrix

_MOST_PARTS = 8
_LONGEST_FIELD = 1_000


@dataclass
class Part:
    """One part of a multipart body."""

    name: str = ""
    filename: str | None = None
    content: bytearray = field(default_factory=bytearray)


def matrix_of(content_type: str, body: bytes, settings: Settings, *, genes: GeneMap) -> ExpressionMatrix:
    """Read the body of ``POST /v1/transcriptomes/neighbors``.

    Parameters
    ----------
    content_type
        The header; ``application/json`` or ``multipart/form-data`` with a part ``file`` and, optionally, ``unit``.
    body
        All of it.
    settings
        Its upload limits hold.
    genes
        The model's genes; they tell which axis of a table names genes.

    Raises
    ------
    UnsupportedMediaError
        For another media type.
    InputError
        If the body is not what it says, or its values cannot be used.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == b"application/json":
        return _from_json(body, settings)
    if media_type == b"multipart/form-data" and options.get(b"boundary"):
        return _from_form(parse_form(body, boundary=options[b"boundary"]), settings, genes=genes)
    raise UnsupportedMediaError(
        f"The body has media type {content_type[:100]!r}; expected application/json or multipart/form-data with a boundary.",
        details={"seen": content_type[:100], "expected": ["application/json", "multipart/form-data"]},
    )


def is_json(content_type: str) -> bool:
    """Whether a body of this type is read as JSON, under the smaller limit."""
    return parse_options_header(content_type)[0] == b"application/json"


def parse_form(body: bytes, *, boundary: bytes) -> dict[str, Part]:
    """Return the parts of a multipart body by name, held in memory.

    Raises
    ------
    InputError
        If the body is malformed, ends early, or has too many parts or one name twice.
    """
    reader = _FormReader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InputError("The multipart body is malformed; send it with an ordinary HTTP client.") from error
    if not reader.ended:
        raise InputError("The multipart body ends before its last boundary; it was cut short.")
    parts: dict[str, Part] = {}
    for part in reader.parts:
        if part.name in parts:
            raise InputError(f"The form has two parts named {part.name[:100]!r}; send one file at a time.")
        parts[part.name] = part
    return parts


class _FormReader:
    """Collects what ``MultipartParser`` calls back."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._header = bytearray()
        self._value = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """Return the table that ``MultipartParser`` takes."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self.parts[-1].content.extend(memoryview(data)[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == _MOST_PARTS:
            raise InputError(f"The form has more than {_MOST_PARTS} parts; send `file` and, if need be, `unit`.")
        self.parts.append(Part())

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            part = self.parts[-1]
            part.name = options.get(b"name", b"").decode("utf-8", errors="replace")
            if b"filename" in options:
                part.filename = options[b"filename"].decode("utf-8", errors="replace")
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        self.ended = True


def _from_form(parts: dict[str, Part], settings: Settings, *, genes: GeneMap) -> ExpressionMatrix:
    from atlas.expression.uploads import read_upload

    unknown = sorted(set(parts) - {"file", "unit"})
    if unknown:
        raise InputError(
            f"The form has parts that are not read: {', '.join(repr(name[:100]) for name in unknown)}. Known: file, unit.",
            details={"unknown": [name[:100] for name in unknown]},
        )
    upload = parts.get("file")
    if upload is None or upload.filename is None:
        raise InputError("The form has no part `file` with a file name. Example: curl -F file=@counts.csv ...")
    sent = parts.get("unit")
    unit = None if sent is None else _unit(sent.content)
    return read_upload(upload.filename, bytes(upload.content), settings, unit=unit, genes=genes)


def _unit(content: bytearray) -> Unit:
    text = bytes(content[:_LONGEST_FIELD]).decode("utf-8", errors="replace").strip().lower()
    try:
        return Unit(text)
    except ValueError:
        raise InputError(
            f"The unit {text[:100]!r} is not known; expected one of {', '.join(unit.value for unit in Unit)}.",
            details={"seen": text[:100], "expected": [unit.value for unit in Unit]},
        ) from None


def _from_json(body: bytes, settings: Settings) -> ExpressionMatrix:
    from atlas.expression.matrix import build_matrix

    question = _parse_question(body)
    rows = question.rows()
    if len(rows) > settings.upload_max_samples:
        raise TooLargeError(
            f"The table has {len(rows)} samples; at most {settings.upload_max_samples} are answered at once. Split it.",
            details={"seen": len(rows), "expected": settings.upload_max_samples},
        )
    names = question.samples or [f"sample_{n}" for n in range(1, len(rows) + 1)]
    if len(names) != len(rows):
        raise InputError(f"`samples` has {len(names)} names for {len(rows)} rows of `values`; give one a row.")
    for name, row in zip(names, rows, strict=True):
        if len(row) != len(question.genes):
            raise InputError(
                f"The row of sample {name[:100]!r} has {len(row)} values for {len(question.genes)} genes; give one a gene.",
                details={"seen": len(row), "expected": len(question.genes)},
            )
    unit = None if question.unit is None else Unit(question.unit)
    return build_matrix(rows, genes=question.genes, sample_ids=names, unit=unit)


def _parse_question(body: bytes) -> TranscriptomeQuestion:
    try:
        return TranscriptomeQuestion.model_validate_json(body)
    except ValidationError as error:
        details = problems_of(error, prefix=("body",))
        first = details["problems"][0]
        raise InputError(
            f"The JSON body is not valid: {first['where']}: {first['message']}.", details=details
        ) from None
