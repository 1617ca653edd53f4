"""Retrieval against counting by hand, in one pool and over several."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from indexer.evaluation.retrieval import Pool, aucs_of_pairs, chance, evaluate_retrieval
from indexer.training.retrieval import CUTOFFS, ranks_of_pairs


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def pool(n: int, seed: int) -> Pool:
    rng = np.random.default_rng(seed)
    texts = unit(rng.normal(size=(n, 8)))
    samples = unit(texts + 0.6 * rng.normal(size=texts.shape))
    return Pool.of_vectors(samples, texts, studies=np.repeat(np.arange(n // 3), 3).astype(str))


def test_ranks_are_places_in_the_sorted_row_and_ties_stand_before() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 20))
    expected = [1 + int((np.delete(row, i) > row[i]).sum()) for i, row in enumerate(scores)]
    assert ranks_of_pairs(scores).tolist() == expected
    assert ranks_of_pairs(np.zeros((4, 4))).tolist() == [4] * 4


def test_area_of_a_pair_counts_ties_half() -> None:
    scores = np.random.default_rng(0).integers(0, 4, size=(12, 12))
    expected = [roc_auc_score(np.arange(12) == i, row) for i, row in enumerate(scores)]
    assert aucs_of_pairs(scores) == pytest.approx(expected)


def test_both_directions_are_counted_over_the_same_pool() -> None:
    one = pool(60, 1)
    found = evaluate_retrieval([one], n_draws=50)
    for direction, matrix in ((found.text_to_transcriptome, one.scores), (found.transcriptome_to_text, one.scores.T)):
        order = np.argsort(-matrix, axis=1)
        for k in CUTOFFS:
            expected = np.mean([i in order[i, :k] for i in range(60)])
            figure = direction.recall[k]
            assert figure.value == pytest.approx(expected)
            assert figure.low <= figure.value <= figure.high
        auc = np.mean([(np.delete(matrix[i], i) < matrix[i, i]).mean() for i in range(60)])
        assert direction.roc_auc.value == pytest.approx(auc)
    assert (found.sizes, found.n_studies) == ((60,), 20)


def test_pools_are_averaged_and_never_joined() -> None:
    pools = [pool(60, 1), pool(30, 2)]
    both = evaluate_retrieval(pools, n_draws=200)
    alone = [evaluate_retrieval([one], n_draws=200) for one in pools]
    for k in CUTOFFS:
        figures = [one.text_to_transcriptome.recall[k] for one in alone]
        joint = both.text_to_transcriptome.recall[k]
        assert joint.value == pytest.approx(np.mean([one.value for one in figures]))
        assert joint.low <= joint.value <= joint.high
    assert (both.sizes, both.n_studies) == ((60, 30), 20)
    assert chance((60, 30))[5] == pytest.approx((5 / 60 + 5 / 30) / 2)
    assert chance((20,))[50] == 1.0
