"""How a phrase is read before it is searched: bounds, accessions, gene symbols."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from atlas.errors import InputError
from atlas.settings import Settings

_ACCESSION = re.compile(
    r"(GSM|GSE|SR[APRSX]|ER[APRSX]|DR[APRSX]|SAM[NED][A-Z]?|PRJ[NED][A-Z])\d+|E-[A-Z]{4}-\d+|TCGA-\w{2,4}(-\w+)*|MADE:.+",
    re.IGNORECASE,
)


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
    text = " ".join(storable(raw).replace("\x00", " ").split())
    if not text:
        raise InputError("The phrase is empty. Type what to look for, e.g. cardiomyopathy.")
    if len(text) > settings.query_max_chars:
        raise InputError(
            f"The phrase has {len(text)} characters; at most {settings.query_max_chars} are read. Shorten it.",
            details={"seen": len(text), "expected": settings.query_max_chars},
        )
    return Phrase(text, "accession" if _ACCESSION.fullmatch(text) else "text")


def storable(text: str) -> str:
    """Return text with each half of a surrogate pair as "?": a shell hands over bytes that are no UTF-8 in this way."""
    return text.encode("utf-8", "replace").decode("utf-8")


def check_k(k: int, settings: Settings) -> int:
    """Return ``k`` if it lies in 1..max_k, else raise ``InputError``."""
    if not 1 <= k <= settings.max_k:
        raise InputError(
            f"k is {k}; expected 1 to {settings.max_k}.", details={"seen": k, "minimum": 1, "maximum": settings.max_k}
        )
    return k
