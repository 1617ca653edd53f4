"""VectorStore: chunked products against the plain product, exact scores that depend on the row alone, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vector_cases import stored, study_vectors

import atlas.vectors.store as store_module
from atlas.errors import ArtifactError, InputError
from atlas.vectors.store import VectorStore, release_pages


def test_scores_in_chunks_equal_the_matrix_product(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(137, 24))
    queries = study_vectors(5, 24, seed=1)
    master = np.load(store.path).astype(np.float32)
    assert np.allclose(store.scores(queries, chunk_bytes=24 * 4 * 10), queries @ master.T, atol=1e-6)
    rows = np.array([136, 0, 5, 5])
    assert np.allclose(store.scores(queries[0], rows, chunk_bytes=200), master[rows] @ queries[0], atol=1e-6)


def test_exact_scores_do_not_depend_on_the_company_of_a_row(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(300, 48))
    query = study_vectors(1, 48, seed=2)[0]
    together = store.exact_scores(query, np.arange(300))
    alone = np.array([store.exact_scores(query, np.array([row]))[0] for row in range(300)])
    assert together.tobytes() == alone.tobytes()
    wide = np.load(store.path).astype(np.float64) @ query.astype(np.float64)
    assert np.allclose(together, wide, atol=1e-7)


def test_scores_of_a_row_with_itself_stay_within_one(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(50, 16))
    for row in range(50):
        query = store.rows(np.array([row]))[0]
        assert store.exact_scores(query / np.linalg.norm(query), np.array([row]))[0] <= 1.0


@pytest.mark.parametrize("mmap", [True, False])
def test_rows_return_float32_in_the_order_asked(tmp_path: Path, mmap: bool) -> None:
    stored(tmp_path, study_vectors(40, 8))
    with VectorStore.open(tmp_path / "vectors.npy", mmap=mmap) as store:
        found = store.rows(np.array([3, 39, 0, 3]))
    assert found.dtype == np.float32
    assert np.array_equal(found, np.load(tmp_path / "vectors.npy")[[3, 39, 0, 3]].astype(np.float32))


def test_scattered_reads_of_a_large_file_equal_the_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_PREAD_MIN_FILE_BYTES", 0)
    store = stored(tmp_path, study_vectors(500, 16))
    rows = np.random.default_rng(0).permutation(500)[:97]
    assert np.array_equal(store.rows(rows), np.load(store.path)[rows].astype(np.float32))
    assert store.rows(np.array([], dtype=int)).shape == (0, 16)
    store.close()
    store.close()


def test_a_file_cut_while_open_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_PREAD_MIN_FILE_BYTES", 0)
    with stored(tmp_path, study_vectors(500, 16)) as store:
        with store.path.open("r+b") as handle:
            handle.truncate(1_000)
        with pytest.raises(ArtifactError, match="shorter"):
            store.rows(np.array([499]))


def test_rows_outside_the_atlas_are_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(10, 4))
    for rows in ([-1], [10]):
        with pytest.raises(InputError, match="0 to 9"):
            store.rows(np.array(rows))


def test_files_that_are_no_vectors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    with pytest.raises(ArtifactError, match="does not exist"):
        VectorStore.open(path)
    path.write_bytes(b"no numpy file")
    with pytest.raises(ArtifactError, match="complete npy"):
        VectorStore.open(path)
    np.save(path, np.zeros((3, 4), np.float32))
    with pytest.raises(ArtifactError, match="float32"):
        VectorStore.open(path)
    np.save(path, np.zeros((300, 4), np.float16))
    path.write_bytes(path.read_bytes()[:-100])
    for mmap in (True, False):
        with pytest.raises(ArtifactError, match="complete npy"):
            VectorStore.open(path, mmap=mmap)


def test_released_pages_are_read_again(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float16)
    np.save(tmp_path / "v.npy", values)
    with VectorStore.open(tmp_path / "v.npy") as store:
        before = store.rows(np.arange(500))
        store.release_pages()
        assert np.array_equal(store.rows(np.arange(500)), before)
    release_pages(values)  # no map: nothing to release
    assert np.isfinite(values).all()
