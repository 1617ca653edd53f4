"""A small release repeated until it has any number of samples: real tables, model and vectors, made-up places and dates.

Run: python -m benchmarks.tiled_release --home HOME --n 650000 --port 8000   (serves it until it is stopped)

Twelve copies of the small map stand side by side, each with clusters of its own; a sample is repeated with a little noise in
its place. Only what the map asks for is there: no index, so `GET /v1/search` fails. For benchmarks of the map, where the full
release of that size is not at hand.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.atlas import Atlas
from atlas.release import Home, Release
from atlas.settings import Settings
from atlas.vectors.store import write_vectors

COPIES = 12
ACROSS = 4
JITTER = 0.02
UNDATED = 0.2


class TiledRelease:
    """Stands in for ``atlas.release.Release``; what it does not make, the small release answers."""

    def __init__(self, small: Release, n: int, folder: Path, *, seed: int = 0) -> None:
        self._small, self._folder, self.n = small, folder, n
        rng = np.random.default_rng(seed)
        n_small = small.manifest.n_samples
        self._copy = np.sort(rng.integers(0, COPIES, n))
        self._rows = rng.integers(0, n_small, n)
        self._rng = rng
        self.manifest = small.manifest.model_copy(update={"n_samples": n})
        vectors = np.load(small.checked("vectors.npy"), mmap_mode="r")
        write_vectors(folder / "vectors.npy", np.asarray(vectors)[self._rows])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._small, name)

    def checked(self, relative: str) -> Path:
        """Return a file: the vectors are those of this release, and no codes of others are at hand."""
        return self._folder / relative if relative == "vectors.npy" else self._small.checked(relative)

    def guarded(self, relative: str) -> tuple[Path, None]:
        """Return a file without a guard of its blocks."""
        return self.checked(relative), None

    def table(self, relative: str, *, columns: list[str] | None = None) -> pa.Table:
        """Return a table with a row a sample, or a cluster, of this release."""
        small = self._small.table(relative)
        made = {
            "samples.parquet": self._samples,
            "captions.parquet": self._captions,
            "landscape.parquet": self._landscape,
            "labels.parquet": self._labels,
        }.get(relative, lambda table: table)(small)
        return made if columns is None else made.select(columns)

    @property
    def _names(self) -> pa.Array:
        return pa.array([f"GSM{10_000_000 + row}" for row in range(self.n)])

    def _taken(self, table: pa.Table) -> pa.Table:
        found = table.take(pa.array(self._rows))
        return found.set_column(found.column_names.index("sample_id"), "sample_id", self._names)

    def _samples(self, table: pa.Table) -> pa.Table:
        found = self._taken(table)
        months = self._rng.integers(12 * 108, 12 * 126, self.n)
        dates = [f"{1900 + month // 12}-{month % 12 + 1:02d}" for month in range(12 * 126)]
        named = pa.array(dates).take(pa.array(months, mask=self._rng.random(self.n) < UNDATED))
        kept = found.drop_columns(["date"]) if "date" in found.column_names else found
        return kept.append_column("date", named)

    def _captions(self, table: pa.Table) -> pa.Table:
        return self._taken(table)

    def _landscape(self, table: pa.Table) -> pa.Table:
        x, y = (table[axis].to_numpy() for axis in "xy")
        wide, tall = np.ptp(x) * 1.05, np.ptp(y) * 1.05
        noise = self._rng.normal(0, JITTER, (2, self.n)) * [[wide], [tall]]
        n_clusters = int(table["cluster"].to_numpy().max()) + 1
        return pa.table({
            "sample_id": self._names,
            "x": (x[self._rows] + self._copy % ACROSS * wide + noise[0]).astype(np.float32),
            "y": (y[self._rows] + self._copy // ACROSS * tall + noise[1]).astype(np.float32),
            "cluster": (table["cluster"].to_numpy()[self._rows] + self._copy * n_clusters).astype(np.int32),
        })  # fmt: skip

    def _labels(self, table: pa.Table) -> pa.Table:
        counts = np.bincount(self.table("landscape.parquet")["cluster"].to_numpy())
        rows: list[Mapping[str, Any]] = table.to_pylist()
        n_clusters = len(rows)
        made = [
            row | {"cluster": row["cluster"] + copy * n_clusters, "n_samples": int(counts[row["cluster"] + copy * n_clusters]),
                   "label": f"{row['label']} {copy + 1}"}  # type: ignore[operator]
            for copy in range(COPIES) for row in rows
        ]  # fmt: skip
        return pa.Table.from_pylist(made, schema=table.schema)


class _Nothing:
    """Jobs and label edits of a service that has none."""

    def version(self) -> str:
        return ""

    def for_release(self, release: object) -> tuple[()]:
        return ()

    def counts(self) -> dict[str, int]:
        return {}


class TiledBackend:
    """Opens the tiled release whatever it is asked for."""

    jobs = labels = _Nothing()

    def __init__(self, settings: Settings, n: int, folder: Path) -> None:
        self._settings, self._n, self._folder = settings, n, folder

    def open(self, release: str) -> Atlas:
        """Return the atlas, with what the map needs loaded."""
        small = Release.open(Home(self._settings.home_path), release)
        atlas = Atlas(self._settings, TiledRelease(small, self._n, self._folder))  # type: ignore[arg-type]
        atlas.opened.vector("warm")
        _ = atlas.map_layout(), atlas.opened.clusters.centres, atlas.opened.terms, atlas.opened.samples.series
        return atlas

    def database_problem(self, release: str) -> str:
        """Say that there is no database."""
        return "none in this benchmark"

    def close(self) -> None:
        """Nothing is held."""


def main() -> None:
    import uvicorn

    from api.main import SERVER_OPTIONS, create_app

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="home of the small release")
    parser.add_argument("--n", type=int, default=650_000)
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=options.home)
        app = create_app(settings, lambda given: TiledBackend(given, options.n, Path(folder)))  # type: ignore[arg-type,return-value]
        uvicorn.run(app, port=options.port, log_level="warning", **SERVER_OPTIONS)


if __name__ == "__main__":
    main()
