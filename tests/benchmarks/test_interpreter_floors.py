"""The table of how a floor is fitted, against scikit-learn at its defaults."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from benchmarks.interpreter_floors import PENALTIES, ways_of_fitting
from benchmarks.interpreter_sets import directions


def test_ways_of_fitting_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    mouse, codes = np.arange(160) % 2 == 0, np.arange(160) % 3
    shifted = rng.normal(size=(160, 300)) + 0.5 * np.eye(3).repeat(100, axis=1)[codes] + 0.6 * mouse[:, None]
    features = (shifted * np.geomspace(10.0, 0.1, 300) + 3.0).astype(np.float64)
    table = ways_of_fitting(features, codes, directions(mouse)).splitlines()
    assert len(table) == 2 + 2 * len(PENALTIES)
    row = next(line for line in table if line.startswith("| mouse -> human | 1 |"))
    scaler = StandardScaler().fit(features[mouse])
    scaled = scaler.transform(features.astype(float))
    ways = ((features, {}), (features, {"tol": 1e-10, "max_iter": 100_000}), (scaled, {}))
    expected = []
    for values, how in ways:
        fitted = LogisticRegression(**{"max_iter": 1_000, **how}).fit(values[mouse], codes[mouse])
        expected.append(f1_score(codes[~mouse], fitted.predict(values[~mouse]), average="macro"))
    assert [one.strip() for one in row.split("|")[3:6]] == [f"{one:.3f}" for one in expected]
    assert len(set(expected)) == 3, "data on which the ways differ"
