"""How much of a floor is how it is fitted: logistic regression on log expression, under several penalties and stops."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from indexer.evaluation.tables import markdown
from indexer.interpreter.comparison import Outcome, Split

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""scikit-learn's C, its default among them."""
_USUAL, _TO_THE_END = {"max_iter": 1_000}, {"tol": 1e-8, "max_iter": 100_000}


def ways_of_fitting(features: np.ndarray, codes: np.ndarray, splits: Mapping[str, Split]) -> str:
    """Return a table: macro F1 on the judged cells of each split, by penalty, scaling and stop.

    Parameters
    ----------
    features, codes
        ``(n, n_genes)`` log expression and ``(n,)`` labels.
    splits
        Name -> cells to learn from, and judged.
    """
    rows = []
    for name, split in splits.items():
        plain = (features[split.train].astype(np.float64), features[split.test].astype(np.float64))
        scaler = StandardScaler().fit(plain[0])
        scaled = (scaler.transform(plain[0]), scaler.transform(plain[1]))
        for penalty in PENALTIES:
            ways = ((plain, _USUAL), (plain, _TO_THE_END), (scaled, _USUAL))
            rows.append((name, f"{penalty:g}", *(f"{_f1(*one, penalty, how, codes, split):.3f}" for one, how in ways)))
    return markdown(
        ("direction", "C", "stopped as usual", "fitted to the end", "every gene at variance 1, stopped as usual"), rows
    )


def _f1(
    train: np.ndarray, test: np.ndarray, penalty: float, how: Mapping[str, float], codes: np.ndarray, split: Split
) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=penalty, **how).fit(train, codes[split.train])
    predicted = np.full((1, len(codes)), -1, dtype=np.int64)
    predicted[0, split.test] = fitted.predict(test)
    return Outcome(predicted, codes).measure("f1")
