"""``geo-atlas evaluate ...`` and ``geo-atlas label FILE`` as a user types them."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from cell_files import cells, write_cells
from toy_model import ToyTextTower, write_toy_model
from typer.testing import CliRunner

from atlas.errors import AtlasError, ConfigError, InputError, NotFoundError, ResourceError
from atlas.model.text_tower import TEXT_TOWERS
from cli.evaluate import by_hand, write_whole
from cli.main import app

TRUTH = ["heart", "liver", "brain"] * 6
Call = Callable[..., str]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    return write_toy_model(tmp_path / "model")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = cells(TRUTH, contrast=2.0)
    data.obs["batch"] = ["a", "b"] * 9
    data.obs["one"] = "heart"
    return write_cells(tmp_path / "cells.h5ad", data)


@pytest.fixture
def call(model: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: object, error: type[AtlasError] | None = None) -> str:
        command = [*map(str, args), "--model", str(model)]
        if error is None:
            app(command, standalone_mode=False)
            return capsys.readouterr().out
        with pytest.raises(error) as caught:
            app(command, standalone_mode=False)
        return caught.value.message

    return run


def test_zero_shot_ends_with_one_json_object(call: Call, file: Path) -> None:
    found = json.loads(call("evaluate", "zero-shot", file, "--json", "--draws", 20, "--seed", 4).splitlines()[-1])
    assert {"roc_auc_macro", "accuracy", "f1_macro", "n", "n_labels"} <= set(found)
    assert (found["n"], found["n_labels"], found["seed"]) == (18, 3, 4)
    assert 0.5 < found["roc_auc_macro"] <= 1


def test_zero_shot_prints_labels_figures_and_confusions(call: Call, file: Path) -> None:
    shown = call("evaluate", "zero-shot", file, "--draws", 20, "--template", "celltype")
    for word in ("read as", "ROC-AUC, macro", "as written", "set-centred", "Largest confusions", "liver"):
        assert word in shown


def test_zero_shot_says_what_is_wrong(call: Call, file: Path, tmp_path: Path) -> None:
    assert "cell_type" in call("evaluate", "zero-shot", file, "--label", "type", error=NotFoundError)
    assert "only the label" in call("evaluate", "zero-shot", file, "--label", "one", error=InputError)
    assert "counts" in call("evaluate", "zero-shot", file, "--layer", "counts", error=NotFoundError)
    assert "{x}" in call("evaluate", "zero-shot", file, "--template", "A cell", error=InputError)
    assert "does not exist" in call("evaluate", "zero-shot", tmp_path / "no.h5ad", error=InputError)


def test_label_writes_every_score_of_every_row(call: Call, file: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.txt", tmp_path / "scores.parquet"
    labels.write_text("# of the toy\nliver\n\nheart\nbrain\n", encoding="utf-8")
    shown = call("label", file, "--labels", labels, "--out", out)
    assert "read as" in shown
    frame = pd.read_parquet(out)
    assert list(frame.index) == [f"c{i}" for i in range(18)]
    assert list(frame.columns) == ["liver", "heart", "brain"]
    assert (frame.idxmax(axis=1) == TRUTH).mean() > 0.7
    assert frame.sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert "--force" in call("label", file, "--labels", labels, "--out", out, error=InputError)
    answer = json.loads(call("label", file, "--labels", labels, "--out", out, "--force", "--cosine", "--json"))
    assert (answer["n_rows"], answer["labels"]) == (18, ["liver", "heart", "brain"])
    cosines = pd.read_parquet(out)
    assert (cosines.idxmax(axis=1) == frame.idxmax(axis=1)).all()


def test_a_label_ends_with_its_line_alone(call: Call, file: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.txt", tmp_path / "scores.parquet"
    labels.write_bytes("\ufeffliver\u2028cell\r\n\r\n".encode())
    call("label", file, "--labels", labels, "--out", out, "--as-written", "--json")
    frame = pd.read_parquet(out)
    assert list(frame.columns) == ["liver\u2028cell"]
    assert (frame.to_numpy() == 1).all()


def test_nothing_that_label_reads_is_written_over(call: Call, file: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("liver\nheart\n")
    before = file.read_bytes()
    for out in (file, labels):
        assert "would be lost" in call("label", file, "--labels", labels, "--out", out, "--force", error=InputError)
    assert file.read_bytes() == before
    assert labels.read_text() == "liver\nheart\n"
    absent = tmp_path / "absent" / "s.parquet"
    assert "no folder" in call("label", file, "--labels", labels, "--out", absent, error=ResourceError)


def test_a_negative_seed_is_a_wrong_option(file: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "zero-shot", str(file), "--seed", "-1"])
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_label_of_a_file_needs_labels_and_out(call: Call, file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n# nothing\n")
    out = tmp_path / "s.parquet"
    assert "--labels" in call("label", file, "--out", out, error=ConfigError)
    assert "--labels" in call("label", file, error=ConfigError)
    assert "no label" in call("label", file, "--labels", empty, "--out", out, error=InputError)
    empty.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in call("label", file, "--labels", empty, "--out", out, error=InputError)
    assert not out.exists()


@pytest.mark.slow
def test_integration_prints_scores(call: Call, file: Path) -> None:
    pytest.importorskip("scib_metrics")
    shown = call("evaluate", "integration", file, "--batch", "batch")
    for word in ("biology, mean", "18 rows, 3 labels, 2 batches", "| model | components | chance |"):
        assert word in shown


def test_baseline_is_name_and_folder(call: Call, tmp_path: Path) -> None:
    assert "counts.h5" in call("evaluate", "phrases", "--data", tmp_path, error=InputError)
    for asked in (("phrases",), ("retrieval",), ("all", "--out", tmp_path / "a.md")):
        wrong = ("evaluate", *asked, "--data", tmp_path, "--baseline", "old")
        assert "NAME=DIR" in call(*wrong, error=ConfigError)


def test_what_a_person_wrote_below_the_line_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    assert by_hand(path) == ""
    path.write_text("# Old\n\nfigures\n\n<!-- by hand -->\n\n## Notes\n")
    assert by_hand(path) == "\n<!-- by hand -->\n\n## Notes\n"


def test_a_page_in_a_read_only_folder_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refused)
    monkeypatch.setattr(Path, "unlink", refused)  # as the system answers, though there is nothing to remove
    with pytest.raises(ResourceError, match="cannot be written: Read-only"):
        write_whole(tmp_path / "page.md", "figures")
