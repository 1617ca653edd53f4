"""CSV and TSV tables: round trips, orientation, and a named place for every bad cell."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from expression_files import ensembl, small_gene_map
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InputError, TooLargeError
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.source import open_source
from atlas.expression.tables import read_table
from atlas.expression.units import Unit
from atlas.expression.uploads import read_upload
from atlas.settings import Settings

PLAIN = "gene,S1,S2\nTP53,1,2\nGAPDH,3,4\nALB,0,6\n"


def read(text: str | bytes, **more: object) -> ExpressionMatrix:
    raw = text.encode() if isinstance(text, str) else text
    return read_table(io.BytesIO(raw), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_dialects_are_told_by_the_bytes(delimiter: str, end: str, packed: bool, mark: bytes) -> None:
    raw = mark + PLAIN.replace(",", delimiter).replace("\n", end).encode()
    matrix = read(gzip.compress(raw) if packed else raw)
    assert matrix.genes == ("TP53", "GAPDH", "ALB")
    assert matrix.sample_ids == ("S1", "S2")
    assert matrix.values.tolist() == [[1, 3, 0], [2, 4, 6]]
    assert matrix.units == (Unit.COUNTS, Unit.COUNTS)


@given(
    values=st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), min_size=1, max_size=8),
    packed=st.booleans(),
)
def test_written_tables_come_back(values: list[list[int]], packed: bool) -> None:
    lines = ["g\ta\tb\tc", *(f"G{i}\t" + "\t".join(map(str, row)) for i, row in enumerate(values))]
    raw = "\n".join(lines).encode()
    np.testing.assert_array_equal(read(gzip.compress(raw) if packed else raw).values, np.array(values).T)


@pytest.mark.parametrize(
    "text",
    [
        "S1,S2\nTP53,1,2\nGAPDH,3,4\n",  # R: no name over the row names
        '"","S1","S2"\n"TP53",1,2\n"GAPDH",3,4\n',
        "# made by a program\ngene,S1,S2\n\nTP53,1,2\nGAPDH,3,4\n\n",
        "gene, S1 ,S2\n TP53 , 1, 2\nGAPDH,3,4.0",
    ],
)
def test_usual_variants_read_alike(text: str) -> None:
    matrix = read(text)
    assert (matrix.genes, matrix.sample_ids) == (("TP53", "GAPDH"), ("S1", "S2"))
    assert matrix.values.tolist() == [[1, 3], [2, 4]]


def test_second_column_of_symbols_is_kept() -> None:
    matrix = read(f"gene_id,gene_name,S1\n{ensembl(1)}.3,TP53,5\n{ensembl(2)},GAPDH,6\n")
    assert matrix.symbols == ("TP53", "GAPDH")
    assert matrix.sample_ids == ("S1",)


def test_orientation_is_told_by_the_names_that_are_genes() -> None:
    by_sample = "sample,TP53,GAPDH,ALB\nS1,1,3,0\nS2,2,4,6\n"
    np.testing.assert_array_equal(read(by_sample, genes=small_gene_map()).values, read(PLAIN).values)
    np.testing.assert_array_equal(read(by_sample, orientation="samples_by_genes").values, read(PLAIN).values)
    ids = f"sample,{ensembl(1)},{ensembl(2)}.4\nS1,1,3\n"
    assert read(ids).sample_ids == ("S1",)  # Ensembl ids need no gene map
    assert read(by_sample).sample_ids == ("TP53", "GAPDH", "ALB")  # nothing tells: rows are genes


def test_declared_unit_is_kept() -> None:
    assert read("g,S\nTP53,-1.5\n", unit=Unit.LOG2).units == (Unit.LOG2,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gene,S1,S2\nTP53,1,x\n", "Line 2 of .*, column 'S2': 'x'"),
        ("gene,S1,S2\nTP53,1,\n", "column 'S2': ''"),
        ("gene,S1,S2\nTP53,NA,1\n", "column 'S1': 'NA'"),
        ("gene,S1\nTP53,nan\n", "not a finite number"),
        ("gene,S1\nTP53,inf\n", "not a finite number"),
        ("gene,S1\nTP53,1e60\n", "not a finite number"),
        ("gene,S1\nTP53,1_000\n", "'1_000'"),
        ("gene,S1\n\nTP53,1\nGAPDH,=1+1\n", "Line 4"),
        ("gene,S1,S2\nTP53,1\n", "has 2 cells, expected 3"),
        ("gene,S1,S1\nTP53,1,2\n", "more than once: 'S1'"),
        ("gene,S1,\nTP53,1,2\n", "Sample number 2 has no name"),
        ("gene,S1\n", "no values"),
        ("", "no table header"),
        ("hello\nworld\n", "no table header"),
        ('gene,S1\n"TP53,1\n', "quotes"),
        ("gene,S1\nTP53,0.5\n", "--unit counts"),
        ("gene,S1\nTP53,-1\n", "negative"),
        (b"\x00\x01,\x02\n\x00,1\n", "binary"),
        (b"\xff\xfe,\x80\n1,2\n", "UTF-8"),
        (b"PK\x03\x04rest", "zip archive"),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-12], "gzip"),
        (b"\x1f\x8bgarbage that is no gzip", "gzip"),
    ],
)
def test_bad_table_is_refused_with_the_place(text: str | bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(text)


def test_negative_values_under_a_linear_unit_are_refused() -> None:
    with pytest.raises(InputError, match="--unit log2"):
        read("gene,S1\nTP53,-1\n", unit=Unit.TPM)


class Counting(io.BytesIO):
    """Counts the bytes that were asked for and given."""

    given = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.given += len(data)
        return data


def test_gzip_bomb_is_stopped_while_it_is_unpacked() -> None:
    bomb = gzip.compress(b"gene,S1\n" + b"0" * (200 << 20))
    assert len(bomb) < 1 << 20
    stream = Counting(bomb)
    with pytest.raises(TooLargeError, match="1,048,576 bytes"):
        read_table(stream, max_expanded_bytes=1 << 20)
    assert stream.given < len(bomb) / 4


def test_bomb_of_many_lines_is_stopped() -> None:
    bomb = gzip.compress(b"gene,S1\n" + b"G,0\n" * (1 << 20))
    with pytest.raises(TooLargeError):
        read_table(io.BytesIO(bomb), max_expanded_bytes=1 << 20)


def test_bytes_past_the_limit_are_not_read() -> None:
    stream = Counting(PLAIN.encode() * 100_000)
    with pytest.raises(TooLargeError):
        read_table(stream, max_bytes=1_000)
    assert stream.given <= 1_001


def test_too_many_samples_counted_after_the_orientation_is_known() -> None:
    header = ",".join(f"S{i}" for i in range(12))
    with pytest.raises(TooLargeError, match="12 samples"):
        read(f"gene,{header}\nTP53,{','.join('1' * 12)}\n", max_samples=10)
    genes = ",".join(ensembl(i) for i in range(12))
    assert read(f"sample,{genes}\nS,{','.join('1' * 12)}\n", max_samples=10).n_genes == 12


def test_too_many_columns_are_stopped() -> None:
    with pytest.raises(TooLargeError, match="columns"):
        read("a" + ",1" * 300_000 + "\n", max_samples=10)


def test_upload_over_the_limit_is_refused_before_parsing() -> None:
    settings = Settings(upload_max_bytes=100)
    for data in (b"x" * 101, io.BytesIO(b"x" * 101)):
        with pytest.raises(TooLargeError, match="100 bytes"):
            read_upload("a.csv", data, settings)


def test_upload_of_a_table() -> None:
    assert read_upload("../../etc/a.csv", PLAIN.encode(), Settings()).sample_ids == ("S1", "S2")
    with pytest.raises(InputError, match="empty"):
        read_upload("a.csv", b"", Settings())


def test_upload_is_neither_written_nor_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with caplog.at_level("DEBUG"):
        read_upload("a.csv", PLAIN.encode(), Settings())
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []


def test_table_file_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"gene\tGSM1\tS2\tS3\nTP53\t1\t2\t3\nALB\t4\t5\t6\n"))
    with open_source(path) as source:
        table = source.sample_table()
        blocks = list(source.blocks(np.array([0, 2]), block_bytes=1))
    assert table["id_kind"].to_pylist() == ["GSM", "made", "made"]
    assert table["unit"].to_pylist() == ["counts"] * 3
    assert source.series_table().num_rows == 0
    assert [rows.tolist() for rows, _ in blocks] == [[0], [2]]
    assert np.concatenate([matrix.values for _, matrix in blocks]).tolist() == [[1, 4], [3, 6]]


@pytest.mark.parametrize("line", [b"MYH6,1\n", b"\n", b"# note\n"])
def test_small_file_that_unpacks_to_endless_short_lines_is_refused(line: bytes) -> None:
    raw = gzip.compress(b"gene,a\n" + line * 600_000, 1)
    assert len(raw) < 1 << 20
    with pytest.raises(TooLargeError, match="500,000 lines"):
        read(raw)
