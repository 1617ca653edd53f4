"""Integration: neighbours against brute force, and scores that rise where they should."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from atlas.errors import InputError, MissingExtraError
from indexer.evaluation.integration import evaluate_integration, nearest_rows, same_value

LABELS = np.repeat(["heart", "liver", "brain"], 40)
BATCHES = np.tile(["a", "b"], 60)


def vectors(*, by_label: float, by_batch: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=16) for name in (*"ab", "heart", "liver", "brain")}
    rows = [by_label * centres[label] + by_batch * centres[batch] for label, batch in zip(LABELS, BATCHES, strict=True)]
    found = np.array(rows) + rng.normal(size=(120, 16))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_rows_are_those_of_a_full_sort() -> None:
    points = vectors(by_label=1.0, by_batch=0.0)
    scores = points.astype(np.float64) @ points.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    assert (nearest_rows(points, k=5) == expected).all()
    assert nearest_rows(points[:3], k=90).shape == (3, 2)


def test_same_value_counts_neighbours() -> None:
    assert same_value(np.array([[1, 2], [0, 2], [0, 1]]), np.array(["a", "a", "b"])) == pytest.approx(2 / 6)


@pytest.mark.slow
def test_biology_and_batches_are_told_apart() -> None:
    pytest.importorskip("scib_metrics")
    by_biology = evaluate_integration(vectors(by_label=2.0, by_batch=0.0), labels=LABELS, batches=BATCHES)
    by_batch = evaluate_integration(vectors(by_label=0.0, by_batch=2.0), labels=LABELS, batches=BATCHES)
    assert by_biology.mean_biology > by_batch.mean_biology + 0.2
    assert by_biology.mean_batch > by_batch.mean_batch + 0.1
    assert by_biology.total == pytest.approx(0.6 * by_biology.mean_biology + 0.4 * by_biology.mean_batch)
    assert by_biology.same_label > 0.9 > by_batch.same_label
    assert by_batch.same_batch > 0.9 > by_biology.same_batch
    assert (by_biology.n, by_biology.n_labels, by_biology.n_batches) == (120, 3, 2)


def test_one_batch_or_no_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="batch"):
        evaluate_integration(vectors(by_label=1, by_batch=0), labels=LABELS, batches=np.repeat("a", 120))
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(MissingExtraError, match="evaluation"):
        evaluate_integration(vectors(by_label=1, by_batch=0), labels=LABELS, batches=BATCHES)
