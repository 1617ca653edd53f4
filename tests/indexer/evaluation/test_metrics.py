"""Metrics of labels against scikit-learn and against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score, top_k_accuracy_score

from indexer.evaluation.metrics import (
    confusion,
    draw_counts,
    interval,
    macro,
    macro_f1,
    one_vs_rest,
    row_draws,
    top_k_hits,
)


def cases(seed: int, *, n: int = 60, n_labels: int = 5, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (n, n_labels)).astype(float) if ties else rng.normal(size=(n, n_labels))
    return scores, rng.integers(0, n_labels, n)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_one_vs_rest_is_that_of_scikit_learn(seed: int, ties: bool) -> None:
    scores, codes = cases(seed, ties=ties)
    expected = [roc_auc_score(codes == j, scores[:, j]) for j in range(scores.shape[1])]
    assert one_vs_rest(scores, codes)[0] == pytest.approx(expected)
    assert macro(one_vs_rest(scores, codes))[0] == pytest.approx(np.mean(expected))


def test_counting_rows_equals_copying_them() -> None:
    scores, codes = cases(3, ties=True)
    counts = np.random.default_rng(0).integers(0, 3, (7, len(codes)))
    found = one_vs_rest(scores, codes, counts=counts)
    for draw, one in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(len(codes)), one)
        assert draw == pytest.approx(one_vs_rest(scores[rows], codes[rows])[0])


def test_label_without_rows_is_left_out_of_the_mean() -> None:
    scores, codes = cases(4)
    codes[codes == 2] = 1
    aucs = one_vs_rest(scores, codes)[0]
    assert np.isnan(aucs[2])
    assert macro(aucs) == pytest.approx(np.nanmean(aucs))
    assert np.isnan(macro(np.array([np.nan, np.nan])))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_is_that_of_scikit_learn(k: int) -> None:
    scores, codes = cases(5)
    expected = top_k_accuracy_score(codes, scores, k=k, labels=np.arange(5))
    assert top_k_hits(scores, codes, k=k).mean() == pytest.approx(expected)


def test_first_of_equal_labels_is_the_prediction_and_no_other() -> None:
    scores = np.zeros((3, 3))
    assert top_k_hits(scores, np.array([0, 1, 2]), k=1).tolist() == [True, False, False]
    assert np.argmax(scores, axis=1).tolist() == [0, 0, 0]


def test_confusion_and_f1_are_those_of_scikit_learn() -> None:
    scores, codes = cases(6)
    predicted = np.argmax(scores, axis=1)
    matrix = confusion(predicted, codes, n_labels=5)
    assert (matrix == confusion_matrix(codes, predicted, labels=np.arange(5))).all()
    assert macro_f1(matrix) == pytest.approx(f1_score(codes, predicted, average="macro"))
    counts = np.random.default_rng(0).integers(0, 3, len(codes))
    rows = np.repeat(np.arange(len(codes)), counts)
    copied = confusion(predicted[rows], codes[rows], n_labels=5)
    assert (confusion(predicted, codes, n_labels=5, counts=counts) == copied).all()


def test_f1_counts_labels_that_occur_or_are_predicted() -> None:
    matrix = np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert macro_f1(matrix) == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)


def test_row_draws_are_bounded_repeatable_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.evaluation.metrics._DRAWN_AT_ONCE", 35)
    chunks = list(row_draws(10, seed=1, n_draws=8))
    assert [len(chunk) for chunk in chunks] == [3, 3, 2]
    drawn = np.concatenate(chunks)
    assert (drawn.sum(axis=1) == 10).all()
    assert (drawn == np.concatenate(list(row_draws(10, seed=1, n_draws=8)))).all()
    assert not (drawn == np.concatenate(list(row_draws(10, seed=2, n_draws=8)))).all()


def test_draws_take_whole_groups() -> None:
    counts = draw_counts(np.array(["a", "a", "b"]), seed=0, n_draws=20)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert set(counts.sum(axis=1)) <= {2, 3, 4}


def test_interval_leaves_out_what_is_not_known() -> None:
    assert interval(np.array([np.nan, 1.0, 3.0])) == pytest.approx((1.05, 2.95))
    assert np.isnan(interval(np.array([np.nan]))).all()
