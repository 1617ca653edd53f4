"""The samples of an open release as columns: look-ups by accession, filters, and the records that answers show.

In: ``samples.parquet``, ``series.parquet``, ``captions.parquet``, ``landscape.parquet``, ``labels.parquet`` of one release.
Invariant: row i of every column is row i of ``vectors.npy``. Records are made of the rows that are shown, never of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.accessions import near_matches, parse_characteristics, record_url
from atlas.answers import SampleRecord
from atlas.errors import ArtifactError, NotFoundError
from atlas.opened.accession_index import AccessionIndex
from atlas.opened.categories import Categories, Memberships
from atlas.opened.names import ClusterNames
from atlas.release import Release
from atlas.texts import valid_utf8

CATEGORICAL = ("tissue", "source_name", "organism", "unit", "molecule", "id_kind")
"""Columns with few distinct values."""
_SHOWN = (
    "sample_id",
    "id_kind",
    "series_ids",
    "title",
    "source_name",
    "characteristics",
    "organism",
    "molecule",
    "tissue",
    "caption",
    "unit",
    "n_genes_detected",
    "date",
)


class SampleTable:
    """All samples of a release.

    Raises
    ------
    ArtifactError
        If two artefacts disagree about the order or number of samples.
    """

    def __init__(self, release: Release) -> None:
        samples = release.table("samples.parquet")
        landscape = release.table("landscape.parquet", columns=["sample_id", "x", "y", "cluster"])
        captions = release.table("captions.parquet", columns=["sample_id", "caption"])
        for name, table in (("landscape.parquet", landscape), ("captions.parquet", captions)):
            if not table["sample_id"].equals(samples["sample_id"]):
                raise ArtifactError(f"{name} and samples.parquet list other samples or another order.", kind="corrupt")
        if "date" not in samples.column_names:  # releases built before dates were kept
            samples = samples.append_column("date", pa.nulls(len(samples), pa.string()))
        series = release.table("series.parquet", columns=["series_id", "title", "n_samples"]).to_pydict()
        self.series_titles: dict[str, str] = dict(zip(series["series_id"], series["title"], strict=True))
        self.series_sizes: dict[str, int] = dict(zip(series["series_id"], series["n_samples"], strict=True))
        self._folded_series = {name.casefold(): name for name in self.series_sizes}
        labels = release.table("labels.parquet", columns=["cluster", "label"]).to_pydict()
        self.names = ClusterNames(dict(zip(labels["cluster"], labels["label"], strict=True)))
        self.table: pa.Table = samples.append_column("caption", captions["caption"]).combine_chunks()
        self.x = landscape["x"].to_numpy()
        self.y = landscape["y"].to_numpy()
        self.cluster = landscape["cluster"].to_numpy()

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self.table.num_rows)

    def row(self, accession: str) -> int:
        """Return the row of a sample; case and surrounding space do not matter.

        Raises
        ------
        NotFoundError
            With the nearest accessions of the atlas in ``details['near_matches']``, or the series in ``details['series']``
            if it names one.
        """
        wanted = valid_utf8(accession.strip())
        found = self.find(wanted)
        if found is not None:
            return found
        series = self.find_series(wanted)
        if series is not None:
            raise _a_series(series, n_samples=self.series_sizes[series])
        raise _unknown(wanted, "is not a sample", among=(self._accessions,))

    def find(self, accession: str) -> int | None:
        """Return the row of a sample, or ``None``; one that is spelled just so goes before one that differs in case."""
        return self._accessions.find(accession)

    def find_series(self, accession: str) -> str | None:
        """Return a series' accession as the atlas spells it, or ``None``; case does not matter."""
        if accession in self.series_sizes:
            return accession
        return self._folded_series.get(accession.casefold())

    def missing(self, accession: str) -> NotFoundError:
        """Return the error for an accession that names neither a sample nor a series here, with near ones."""
        return _unknown(
            accession, "is neither a sample nor a series", among=(self._accessions, self._series_accessions)
        )

    def missing_series(self, accession: str) -> NotFoundError:
        """Return the error for an accession that names no series here, with near ones."""
        return _unknown(accession, "is not a series", among=(self._series_accessions,))

    def named(self, accession: str) -> np.ndarray | None:
        """Return the row of the sample, or the rows of the series, of this name, ascending; ``None`` if there is none."""
        series = self.find_series(accession)
        if series is not None:
            return self.rows_of_series(series)
        row = self.find(accession)
        return None if row is None else np.array([row])

    def rows_of_series(self, series: str) -> np.ndarray:
        """Return the rows whose samples belong to ``series``, (n,) int64, ascending."""
        return self.series.rows_of(valid_utf8(series))

    def members(self, cluster: int) -> np.ndarray:
        """Return the rows of a cluster, (n,) int64, ascending; empty if there is no such cluster."""
        order, starts = self._by_cluster
        if not 0 <= cluster < starts.size - 1:
            return np.empty(0, dtype=np.int64)
        return order[starts[cluster] : starts[cluster + 1]]

    def series_of(self, row: int) -> tuple[str, ...]:
        """Return the series of one sample."""
        return tuple(self.table["series_ids"][row].as_py() or ())

    def series_title(self, series: str) -> str:
        """Return the title of a series, empty if its source gives none."""
        return self.series_titles.get(series) or ""

    def categories(self, name: str) -> Categories:
        """Return one of the ``CATEGORICAL`` columns as numbered values."""
        return self._categories[name]

    @cached_property
    def series(self) -> Memberships:
        """The series of each sample, as numbered values."""
        return Memberships.of(self.table["series_ids"])

    def record(self, row: int) -> SampleRecord:
        """Return everything the atlas knows of one sample."""
        return self.records([row])[0]

    def records(self, rows: Sequence[int] | np.ndarray) -> tuple[SampleRecord, ...]:
        """Return everything the atlas knows of some samples, in the order asked for."""
        rows = np.asarray(rows, dtype=np.int64)
        columns = self._shown.take(pa.array(rows)).to_pydict()
        places = zip(self.cluster[rows].tolist(), self.x[rows].tolist(), self.y[rows].tolist(), strict=True)
        each = zip(*(columns[name] for name in _SHOWN), strict=True)
        return tuple(self._record(values, place) for values, place in zip(each, places, strict=True))

    def _record(self, values: tuple[Any, ...], place: tuple[int, float, float]) -> SampleRecord:
        raw = dict(zip(_SHOWN, values, strict=True))
        series = tuple(raw["series_ids"] or ())
        cluster, x, y = place
        return SampleRecord(
            accession=raw["sample_id"],
            id_kind=raw["id_kind"],
            series=series,
            title=raw["title"] or "",
            source_name=raw["source_name"] or "",
            characteristics=tuple(parse_characteristics(raw["characteristics"] or "")),
            organism=raw["organism"] or "",
            molecule=raw["molecule"] or "",
            tissue=raw["tissue"] or "",
            caption=raw["caption"] or "",
            unit=raw["unit"] or "",
            n_genes_detected=int(raw["n_genes_detected"] or 0),
            url=record_url(raw["sample_id"], raw["id_kind"]),
            series_urls=tuple(record_url(one) for one in series),
            cluster=cluster,
            cluster_label=self.names.label(cluster) or None,
            x=x,
            y=y,
            date=raw["date"] or None,
        )

    @cached_property
    def _shown(self) -> pa.Table:
        return self.table.select(list(_SHOWN))

    @cached_property
    def _categories(self) -> dict[str, Categories]:
        return {name: Categories.of(self.table[name]) for name in CATEGORICAL}

    @cached_property
    def _accessions(self) -> AccessionIndex:
        return AccessionIndex(self.table["sample_id"])

    @cached_property
    def _series_accessions(self) -> AccessionIndex:
        return AccessionIndex(list(self.series_sizes))

    @cached_property
    def _by_cluster(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.cluster, kind="stable")
        counts = np.bincount(self.cluster) if len(self) else np.zeros(0, dtype=np.int64)
        return order, np.concatenate([[0], np.cumsum(counts)])


def _a_series(series: str, *, n_samples: int) -> NotFoundError:
    return NotFoundError(
        f"{series!r} is a series of {n_samples:,} samples, not a sample. Ask for one of its samples, or for the series.",
        details={"accession": series, "series": series, "near_matches": []},
    )


def _unknown(accession: str, verdict: str, *, among: Sequence[AccessionIndex]) -> NotFoundError:
    near = list(near_matches(accession, [name for index in among for name in index.near(accession)]))
    hint = f" Near: {', '.join(near)}." if near else ""
    return NotFoundError(
        f"{accession[:80]!r} {verdict} of this atlas.{hint}",
        details={"accession": accession[:80], "near_matches": near},
    )
