"""Stage ``cluster_samples``: clusters of the neighbour graph by the Leiden algorithm.

In: ``samples.parquet``, ``neighbours.npz``. Out: ``communities.parquet``: sample_id, row, cluster (0 = largest).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.landscape.communities import CommunityParameters, Engine, find_communities, modularity, number_by_size
from atlas.landscape.neighbours import NeighbourGraph
from indexer.stage import BuildRequest, StageContext, StageResult


class ClusterSamples:
    """Cluster the samples; the engine, resolution and seed are recorded."""

    name = "cluster_samples"
    version = 1
    inputs: tuple[str, ...] = ("samples.parquet", "neighbours.npz")
    outputs: tuple[str, ...] = ("communities.parquet",)

    def __init__(self, parameters: CommunityParameters | None = None) -> None:
        self.parameters = parameters or CommunityParameters()

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return engine, resolution, passes and seed."""
        return asdict(self._parameters(request))

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return nothing: all it reads lies in the release."""
        return ()

    def run(self, ctx: StageContext) -> StageResult:
        """Cluster the graph and number clusters by size."""
        graph = NeighbourGraph.load(ctx.folder / "neighbours.npz")
        clusters = find_communities(graph, self._parameters(ctx.request))
        ids = pq.read_table(ctx.folder / "samples.parquet", columns=["sample_id"])["sample_id"]
        table = pa.table({"sample_id": ids, "row": np.arange(graph.n, dtype=np.int32), "cluster": clusters})
        pq.write_table(table, ctx.out / "communities.parquet")
        sizes = np.bincount(clusters)
        notes = {
            "n_clusters": int(sizes.size),
            "largest": int(sizes.max()),
            "smallest": int(sizes.min()),
            "modularity": round(modularity(graph, clusters), 6),
            "deterministic": True,
        }
        return StageResult(n_in=graph.n, n_out=graph.n, notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read back: every sample once, clusters numbered without gaps by decreasing size."""
        table = pq.read_table(ctx.out / "communities.parquet")
        samples = pq.read_table(ctx.folder / "samples.parquet", columns=["sample_id"])
        clusters = table["cluster"].to_numpy()
        if not table["sample_id"].equals(samples["sample_id"]) or not np.array_equal(
            clusters, number_by_size(clusters)
        ):
            raise ArtifactError(
                "communities.parquet does not give each sample one cluster numbered by size.", kind="corrupt"
            )

    def _parameters(self, request: BuildRequest) -> CommunityParameters:
        own = self.parameters
        chosen = CommunityParameters(
            engine=cast("Engine", request.leiden or own.engine),  # check() refuses any other word
            resolution=own.resolution if request.resolution is None else request.resolution,
            seed=request.seed,
            n_iterations=own.n_iterations,
        )
        chosen.check()  # before the first stage runs, not an hour into the build
        return chosen


STAGE = ClusterSamples()
