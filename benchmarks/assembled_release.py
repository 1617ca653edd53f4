"""A release of any size to ask questions of: everything that answers are made from, without the stages that only draw the map.

Run: python -m benchmarks.assembled_release --starter DIR --home HOME [--name assembled] [--clusters 400] [--without-catalog]

Samples, vectors, index, calibration, vocabularies and catalog are what `geo-atlas build --starter DIR` makes. Clusters, places
and labels are drawn by seed (whole studies, sizes falling as one over the rank): the service holds and counts them alike.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.settings import Settings
from indexer.plan import STAGES
from indexer.run import Builder
from indexer.stage import BuildRequest, StageContext, StageResult
from indexer.stages.label_clusters import SCHEMA as LABELS


class _Drawn:
    """A stand-in for a stage: no parameters but the number of clusters, no sources."""

    version = 1
    inputs: tuple[str, ...] = ("samples.parquet",)

    def __init__(self, n_clusters: int) -> None:
        self.n_clusters = n_clusters

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return how many clusters, and the seed."""
        return {"drawn": self.n_clusters, "seed": request.seed}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return none."""
        return ()

    def validate(self, ctx: StageContext) -> None:
        """Trust it."""


class DrawClusters(_Drawn):
    """Whole studies dealt out to clusters."""

    name = "cluster_samples"
    outputs = ("communities.parquet",)

    def run(self, ctx: StageContext) -> StageResult:  # noqa: D102
        samples = pq.read_table(ctx.folder / "samples.parquet", columns=["sample_id", "series_ids"])
        study = pa.array([ids[0] if ids else "" for ids in samples["series_ids"].to_pylist()]).dictionary_encode()
        shares = 1.0 / np.arange(1, self.n_clusters + 1)
        rng = np.random.default_rng([ctx.request.seed, 1])
        of_study = rng.choice(self.n_clusters, len(study.dictionary), p=shares / shares.sum())
        of_study[: self.n_clusters] = np.arange(min(self.n_clusters, of_study.size))  # none is empty
        clusters = of_study[study.indices.to_numpy()]
        order = np.argsort(np.argsort(-np.bincount(clusters, minlength=self.n_clusters), kind="stable"))
        columns = {"sample_id": samples["sample_id"], "row": np.arange(len(clusters), dtype=np.int32)}
        table = pa.table(columns | {"cluster": order[clusters].astype(np.int32)})
        pq.write_table(table, ctx.out / "communities.parquet")
        return StageResult(n_in=len(clusters), n_out=len(clusters))


class DrawMap(_Drawn):
    """Samples scattered around the place of their cluster."""

    name = "lay_out_map"
    inputs = ("communities.parquet",)
    outputs = ("landscape.parquet",)

    def run(self, ctx: StageContext) -> StageResult:  # noqa: D102
        table = pq.read_table(ctx.folder / "communities.parquet")
        rng = np.random.default_rng([ctx.request.seed, 2])
        places = rng.uniform(-15, 15, size=(self.n_clusters, 2))[table["cluster"].to_numpy()]
        xy = (places + rng.normal(0, 0.5, size=places.shape)).astype(np.float32)
        pq.write_table(
            table.append_column("x", [xy[:, 0]]).append_column("y", [xy[:, 1]]), ctx.out / "landscape.parquet"
        )
        return StageResult(n_in=table.num_rows, n_out=table.num_rows)


class DrawLabels(_Drawn):
    """Clusters called by their best term."""

    name = "label_clusters"
    inputs = ("samples.parquet", "communities.parquet", "keywords.parquet")
    outputs = ("labels.parquet",)

    def run(self, ctx: StageContext) -> StageResult:  # noqa: D102
        sizes = np.bincount(pq.read_table(ctx.folder / "communities.parquet")["cluster"].to_numpy())
        best = {
            row["cluster"]: row["term"] for row in reversed(pq.read_table(ctx.folder / "keywords.parquet").to_pylist())
        }
        first = pq.read_table(ctx.folder / "samples.parquet", columns=["series_ids"])["series_ids"][0].as_py()[0]
        plain = {
            "method": "deterministic",
            "evidence": "[]",
            "n_series": 1,
            "top_series": first,
            "top_series_share": 0.1,
        }
        rows = [
            dict.fromkeys(LABELS.names)
            | plain
            | {"cluster": i, "label": f"{i + 1}. {best.get(i, 'cluster')}", "n_samples": int(n), "single_study": False}
            for i, n in enumerate(sizes)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=LABELS), ctx.out / "labels.parquet")
        return StageResult(n_in=len(rows), n_out=len(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--name", default="assembled")
    parser.add_argument("--clusters", type=int, default=400)
    parser.add_argument("--without-catalog", action="store_true")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    drawn = {
        one.name: one for one in (DrawClusters(asked.clusters), DrawMap(asked.clusters), DrawLabels(asked.clusters))
    }
    left_out = ("build_neighbours", "scan_vocabulary")
    stages = [drawn.get(stage.name, stage) for stage in STAGES if stage.name not in left_out]
    request = BuildRequest(
        name=asked.name,
        home=asked.home.absolute(),
        model_dir=asked.starter / "model",
        settings=Settings(home=asked.home),
        starter=asked.starter,
        with_catalog=not asked.without_catalog,
    )
    Builder(request, stages).run()


if __name__ == "__main__":
    main()
