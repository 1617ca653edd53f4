"""What interpreters are held against, each against a plain computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from tiny_reader import toy_file, toy_gene_vectors

from atlas.model.encoding import report_truncated
from indexer.interpreter import floors

LABELS = ["heart", "liver", "blood"] * 10


class Words:
    name, dim, fingerprint = "words", 1, "0" * 64

    def __init__(self) -> None:
        self.read: list[str] = []

    def embed(self, texts: list[str]) -> np.ndarray:
        self.read = list(texts)
        return np.ones((len(texts), 1), np.float32)

    def n_truncated(self, texts: list[str]) -> int:
        return 0


@pytest.fixture
def expression(tmp_path: Path) -> floors.Expression:
    return floors.read_expression(toy_file(tmp_path, LABELS), toy_gene_vectors())


def test_expression_is_the_log_of_counts_per_ten_thousand(tmp_path: Path, expression: floors.Expression) -> None:
    from cell_files import cell_counts

    counts = cell_counts(LABELS)
    assert np.allclose(
        expression.values, np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)[:, expression.genes], atol=1e-5
    )


def test_weighted_mean_is_the_mean_of_gene_vectors_by_expression(expression: floors.Expression) -> None:
    table = toy_gene_vectors().table()
    plain = sum(expression.values[3, i] * table[gene] for i, gene in enumerate(expression.genes))
    assert np.allclose(floors.weighted_means(expression, table)[3], plain / np.linalg.norm(plain), atol=1e-6)


def test_sentence_names_genes_by_decreasing_expression(expression: floors.Expression) -> None:
    tower = Words()
    floors.sentences(expression, tower)
    values = dict(zip(expression.symbols, expression.values[0], strict=True))
    named = tower.read[0].split()
    assert [values[name] for name in named] == sorted((v for v in values.values() if v > 0), reverse=True)


def test_sentences_are_cut_without_a_word(expression: floors.Expression, caplog: pytest.LogCaptureFixture) -> None:
    class Cutting(Words):
        def embed(self, texts: list[str]) -> np.ndarray:
            report_truncated(len(texts), len(texts), max_tokens=256)
            return super().embed(texts)

    floors.sentences(expression, Cutting())
    assert not caplog.records
    Cutting().embed(["a"])
    assert len(caplog.records) == 1


def test_rotation_changes_no_answer_of_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(40) % 3
    features = rng.normal(size=(60, 300)) + np.eye(3).repeat(100, axis=1)[np.arange(60) % 3] * 0.3
    inner, outer = floors._rotated(features[:40], features[40:])
    assert inner.shape == (40, 40)
    plain = (features - features[:40].mean(axis=0)) / np.sqrt(
        np.square(features[:40] - features[:40].mean(axis=0)).sum(axis=1).mean()
    )
    wide = LogisticRegression(C=10.0, max_iter=5_000, tol=1e-8).fit(plain[:40], codes).predict_proba(plain[40:])
    narrow = LogisticRegression(C=10.0, max_iter=5_000, tol=1e-8).fit(inner, codes).predict_proba(outer)
    assert np.allclose(wide, narrow, atol=1e-3)


@pytest.mark.parametrize("name", floors.CLASSIFIERS)
def test_classifiers_tell_plain_cells_apart(expression: floors.Expression, name: str) -> None:
    codes = np.array([("blood", "heart", "liver").index(one) for one in LABELS])
    said = floors.classifiers()[name](expression.values[:21], codes[:21], expression.values[21:])
    assert (said == codes[21:]).mean() > 0.8


def test_random_directions_repeat_by_seed() -> None:
    one = floors.random_table(5, 7, seed=1)
    assert np.array_equal(one, floors.random_table(5, 7, seed=1))
    assert not np.array_equal(one, floors.random_table(5, 7, seed=2))
    assert np.allclose(np.linalg.norm(one, axis=1), 1.0, atol=1e-6)


def test_penalty_is_that_of_the_least_log_loss() -> None:
    """Against every penalty in turn, by plain scikit-learn on what is not rotated."""
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 2
    features = rng.normal(size=(90, 20)) + 0.8 * (np.arange(90) % 2)[:, None]
    train = features[:60] - features[:60].mean(axis=0)
    size = np.sqrt(np.square(train).sum(axis=1).mean())
    plain, judged = train / size, (features[60:] - features[:60].mean(axis=0)) / size
    dealt = list(StratifiedKFold(3, shuffle=True, random_state=0).split(plain, codes))

    def loss(strength: float) -> float:
        made = [LogisticRegression(C=strength, tol=1e-9, max_iter=10_000).fit(plain[a], codes[a]) for a, _ in dealt]
        return sum(
            -np.log(one.predict_proba(plain[b])[np.arange(len(b)), codes[b]]).sum()
            for one, (_, b) in zip(made, dealt, strict=True)
        )

    best = min(floors.STRENGTHS, key=loss)
    assert floors.STRENGTHS[0] < best < floors.STRENGTHS[-1]
    expected = LogisticRegression(C=best, tol=1e-9, max_iter=10_000).fit(plain, codes).predict(judged)
    assert np.array_equal(floors.logistic(features[:60], codes, features[60:]), expected)


def test_fit_goes_on_to_the_optimum() -> None:
    rng = np.random.default_rng(0)
    features, codes = rng.normal(size=(60, 40)) * np.geomspace(1.0, 1e-3, 40), np.arange(60) % 3
    judged = rng.normal(size=(30, 40))
    best = LogisticRegression(C=1e4, tol=1e-12, max_iter=1_000_000).fit(features, codes).predict_proba(judged)
    usual = LogisticRegression(C=1e4, max_iter=1_000).fit(features, codes).predict_proba(judged)
    assert np.abs(usual - best).max() > 0.05, "these data tell the two apart"
    assert np.allclose(floors._fitted(1e4, features, codes).predict_proba(judged), best, atol=5e-3)
