"""A pass gives every row once, in order, equal to the file; a file that lost its end is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vector_cases import stored, study_vectors

from atlas.errors import ArtifactError
from atlas.vectors.passes import products_in_order, rows_in_order


@pytest.mark.parametrize("chunk_bytes", [1, 1_000, 1 << 20])
def test_pass_gives_every_row_once_in_order(tmp_path: Path, chunk_bytes: int) -> None:
    store = stored(tmp_path, study_vectors(101, 8))
    starts, blocks = zip(*((s, b.copy()) for s, b in rows_in_order(store, chunk_bytes=chunk_bytes)), strict=True)
    assert starts == tuple(np.cumsum([0, *(len(block) for block in blocks[:-1])]))
    assert np.array_equal(np.concatenate(blocks), np.load(store.path).astype(np.float32))
    assert blocks[0].dtype == np.float32


def test_pass_over_a_file_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(100, 8))
    raw = store.path.read_bytes()
    store.path.write_bytes(raw[:-160])
    with pytest.raises(ArtifactError, match="became shorter"):
        list(rows_in_order(store, chunk_bytes=1_000))


@pytest.mark.parametrize("chunk_bytes", [1, 1_000, 1 << 20])
def test_products_are_those_of_every_row(tmp_path: Path, chunk_bytes: int) -> None:
    store = stored(tmp_path, study_vectors(101, 8))
    columns = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32).T  # not contiguous
    found = np.full((101, 3), np.nan, dtype=np.float32)
    for start, products in products_in_order(store, columns, chunk_bytes=chunk_bytes):
        found[start : start + len(products)] = products
    np.testing.assert_allclose(found, store.block(0, 101) @ columns, atol=1e-6)
