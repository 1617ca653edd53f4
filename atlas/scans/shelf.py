"""The sweeps at hand for one release: those it was built with, and ad-hoc lists worked off for it later.

In: ``<release>/scans/<vocabulary>/`` and ``<home>/scans/<release>/<key>/``. Out: the records of ``atlas.answers``. Reading
needs neither the model nor a database, and samples' scores for ``term_scores`` alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.accessions import near_matches
from atlas.answers import (
    ScanCell,
    ScanMatrix,
    ScanReport,
    ScanSamples,
    ScanSummary,
    ScanTerm,
    ScanTermReport,
)
from atlas.errors import ArtifactError, NotFoundError
from atlas.release import Release
from atlas.scans.files import TABLES, read_summary
from atlas.scans.ground import over
from atlas.texts import valid_utf8
from atlas.vectors.store import VectorStore

logger = logging.getLogger(__name__)

MOST_TERMS = 500
"""Most terms of a matrix: a picture of more cannot be read."""
_KEY = re.compile(r"[0-9a-f]{16}")


class ScanShelf:
    """The sweeps of one open release.

    Parameters
    ----------
    release
        The open release.
    home
        Folder with ``scans/<release>/<key>/``.
    labels
        Gives the labels of the clusters as they are now (a person may have edited one); default: the release's own.
    score
        Gives every sample's cosine to a (dim,) unit vector, for colours; default: exact, from all vectors of the release.
    """

    def __init__(
        self,
        release: Release,
        home: Path,
        *,
        labels: Callable[[], Mapping[int, str]] | None = None,
        score: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._release = release
        self._home = home / "scans" / release.name
        self._own = labels or self._machine_labels
        self._score = score or self._exact_scores

    def names(self) -> tuple[str, ...]:
        """Return the names of all sweeps: vocabularies of the release first, then keys of ad-hoc lists."""
        return tuple(self._folders())

    def summaries(self) -> tuple[ScanSummary, ...]:
        """Return all sweeps, those of the release first, then ad-hoc ones, newest first; one that cannot be read is left out."""
        found = [summary for folder in self._folders().values() if (summary := self._readable(folder)) is not None]
        built = [summary for summary in found if summary.stored == "release"]
        later = [summary for summary in found if summary.stored == "home"]
        return (*built, *sorted(later, key=lambda summary: summary.created_at or "", reverse=True))

    def _readable(self, folder: Path) -> ScanSummary | None:
        try:
            return self._summary(folder)
        except ArtifactError as error:
            logger.warning("a sweep is left out of the list: %s", error.message)
            return None

    def report(self, name: str, *, n_top: int = 5) -> ScanReport:
        """Return the terms of a sweep, best first, and the ``n_top`` terms with the largest effect of each cluster."""
        folder = self._folder(name)
        labels = self._own()
        terms = tuple(_term(row, labels) for row in _read(folder, "terms").to_pylist())
        return ScanReport(self._summary(folder), terms, self._top_cells(folder, n_top=n_top, labels=labels))

    def term(self, name: str, term: str) -> ScanTermReport:
        """Return one term of a sweep in every cluster, largest effect first; case does not matter."""
        folder = self._folder(name)
        row, record = self._find(folder, name, term)
        summary, labels = self._summary(folder), self._own()
        cells = _cells_of(folder, [row], n_clusters=summary.n_clusters).sort_by([("effect", "descending")])
        return ScanTermReport(summary, _term(record, labels), tuple(_cell(one, labels) for one in cells.to_pylist()))

    def cluster(self, name: str, cluster: int, *, n_top: int | None = None) -> tuple[ScanCell, ...]:
        """Return the terms of a sweep in one cluster, largest effect first; all of them, or the first ``n_top``."""
        folder = self._folder(name)
        n_clusters, labels = self._summary(folder).n_clusters, self._own()
        if not 0 <= cluster < n_clusters:
            raise NotFoundError(
                f"There is no cluster {cluster}; this release has clusters 0 to {n_clusters - 1}.",
                details={"cluster": cluster, "n_clusters": n_clusters},
            )
        with _readable(folder, "clusters.parquet") as path:
            cells = pq.read_table(path, filters=[("cluster", "=", cluster)])
        best = cells.sort_by([("effect", "descending")]).slice(0, n_top)
        return tuple(_cell(one, labels) for one in best.to_pylist())

    def matrix(self, name: str, *, max_terms: int = 60) -> ScanMatrix:
        """Return the best ``max_terms`` terms x all clusters, similar ones beside each other."""
        folder = self._folder(name)
        summary, labels = self._summary(folder), self._own()
        n, k = min(max_terms, MOST_TERMS, summary.n_terms), summary.n_clusters
        cells = _cells_of(folder, range(n), n_clusters=k)
        grid = {column: _square(cells, column, k) for column in ("effect", "q_value", "q_within")}
        terms = np.asarray(cells["term"].to_pylist(), dtype=object).reshape(n, k)[:, 0]
        rows, columns = similar_order(grid["effect"]), similar_order(grid["effect"].T)
        picked = {column: values[np.ix_(rows, columns)] for column, values in grid.items()}
        return ScanMatrix(
            summary=summary,
            terms=tuple(terms[rows]),
            clusters=tuple(int(one) for one in columns),
            cluster_labels=tuple(labels.get(int(one), "") for one in columns),
            effects=tuple(map(tuple, np.round(picked["effect"], 4).tolist())),
            q_values=tuple(tuple(None if one != one else one for one in row) for row in picked["q_value"].tolist()),
            q_within=tuple(map(tuple, picked["q_within"].tolist())),
        )

    def samples(self, name: str) -> ScanSamples:
        """Return, of each sample in the order of rows, the sum of z over the terms and its percentile."""
        folder = self._folder(name)
        table = _read(folder, "samples")
        return ScanSamples(
            summary=self._summary(folder),
            accession=table["sample_id"].to_pylist(),
            sum_z=[_rounded(one, 4) for one in table["sum_z"].to_pylist()],
            percentile=[_rounded(one, 2) for one in table["percentile"].to_pylist()],
        )

    def sums(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`samples` does as two arrays, not rounded: sums of z, and percentiles, (n_samples,) float32."""
        with _readable(self._folder(name), "samples.parquet") as path:
            table = pq.read_table(path, columns=["sum_z", "percentile"])
        return table["sum_z"].to_numpy(), table["percentile"].to_numpy()

    def term_scores(self, name: str, term: str) -> np.ndarray:
        """Return the z of one term for every sample, (n_samples,) float32, as exact as ``score`` is."""
        folder = self._folder(name)
        row, record = self._find(folder, name, term)
        with _readable(folder, "vectors.npy") as path:
            vector = np.array(np.load(path, mmap_mode="r", allow_pickle=False)[row], dtype=np.float32)
        vector /= max(float(np.linalg.norm(vector)), float(np.finfo(np.float32).tiny))
        scores = self._score(vector).astype(np.float64)
        scale = over(np.array([record["sd_similarity"]]))[0]
        return np.asarray((scores - record["mean_similarity"]) * scale, dtype=np.float32)

    def tables(self, name: str) -> dict[str, Path]:
        """Return the parquet files of a sweep: ``terms``, ``clusters`` (terms x clusters), ``samples``."""
        folder = self._folder(name)
        return {table: folder / f"{table}.parquet" for table in TABLES}

    def _folders(self) -> dict[str, Path]:
        """Return name -> folder; a folder without ``scan.json`` is being written or removed."""
        built = self._release.folder / "scans"
        found = {path.parent.name: path.parent for path in sorted(built.glob("*/scan.json"))}
        later = {path.parent.name: path.parent for path in sorted(self._home.glob("*/scan.json"))}
        return found | {name: path for name, path in later.items() if _KEY.fullmatch(name) and name not in found}

    def _folder(self, name: str) -> Path:
        folders = self._folders()
        if name not in folders:
            at_hand = ", ".join(folders) or "none"
            raise NotFoundError(
                f"There is no scan {name[:100]!r} of release {self._release.name!r}; at hand: {at_hand}. "
                "Make one with `geo-atlas scan --terms FILE`.",
                details={"scan": name[:100], "near_matches": list(near_matches(name[:100], list(folders)))},
            )
        if folders[name].is_relative_to(self._release.folder):
            self._release.checked(f"scans/{name}")
        return folders[name]

    def _summary(self, folder: Path) -> ScanSummary:
        return read_summary(folder, release=self._release.name)

    def _find(self, folder: Path, name: str, term: str) -> tuple[int, dict[str, Any]]:
        """Return row and record of a term."""
        table = _read(folder, "terms")
        wanted = valid_utf8(" ".join(term.split()))
        row = pc.index(table["term"], wanted).as_py()
        if row < 0:
            row = pc.index(pc.utf8_lower(table["term"]), wanted.lower()).as_py()
        if row < 0:
            near = list(near_matches(wanted[:100], table["term"].to_pylist()))
            hint = f" Near: {', '.join(near)}." if near else ""
            raise NotFoundError(
                f"{wanted[:100]!r} is not a term of the scan {name!r}.{hint}",
                details={"term": wanted[:100], "near_matches": near},
            )
        return row, table.slice(row, 1).to_pylist()[0]

    def _top_cells(self, folder: Path, *, n_top: int, labels: Mapping[int, str]) -> tuple[ScanCell, ...]:
        k = self._summary(folder).n_clusters
        with _readable(folder, "clusters.parquet") as path:
            effects = pq.read_table(path, columns=["effect"])["effect"].to_numpy().reshape(-1, k)
        best = np.argsort(-effects, axis=0, kind="stable")[:n_top]
        rows, places = np.unique(best, return_inverse=True)
        cells = _cells_of(folder, rows.tolist(), n_clusters=k)
        picked = (places.reshape(best.shape) * k + np.arange(k)).T.reshape(-1)
        return tuple(_cell(one, labels) for one in cells.take(pa.array(picked)).to_pylist())

    def _exact_scores(self, vector: np.ndarray) -> np.ndarray:
        with VectorStore.open(self._release.checked("vectors.npy")) as store:
            return store.scores(vector)

    def _machine_labels(self) -> Mapping[int, str]:
        table = self._release.table("labels.parquet", columns=["cluster", "label"]).to_pydict()
        return dict(zip(table["cluster"], table["label"], strict=True))


def similar_order(values: np.ndarray) -> np.ndarray:
    """Return an order of the rows that puts similar ones beside each other, (n,) int64; average linkage, leaves ordered."""
    if values.shape[0] < 3:
        return np.arange(values.shape[0])
    from scipy.cluster.hierarchy import leaves_list, linkage

    return np.asarray(leaves_list(linkage(values.astype(np.float64), method="average", optimal_ordering=True)))


def _read(folder: Path, table: str) -> pa.Table:
    with _readable(folder, f"{table}.parquet") as path:
        return pq.read_table(path, use_threads=False)  # small: threads only cost time


@contextmanager
def _readable(folder: Path, name: str) -> Iterator[Path]:
    """Give the path of a file of a sweep; what goes wrong while it is read becomes an ``ArtifactError``."""
    try:
        yield folder / name
    except (OSError, EOFError, ValueError, IndexError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{name} of the scan {folder.name} cannot be read ({type(error).__name__}). Run the scan again.",
            kind="corrupt",
        ) from error


def _cells_of(folder: Path, rows: Iterable[int], *, n_clusters: int) -> pa.Table:
    """Return the cells of some terms (row numbers, ascending), all clusters of each; reads only the parts they lie in."""
    wanted = np.asarray(list(rows), dtype=np.int64)
    parts = []
    with _readable(folder, "clusters.parquet") as path, pq.ParquetFile(path) as file:
        starts = np.cumsum([0] + [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
        if wanted.size and (int(wanted.max()) + 1) * n_clusters > starts[-1]:
            raise ValueError("rows are missing")
        for group in range(file.num_row_groups):
            inside = wanted[(wanted * n_clusters >= starts[group]) & (wanted * n_clusters < starts[group + 1])]
            if inside.size:
                places = (inside[:, None] * n_clusters + np.arange(n_clusters)).reshape(-1) - starts[group]
                parts.append(file.read_row_group(group, use_threads=False).take(pa.array(places)))
        return pa.concat_tables(parts) if parts else file.schema_arrow.empty_table()


def _square(cells: pa.Table, column: str, n_clusters: int) -> np.ndarray:
    return np.asarray(cells[column].to_numpy(zero_copy_only=False), dtype=np.float64).reshape(-1, n_clusters)


def _rounded(value: float, digits: int) -> float:
    return round(float(value), digits)


def _term(row: dict[str, Any], labels: Mapping[int, str]) -> ScanTerm:
    return ScanTerm(**_shown(row), top_cluster_label=labels.get(row["top_cluster"], ""))


def _cell(row: dict[str, Any], labels: Mapping[int, str]) -> ScanCell:
    return ScanCell(**_shown(row), cluster_label=labels.get(row["cluster"], ""))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Round all numbers but p and q, which may be small."""
    return {
        name: round(value, 6) if isinstance(value, float) and name not in _EXACT else value
        for name, value in row.items()
    }


_EXACT = frozenset({"p_value", "p_gaussian", "q_value", "q_within"})
