from __future__ import annotations

from atlas.search.fusion import reciprocal_rank_fusion


def test_row_high_in_both_lists_wins_over_a_first_place_in_one() -> None:
    assert reciprocal_rank_fusion([[1, 2, 3], [4, 2, 5]], k=3)[0] == 2


def test_ties_are_broken_by_row_and_k_bounds_the_list() -> None:
    assert reciprocal_rank_fusion([[9, 3], [3, 9]], k=5) == [3, 9]
    assert reciprocal_rank_fusion([[7], [5]], k=1) == [5]


def test_one_list_keeps_its_order() -> None:
    assert reciprocal_rank_fusion([[5, 1, 4]], k=3) == [5, 1, 4]
