"""Collections in Milvus Lite: one database of this process for all tests that need one."""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from atlas.vectors.milvus_connection import MilvusConnection
from atlas.vectors.milvus_index import MilvusIndex, MilvusParameters
from atlas.vectors.store import VectorStore
from indexer.move_to_milvus import fill_collection

_made: list[str] = []


@cache
def lite() -> MilvusConnection:
    """The database; tests are skipped where Milvus Lite is not installed."""
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed (extra scale)")
    folder = tempfile.TemporaryDirectory(prefix="milvus-lite-")
    connection = MilvusConnection(str(Path(folder.name) / "lite.db"))
    atexit.register(folder.cleanup)
    atexit.register(connection.close)
    return connection


def moved_index(
    store: VectorStore, *, kind: str = "FLAT", columns: dict[str, np.ndarray] | None = None, exact_below: int = 30
) -> MilvusIndex:
    """A collection of its own for these vectors; with all rows re-ranked it must be exact."""
    connection = lite()
    nlist = 128 if kind == "IVF_SQ8" else 0
    name = f"c{len(_made)}"
    _made.append(name)
    parameters = MilvusParameters(
        release="toy", content_key="0", collection=name, kind=kind, n=store.n, dim=store.dim, width=store.dim,
        nlist=nlist, nprobe=nlist, shortlist=store.n, measured_k=100, exact_below=exact_below,
    )  # fmt: skip
    columns = {"cluster": np.arange(store.n, dtype=np.int32) % 3} if columns is None else columns
    index = MilvusIndex(connection, store, parameters, columns=columns)
    fill_collection(index, columns)
    return index
