"""``geo-atlas scan``: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from atlas.errors import AtlasError, InputError, NotFoundError
from cli import scan as scan_command
from cli.main import app

OMIM = "omim_expanded"


def ask(home: Path, *args: str) -> Result:
    result = CliRunner().invoke(app, ["scan", *args, "--home", str(home)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_without_a_name_the_scans_are_listed(tiny_home: Path) -> None:
    assert [one["name"] for one in lines(ask(tiny_home, "--json"))] == [OMIM]
    assert OMIM in ask(tiny_home).stdout


def test_json_gives_every_term_and_the_table_the_best(tiny_home: Path) -> None:
    terms = lines(ask(tiny_home, OMIM, "--json"))
    assert [one["rank"] for one in terms] == list(range(1, 188))
    shown = ask(tiny_home, OMIM)
    assert terms[0]["term"] in shown.stdout
    assert terms[100]["term"] not in shown.stdout
    assert "of 187 terms have q < .05" in shown.stderr


def test_one_term_and_one_cluster(tiny_home: Path) -> None:
    cells = lines(ask(tiny_home, OMIM, "--term", "cardiomyopathy", "--json"))
    assert {cell["term"] for cell in cells} == {"cardiomyopathy"}
    top = cells[0]["cluster"]
    terms = lines(ask(tiny_home, OMIM, "--cluster", str(top), "--json"))
    assert len(terms) == 187
    assert {cell["cluster"] for cell in terms} == {top}
    assert "cardiomyopathy" in ask(tiny_home, OMIM, "--term", "cardiomyopathy").stdout


@pytest.mark.parametrize(("table", "n"), [("terms", 187), ("samples", 64)])
def test_tables_are_written_as_csv_and_parquet(tiny_home: Path, tmp_path: Path, table: str, n: int) -> None:
    ask(tiny_home, OMIM, "--table", table, "--csv", str(tmp_path / "t.csv"))
    ask(tiny_home, OMIM, "--table", table, "--parquet", str(tmp_path / "t.parquet"))
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    found = pq.read_table(tmp_path / "t.parquet")
    assert len(rows) == found.num_rows == n
    assert list(rows[0]) == found.column_names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.parquet"]


def test_a_file_is_never_replaced(tiny_home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        ask(tiny_home, OMIM, "--csv", str(tmp_path / "mine.csv"))
    assert (tmp_path / "mine.csv").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (("nope",), NotFoundError, "neither a scan nor a vocabulary"),
        ((OMIM, "--terms", "x.txt"), InputError, "not both"),
        ((OMIM, "--term", "a", "--cluster", "1"), InputError, "Give one of"),
        ((OMIM, "--term", "no such disease"), NotFoundError, "not a term"),
        ((OMIM, "--cluster", "-1"), NotFoundError, "no cluster -1"),
        ((OMIM, "--csv", "/nowhere/at/all.csv"), InputError, "cannot be written"),
        ((OMIM, "--csv", "x.csv", "--table", "genes"), InputError, "expected one of terms"),
        (("--terms", "/nowhere.txt"), InputError, "does not exist"),
    ],
)
def test_wrong_questions_get_a_sentence(
    tiny_home: Path, args: tuple[str, ...], error: type[AtlasError], said: str
) -> None:
    with pytest.raises(error, match=said):
        ask(tiny_home, *args)


def test_an_own_list_becomes_a_job(tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[dict[str, object]] = []

    def work_off(settings: object, release: str, request: dict[str, object], *, detach: bool) -> object:
        requests.append(request)
        return None if detach else SimpleNamespace(status="done", result={"scan": OMIM}, error=None)

    monkeypatch.setattr(scan_command, "_work_off", work_off)
    listed = tmp_path / "my diseases.txt"
    listed.write_text("heart failure\n\nhepatitis\nhepatitis\n", encoding="utf-8")
    answer = ask(tiny_home, "--terms", str(listed), "--json")
    assert len(lines(answer)) == 187
    assert "that repeat a term: 1" in answer.stderr
    assert requests == [{"terms": ["heart failure", "hepatitis"], "name": "my diseases", "title": "my diseases"}]
    assert ask(tiny_home, "--terms", str(listed), "--detach").stdout == ""
    ask(tiny_home, "MSigDB_Hallmark_2020")
    assert requests[-1]["name"] == "MSigDB_Hallmark_2020"
    ask(tiny_home, "--terms", str(listed), "--name", "MSigDB_Hallmark_2020")  # a title decides nothing
    assert (requests[-1]["name"], requests[-1]["title"]) == ("my diseases", "MSigDB_Hallmark_2020")


def test_a_failed_job_is_told(tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SimpleNamespace(status="failed", result=None, error={"message": "The disk is full."})
    monkeypatch.setattr(scan_command, "_work_off", lambda *_, **__: failed)
    (tmp_path / "a.txt").write_text("heart failure\n", encoding="utf-8")
    with pytest.raises(AtlasError, match="The disk is full"):
        ask(tiny_home, "--terms", str(tmp_path / "a.txt"))
