"""What the pages of clusters, scans and nearest samples say, read and write, without drawing a page."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow.parquet as pq
import pytest
from landscape_api import FakeLandscape

from ui import cluster_views, downloads, scan_views, scan_words
from ui.own_table import coverage_sentences, read_pasted
from ui.term_lists import LONGEST_TERM, read_terms


def calibration(**changes: Any) -> dict[str, Any]:
    return FakeLandscape().summary()["calibration"] | changes


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0.5, "0.50"),
        (0.0499, "0.050"),
        (0.0321, "0.032"),
        (0.00042, "0.0004"),
        (0.0000213, "2e-5"),
        (0.0, "0e+00"),
    ],
)
def test_p_values_as_people_read_them(value: float | None, shown: str) -> None:
    assert scan_words.p_text(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0 %"), (0.0001, "under 0.1 %"), (0.0123, "1.2 %"), (0.4, "40 %"), (1.0, "100 %")]
)
def test_shares_as_people_read_them(share: float, shown: str) -> None:
    assert scan_words.share_text(share) == shown


def test_calibration_is_told_with_its_numbers_and_a_verdict() -> None:
    said = scan_words.calibration_sentences(calibration())
    text = " ".join(said)
    for number in ("1,000", "5.2 %", "1.1 %", "0.1 %", "0.021", "0.77", "200", "3.5 %", "4.0 %"):
        assert number in text
    assert said[-1] == "Significance can be read as it is printed."


@pytest.mark.parametrize("bad", [{"share_of_null_sweeps": 0.2}, {"share_below_05": 0.2}])
def test_scan_that_finds_things_in_nothing_is_called_out(bad: dict[str, float]) -> None:
    assert "with care" in scan_words.calibration_sentences(calibration(**bad))[-1]


def test_calibration_that_was_not_measured_is_not_praised() -> None:
    (said,) = scan_words.calibration_sentences(calibration(n_held_out=0))
    assert "not checked" in said


def test_words_tell_claims_from_leads_from_nothing() -> None:
    cells = FakeLandscape().cells(0)
    assert "Significant in 1 of" in scan_words.cells_sentence(cells)
    alone = [cell | {"q_value": None} for cell in cells]
    assert "asked about this term alone, 1 of" in scan_words.cells_sentence(alone)
    nothing = [cell | {"q_value": None, "q_within": 0.7} for cell in cells]
    assert "in no cluster" in scan_words.cells_sentence(nothing)
    assert "fewer than 3 studies" in scan_words.cells_sentence(nothing)


def test_sum_is_told_against_chance() -> None:
    assert scan_words.sum_sentence([10.0] * 90 + [96.0] * 10).startswith("10 % of 100 samples")
    assert "no samples" in scan_words.sum_sentence([])


def test_name_of_a_vocabulary_is_made_readable_and_a_persons_kept() -> None:
    assert scan_words.title({"name": "omim_expanded", "title": "omim_expanded"}) == "OMIM expanded"
    assert scan_words.title({"name": "0123", "title": "my_terms"}) == "my_terms"


def test_cluster_medians_against_a_plain_count() -> None:
    rows = scan_views.cluster_medians([10, 20, 99, 50, 96], [0, 0, 1, 0, 1], {0: "zero", 1: "one"})
    assert [(row["Cluster"], row["Median percentile"], row["Samples above 95"], row["Samples"]) for row in rows] == [
        ("one", 97.5, 100.0, 2),
        ("zero", 20.0, 0.0, 3),
    ]


def test_best_terms_of_clusters_are_ranked_within_and_between() -> None:
    atlas = FakeLandscape()
    report = atlas.scan("omim_expanded", [])[1]
    rows = scan_views.cluster_terms(report, per_cluster=2)
    assert {row["cluster"] for row in rows} == {cell["cluster"] for cell in report["top_terms_of_clusters"]}
    for row in rows:
        mine = [cell for cell in report["top_terms_of_clusters"] if cell["cluster"] == row["cluster"]]
        best = max(mine, key=lambda cell: cell["effect"])
        assert row["Term 1"].startswith(best["term"])


def test_terms_are_read_once_each_in_their_order() -> None:
    found = read_terms("# my list\nHeart failure\n\n  asthma \nheart  FAILURE\n")
    assert found.terms == ("Heart failure", "asthma")
    assert found.n_duplicates == 1
    assert found.problem is None


def test_terms_of_a_file_win_over_the_text() -> None:
    assert read_terms("typed", b"\xef\xbb\xbfone\r\ntwo\r\n").terms == ("one", "two")


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n", b"\xff\xfe\x00", b"a\x00b", b"", b"\n \n# only a comment\n", b"x" * 1000]
)
def test_list_that_is_none_is_a_sentence(content: bytes) -> None:
    found = read_terms(content=content)
    assert found.terms == ()
    assert found.problem
    assert found.problem.endswith((".", "?"))
    assert len(found.problem) < LONGEST_TERM


def test_list_of_a_hundred_thousand_lines_is_read() -> None:
    assert len(read_terms("\n".join(f"term {i}" for i in range(100_000))).terms) == 100_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MYH7 5321\nALB\t3", "gene\tsample_1\nMYH7\t5321\nALB\t3\n"),
        ("gene,a,b\nMYH7,1,2", "gene\ta\tb\nMYH7\t1\t2\n"),
        ("a\tb\nMYH7\t1\t2", "gene\ta\tb\nMYH7\t1\t2\n"),
        ('"gene";"s 1"\n"MYH7";1.5', "gene\ts 1\nMYH7\t1.5\n"),
    ],
)
def test_pasted_lines_become_a_table(text: str, expected: str) -> None:
    table = read_pasted(text)
    assert table.problem is None
    assert table.content.decode() == expected
    assert table.name == "pasted.tsv"


@pytest.mark.parametrize("text", ["", " \n ", "MYH7\nALB"])
def test_pasted_nothing_is_a_sentence(text: str) -> None:
    assert read_pasted(text).problem


def test_coverage_warns_where_it_is_thin() -> None:
    coverage = {"n_given": 500, "n_recognised": 480, "n_model_genes": 16_000, "n_covered": 470, "n_duplicates": 10,
                "identifier": "symbol", "organism": "human"}  # fmt: skip
    text = " ".join(coverage_sentences(coverage))
    assert "480 of your 500 genes" in text
    assert "10 gene names came more than once" in text
    assert "hint" in text
    assert "hint" not in " ".join(coverage_sentences(coverage | {"n_covered": 15_000, "n_duplicates": 0}))


def test_downloads_hold_the_same_rows_as_csv_and_parquet() -> None:
    report = FakeLandscape().scan("omim_expanded", ["terms", "Asthma"])[1]
    rows = downloads.cell_table(report["cells"], scan="omim_expanded", release="made-up")
    read = list(csv.DictReader(io.StringIO(downloads.csv_bytes(rows).decode())))
    table = pq.read_table(io.BytesIO(downloads.parquet_bytes(rows)))
    assert (
        [float(row["effect"]) for row in read]
        == table["effect"].to_pylist()
        == [cell["effect"] for cell in report["cells"]]
    )
    assert set(table.column_names) == set(read[0]) >= {"cluster_label", "q_value", "q_within", "scan", "release"}
    assert any(low is None for low in table["low"].to_pylist())


def test_matrix_download_has_a_row_a_cell() -> None:
    matrix = FakeLandscape().matrix()
    rows = downloads.matrix_table(matrix)
    assert len(rows) == len(matrix["terms"]) * len(matrix["clusters"])
    last = rows[-1]
    assert (last["term"], last["cluster"]) == (matrix["terms"][-1], matrix["clusters"][-1])
    assert (last["effect"], last["q_within"]) == (matrix["effects"][-1][-1], matrix["q_within"][-1][-1])


def test_csv_disarms_formulas_and_parquet_keeps_them() -> None:
    rows: list[downloads.Row] = [{"term": "=HYPERLINK(1)", "effect": -0.5}]
    assert b"'=HYPERLINK" in downloads.csv_bytes(rows)
    assert pq.read_table(io.BytesIO(downloads.parquet_bytes(rows)))["term"].to_pylist() == ["=HYPERLINK(1)"]


def test_file_names_are_plain() -> None:
    assert downloads.file_name("scan", "Diabetes, type 1/é", suffix="csv") == "geo-atlas-scan-diabetes-type-1.csv"
    assert len(downloads.file_name("x" * 500, suffix="csv")) < 80
    assert downloads.file_name("../..", suffix="csv") == "geo-atlas.csv"


@pytest.mark.parametrize(
    ("term", "name", "gave"),
    [
        ("Heart-cardiac Muscle Cell", "Heart cardiac muscle cell", True),
        ("Cardiomyocytes", "Heart cardiac muscle cell / Cardiomyocytes", True),
        ("Cardiac Muscle Hypertrophy (GO:0003300)", "Heart cardiac muscle cell", False),
        ("NK cells", "", False),
    ],
)
def test_terms_that_gave_a_name_are_known(term: str, name: str, gave: bool) -> None:
    assert cluster_views._gave_name(term, name=name) is gave
