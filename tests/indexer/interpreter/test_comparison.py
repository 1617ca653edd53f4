"""Splits, measures and intervals of a comparison, each against a plain computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from atlas.errors import InputError
from indexer.interpreter.comparison import Outcome, difference, estimate, few, folds, kept, run

CODES = np.repeat([0, 1, 2], [20, 30, 10])


def outcome(*, wrong: float, seed: int = 0, n_seeds: int = 2) -> Outcome:
    rng = np.random.default_rng(seed)
    said = np.where(rng.random((n_seeds, 60)) < wrong, rng.integers(0, 3, (n_seeds, 60)), CODES)
    return Outcome(said, CODES)


def test_measures_are_those_of_a_library_in_the_mean_of_seeds() -> None:
    one = outcome(wrong=0.4)
    for name, plain in (
        ("accuracy", accuracy_score),
        ("precision", lambda t, p: precision_score(t, p, average="macro", zero_division=0)),
        ("recall", lambda t, p: recall_score(t, p, average="macro")),
        ("f1", lambda t, p: f1_score(t, p, average="macro")),
    ):
        assert one.measure(name) == pytest.approx(np.mean([plain(CODES, said) for said in one.predicted]))


def test_counted_cells_are_copied_cells() -> None:
    one, counts = outcome(wrong=0.3), np.random.default_rng(1).integers(0, 3, 60)
    copied = Outcome(np.repeat(one.predicted, counts, axis=1), np.repeat(CODES, counts))
    assert one.measure("f1", counts=counts) == pytest.approx(copied.measure("f1"))


def test_cell_that_was_not_judged_does_not_count() -> None:
    one = outcome(wrong=0.3)
    one.predicted[:, :20] = -1
    assert one.measure("accuracy") == pytest.approx(float((one.predicted[:, 20:] == CODES[20:]).mean()))


def test_label_of_which_no_cell_was_judged_weighs_nothing() -> None:
    one = outcome(wrong=0.0)
    one.predicted[:, :20] = -1
    one.predicted[:, 20] = 0  # one wrong answer of forty costs its own label alone
    assert one.measure("f1") == pytest.approx((2 * 29 / 59 + 1.0) / 2)


def test_interval_over_donors_is_wider_where_donors_differ() -> None:
    codes, groups = np.tile([0, 1], 60), np.repeat([f"d{i}" for i in range(6)], 20)
    said = np.where(np.isin(groups, ["d0", "d1"]), 1 - codes, codes)[None]
    cells, donors = (estimate(Outcome(said, codes, one), "accuracy", n_draws=300) for one in (None, groups))
    assert donors.value == cells.value
    assert donors.high - donors.low > 2 * (cells.high - cells.low)
    few_donors = estimate(Outcome(said, codes, np.repeat(["a", "b", "c"], 40)), "accuracy", n_draws=300)
    assert few_donors == cells


def test_every_cell_is_judged_once_and_donors_stay_whole() -> None:
    groups = np.array([f"d{i % 6}" for i in range(60)])
    for splits in (folds(CODES, groups, seed=1), folds(CODES, np.full(60, ""), seed=1)):
        assert sorted(np.concatenate([one.test for one in splits]).tolist()) == list(range(60))
        assert all(not set(one.train) & set(one.test) for one in splits)
    for one in folds(CODES, groups, seed=1):
        assert not set(groups[one.train]) & set(groups[one.test])


def test_few_cells_of_every_label_are_learned_from() -> None:
    (one,) = few(CODES, n_each=5, seed=3)
    assert np.bincount(CODES[one.train]).tolist() == [5, 5, 5]
    assert len(one.test) == 45
    assert not np.array_equal(one.train, few(CODES, n_each=5, seed=4)[0].train)


def test_better_method_is_better_by_a_paired_interval_and_equal_ones_by_nothing() -> None:
    good, bad = outcome(wrong=0.05), outcome(wrong=0.6, seed=1)
    better = difference(good, bad, n_draws=200)
    assert better.low > 0
    assert better.low <= better.value <= better.high
    none = difference(good, good, n_draws=50)
    assert (none.value, none.low, none.high) == (0.0, 0.0, 0.0)
    inside = estimate(good, "f1", n_draws=200)
    assert inside.low <= inside.value <= inside.high
    with pytest.raises(ValueError, match="same cells"):
        difference(good, Outcome(good.predicted, CODES[::-1].copy()))


def test_what_is_done_is_kept_and_not_done_again(tmp_path: Path) -> None:
    asked = []

    def predict(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        asked.append(seed)
        return CODES[test]

    def splits(seed: int) -> object:
        return folds(CODES, np.full(60, ""), seed=seed)

    first = run(predict, CODES, splits, seeds=[0, 1], keep=tmp_path, key={"method": "a"})  # type: ignore[arg-type]
    again = run(predict, CODES, splits, seeds=[0, 1], keep=tmp_path, key={"method": "a"})  # type: ignore[arg-type]
    assert len(asked) == 6
    assert np.array_equal(first.predicted, again.predicted)
    run(predict, CODES, splits, seeds=[0], keep=tmp_path, key={"method": "b"})  # type: ignore[arg-type]
    assert len(asked) == 9


def test_donors_or_cells_that_cannot_be_dealt_are_told() -> None:
    with pytest.raises(InputError, match="2 donors are named: whole donors"):
        folds(CODES, np.array([f"d{i % 2}" for i in range(60)]), seed=0)
    groups = np.array([f"d{i % 6}" for i in range(60)])
    groups[7] = ""
    with pytest.raises(InputError, match="1 of 60 cells name no donor"):
        folds(CODES, groups, seed=0)
    with pytest.raises(InputError, match="rarest label has 10 cells, fewer than 11 folds"):
        folds(CODES, np.full(60, ""), seed=0, n_folds=11)
    with pytest.raises(InputError, match="No label has 31 cells"):
        folds(CODES, np.array([f"d{i}" for i in range(60)]), seed=0, n_folds=31)


def test_kept_result_is_one_of_the_rows_asked_for(tmp_path: Path) -> None:
    kept(tmp_path, {"what": 1}, lambda: np.arange(4), n_rows=4)
    assert np.array_equal(kept(tmp_path, {"what": 1}, lambda: np.arange(5), n_rows=5), np.arange(5))
