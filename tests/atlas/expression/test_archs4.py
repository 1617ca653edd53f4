"""ARCHS4 files: every layout and name we promise to read, and a clear answer to every broken one."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from expression_files import counts, ensembl, write_archs4, write_column
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.errors import InputError
from atlas.expression.archs4 import Archs4Source
from atlas.expression.source import open_source
from atlas.expression.units import Unit

LAYOUTS = [None, (7, 1), (7, 4), (3, 5), (1, 23), (7, 23), (2, 9)]


def read_all(
    path: Path, *, rows: np.ndarray | None = None, block_bytes: int = 1 << 20
) -> tuple[np.ndarray, np.ndarray]:
    """Source rows and values of all blocks put together."""
    with open_source(path) as source:
        blocks = list(source.blocks(rows, block_bytes=block_bytes))
    return np.concatenate([rows for rows, _ in blocks]), np.concatenate([matrix.values for _, matrix in blocks])


@pytest.mark.parametrize("chunks", LAYOUTS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 200, 28 * 23, 1 << 20])
def test_blocks_any_layout_equal_a_full_read(
    tmp_path: Path, chunks: tuple[int, int] | None, transposed: bool, block_bytes: int
) -> None:
    values = counts(7, 23)
    layout = chunks[::-1] if chunks and transposed else chunks
    path = write_archs4(tmp_path / "a.h5", values, chunks=layout, transposed=transposed)
    with h5py.File(path) as file:
        stored = file["data/expression"][:]
    oracle = stored if transposed else stored.T
    rows, seen = read_all(path, block_bytes=block_bytes)
    assert rows.tolist() == list(range(23))
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, oracle)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.sets(st.integers(0, 22)), block_bytes=st.integers(1, 900), chunk=st.integers(1, 23))
def test_blocks_of_wanted_rows_equal_a_full_read(
    tmp_path_factory: pytest.TempPathFactory, wanted: set[int], block_bytes: int, chunk: int
) -> None:
    values = counts(7, 23)
    path = write_archs4(tmp_path_factory.mktemp("w") / "a.h5", values, chunks=(5, chunk))
    rows = np.array(sorted(wanted), dtype=np.int64)
    with open_source(path) as source:
        blocks = list(source.blocks(rows, block_bytes=block_bytes))
        ids = [name for _, matrix in blocks for name in matrix.sample_ids]
    assert [int(row) for block, _ in blocks for row in block] == rows.tolist()
    assert ids == [f"GSM{row + 1}" for row in rows]
    if wanted:
        np.testing.assert_array_equal(np.concatenate([matrix.values for _, matrix in blocks]), values.T[rows])


@pytest.mark.parametrize("rows", [[3, 2], [1, 1], [-1], [23]])
def test_blocks_rows_out_of_order_or_range_are_refused(tmp_path: Path, rows: list[int]) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 23))
    with open_source(path) as source, pytest.raises(InputError, match="strictly increasing"):
        list(source.blocks(np.array(rows)))


@pytest.mark.parametrize("ensembl_field", ["ensembl_gene_id", "ensembl_gene"])
@pytest.mark.parametrize("symbol_field", ["symbol", "gene_symbol"])
def test_gene_field_renames_are_read(tmp_path: Path, ensembl_field: str, symbol_field: str) -> None:
    genes = {ensembl_field: [ensembl(1), ensembl(2)], symbol_field: ["A", "B"]}
    with open_source(write_archs4(tmp_path / "a.h5", counts(2, 3), genes=genes)) as source:
        assert source.genes == (ensembl(1), ensembl(2))
        assert source.symbols == ("A", "B")


@pytest.mark.parametrize("reads_field", ["readsaligned", "alignedreads"])
def test_sample_table_has_the_fields_in_source_order(tmp_path: Path, reads_field: str) -> None:
    samples = {
        "geo_accession": ["GSM7", "SRR8", "x"],
        "series_id": ["GSE145668,GSE145669", "GSE1", ""],
        "singlecellprobability": [0.1, 0.9, 0.5],
        "platform_id": ["GPL1", "GPL1", "GPL2"],
        "submission_date": ["Oct 31 2013", "", "May 2 2020"],
        reads_field: [1.0, 2.0, 3.0],
    }
    with open_source(write_archs4(tmp_path / "a.h5", counts(7, 3), samples=samples)) as source:
        table = source.sample_table()
    assert table["sample_id"].to_pylist() == ["GSM7", "SRR8", "x"]
    assert table["id_kind"].to_pylist() == ["GSM", "run", "made"]
    assert table["series_ids"].to_pylist() == [["GSE145668", "GSE145669"], ["GSE1"], []]
    assert table["singlecell_probability"].to_pylist() == [0.1, 0.9, 0.5]
    assert table["platform"].to_pylist() == ["GPL1", "GPL1", "GPL2"]
    assert table["date"].to_pylist() == ["2013-10-31", "", "2020-05-02"]
    assert table["unit"].to_pylist() == [None, None, None]
    assert table["source_row"].to_pylist() == [0, 1, 2]


def test_sample_table_absent_fields_are_empty_not_invented(tmp_path: Path) -> None:
    samples = {"title": None, "molecule_ch1": None, "source_name_ch1": None, "series_id": None}
    with open_source(write_archs4(tmp_path / "a.h5", counts(7, 2), samples=samples)) as source:
        table = source.sample_table()
    assert table["title"].to_pylist() == ["", ""]
    assert table["series_ids"].to_pylist() == [[], []]
    assert table["singlecell_probability"].to_pylist() == [None, None]


def test_text_fields_keep_utf8_and_fixed_length_bytes(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 2), samples={"title": ["IFNγ", "β"], "molecule_ch1": None})
    with h5py.File(path, "a") as file:
        file["meta/samples/molecule_ch1"] = np.array([b"total RNA", b"x"], dtype="S20")
    with open_source(path) as source:
        table = source.sample_table()
    assert table["title"].to_pylist() == ["IFNγ", "β"]
    assert table["molecule"].to_pylist() == ["total RNA", "x"]


@pytest.mark.parametrize("transposed", [False, True])
def test_version_1_flat_names_are_read(tmp_path: Path, transposed: bool) -> None:
    values = counts(4, 4) if transposed else counts(4, 3)  # as many genes as samples: only the version tells
    n = values.shape[1]
    with h5py.File(tmp_path / "v1.h5", "w") as file:
        file["data/expression"] = values.T if transposed else values
        write_column(file, "meta/genes", ["TP53", "GAPDH", "MYH7", "ALB"])
        write_column(file, "meta/Sample_geo_accession", [f"GSM{i}" for i in range(n)])
        write_column(file, "meta/Sample_series_id", ["GSE1Xx-xXxGSE2"] * n)
        write_column(file, "meta/Sample_title", ["t"] * n)
        write_column(file, "meta/Sample_source_name_ch1", ["blood"] * n)
        write_column(file, "info/version", ["1"])
    with open_source(tmp_path / "v1.h5") as source:
        table = source.sample_table()
        _, matrix = next(iter(source.blocks()))
    assert source.genes == ("TP53", "GAPDH", "MYH7", "ALB")
    assert source.symbols is None
    assert table["series_ids"].to_pylist()[0] == ["GSE1", "GSE2"]
    assert table["source_name"].to_pylist()[0] == "blood"
    np.testing.assert_array_equal(matrix.values, values.T)


def test_declared_units_decide_how_values_are_read(tmp_path: Path) -> None:
    values = np.array([[0.5, 3.0, 1.5], [2.0, 4.0, 2.25]], dtype=np.float32)
    samples = {"unit": ["TPM", "RSEM counts", "log2 normalised (as deposited)"], "is_log2": [0, 0, 1]}
    with open_source(write_archs4(tmp_path / "a.h5", values, samples=samples)) as source:
        _, matrix = next(iter(source.blocks()))
        assert source.sample_table()["unit"].to_pylist() == ["tpm", "counts", "log2"]
    assert matrix.units == (Unit.TPM, Unit.COUNTS, Unit.LOG2)


def test_declared_in_the_file_wins_over_the_flag(tmp_path: Path) -> None:
    values = np.array([[0.5, 3.5], [2.0, 4.0]], dtype=np.float32)
    path = write_archs4(tmp_path / "a.h5", values, samples={"unit": ["TPM", ""]})
    with open_source(path, unit=Unit.FPKM) as source:
        _, matrix = next(iter(source.blocks()))
    assert matrix.units == (Unit.TPM, Unit.FPKM)


@pytest.mark.parametrize(
    ("bad", "words"), [(0.5, "fractional"), (-1.0, "negative"), (np.nan, "missing or infinite"), (900.25, "TPM")]
)
def test_undeclared_values_that_are_no_counts_are_refused_with_the_flag(tmp_path: Path, bad: float, words: str) -> None:
    values = counts(7, 5).astype(np.float32)
    values[3, 2] = bad
    with open_source(write_archs4(tmp_path / "a.h5", values)) as source:
        with pytest.raises(InputError, match=words) as caught:
            list(source.blocks())
    assert "GSM3" in str(caught.value)
    assert "--unit counts|tpm|fpkm|log2" in str(caught.value)


def test_unknown_declared_unit_is_refused(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 1), samples={"unit": ["furlongs"]})
    with open_source(path) as source, pytest.raises(InputError, match="furlongs"):
        source.sample_table()


def test_unmeasured_genes_are_masked_by_series(tmp_path: Path) -> None:
    measured = np.array([[1, 1, 0], [1, 0, 1]], dtype=np.uint8)
    values = np.arange(12, dtype=np.uint32).reshape(3, 4)
    path = write_archs4(
        tmp_path / "a.h5",
        values,
        samples={"series_index": np.array([0, 1, 0, 1], dtype=np.int32)},
        series={"series_id": ["GSE1", "GSE2"], "title": ["one", "two"], "gene_measured": measured},
    )
    with open_source(path) as source:
        blocks = list(source.blocks(block_bytes=1))
        series = source.series_table()
    masks = np.concatenate([matrix.measured for _, matrix in blocks])
    np.testing.assert_array_equal(masks, measured[[0, 1, 0, 1]].astype(bool))
    assert series.to_pylist() == [{"series_id": "GSE1", "title": "one"}, {"series_id": "GSE2", "title": "two"}]


def test_measured_mask_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    series = {"series_id": ["GSE1"], "title": [""], "gene_measured": np.ones((1, 3), dtype=np.uint8)}
    path = write_archs4(tmp_path / "a.h5", counts(3, 2), samples={"series_index": [0, 1]}, series=series)
    with open_source(path) as source, pytest.raises(InputError, match="gene_measured"):
        list(source.blocks())


def test_curated_labels_are_never_touched(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 2))
    with h5py.File(path, "a") as file:  # a link that cannot be followed: any read of it would raise
        file["meta/samples/curated_tissue"] = h5py.ExternalLink("nowhere.h5", "/x")
    with open_source(path) as source:
        assert not [name for name in source.sample_table().column_names if "curated" in name]
        assert len(list(source.blocks())) == 1


# --- bad input ---------------------------------------------------------------------------------------------------------


def test_not_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"<html>reCAPTCHA</html>")
    with pytest.raises(InputError, match="is not an HDF5 file"):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_hdf5_is_refused(tmp_path: Path, share: float) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(50, 40), chunks=(50, 4), compression="gzip")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(InputError, match="truncated"):
        open_source(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        open_source(tmp_path / "none.h5")
    with pytest.raises(InputError, match="cannot be opened"):
        open_source(tmp_path)


@pytest.mark.parametrize("missing", ["data/expression", "meta/genes", "meta/samples/geo_accession"])
def test_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 2))
    with h5py.File(path, "a") as file:
        del file[missing]
    with pytest.raises(InputError, match=missing.split("/")[-1]):
        open_source(path)


def test_unknown_hdf5_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["weather"] = [1, 2]
    with pytest.raises(InputError, match="weather"):
        open_source(tmp_path / "a.h5")


def test_transcript_file_is_refused(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 2))
    with h5py.File(path, "a") as file:
        del file["meta/genes"]
        write_column(file, "meta/transcripts/ensembl_id", ["ENST00000000001"] * 7)
    with pytest.raises(InputError, match="transcripts, not genes"):
        open_source(path)


def test_shape_that_fits_neither_way_is_refused(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 3))
    with h5py.File(path, "a") as file:
        del file["data/expression"]
        file["data/expression"] = counts(7, 4)
    with pytest.raises(InputError, match=r"shape \(7, 4\)"):
        open_source(path)


def test_field_of_another_length_is_refused(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 3), samples={"title": ["a", "b"]})
    with open_source(path) as source, pytest.raises(InputError, match="title"):
        source.sample_table()


def test_values_outside_the_file_are_refused(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(7, 3))
    other = write_archs4(tmp_path / "b.h5", counts(7, 3))
    with h5py.File(path, "a") as file:
        del file["data/expression"]
        file["data/expression"] = h5py.ExternalLink(str(other), "/data/expression")
    with pytest.raises(InputError, match="link"):
        open_source(path)


def test_read_error_in_the_middle_raises_and_gives_no_zeros(tmp_path: Path) -> None:
    values = counts(200, 40)
    path = write_archs4(tmp_path / "a.h5", values, chunks=(200, 4), compression="gzip")
    with h5py.File(path) as file:
        data = file["data/expression"]
        where = next(
            info
            for info in (data.id.get_chunk_info(i) for i in range(data.id.get_num_chunks()))
            if info.chunk_offset[1] == 20
        )
    with path.open("r+b") as raw:
        raw.seek(where.byte_offset + 10)
        raw.write(b"\xff" * (where.size - 20))
    seen = []

    def read() -> None:
        for rows, matrix in source.blocks(block_bytes=4 * 200 * 4):
            seen.extend(rows.tolist())
            np.testing.assert_array_equal(matrix.values, values.T[rows])

    with open_source(path) as source, pytest.raises(InputError, match="cannot be read"):
        read()
    assert seen == list(range(20))


# --- bounded memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(67_186, 4), (2_000, 200), (64, 4_000)])
def test_blocks_of_a_file_of_full_height_stay_small(tmp_path: Path, chunks: tuple[int, int]) -> None:
    n_genes, n_samples = 67_186, 5_000
    path = write_archs4(
        tmp_path / "a.h5", counts(n_genes, 1), samples={"geo_accession": [f"GSM{i}" for i in range(n_samples)]}
    )
    with h5py.File(path, "a") as file:
        for name in set(file["meta/samples"]) - {"geo_accession"}:
            del file[f"meta/samples/{name}"]
        del file["data/expression"]  # chunks that were never written cost no disk and read as zeros
        file.create_dataset("data/expression", shape=(n_genes, n_samples), dtype="u4", chunks=chunks)
    block_bytes = 8 << 20
    with open_source(path) as source:
        tracemalloc.start()
        iterator = source.blocks(block_bytes=block_bytes)
        n_seen = sum(next(iterator)[1].n_samples for _ in range(2))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert n_seen > 0
    assert peak < 8 * 8 * block_bytes


def test_block_width_is_whole_chunks(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(10, 100), chunks=(10, 7))
    with Archs4Source(path) as source:
        sizes = [rows.size for rows, _ in source.blocks(block_bytes=4 * 10 * 30)]
    assert sizes == [28, 28, 28, 16]
