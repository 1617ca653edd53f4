"""Places on the map: the rule on hand-made maps, and the held-out measurement on a planted one."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.search.placement import place
from benchmarks.placement import METHODS, difference, folds, judge

X = np.array([0.0, 1.0, 2.0, 10.0, 11.0])
Y = np.array([0.0, 2.0, 4.0, 10.0, 10.0])
CLUSTER = np.array([0, 0, 0, 1, 1], dtype=np.int32)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([0, 3, 1], (0.5, 1.0, 0)),
        ([3, 0, 4], (10.5, 10.0, 1)),
        ([3], (10.0, 10.0, 1)),
        ([4, 0], (0.0, 0.0, 0)),  # equally many: the larger cluster, which has the lower number
    ],
)
def test_place_is_the_mean_inside_the_majority_cluster(rows: list[int], expected: tuple[float, float, int]) -> None:
    found = place(np.array(rows), x=X, y=Y, cluster=CLUSTER)
    assert (found.x, found.y, found.cluster) == expected


def test_series_that_share_a_sample_are_held_out_together() -> None:
    series = [("A",), ("A", "B"), ("B", "C"), ("C",), ("D",), ("E",), (), ()]
    fold = folds(series, 2)
    assert len(set(fold[:4])) == 1
    assert set(fold[4:]) == {1 - fold[0]}


def test_every_method_brings_held_out_samples_of_two_far_groups_home() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(160) % 2
    vectors = np.eye(6)[group] + 0.15 * rng.normal(size=(160, 6))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    tissue = np.array(["heart", "liver"])[group]
    tissue[0] = ""
    held = np.arange(160) < 20
    judged = judge(vectors, tissue, held)
    assert set(judged) == set(METHODS)
    for found in judged.values():
        assert np.isnan(found.tissue[0])
        assert np.nanmean(found.tissue) > 0.95
        assert 0.3 < found.kept.mean() <= 1


def test_difference_is_a_mean_over_series_with_its_interval() -> None:
    values, series = np.array([0.1, 0.1, 0.3, np.nan]), np.array(["a", "a", "b", "c"])
    assert difference(values, series).startswith("+0.200 (+0.100 to +0.300)")
    assert difference(np.zeros(4), series) == ""
