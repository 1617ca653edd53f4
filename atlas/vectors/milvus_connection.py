"""The connection to a Milvus: what is asked of it, and its failures as one typed error."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from atlas.errors import MissingExtraError, UpstreamError


class MilvusConnection:
    """A client of one Milvus; safe to share between threads.

    Parameters
    ----------
    uri
        ``http://host:19530``, or the path of a ``.db`` file that Milvus Lite serves to this process alone.
    token
        ``user:password`` or an API key; empty where none is needed.
    timeout_s
        Longest wait for one answer.

    Raises
    ------
    MissingExtraError
        If pymilvus is not installed.
    UpstreamError
        If nothing answers there.
    """

    def __init__(self, uri: str, *, token: str = "", timeout_s: float = 10.0) -> None:
        self.uri = uri
        self.timeout_s = timeout_s
        pymilvus = _pymilvus()
        with self.asking("be reached"):
            self.client: Any = pymilvus.MilvusClient(uri, token=token, timeout=timeout_s)

    def search(
        self, collection: str, vectors: np.ndarray, *, limit: int, where: str = "", how: Mapping[str, int]
    ) -> list[np.ndarray]:
        """Return the rows nearest to each vector, best first."""
        with self.asking("search"):
            found = self.client.search(
                collection,
                data=list(vectors),
                limit=limit,
                filter=where,
                search_params={"metric_type": "IP", "params": dict(how)},
                output_fields=["row"],
                consistency_level="Eventually",  # a moved release does not change
                timeout=self.timeout_s,
            )
        return [np.asarray(hits.ids, dtype=np.int64) for hits in found]

    def count(self, collection: str, *, where: str = "row >= 0") -> int:
        """Return how many rows are stored, all writes included."""
        with self.asking("count"):
            answer = self.client.query(
                collection,
                filter=where,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=self.timeout_s,
            )
        return int(answer[0]["count(*)"])

    def has(self, collection: str) -> bool:
        """Whether the collection is there."""
        with self.asking("look for a collection"):
            return bool(self.client.has_collection(collection, timeout=self.timeout_s))

    def require_loaded(self, collection: str) -> None:
        """Refuse a collection that Milvus still loads into memory, and have it loaded; whoever asks again later may find it.

        Raises
        ------
        UpstreamError
            While it is not loaded.
        """
        with self.asking("load a collection"):
            state = self.client.get_load_state(collection, timeout=self.timeout_s)["state"]
            if state.name == "Loaded":
                return
            self.client.load_collection(collection, timeout=self.timeout_s, _async=True)
            state = self.client.get_load_state(collection, timeout=self.timeout_s)["state"]
        if state.name != "Loaded":
            raise UpstreamError(f"Milvus at {self.uri} is loading {collection!r}; try again in a moment.")

    def close(self) -> None:
        """Let go of the connection."""
        self.client.close()

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Turn whatever pymilvus raises into one ``UpstreamError``."""
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            reason = getattr(error, "message", "") or str(error)
            raise UpstreamError(
                f"Milvus at {self.uri} could not {what}: {str(reason).strip().splitlines()[0][:300]}. "
                "See that it runs and that milvus_uri is right; or search with FAISS (search_engine = faiss).",
                details={"uri": self.uri},
            ) from error


def _pymilvus() -> Any:
    try:
        import pymilvus
    except ImportError as error:
        raise MissingExtraError('Milvus needs an optional package: pip install "geo-atlas[scale]".') from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs every error that is raised here as well
    return pymilvus
