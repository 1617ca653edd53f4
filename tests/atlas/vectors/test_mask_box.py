"""The bounding box of a mask against a plain loop over rows."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.vectors.mask_box import bounding_box


@pytest.mark.parametrize("seed", range(20))
def test_box_holds_every_allowed_row_and_is_the_tightest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    columns = {"a": rng.integers(0, 4, n), "b": rng.integers(0, 9, n), "c": np.arange(n)}
    allowed = rng.random(n) < rng.random()
    box = bounding_box(columns, allowed, most_values=10)
    rows = [i for i in range(n) if all(columns[name][i] in values for name, values in box.values.items())]
    assert set(np.flatnonzero(allowed)) <= set(rows)
    assert box.n_rows == len(rows)
    for name, values in box.values.items():
        assert set(values) == set(columns[name][allowed])  # each value is needed
        assert len(values) < len(set(columns[name]))  # and the condition narrows something
    if allowed.sum() > 10:
        assert "c" not in box.values


def test_a_filter_on_one_stored_column_is_its_own_box() -> None:
    tissue = np.random.default_rng(0).integers(0, 5, 200)
    box = bounding_box({"tissue": tissue, "unit": np.zeros(200, int)}, np.isin(tissue, [1, 3]))
    assert {name: values.tolist() for name, values in box.values.items()} == {"tissue": [1, 3]}
    assert box.n_rows == np.isin(tissue, [1, 3]).sum()
