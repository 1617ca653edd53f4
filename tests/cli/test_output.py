"""What the commands print where nobody looks at a terminal."""

from __future__ import annotations

import pytest

from atlas.answers import CoverageReport, NeighborsResult
from cli.output import print_neighbors, print_table


def test_table_in_a_pipe_keeps_every_cell_whole_and_pads_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    print_table(("field", "value"), [("n_genes_detected", long), ("a", None), ("b\x1b[31m", "心筋")], title="T")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "T"
    assert lines[1].split() == ["field", "value"]
    assert lines[2] == f"n_genes_detected  {long}"
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in lines[4]
    assert lines[4].endswith("心筋")


def test_table_without_rows_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


@pytest.mark.parametrize(("n_covered", "warned"), [(3, True), (9_000, False)])
def test_few_genes_are_called_a_hint(n_covered: int, warned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    coverage = CoverageReport(
        n_given=n_covered, n_recognised=n_covered, n_model_genes=19_000, n_covered=n_covered, n_duplicates=0,
        identifier="symbol", organism="human", unrecognised_examples=(),
    )  # fmt: skip
    result = NeighborsResult(release="r", query="mine", hits=(), series=(), n_candidates=0, coverage=coverage)
    print_neighbors(result, as_json=False)
    assert ("hint" in capsys.readouterr().err) is warned
