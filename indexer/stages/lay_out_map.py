"""Stage ``lay_out_map``: two coordinates for every sample.

In: ``samples.parquet``, ``vectors.npy``, ``neighbours.npz``, ``communities.parquet``. Out: ``landscape.parquet``:
sample_id, row, x, y, cluster.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.landscape.layout import LayoutParameters, lay_out
from atlas.landscape.neighbours import NeighbourGraph
from atlas.vectors.store import VectorStore
from indexer.stage import BuildRequest, StageContext, StageResult


class LayOutMap:
    """Draw the map by UMAP on the release's own graph."""

    name = "lay_out_map"
    version = 2
    inputs: tuple[str, ...] = ("samples.parquet", "vectors.npy", "neighbours.npz", "communities.parquet")
    outputs: tuple[str, ...] = ("landscape.parquet",)

    def __init__(self, parameters: LayoutParameters | None = None) -> None:
        self.parameters = parameters or LayoutParameters()

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the layout's parameters and seed."""
        return asdict(replace(self.parameters, seed=request.seed))

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return nothing: all it reads lies in the release."""
        return ()

    def run(self, ctx: StageContext) -> StageResult:
        """Lay out, and join coordinates and clusters by sample."""
        graph = NeighbourGraph.load(ctx.folder / "neighbours.npz")
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            layout = lay_out(store, graph, replace(self.parameters, seed=ctx.request.seed))
        communities = pq.read_table(ctx.folder / "communities.parquet", columns=["sample_id", "row", "cluster"])
        table = pa.table(
            {
                "sample_id": communities["sample_id"],
                "row": communities["row"],
                "x": layout.xy[:, 0],
                "y": layout.xy[:, 1],
                "cluster": communities["cluster"],
            }
        )
        pq.write_table(table, ctx.out / "landscape.parquet")
        notes = {"method": layout.method, "deterministic": layout.deterministic}
        return StageResult(n_in=graph.n, n_out=graph.n, notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read back: every sample once, in order, with finite coordinates."""
        table = pq.read_table(ctx.out / "landscape.parquet")
        samples = pq.read_table(ctx.folder / "samples.parquet", columns=["sample_id"])
        xy = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
        if not table["sample_id"].equals(samples["sample_id"]) or not np.isfinite(xy).all():
            raise ArtifactError("landscape.parquet does not give each sample finite coordinates.", kind="corrupt")


STAGE = LayOutMap()
