"""Retrieval against counting by hand; the de-duplicated pool against what its captions are."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InputError
from indexer.evaluation.retrieval import CUTOFFS, chance, deduplicate, evaluate_retrieval, ranks_of_pairs, shared_words


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_ranks_are_places_in_the_sorted_row_and_ties_stand_before() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 20))
    expected = [1 + int((np.delete(row, i) > row[i]).sum()) for i, row in enumerate(scores)]
    assert ranks_of_pairs(scores).tolist() == expected
    assert ranks_of_pairs(np.zeros((4, 4))).tolist() == [4] * 4


def test_both_directions_are_counted_over_the_same_pool() -> None:
    rng = np.random.default_rng(1)
    texts = unit(rng.normal(size=(60, 8)))
    samples = unit(texts + 0.6 * rng.normal(size=texts.shape))
    found = evaluate_retrieval(samples, texts, studies=np.repeat(np.arange(20), 3).astype(str), n_draws=50)
    scores = texts @ samples.T
    for direction, matrix in ((found.text_to_transcriptome, scores), (found.transcriptome_to_text, scores.T)):
        order = np.argsort(-matrix, axis=1)
        for k in CUTOFFS:
            expected = np.mean([i in order[i, :k] for i in range(60)])
            figure = direction.recall[k]
            assert figure.value == pytest.approx(expected)
            assert figure.low <= figure.value <= figure.high
        auc = np.mean([(np.delete(matrix[i], i) < matrix[i, i]).mean() for i in range(60)])
        assert direction.roc_auc.value == pytest.approx(auc)
    assert (found.n, found.n_studies) == (60, 20)
    assert chance(60)[5] == pytest.approx(5 / 60)
    assert chance(20)[50] == 1.0


def test_pool_holds_one_caption_of_each_kind_the_most_central() -> None:
    rng = np.random.default_rng(2)
    kinds = unit(rng.normal(size=(6, 16)))
    spread = np.array([0.05, 0.1, 0.2, 0.3])
    vectors = unit(np.concatenate([kind + spread[:, None] * rng.normal(size=(4, 16)) / 4 for kind in kinds]))
    rows = deduplicate(vectors, n_wanted=6)
    assert (rows // 4).tolist() == list(range(6))
    for row in rows:
        members = np.arange(row // 4 * 4, row // 4 * 4 + 4)
        assert row == members[np.argmax(vectors[members] @ vectors[members].mean(axis=0))]


def test_pool_is_as_large_as_the_captions_bear() -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(5, 4)))
    assert deduplicate(vectors, n_wanted=100).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="two captions"):
        deduplicate(vectors[:1])


def test_shared_words_are_those_of_the_query() -> None:
    scores = shared_words(["T cells", "heart muscle"], ["CD4 T cell of blood", "failing heart", ""])
    assert scores.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]]
