"""Which engine searches a release: chosen by the settings, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import ConfigError
from atlas.release import Release
from atlas.settings import Settings

if TYPE_CHECKING:
    from atlas.vectors.index import VectorIndex
    from atlas.vectors.milvus_connection import MilvusConnection
    from atlas.vectors.store import VectorStore

STORED_FIELDS = ("organism", "tissue", "unit", "molecule", "id_kind")
"""Columns of ``samples.parquet`` that an engine with filters of its own keeps beside the vectors, with the cluster."""


def open_engine(
    settings: Settings, release: Release, store: VectorStore, *, columns: Callable[[], Mapping[str, np.ndarray]]
) -> VectorIndex:
    """Open the engine that the settings name.

    Parameters
    ----------
    columns
        Called for :func:`stored_columns` where the engine filters by them.

    Raises
    ------
    ArtifactError
        If the release has no such index, or one of another build.
    UpstreamError
        If the engine is a service that does not answer.
    """
    if settings.search_engine == "milvus":
        from atlas.vectors.milvus_index import engine_folder, open_milvus

        return open_milvus(
            engine_folder(settings.home_path, release.name),
            store,
            connect_milvus(settings),
            release=release.name,
            content_key=release.manifest.content_key,
            columns=columns(),
        )
    if settings.search_engine == "torch":
        from atlas.vectors.torch_index import TorchIndex

        return TorchIndex(store, device=settings.torch_device)
    from atlas.vectors.faiss_index import open_index

    return open_index(release.checked("index"), store)


def connect_milvus(settings: Settings, *, timeout_s: float | None = None) -> MilvusConnection:
    """Connect to the Milvus that the settings name.

    Parameters
    ----------
    timeout_s
        Longest wait for one answer, instead of the settings' own.

    Raises
    ------
    ConfigError
        If they name none.
    UpstreamError
        If it does not answer.
    """
    from atlas.vectors.milvus_connection import MilvusConnection

    if not settings.milvus_uri:
        raise ConfigError("No Milvus is named. Set GEO_ATLAS_MILVUS_URI, e.g. http://localhost:19530.")
    token = "" if settings.milvus_token is None else settings.milvus_token.get_secret_value()
    return MilvusConnection(settings.milvus_uri, token=token, timeout_s=timeout_s or settings.milvus_timeout_s)


def stored_columns(samples: pa.Table, cluster: np.ndarray) -> dict[str, np.ndarray]:
    """Return by name the number of each row's value, (n,) int32; values are numbered by first appearance.

    Parameters
    ----------
    samples
        ``samples.parquet``, at least ``STORED_FIELDS``.
    cluster
        (n,) the cluster of each row.
    """
    columns = {
        name: pc.fill_null(samples[name], "").combine_chunks().dictionary_encode().indices.to_numpy()
        for name in STORED_FIELDS
    }
    return {name: codes.astype(np.int32) for name, codes in {**columns, "cluster": cluster}.items()}
