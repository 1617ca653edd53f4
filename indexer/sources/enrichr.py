"""Gene-set libraries from Enrichr, of which a vocabulary keeps the term names.

Source: https://maayanlab.cloud/Enrichr/help#api — ``geneSetLibrary?mode=text&libraryName=L`` answers with GMT text,
``datasetStatistics`` with the number of terms of each library. The server is known to answer with errors, cut lists and
HTML pages under status 200, so nothing is kept that was not checked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from atlas.errors import InputError, NotFoundError, UpstreamError

logger = logging.getLogger(__name__)

MAX_BYTES = 256 << 20
_RETRIED_STATUS = frozenset({408, 425, 429})
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FetchedLibrary:
    """A library on disk; ``counted`` tells whether its length was checked against the server's statistics."""

    library: str
    path: Path
    n_terms: int
    counted: bool


class _Transient(UpstreamError):
    """A failure that another attempt may cure."""


class _LibraryStatistics(BaseModel):
    libraryName: str
    numTerms: int


class _Statistics(BaseModel):
    statistics: list[_LibraryStatistics]


def fetch_library(
    library: str, *, base_url: str, out: Path, timeout_s: float = 60.0, attempts: int = 5, wait_s: float = 1.0
) -> FetchedLibrary:
    """Download one library as GMT into ``out``, which appears complete or not at all.

    Parameters
    ----------
    library
        Name at Enrichr, such as ``GO_Biological_Process_2023``.
    base_url
        Address of Enrichr.
    timeout_s
        Longest silence of the server, seconds.
    attempts
        Attempts for each of the two requests.
    wait_s
        First pause between attempts, seconds; it doubles, up to 30.

    Raises
    ------
    NotFoundError
        If Enrichr has no such library; ``details['near_matches']`` may help.
    UpstreamError
        If the server keeps failing, or keeps answering with something that is not the whole library.
    """
    if not library.strip():
        raise InputError(
            "The name of the library is empty. Give one that Enrichr lists, e.g. GO_Biological_Process_2023."
        )
    with httpx.Client(base_url=base_url.rstrip("/"), timeout=timeout_s, follow_redirects=True) as client:

        def attempt(ask: Callable[[], _Result]) -> _Result:
            policy = Retrying(
                stop=stop_after_attempt(attempts),
                wait=wait_exponential(multiplier=wait_s, max=30.0),
                retry=retry_if_exception_type(_Transient),
                before_sleep=_say_again,
                reraise=True,
            )
            return policy(ask)

        expected = _expected_terms(library, lambda: attempt(lambda: _get(client, "/datasetStatistics", {})))
        text = attempt(lambda: _get_library(client, library, expected))
    _write_atomically(out, text)
    return FetchedLibrary(library, out, n_terms=text.count("\n"), counted=expected is not None)


def _say_again(state: RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    logger.warning("%s (attempt %d; trying again in %.0f s)", failure, state.attempt_number, state.upcoming_sleep)


def _expected_terms(library: str, fetch: Callable[[], str]) -> int | None:
    """Return how many terms the server says the library has, or ``None`` where it will not tell."""
    try:
        known = {entry.libraryName: entry.numTerms for entry in _Statistics.model_validate_json(fetch()).statistics}
    except (UpstreamError, ValidationError) as error:
        logger.warning("Enrichr gave no statistics (%s): %s cannot be counted", type(error).__name__, library)
        return None
    if library not in known:
        near = sorted(known, key=lambda name: (-_shared_prefix(name, library), name))[:5]
        raise NotFoundError(
            f"Enrichr has no library {library!r}. Near names: {', '.join(near)}.",
            details={"library": library, "near_matches": near},
        )
    return known[library]


def _get(client: httpx.Client, path: str, params: dict[str, str]) -> str:
    try:
        with client.stream("GET", path, params=params) as response:
            if response.status_code >= 500 or response.status_code in _RETRIED_STATUS:
                raise _Transient(f"Enrichr answered {response.status_code} to {path}. Try again later.")
            if response.status_code != httpx.codes.OK:
                raise UpstreamError(
                    f"Enrichr answered {response.status_code} to {path}. Check the address and the name."
                )
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise UpstreamError(
                        f"Enrichr sent more than {MAX_BYTES:,} bytes for {path}; expected a gene-set library."
                    )
    except httpx.HTTPError as error:
        raise _Transient(
            f"Enrichr cannot be reached at {client.base_url} ({type(error).__name__}). Check the network, or try again later."
        ) from error
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Transient(f"Enrichr answered {path} with bytes that are not UTF-8 text.") from error


def _get_library(client: httpx.Client, library: str, expected: int | None) -> str:
    text = _get(client, "/geneSetLibrary", {"mode": "text", "libraryName": library})
    if text.lstrip()[:1] in ("<", "{"):
        raise _Transient("Enrichr answered with a page instead of a gene-set library. Try again later.")
    if not text.endswith("\n"):
        raise _Transient(f"Enrichr cut the library {library} off in the middle of a line. Try again later.")
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        if len(fields) < 3 or not fields[0].strip() or not any(gene.strip() for gene in fields[2:]):
            raise _Transient(f"Line {number} of library {library} is no gene set: {line[:60]!r}.")
    if expected is not None and len(lines) != expected:
        raise _Transient(f"Enrichr sent {len(lines)} of the {expected} terms of {library}. Try again later.")
    return "\n".join(lines) + "\n"


def _write_atomically(out: Path, text: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, out)


def _shared_prefix(left: str, right: str) -> int:
    return len(os.path.commonprefix([left.lower(), right.lower()]))
