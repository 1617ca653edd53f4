"""Stage ``cluster_samples``: clusters of the neighbour graph by the Leiden algorithm, and how stable each of them is.

In: ``samples.parquet``, ``neighbours.npz``. Out: ``communities.parquet``: sample_id, row, cluster (0 = largest);
``stability.parquet``: cluster, resample, overlap.
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
from atlas.landscape.stability import ResamplingPlan, resampled_overlaps
from indexer.stage import BuildRequest, StageContext, StageResult

STABILITY = pa.schema([("cluster", pa.int32()), ("resample", pa.int16()), ("overlap", pa.float32())])


class ClusterSamples:
    """Cluster the samples; the engine, resolution and seed are recorded."""

    name = "cluster_samples"
    version = 2
    inputs: tuple[str, ...] = ("samples.parquet", "neighbours.npz")
    outputs: tuple[str, ...] = ("communities.parquet", "stability.parquet")

    def __init__(
        self, parameters: CommunityParameters | None = None, *, resampling: ResamplingPlan | None = None
    ) -> None:
        self.parameters = parameters or CommunityParameters()
        self.resampling = resampling or ResamplingPlan()

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return engine, resolution, passes, seed and the resampling."""
        return {**asdict(self._parameters(request)), "resampling": asdict(self.resampling)}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return nothing: all it reads lies in the release."""
        return ()

    def run(self, ctx: StageContext) -> StageResult:
        """Cluster the graph, number clusters by size, cluster random parts of it again."""
        graph = NeighbourGraph.load(ctx.folder / "neighbours.npz")
        parameters = self._parameters(ctx.request)
        clusters = find_communities(graph, parameters)
        ids = pq.read_table(ctx.folder / "samples.parquet", columns=["sample_id"])["sample_id"]
        table = pa.table({"sample_id": ids, "row": np.arange(graph.n, dtype=np.int32), "cluster": clusters})
        pq.write_table(table, ctx.out / "communities.parquet")
        with ctx.progress(self.resampling.n_resamples, "resamples") as bar:
            overlaps = resampled_overlaps(graph, clusters, parameters, plan=self.resampling, advance=bar.advance)
        pq.write_table(_long(overlaps), ctx.out / "stability.parquet")
        sizes = np.bincount(clusters)
        notes = {
            "n_clusters": int(sizes.size),
            "largest": int(sizes.max()),
            "smallest": int(sizes.min()),
            "modularity": round(modularity(graph, clusters), 6),
            "stability": round(float(np.nanmean(overlaps)), 4),
            "deterministic": True,
        }
        return StageResult(n_in=graph.n, n_out=graph.n, notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read back: every sample once, clusters numbered without gaps by decreasing size; overlaps in [0, 1]."""
        table = pq.read_table(ctx.out / "communities.parquet")
        samples = pq.read_table(ctx.folder / "samples.parquet", columns=["sample_id"])
        clusters = table["cluster"].to_numpy()
        if not table["sample_id"].equals(samples["sample_id"]) or not np.array_equal(
            clusters, number_by_size(clusters)
        ):
            raise ArtifactError(
                "communities.parquet does not give each sample one cluster numbered by size.", kind="corrupt"
            )

        stability = pq.read_table(ctx.out / "stability.parquet")
        overlaps = stability["overlap"].drop_null().to_numpy()
        whole = stability.num_rows == (int(clusters.max()) + 1) * self.resampling.n_resamples
        if stability.schema != STABILITY or not whole or not ((overlaps >= 0) & (overlaps <= 1)).all():
            raise ArtifactError("stability.parquet does not give each cluster an overlap a resample.", kind="corrupt")

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


def _long(overlaps: np.ndarray) -> pa.Table:
    """Return one row a cluster and resample; no overlap where no member of the cluster was drawn."""
    n_resamples, n_clusters = overlaps.shape
    columns = {
        "cluster": np.tile(np.arange(n_clusters, dtype=np.int32), n_resamples),
        "resample": np.repeat(np.arange(n_resamples, dtype=np.int16), n_clusters),
        "overlap": pa.array(overlaps.ravel(), pa.float32(), from_pandas=True),
    }
    return pa.table(columns, schema=STABILITY)


STAGE = ClusterSamples()
