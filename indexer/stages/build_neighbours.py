"""Stage ``build_neighbours``: the k-nearest-neighbour graph that clusters and map are made of.

In: ``vectors.npy``, ``index/``. Out: ``neighbours.npz``. Exact up to ``exact_up_to`` samples; above, by the
index, with the recall measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.errors import ArtifactError
from atlas.landscape.neighbours import NeighbourGraph, build_graph, graph_recall
from atlas.vectors.faiss_index import open_index
from atlas.vectors.index import ExactIndex, VectorIndex
from atlas.vectors.store import VectorStore
from indexer.stage import BuildRequest, StageContext, StageResult


@dataclass(frozen=True)
class GraphParameters:
    """Neighbours of each sample, and up to how many samples they are found by a full scan."""

    k: int = 15
    exact_up_to: int = 100_000


class BuildNeighbours:
    """Find every sample's nearest samples."""

    name = "build_neighbours"
    version = 1
    inputs: tuple[str, ...] = ("vectors.npy", "index")
    outputs: tuple[str, ...] = ("neighbours.npz",)

    def __init__(self, parameters: GraphParameters | None = None) -> None:
        self.parameters = parameters or GraphParameters()

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return k, the limit of the exact scan, and the seed of the recall measurement."""
        return {**asdict(self.parameters), "seed": request.seed}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return nothing: all it reads lies in the release."""
        return ()

    def run(self, ctx: StageContext) -> StageResult:
        """Ask the engine for every row."""
        with VectorStore.open(ctx.folder / "vectors.npy") as store, ctx.progress(store.n, "samples") as bar:
            exact = store.n <= self.parameters.exact_up_to
            index: VectorIndex = ExactIndex(store) if exact else open_index(ctx.folder / "index", store)
            graph = build_graph(index, store, k=self.parameters.k, advance=bar.advance)
            recall = 1.0 if exact else graph_recall(graph, store, seed=ctx.request.seed)
        graph.save(ctx.out / "neighbours.npz")
        notes = {"k": graph.k, "engine": "exact" if exact else "index", "recall": recall}
        return StageResult(n_in=graph.n, n_out=graph.n, notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read the graph back: bounds, order, no sample its own neighbour, one row a sample."""
        graph = NeighbourGraph.load(ctx.out / "neighbours.npz")
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            if graph.n != store.n or graph.k != min(self.parameters.k, store.n - 1):
                raise ArtifactError(
                    f"neighbours.npz is {graph.n} x {graph.k}; expected {store.n} x {min(self.parameters.k, store.n - 1)}.",
                    kind="corrupt",
                )


STAGE = BuildNeighbours()
