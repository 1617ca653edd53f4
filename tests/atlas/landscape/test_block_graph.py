"""The graph by blocks against a full scan: what it finds, how near, in which order; odd atlases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vector_cases import stored, study_vectors

from atlas.landscape.block_graph import BlockPlan, build_block_graph
from atlas.landscape.neighbours import build_graph, graph_recall
from atlas.vectors.index import ExactIndex

NARROW = BlockPlan(dims=16, list_dims=12, list_rows=40, n_probe=6, shortlist=30, spread=10, rounds=1)


def test_graph_by_blocks_finds_nearly_what_a_full_scan_finds(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(2_000, 24))
    counted: list[int] = []
    graph = build_block_graph(store, plan=NARROW, advance=counted.append)
    exact = build_graph(ExactIndex(store), store)
    graph.check(tmp_path)
    same = np.array([len(set(a) & set(b)) for a, b in zip(graph.indices, exact.indices, strict=True)]) / 15
    assert same.mean() > 0.95
    assert graph_recall(graph, store, n=2_000) == pytest.approx(same.mean(), abs=0.005)
    assert sum(counted) == NARROW.passes * 2_000
    for row in range(0, 2_000, 97):
        unit = store.rows(np.array([row]))[0]
        found = store.exact_scores(unit / np.linalg.norm(unit), graph.indices[row].astype(np.int64))
        assert np.allclose(graph.similarities[row], found, atol=1e-6)


def test_neighbours_of_neighbours_find_what_lists_cut_off(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(2_000, 24))
    once, twice = (
        graph_recall(build_block_graph(store, plan=BlockPlan(16, 12, 40, 2, 30, 20, rounds)), store)
        for rounds in (0, 1)
    )
    assert once < twice


def test_graph_by_blocks_is_exact_where_every_list_is_looked_at(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(300, 16))
    graph = build_block_graph(store, plan=BlockPlan(dims=16, list_rows=50, n_probe=99, shortlist=300, rounds=0))
    assert np.array_equal(graph.indices, build_graph(ExactIndex(store), store).indices)


def test_graph_by_blocks_of_copies_names_k_other_rows_in_row_order(tmp_path: Path) -> None:
    store = stored(tmp_path, np.tile(study_vectors(1, 8), (400, 1)))
    graph = build_block_graph(store, plan=NARROW)
    graph.check(tmp_path)
    assert all(len(set(row)) == 15 and list(row) == sorted(row) for row in graph.indices.tolist())


@pytest.mark.parametrize("n", [1, 2, 20])
def test_graph_by_blocks_of_few_rows(n: int, tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(n, 6))
    graph = build_block_graph(store)
    graph.check(tmp_path)
    assert graph.indices.shape == (n, min(15, n - 1))
