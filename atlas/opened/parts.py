"""The parts of one open release, each loaded at its first use and shared by all threads."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.catalog.filters import EXACT_FIELDS, FilterColumns, SampleFilter
from atlas.errors import ArtifactError
from atlas.opened.clusters import ClusterTable
from atlas.opened.listing import Listing
from atlas.opened.map_table import MapTable
from atlas.opened.samples import SampleTable
from atlas.opened.terms import TermTable
from atlas.release import Release
from atlas.settings import Settings

if TYPE_CHECKING:
    from atlas.catalog.database import Database
    from atlas.model.joint import JointModel
    from atlas.vectors.calibration import Calibration
    from atlas.vectors.index import VectorIndex
    from atlas.vectors.moments import Moments
    from atlas.vectors.row_codes import RowCodes
    from atlas.vectors.store import VectorStore

_PHRASES_KEPT = 512
_MASKS_KEPT = 32  # one byte a sample each


class Opened:
    """Everything questions are answered from; nothing of it changes but the names of the clusters.

    Raises
    ------
    ArtifactError
        If the tables of the release disagree about its samples.
    """

    def __init__(self, settings: Settings, release: Release, database: Database | None = None) -> None:
        self.settings = settings
        self.release = release
        self.database = database
        self.samples = SampleTable(release)
        if len(self.samples) != release.manifest.n_samples:
            raise ArtifactError(
                "samples.parquet and the manifest disagree about the number of samples.", kind="corrupt"
            )
        self._vector = lru_cache(_PHRASES_KEPT)(self._embed)
        self._raw_vector = lru_cache(_PHRASES_KEPT)(self._embed_raw)
        self._filtered = FilterColumns(
            self.samples.table, series_titles=self.samples.series_titles, clusters=self.samples.cluster
        )
        self._mask = lru_cache(_MASKS_KEPT)(self._filter)

    def warm_filters(self) -> None:
        """Make ready what ``exclude`` looks through."""
        self._filtered.contains("\0")  # in no text

    @cached_property
    def model(self) -> JointModel:
        """The model that embedded the samples; its text tower loads with the first phrase."""
        from atlas.model.joint import JointModel

        model = JointModel.load(self.release.checked("model"), threads=self.settings.threads or None)
        if model.hash != self.release.manifest.model_hash:
            raise ArtifactError(
                f"Release {self.release.name!r} was embedded by another model than the one in its folder.",
                kind="incompatible",
                details={"seen": model.hash, "expected": self.release.manifest.model_hash},
            )
        return model

    @cached_property
    def store(self) -> VectorStore:
        """The vectors of the samples."""
        from atlas.vectors.store import VectorStore

        path, guard = self.release.guarded("vectors.npy")
        return VectorStore.open(path, guard=guard)

    @cached_property
    def row_codes(self) -> RowCodes | None:
        """Codes that score all samples at once; ``None`` where the master itself does."""
        from atlas.vectors.row_codes import RowCodes

        return RowCodes(self.release.checked("codes")) if self.release.path("codes").is_dir() else None

    @cached_property
    def index(self) -> VectorIndex:
        """The engine that finds nearest samples."""
        from atlas.vectors.engines import open_engine, stored_columns

        samples = self.samples
        return open_engine(
            self.settings, self.release, self.store, columns=lambda: stored_columns(samples.table, samples.cluster)
        )

    @cached_property
    def calibration(self) -> Calibration:
        """What scores mean."""
        from atlas.vectors.calibration import Calibration

        self.release.checked("calibration.npz")
        return Calibration.load(self.release.checked("calibration.json"))

    @cached_property
    def moments(self) -> Moments:
        """How far cosines spread over the atlas."""
        from atlas.vectors.moments import MOMENTS_FILE, Moments

        if not self.release.path(MOMENTS_FILE).is_file():  # releases built before they were kept
            return Moments.of(self.store)
        return Moments.load(self.release.checked(MOMENTS_FILE))

    @cached_property
    def clusters(self) -> ClusterTable:
        """The clusters."""
        return ClusterTable(self.release, self.samples, self.store)

    @cached_property
    def map_table(self) -> MapTable:
        """The map as columns of small numbers."""
        return MapTable.of(self.samples)

    @cached_property
    def terms(self) -> TermTable:
        """The vocabularies the release was matched with."""
        return TermTable(self.release)

    @cached_property
    def listing(self) -> Listing:
        """The samples in any order."""
        return Listing(self.samples)

    @cached_property
    def symbols(self) -> frozenset[str]:
        """The gene symbols the model knows."""
        return frozenset(self.model.genes.symbols)

    def vector(self, text: str) -> np.ndarray:
        """Return the unit vector of a phrase, (dim,) float32, read-only; recent phrases are remembered."""
        return self._vector(text)

    def colour_scores(self, vector: np.ndarray) -> np.ndarray:
        """Return every sample's cosine to a (dim,) unit vector, (n_samples,) float32, nearly: for colours alone."""
        return self.store.scores(vector) if self.row_codes is None else self.row_codes.scores(vector)

    def raw_vector(self, text: str) -> np.ndarray:
        """Return the vector of a phrase as the text tower gives it, (text dim,) float32, read-only."""
        return self._raw_vector(text)

    def allowed(self, filters: SampleFilter | None) -> np.ndarray | None:
        """Return which rows pass, (n,) bool, read-only; ``None`` if there is no filter. Recent filters are remembered."""
        if filters is None or filters.is_empty:
            return None
        return self._mask(self.spelled(filters))

    def candidates(self, filters: SampleFilter | None) -> np.ndarray:
        """Return which rows pass, (n,) bool, as a mask of its own that a question may narrow."""
        allowed = self.allowed(filters)
        return np.ones(len(self.samples), dtype=bool) if allowed is None else allowed.copy()

    def n_passing(self, allowed: np.ndarray | None) -> int:
        """Return how many rows a mask lets pass."""
        return len(self.samples) if allowed is None else int(allowed.sum())

    def spelled(self, filters: SampleFilter) -> SampleFilter:
        """Return the filters with names spelled as the atlas spells them, so that case does not matter."""
        series = tuple(self.samples.find_series(one.strip()) or one for one in filters.series)
        exact: dict[str, Any] = {
            name: tuple(self.samples.categories(name).spelled.get(one.strip().casefold(), one) for one in wanted)
            for name in EXACT_FIELDS
            if (wanted := getattr(filters, name))
        }
        return replace(filters, series=series, **exact)

    def close(self) -> None:
        """Let go of what was loaded; the database belongs to the caller and stays open."""
        store = self.__dict__.get("store")
        for name in (
            "model",
            "index",
            "calibration",
            "moments",
            "clusters",
            "terms",
            "listing",
            "map_table",
            "row_codes",
            "store",
        ):
            self.__dict__.pop(name, None)
        self._vector.cache_clear()
        self._raw_vector.cache_clear()
        self._mask.cache_clear()
        if store is not None:
            store.close()

    def _embed(self, text: str) -> np.ndarray:
        vector: np.ndarray = self.model.text_head(self.raw_vector(text)[None, :])[0]
        vector.flags.writeable = False
        return vector

    def _embed_raw(self, text: str) -> np.ndarray:
        vector: np.ndarray = self.model.embed_raw_texts([text])[0]
        vector.flags.writeable = False
        return vector

    def _filter(self, filters: SampleFilter) -> np.ndarray:
        mask = filters.mask_of(self._filtered)
        mask.flags.writeable = False
        return mask
