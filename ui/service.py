"""What the pages ask of the API: one shared client, answers kept for a while, failures as sentences.

A page asks with ``service.ask(Client.cluster, 7)``. The answer is kept by (address, release, question): a new release is seen
at the next click and nothing old is shown. Kept answers are shared between visitors, so a page never changes one.
``service.now(...)`` asks the same without keeping, for what changes (jobs, label edits) and for what writes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import streamlit as st

from atlas.client import AtlasHTTPError, Client

DEFAULT_URL = "http://127.0.0.1:8000"

P = ParamSpec("P")
R = TypeVar("R")


def api_url(argv: Sequence[str] = ()) -> str:
    """Return the address of the API: the page's argument, ``GEO_ATLAS_API_URL``, or this machine's default port."""
    arguments = list(argv) or sys.argv[1:]
    url = arguments[0] if arguments else os.environ.get("GEO_ATLAS_API_URL", "")
    return (url or DEFAULT_URL).rstrip("/")


def public_url(url: str, *, page: str, argv: Sequence[str] = ()) -> str:
    """Return where the reader's browser finds the API.

    That is the page's second argument or ``GEO_ATLAS_PUBLIC_API_URL``, else the pages' own address of it, with the host of
    ``page``, the address under which the browser reached this page, in place of one that means this machine.
    """
    arguments = list(argv) or sys.argv[1:]
    given = (arguments[1] if len(arguments) > 1 else "") or os.environ.get("GEO_ATLAS_PUBLIC_API_URL", "")
    if given:
        return given.rstrip("/")
    parts, reached = urlsplit(url), urlsplit(page).hostname
    if not reached or parts.hostname not in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):  # noqa: S104  compared, not bound
        return url
    host = f"[{reached}]" if ":" in reached else reached
    return parts._replace(netloc=host if parts.port is None else f"{host}:{parts.port}").geturl().rstrip("/")


class Service:
    """The API behind one address, asked about one release.

    Attributes
    ----------
    url
        Address of the API.
    release
        Name of the release that every question is about; empty until it is known.
    n_samples
        How many samples that release has; 0 until it is known.
    """

    def __init__(self, url: str, release: str = "") -> None:
        self.url = url
        self.release = release
        self.n_samples = 0

    def current(self) -> dict[str, Any]:
        """Return the served release; asked on every run of a page, so a dead service is noticed at once."""
        return dict(_client(self.url).release())

    def pinned(self, release: str) -> dict[str, Any]:
        """Return a release by name, which need not be the served one; one that was removed raises with status 410."""
        return dict(self.__class__(self.url, release).ask(Client.release))

    def ask(self, method: Callable[Concatenate[Client, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the answer to ``Client.method(*args, **kwargs)`` about this release, kept for ten minutes.

        The answer is shared: read it, never change it. Arguments must be plain values (text, numbers, tuples of them).
        """
        named = tuple(sorted(kwargs.items()))
        return cast("R", _answer(self.url, self.release, method.__name__, args, named))

    def now(self, method: Callable[Concatenate[Client, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the answer as it is at this moment; nothing is kept, and the release is the caller's to name."""
        return method(_client(self.url), *args, **kwargs)

    def forget(self) -> None:
        """Drop every kept answer: after an edit everybody sees the new state."""
        _answer.clear()


def sentence(error: AtlasHTTPError, *, url: str) -> str:
    """Say in one or two sentences what went wrong and what to do."""
    if error.code == "unreachable":
        return f"The atlas service at {url} does not answer. Start it with `geo-atlas serve`, or wait a moment, and try again."
    if error.code == "unexpected_answer":
        return f"What answers at {url} is not an atlas service. Check GEO_ATLAS_API_URL."
    if error.code == "database_unavailable":
        return "Word search needs the database, which does not answer right now. Search by meaning works meanwhile; or try again."
    if error.code == "unauthorized":
        return "That is not the administrator's token of this service. Whoever runs the service knows it."
    if (near := error.details.get("near_matches")) and "Near: " not in error.message:
        return f"{error.message} Near: {', '.join(map(str, near[:5]))}."
    reference = f" (request {error.request_id})" if error.status >= 500 and error.request_id else ""
    return f"{error.message}{reference}"


@st.cache_resource(show_spinner=False, on_release=Client.close)
def _client(url: str) -> Client:
    # A transport of our own keeps proxy variables of the environment out of a conversation within one installation.
    return Client(url, transport=httpx.HTTPTransport(retries=1))


@st.cache_resource(ttl=600, max_entries=400, show_spinner=False)
def _answer(url: str, release: str, method: str, args: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> Any:
    return getattr(_client(url), method)(*args, **dict(named), release=release or None)
