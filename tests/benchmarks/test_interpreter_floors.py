"""The table of how a floor is fitted, against scikit-learn at its defaults."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from benchmarks.interpreter_floors import PENALTIES, ways_of_fitting
from benchmarks.interpreter_sets import directions


def test_ways_of_fitting_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    mouse = np.arange(80) % 2 == 0
    codes = np.arange(80) % 3
    features = (rng.normal(size=(80, 30)) + 0.7 * np.eye(3).repeat(10, axis=1)[codes] + 0.4 * mouse[:, None]).astype(
        "f4"
    )
    table = ways_of_fitting(features, codes, directions(mouse)).splitlines()
    assert len(table) == 2 + 2 * len(PENALTIES)
    row = next(line for line in table if line.startswith("| mouse -> human | 1 |"))
    fitted = LogisticRegression(max_iter=1_000).fit(features[mouse], codes[mouse])
    expected = f1_score(codes[~mouse], fitted.predict(features[~mouse]), average="macro")
    assert row.split("|")[3].strip() == f"{expected:.3f}"
