"""Stability of clusters: overlaps against a plain count, planted groups against noise, repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import ConfigError
from atlas.landscape.communities import CommunityParameters, find_communities
from atlas.landscape.neighbours import NeighbourGraph
from atlas.landscape.stability import ResamplingPlan, best_jaccard, induced, resampled_overlaps, summarise


def graph(groups: np.ndarray, *, k: int = 5, seed: int = 0) -> NeighbourGraph:
    """Every row lists ``k`` random others of its group."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.choice(np.setdiff1d(np.flatnonzero(groups == group), [row]), k, replace=False)
        for row, group in enumerate(groups)
    ]
    return NeighbourGraph(np.array(rows, dtype=np.int32), np.ones((len(groups), k), dtype=np.float32))


def test_best_overlap_equals_a_plain_count() -> None:
    rng = np.random.default_rng(1)
    clusters, found = rng.integers(0, 6, 200), rng.integers(0, 9, 200)
    clusters[clusters == 4] = 0  # one cluster has no member left

    def plain(cluster: int) -> float:
        mine = set(np.flatnonzero(clusters == cluster).tolist())
        others = [set(np.flatnonzero(found == other).tolist()) for other in range(9)]
        return max(len(mine & other) / len(mine | other) for other in others) if mine else np.nan

    expected = [plain(cluster) for cluster in range(7)]
    np.testing.assert_allclose(best_jaccard(clusters, found, n_clusters=7), expected, rtol=1e-6)


def test_induced_edges_are_those_between_kept_rows() -> None:
    edges = np.array([[0, 1], [1, 3], [2, 4], [3, 4]])
    assert induced(edges, np.array([1, 3, 4]), n=5).tolist() == [[0, 1], [1, 2]]
    assert induced(edges, np.array([2]), n=5).shape == (0, 2)


def test_planted_groups_are_stable_and_pieces_of_one_blob_are_not() -> None:
    groups = np.repeat([0, 1, 2], [60, 50, 90])
    made = graph(groups)
    planted = resampled_overlaps(made, groups, CommunityParameters(), plan=ResamplingPlan(5))
    assert planted.shape == (5, 3)
    halves = np.arange(200) % 2  # clusters that follow nothing in the graph
    arbitrary = resampled_overlaps(made, halves, CommunityParameters(), plan=ResamplingPlan(5))
    assert summarise(planted)[0].min() > 0.8 > 0.6 > summarise(arbitrary)[0].max()


def test_resampling_repeats_and_follows_the_seed() -> None:
    made = graph(np.zeros(80, dtype=int), k=3)
    clusters = find_communities(made)
    first, again, other = (
        resampled_overlaps(made, clusters, CommunityParameters(seed=seed), plan=ResamplingPlan(3)) for seed in (0, 0, 7)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_everything_kept_finds_the_same_clusters() -> None:
    groups = np.repeat([0, 1], [40, 30])
    overlaps = resampled_overlaps(graph(groups, k=8), groups, CommunityParameters(), plan=ResamplingPlan(2, share=1.0))
    assert (overlaps == 1).all()


@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_atlases_have_an_answer(n: int) -> None:
    indices = (np.arange(n)[:, None] + 1) % n if n > 1 else np.empty((1, 0))
    made = NeighbourGraph(indices.astype(np.int32), np.ones(indices.shape, dtype=np.float32))
    overlaps = resampled_overlaps(made, find_communities(made), CommunityParameters())
    assert overlaps.shape[0] == 20
    assert made.edges.shape == (n - 1, 2)


def test_a_cluster_never_drawn_has_no_stability() -> None:
    mean, low = summarise(np.array([[np.nan, 0.5], [np.nan, 1.0]], dtype=np.float32))
    assert np.isnan([mean[0], low[0]]).all()
    assert (mean[1], low[1]) == (0.75, pytest.approx(0.525))


@pytest.mark.parametrize("plan", [ResamplingPlan(0), ResamplingPlan(5, share=0.0), ResamplingPlan(5, share=1.5)])
def test_impossible_plans_are_refused(plan: ResamplingPlan) -> None:
    with pytest.raises(ConfigError):
        resampled_overlaps(graph(np.zeros(9, dtype=int)), np.zeros(9, dtype=int), CommunityParameters(), plan=plan)
