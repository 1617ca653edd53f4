"""Stage ``build_neighbours``: the k-nearest-neighbour graph that clusters and map are made of.

In: ``vectors.npy``. Out: ``neighbours.npz``. Exact up to ``exact_up_to`` samples; above, by blocks of samples that lie near
each other, with the recall measured and held to a bar.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atlas.errors import ArtifactError
from atlas.landscape.block_graph import BlockPlan, build_block_graph
from atlas.landscape.neighbours import NeighbourGraph, build_graph, graph_recall
from atlas.vectors.index import ExactIndex
from atlas.vectors.store import VectorStore
from indexer.stage import BuildRequest, StageContext, StageResult

N_MEASURED = 500
"""Samples whose true neighbours are found to measure the recall."""


@dataclass(frozen=True)
class GraphParameters:
    """Neighbours of each sample, up to how many samples they are found by a full scan, how beyond, and the lowest recall."""

    k: int = 15
    exact_up_to: int = 20_000
    blocks: BlockPlan = field(default_factory=BlockPlan)
    recall_bar: float = 0.9


class BuildNeighbours:
    """Find every sample's nearest samples."""

    name = "build_neighbours"
    version = 2
    inputs: tuple[str, ...] = ("vectors.npy",)
    outputs: tuple[str, ...] = ("neighbours.npz",)

    def __init__(self, parameters: GraphParameters | None = None) -> None:
        self.parameters = parameters or GraphParameters()

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return k, how neighbours are found, the bar, and the seed."""
        return {**asdict(self.parameters), "seed": request.seed}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return nothing: all it reads lies in the release."""
        return ()

    def run(self, ctx: StageContext) -> StageResult:
        """Find the neighbours, and measure how many of them are the true ones."""
        own, seed = self.parameters, ctx.request.seed
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            exact = store.n <= own.exact_up_to
            with ctx.progress(store.n * (1 if exact else own.blocks.passes), "samples") as bar:
                if exact:
                    graph = build_graph(ExactIndex(store), store, k=own.k, advance=bar.advance)
                else:
                    graph = build_block_graph(store, k=own.k, plan=own.blocks, seed=seed, advance=bar.advance)
            recall = 1.0 if exact else graph_recall(graph, store, n=N_MEASURED, seed=seed)
        if recall < own.recall_bar:
            raise ArtifactError(
                f"The neighbour graph has recall {recall:.3f}, below {own.recall_bar}: clusters and map of it would mislead. "
                "Look in more lists (GraphParameters.blocks).",
                kind="corrupt",
                details={"recall": recall, "recall_bar": own.recall_bar},
            )
        graph.save(ctx.out / "neighbours.npz")
        notes: dict[str, Any] = {"k": graph.k, "engine": "exact" if exact else "blocks", "recall": recall}
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
