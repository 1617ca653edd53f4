"""The samples of an open release as columns: look-ups by accession, filters, and the records that answers show.

In: ``samples.parquet``, ``series.parquet``, ``captions.parquet``, ``landscape.parquet``, ``labels.parquet`` of one release.
Invariant: row i of every column is row i of ``vectors.npy``.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.accessions import near_matches, parse_characteristics, record_url
from atlas.answers import SampleRecord
from atlas.errors import ArtifactError, NotFoundError
from atlas.queries import storable
from atlas.release import Release


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
        series = release.table("series.parquet", columns=["series_id", "title", "n_samples"]).to_pydict()
        self.series_titles: dict[str, str] = dict(zip(series["series_id"], series["title"], strict=True))
        self.series_sizes: dict[str, int] = dict(zip(series["series_id"], series["n_samples"], strict=True))
        self._folded_series = {name.casefold(): name for name in self.series_sizes}
        labels = release.table("labels.parquet", columns=["cluster", "label"]).to_pydict()
        self.cluster_labels: dict[int, str] = dict(zip(labels["cluster"], labels["label"], strict=True))
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
            With the nearest accessions of the atlas in ``details['near_matches']``.
        """
        wanted = storable(accession.strip())
        found = self.find(wanted)
        if found is None:
            raise _unknown(wanted, "is not a sample", among=self.table["sample_id"].to_pylist())
        return found

    def find(self, accession: str) -> int | None:
        """Return the row of a sample, or ``None``."""
        accession = storable(accession)
        column = self.table["sample_id"]
        row = pc.index(column, accession).as_py()
        if row < 0:
            row = pc.index(pc.utf8_upper(column), accession.upper()).as_py()
        return None if row < 0 else int(row)

    def find_series(self, accession: str) -> str | None:
        """Return a series' accession as the atlas spells it, or ``None``; case does not matter."""
        if accession in self.series_sizes:
            return accession
        return self._folded_series.get(accession.casefold())

    def missing(self, accession: str) -> NotFoundError:
        """Return the error for an accession that names neither a sample nor a series here, with near ones."""
        names = self.table["sample_id"].to_pylist() + list(self.series_sizes)
        return _unknown(accession, "is neither a sample nor a series", among=names)

    def rows_of_series(self, series: str) -> np.ndarray:
        """Return the rows whose samples belong to ``series``, (n,) int64, ascending."""
        flat = pc.list_flatten(self.table["series_ids"])
        parents = pc.list_parent_indices(self.table["series_ids"])
        return np.unique(parents.filter(pc.equal(flat, storable(series))).to_numpy())

    def series_of(self, row: int) -> tuple[str, ...]:
        """Return the series of one sample."""
        return tuple(self.table["series_ids"][row].as_py() or ())

    def series_title(self, series: str) -> str:
        """Return the title of a series, empty if its source gives none."""
        return self.series_titles.get(series, "")

    def record(self, row: int) -> SampleRecord:
        """Return everything the atlas knows of one sample."""
        raw = {name: self.table[name][row].as_py() for name in self.table.column_names}
        series = tuple(raw["series_ids"] or ())
        cluster = int(self.cluster[row])
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
            cluster_label=self.cluster_labels.get(cluster),
            x=float(self.x[row]),
            y=float(self.y[row]),
        )


def _unknown(accession: str, verdict: str, *, among: list[str]) -> NotFoundError:
    near = list(near_matches(accession, among))
    hint = f" Near: {', '.join(near)}." if near else ""
    return NotFoundError(
        f"{accession[:80]!r} {verdict} of this atlas.{hint}",
        details={"accession": accession[:80], "near_matches": near},
    )
