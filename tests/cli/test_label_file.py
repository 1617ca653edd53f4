"""``geo-atlas label FILE`` on a file of several tissues: a row is scored alone, and what it was read as is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from cell_files import cells, write_cells
from toy_model import ToyTextTower, write_toy_model

from atlas.model.text_tower import TEXT_TOWERS
from cli.main import app

TISSUES = ["brain", "kidney", None, "brain", "lung", "kidney", "pancreas", "blood", "brain", "lung"]
TYPES = ["heart", "liver", "brain", "liver", "heart", "heart", "liver", "brain", "heart", "kidney"]
Scored = Callable[..., pd.DataFrame]


@pytest.fixture
def data() -> Any:
    made = cells(TYPES, contrast=2.0)
    made.obs["tissue"] = pd.Categorical(TISSUES)
    return made


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Scored:
    """Write an object, run the command on it, read the scores."""
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    model, labels = write_toy_model(tmp_path / "model"), tmp_path / "labels.txt"
    labels.write_text("alpha\nbeta\nliver\nheart\n", encoding="utf-8")

    def run(made: Any, *more: str) -> pd.DataFrame:
        file, out = write_cells(tmp_path / "cells.h5ad", made.copy()), tmp_path / "scores.parquet"
        command = ["label", str(file), "--labels", str(labels), "--out", str(out), "--model", str(model), "--force"]
        app([*command, *more], standalone_mode=False)
        frame = pd.read_parquet(out)
        frame.attrs["shown"] = capsys.readouterr()
        frame.attrs["described"] = json.loads(pq.read_schema(out).metadata[b"geo_atlas"])
        return frame

    return run


def test_whole_shuffled_row_by_row_and_cut_give_the_same_bytes(scored: Scored, data: Any) -> None:
    whole = scored(data)
    parts = [data[[3, 9, 0, 7, 5, 2, 8, 1, 6, 4]], data[data.obs["cell_type"] == "liver"]]
    parts += [data[data.obs["tissue"] == "brain"], *(data[i : i + 1] for i in range(len(TYPES)))]
    for part in parts:
        found = scored(part)
        assert list(found.index) == list(part.obs_names)
        assert found.to_numpy().tobytes() == whole.loc[list(part.obs_names)].to_numpy().tobytes()


def test_the_tissue_of_a_row_decides_its_scores(scored: Scored, data: Any) -> None:
    """Otherwise the test above would hold of a command that never looks at tissues."""
    by_row, none, brain = (scored(data, *more) for more in ((), ("--tissue", ""), ("--tissue", "brain")))
    is_brain = [tissue == "brain" for tissue in TISSUES]
    assert (by_row[is_brain] == brain[is_brain]).all(axis=None)
    assert (by_row[is_brain] != none[is_brain]).any(axis=1).all()
    silent = [tissue in (None, "blood") for tissue in TISSUES]
    assert (by_row[silent] == none[silent]).all(axis=None)


def test_what_rows_of_each_tissue_are_read_as_is_shown_and_kept(scored: Scored, data: Any) -> None:
    found = scored(data)
    shown = found.attrs["shown"]
    assert "names 5" in shown.err
    for text in ("alpha cell", "brain alpha cell", "kidney beta cell", "pancreatic alpha cell"):
        assert text in shown.out
    by_tissue = {one["tissue"]: one for one in found.attrs["described"]["by_tissue"]}
    assert by_tissue["brain"] == {
        "tissue": "brain",
        "n_rows": 3,
        "texts": {"alpha": "brain alpha cell", "beta": "brain beta cell"},
    }
    assert set(by_tissue) == {"brain", "kidney", "lung", "pancreas"}
    answer = json.loads(scored(data, "--json").attrs["shown"].out)
    assert (answer["tissue"], answer["n_tissues"]) == (None, 5)
    assert answer["by_tissue"] == found.attrs["described"]["by_tissue"]


def test_one_tissue_is_told_as_before(scored: Scored, data: Any) -> None:
    data.obs["tissue"] = "kidney"
    answer = json.loads(scored(data, "--json").attrs["shown"].out)
    assert (answer["tissue"], answer["texts"][0], answer["by_tissue"]) == ("kidney", "kidney alpha cell", [])
