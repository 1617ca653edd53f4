"""What the pages ask of the API: one shared client, answers kept for a while, failures as sentences.

Answers are kept by (address, release, question), so a new release is seen at the next click and nothing old is shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import streamlit as st

from atlas.client import AtlasHTTPError, Client

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Question:
    """A phrase with its mode and filters, as the form holds them."""

    phrase: str
    mode: str = "semantic"
    k: int = 20
    tissue: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    organism: tuple[str, ...] = ()
    exclude: str | None = None


def api_url(argv: Sequence[str] = ()) -> str:
    """Return the address of the API: the page's argument, ``GEO_ATLAS_API_URL``, or this machine's default port."""
    arguments = list(argv) or sys.argv[1:]
    url = arguments[0] if arguments else os.environ.get("GEO_ATLAS_API_URL", "")
    return (url or DEFAULT_URL).rstrip("/")


class Service:
    """The API behind one address."""

    def __init__(self, url: str) -> None:
        self.url = url

    def release(self) -> dict[str, Any]:
        """Return the served release; asked on every run of the page, so a dead service is noticed at once."""
        return _client(self.url).release()

    def search(self, question: Question, *, release: str) -> dict[str, Any]:
        """Return the answer to a phrase."""
        return _search(self.url, release, question)

    def map(self, phrase: str | None, *, release: str) -> dict[str, Any]:
        """Return the map, scored if a phrase is given."""
        return _map(self.url, release, phrase)

    def clusters(self, *, release: str) -> list[dict[str, Any]]:
        """Return all clusters."""
        return _clusters(self.url, release)

    def cluster(self, cluster_id: int, *, release: str) -> dict[str, Any]:
        """Return one cluster with its evidence."""
        return _cluster(self.url, release, cluster_id)

    def sample(self, accession: str, *, release: str) -> dict[str, Any]:
        """Return one sample with its nearest neighbours of other series under ``neighbors``."""
        return _sample(self.url, release, accession)


def sentence(error: AtlasHTTPError, *, url: str) -> str:
    """Say in one or two sentences what went wrong and what to do."""
    if error.code == "unreachable":
        return f"The atlas service at {url} does not answer. Start it with `geo-atlas serve`, or wait a moment, and try again."
    if error.code == "unexpected_answer":
        return f"What answers at {url} is not an atlas service. Check GEO_ATLAS_API_URL."
    if error.code == "database_unavailable":
        return "Word search needs the database, which does not answer right now. Search by meaning works meanwhile; or try again."
    if near := error.details.get("near_matches"):
        return f"{error.message} Near: {', '.join(map(str, near[:5]))}."
    reference = f" (request {error.request_id})" if error.status >= 500 and error.request_id else ""
    return f"{error.message}{reference}"


@st.cache_resource(show_spinner=False, on_release=Client.close)
def _client(url: str) -> Client:
    # A transport of our own keeps proxy variables of the environment out of a conversation within one installation.
    return Client(url, transport=httpx.HTTPTransport(retries=1))


@st.cache_data(ttl=600, max_entries=200, show_spinner=False)
def _search(url: str, release: str, question: Question) -> dict[str, Any]:
    return dict(
        _client(url).search(
            question.phrase,
            k=question.k,
            mode=question.mode,  # type: ignore[arg-type]
            tissue=question.tissue,
            series=question.series,
            organism=question.organism,
            exclude=question.exclude,
        )
    )


@st.cache_data(ttl=600, max_entries=20, show_spinner=False)
def _map(url: str, release: str, phrase: str | None) -> dict[str, Any]:
    return dict(_client(url).map(phrase))


@st.cache_data(ttl=600, max_entries=4, show_spinner=False)
def _clusters(url: str, release: str) -> list[dict[str, Any]]:
    return [dict(cluster) for cluster in _client(url).clusters()]


@st.cache_data(ttl=600, max_entries=200, show_spinner=False)
def _cluster(url: str, release: str, cluster_id: int) -> dict[str, Any]:
    return dict(_client(url).cluster(cluster_id))


@st.cache_data(ttl=600, max_entries=200, show_spinner=False)
def _sample(url: str, release: str, accession: str) -> dict[str, Any]:
    client = _client(url)
    found = dict(client.sample(accession)["sample"])
    found["neighbors"] = client.neighbors(accession, k=10, exclude_same_series=True)["hits"]
    return found
