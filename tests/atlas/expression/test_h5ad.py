"""AnnData files: scipy is the oracle for the matrix; hostile files get a typed answer."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from expression_files import counts, ensembl, write_column

from atlas.errors import InputError, TooLargeError
from atlas.expression.h5ad import H5adSource
from atlas.expression.limits import Limits
from atlas.expression.source import open_source
from atlas.expression.units import Unit
from atlas.expression.uploads import read_upload
from atlas.settings import Settings

N, G = 11, 9
LIMITS = Limits(max_bytes=1 << 20, max_expanded_bytes=1 << 24, max_samples=100)
VALUES = counts(G, N).T.astype(np.float32)
VALUES[VALUES < 18] = 0


def write_frame(file: h5py.File, name: str, index: list[str], columns: dict[str, list[str]] | None = None) -> None:
    group = file.create_group(name)
    group.attrs["_index"] = "_index"
    write_column(group, "_index", index)
    for column, values in (columns or {}).items():
        write_column(group, column, values)


def write_matrix(file: h5py.File, path: str, values: np.ndarray, kind: str) -> None:
    if kind == "dense":
        file.create_dataset(path, data=values, chunks=(4, 3))
        return
    matrix = sp.csr_matrix(values) if kind == "csr" else sp.csc_matrix(values)
    group = file.create_group(path)
    group.attrs["encoding-type"] = f"{kind}_matrix"
    group.attrs["shape"] = values.shape
    for part in ("data", "indices", "indptr"):
        group[part] = getattr(matrix, part)


def write_h5ad(
    path: Path,
    *,
    kind: str = "csr",
    at: str = "X",
    values: np.ndarray = VALUES,
    index: list[str] | None = None,
    var: dict[str, list[str]] | None = None,
    obs: dict[str, list[str]] | None = None,
) -> Path:
    with h5py.File(path, "w") as file:
        write_frame(file, "obs", [f"cell{i}" for i in range(len(values))], obs)
        write_frame(file, "var", index or [f"G{i}" for i in range(values.shape[1])], var)
        write_matrix(file, at, values, kind)
    return path


@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
@pytest.mark.parametrize("block_bytes", [1, 4 * G * 4, 1 << 20])
def test_blocks_equal_the_matrix(tmp_path: Path, kind: str, block_bytes: int) -> None:
    with open_source(write_h5ad(tmp_path / "a.h5ad", kind=kind)) as source:
        blocks = list(source.blocks(block_bytes=block_bytes))
        some = list(source.blocks(np.array([2, 3, 10]), block_bytes=block_bytes))
    np.testing.assert_array_equal(np.concatenate([matrix.values for _, matrix in blocks]), VALUES)
    np.testing.assert_array_equal(np.concatenate([matrix.values for _, matrix in some]), VALUES[[2, 3, 10]])
    assert [name for _, matrix in some for name in matrix.sample_ids] == ["cell2", "cell3", "cell10"]


def test_csc_in_many_strips_equals_the_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.expression.h5ad_matrix._STRIP_VALUES", 7)
    with open_source(write_h5ad(tmp_path / "a.h5ad", kind="csc")) as source:
        values = np.concatenate([matrix.values for _, matrix in source.blocks(block_bytes=4 * G)])
    np.testing.assert_array_equal(values, VALUES)


def test_entries_given_twice_are_summed(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "a.h5ad", values=np.array([[2.0, 1.0]], dtype=np.float32))
    with h5py.File(path, "a") as file:
        file["X/indices"][:] = [1, 1]
    with open_source(path) as source:
        _, matrix = next(iter(source.blocks()))
    assert matrix.values.tolist() == [[0.0, 3.0]]


def test_the_counts_layer_is_taken_before_a_normalised_x(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "a.h5ad", values=np.log1p(VALUES))
    with h5py.File(path, "a") as file:
        write_matrix(file, "layers/counts", VALUES, "csr")
    with open_source(path) as source:
        _, matrix = next(iter(source.blocks()))
    np.testing.assert_array_equal(matrix.values, VALUES)
    with open_source(path, unit=Unit.NORMALISED) as source:  # a declared unit speaks of X
        _, matrix = next(iter(source.blocks()))
    np.testing.assert_array_equal(matrix.values, np.log1p(VALUES))


def test_raw_counts_with_their_own_genes_are_taken_where_x_is_normalised(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "a.h5ad", values=np.log1p(VALUES[:, :4]))
    with h5py.File(path, "a") as file:
        write_matrix(file, "raw/X", VALUES, "csr")
        write_frame(file, "raw/var", [f"R{i}" for i in range(G)])
    with open_source(path) as source:
        _, matrix = next(iter(source.blocks()))
    assert source.genes == tuple(f"R{i}" for i in range(G))
    np.testing.assert_array_equal(matrix.values, VALUES)


def test_normalised_x_without_counts_is_refused_with_the_flag(tmp_path: Path) -> None:
    with open_source(write_h5ad(tmp_path / "a.h5ad", values=np.log1p(VALUES))) as source:
        with pytest.raises(InputError, match="--unit counts"):
            list(source.blocks())


@pytest.mark.parametrize("column", ["ensembl_id", "gene_ids"])
def test_ensembl_column_comes_before_the_index(tmp_path: Path, column: str) -> None:
    ids = [ensembl(i) if i else "" for i in range(G)]  # the first gene has none
    with open_source(write_h5ad(tmp_path / "a.h5ad", var={column: ids})) as source:
        assert source.genes == ("G0", *ids[1:])
        assert source.symbols == tuple(f"G{i}" for i in range(G))


def test_ensembl_index_with_names_beside_it(tmp_path: Path) -> None:
    ids = [ensembl(i) for i in range(G)]
    path = write_h5ad(tmp_path / "a.h5ad", index=ids, var={"gene_name": [f"N{i}" for i in range(G)]})
    with open_source(path) as source:
        assert (source.genes[0], source.symbols) == (ids[0], tuple(f"N{i}" for i in range(G)))


def test_categorical_column_is_read(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        write_column(file, "obs/tissue/categories", ["liver", "lung"])
        file["obs/tissue/codes"] = np.array([0, 1, -1] + [0] * (N - 3), dtype=np.int8)
    with open_source(path) as source:
        assert source.sample_table()["source_name"].to_pylist()[:3] == ["liver", "lung", ""]
    with h5py.File(path, "a") as file:
        file["obs/tissue/codes"][0] = 9
    with open_source(path) as source, pytest.raises(InputError, match="codes"):
        source.sample_table()


def test_written_by_anndata_is_read(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np, pandas as pd, anndata as ad, scipy.sparse as sp\n"
        "x = sp.csr_matrix(np.arange(12).reshape(3, 4))\n"
        "var = pd.DataFrame({'gene_name': pd.Categorical(['A', 'B', 'C', 'A'])}, index=list('wxyz'))\n"
        "obs = pd.DataFrame({'organism': ['Homo sapiens'] * 3}, index=['GSM1', 'GSM2', 's3'])\n"
        "ad.AnnData(x, obs=obs, var=var).write_h5ad(sys.argv[1], compression='gzip')\n"
    )
    import subprocess
    import sys

    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "a.h5ad")], check=True)
    with open_source(tmp_path / "a.h5ad") as source:
        table = source.sample_table()
        _, matrix = next(iter(source.blocks()))
    assert table["id_kind"].to_pylist() == ["GSM", "GSM", "made"]
    assert table["organism"].to_pylist() == ["Homo sapiens"] * 3
    assert (source.genes, source.symbols) == (("w", "x", "y", "z"), ("A", "B", "C", "A"))
    np.testing.assert_array_equal(matrix.values, np.arange(12).reshape(3, 4))


# --- hostile files -----------------------------------------------------------------------------------------------------


def damage(part: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if part in file:
            del file[part]
        if value is not None:
            file[part] = value

    return change


HOSTILE = {
    "index outside": damage("X/indices", np.full(int((VALUES > 0).sum()), 10_000)),
    "index negative": damage("X/indices", np.full(int((VALUES > 0).sum()), -1)),
    "pointers fall": damage("X/indptr", np.array([0, 5, 2, *[9] * (N - 3), int((VALUES > 0).sum())])),
    "pointers short": damage("X/indptr", np.array([0, 1])),
    "pointers beyond": damage("X/indptr", np.array([*range(N), 10**12])),
    "no data": damage("X/data", None),
    "text data": damage("X/data", np.array([b"x"] * int((VALUES > 0).sum()))),
    "no var": damage("var", None),
    "no obs index": damage("obs/_index", None),
    "short var": damage("var/_index", np.array([b"a", b"b"])),
    "link out": damage("X", h5py.ExternalLink("/etc/passwd", "/")),
    "soft link": damage("X", h5py.SoftLink("/var")),
    "loop": damage("X", h5py.SoftLink("/X")),
    "old table": damage("obs", np.array([(b"a", 1)], dtype=[("index", "S1"), ("n", "i4")])),
    "matrix missing": damage("X", None),
    "X is a number": damage("X", np.float32(1)),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
@pytest.mark.parametrize("way", ["file", "stream"])
def test_hostile_file_gets_a_typed_answer(tmp_path: Path, name: str, way: str) -> None:
    path = write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        HOSTILE[name](file)

    def read() -> None:
        stream = io.BytesIO(path.read_bytes())
        source = open_source(path) if way == "file" else H5adSource(path, stream=stream, limits=LIMITS)
        with source:
            list(source.blocks())

    with pytest.raises(InputError):
        read()


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_values_kept_in_another_file_are_refused(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(N * G))
    path = write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        del file["X"]
        if kind == "external":
            file.create_dataset("X", shape=(N, G), dtype="u1", external=[(str(secret), 0, N * G)])
        else:
            layout = h5py.VirtualLayout(shape=(N, G), dtype="u1")
            layout[:] = h5py.VirtualSource(str(secret), "x", shape=(N, G))
            file.create_virtual_dataset("X", layout)
    with pytest.raises(InputError, match="another file"):
        read_upload("a.h5ad", path.read_bytes(), Settings())


def test_declared_size_stops_a_bomb_before_it_is_read(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        del file["X"], file["var"]
        n = 40_000
        write_frame(file, "var", [f"G{i}" for i in range(n)])
        file.create_dataset("X", shape=(N, n), dtype="f8", chunks=(N, n), compression="gzip")
    assert path.stat().st_size < 2 << 20
    limits = Settings(upload_max_expanded_bytes=2 << 20)
    with pytest.raises(TooLargeError, match="2,097,152 bytes"):
        read_upload("a.h5ad", path.read_bytes(), limits)


def test_sparse_bomb_is_stopped_by_its_dense_size(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "a.h5ad", values=np.ones((50, 1000), dtype=np.float32))
    with pytest.raises(TooLargeError):
        read_upload("a.h5ad", path.read_bytes(), Settings(upload_max_expanded_bytes=150_000))


def test_one_long_text_named_many_times_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as file:
        write_frame(file, "obs", ["x" * 100_000] * 50)
        write_frame(file, "var", ["G0"])
        file["X"] = np.ones((50, 1))
    with pytest.raises(TooLargeError, match="texts"):
        H5adSource(path, limits=Limits(max_bytes=1 << 30, max_expanded_bytes=1 << 20, max_samples=100))


def test_too_many_samples_in_an_upload(tmp_path: Path) -> None:
    raw = write_h5ad(tmp_path / "a.h5ad").read_bytes()
    with pytest.raises(TooLargeError, match="11 samples"):
        read_upload("a.h5ad", raw, Settings(upload_max_samples=10))
    assert read_upload("a.h5ad", raw, Settings(upload_max_samples=11)).n_samples == N


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_upload_is_refused(tmp_path: Path, share: float) -> None:
    raw = write_h5ad(tmp_path / "a.h5ad").read_bytes()
    with pytest.raises(InputError):
        read_upload("a.h5ad", raw[: int(len(raw) * share)], Settings())


def test_nan_in_an_upload_is_refused(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[1, 1] = np.nan
    raw = write_h5ad(tmp_path / "a.h5ad", values=values, kind="dense").read_bytes()
    with pytest.raises(InputError, match="no finite value"):
        read_upload("a.h5ad", raw, Settings(), unit=Unit.TPM)


def test_a_file_that_crashes_its_reader_is_a_typed_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_h5ad(tmp_path / "a.h5ad").read_bytes()
    crash = ("-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr("atlas.expression.isolated._MODULE", crash)
    with pytest.raises(InputError, match="gave up on it"):
        read_upload("a.h5ad", raw, Settings())


def test_a_file_that_takes_too_long_is_a_typed_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_h5ad(tmp_path / "a.h5ad").read_bytes()
    monkeypatch.setattr("atlas.expression.isolated._MODULE", ("-c", "import time; time.sleep(60)"))
    monkeypatch.setattr("atlas.expression.isolated._TIMEOUT_S", 0.2)
    with pytest.raises(InputError, match="took longer than 0.2 seconds"):
        read_upload("a.h5ad", raw, Settings())


def test_the_reader_imports_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_h5ad(tmp_path / "a.h5ad").read_bytes()
    for name in ("atlas", "h5py", "numpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('decoy')")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read_upload("a.h5ad", raw, Settings()).values, VALUES)
