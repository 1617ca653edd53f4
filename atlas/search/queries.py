"""How a question is read before it is searched: phrases, accessions, weighted parts, bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from atlas.answers import QueryPart
from atlas.errors import InputError
from atlas.settings import Settings
from atlas.texts import valid_utf8

_ACCESSION = re.compile(
    r"(GSM|GSE|SR[APRSX]|ER[APRSX]|DR[APRSX]|SAM[NED][A-Z]?|PRJ[NED][A-Z])\d+|E-[A-Z]{4}-\d+|TCGA-\w{2,4}(-\w+)*|MADE:.+",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf|infinity)", re.IGNORECASE)

MAX_PARTS = 16
"""Most phrases and samples that one question may combine."""
MAX_WEIGHT = 10.0


@dataclass(frozen=True)
class Phrase:
    """A phrase within bounds: its text, and what it looks like."""

    text: str
    kind: Literal["text", "accession"]


def read_phrase(raw: str, settings: Settings) -> Phrase:
    """Check a phrase and say whether it has the form of an accession.

    Raises
    ------
    InputError
        If nothing is left after trimming, or it is longer than ``query_max_chars``.
    """
    text = " ".join(valid_utf8(raw).replace("\x00", " ").split())
    if not text:
        raise InputError("The phrase is empty. Type what to look for, e.g. cardiomyopathy.")
    if len(text) > settings.query_max_chars:
        raise InputError(
            f"The phrase has {len(text)} characters; at most {settings.query_max_chars} are read. Shorten it.",
            details={"seen": len(text), "expected": settings.query_max_chars},
        )
    return Phrase(text, "accession" if _ACCESSION.fullmatch(text) else "text")


def check_k(k: int, settings: Settings) -> int:
    """Return ``k`` if it lies in 1..max_k, else raise ``InputError``."""
    if not 1 <= k <= settings.max_k:
        raise InputError(
            f"k is {k}; expected 1 to {settings.max_k}.", details={"seen": k, "minimum": 1, "maximum": settings.max_k}
        )
    return k


def read_part(raw: str, sign: Literal[1, -1] = 1) -> QueryPart:
    """Read one ingredient of a combined question, such as ``ischemic``, ``ischemic^0.5`` or ``GSM1275862^2``.

    Parameters
    ----------
    raw
        A phrase or an accession; after ``^`` its weight, 1 if not given.
    sign
        -1 for what the answer should have less of.

    Raises
    ------
    InputError
        If the weight is not above 0 and at most 10. That the phrase is not empty or too long is checked when it is asked.
    """
    value, weight = raw, 1.0
    before, caret, after = raw.rpartition("^")
    if caret and _NUMBER.fullmatch(after.strip()):
        value, weight = before, float(after)
    if not 0 < weight <= MAX_WEIGHT:
        raise InputError(
            f"The weight of {value[:80]!r} is {weight:g}; expected more than 0 and at most {MAX_WEIGHT:g}. "
            "To have less of something, give it as a minus part.",
            details={"seen": str(weight), "maximum": MAX_WEIGHT},
        )
    value = " ".join(valid_utf8(value).split())
    return QueryPart("sample" if _ACCESSION.fullmatch(value) else "text", value, sign * weight)


def check_parts(parts: Sequence[QueryPart], settings: Settings) -> tuple[QueryPart, ...]:
    """Return the parts with their phrases trimmed.

    Raises
    ------
    InputError
        If there is none or more than 16, a weight is 0, not finite or beyond 10, or a phrase is empty or too long.
    """
    if not 1 <= len(parts) <= MAX_PARTS:
        raise InputError(
            f"The question has {len(parts)} parts; expected 1 to {MAX_PARTS} phrases and samples.",
            details={"seen": len(parts), "minimum": 1, "maximum": MAX_PARTS},
        )
    for part in parts:
        if part.kind not in ("text", "sample"):
            raise InputError(f"{str(part.kind)[:40]!r} is no kind of part; expected text or sample.")
        if not (math.isfinite(part.weight) and 0 < abs(part.weight) <= MAX_WEIGHT):
            raise InputError(
                f"The weight of {part.value[:80]!r} is {part.weight}; expected a number other than 0 between "
                f"-{MAX_WEIGHT:g} and {MAX_WEIGHT:g}.",
                details={"seen": str(part.weight), "maximum": MAX_WEIGHT},
            )
    return tuple(QueryPart(part.kind, read_phrase(part.value, settings).text, float(part.weight)) for part in parts)


def describe_parts(parts: Sequence[QueryPart]) -> str:
    """Return the parts as one line: ``heart failure + GSM1275862 - ischemic^0.5``."""
    pieces = []
    for part in parts:
        weight = "" if abs(part.weight) == 1 else f"^{abs(part.weight):g}"
        pieces += ["-" if part.weight < 0 else "+", f"{part.value}{weight}"]
    return " ".join(pieces).removeprefix("+ ")
