"""``geo-atlas interpreter``: what a person sees of train, predict and evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_reader import toy_file, write_tiny_llama
from toy_model import gene_word
from typer.testing import CliRunner

from atlas.errors import ConfigError, InputError
from cli.main import app

LABELS = ["heart", "liver", "blood"] * 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("command")
    write_tiny_llama(base / "reader")
    rows = [f"ENSG{i + 1:011d}\tG{i}\thuman\t{gene_word(i)}" for i in range(64)]
    (base / "genes.tsv").write_text("\n".join(["ensembl_id\tsymbol\torganism\ttext", *rows]) + "\n", encoding="utf-8")
    toy_file(base, LABELS, name="learn.h5ad")
    toy_file(base, LABELS, name="new.h5ad", seed=5)
    return base


def asked(place: Path) -> list[str]:
    changes = (
        "genes.top_k=6",
        "training.min_steps=0",
        "training.epochs=12",
        "training.batch=8",
        "training.learning_rate=0.02",
        "network.hidden=8",
    )
    told = [
        "--preset",
        "scinterpreter-paper",
        "--reader",
        str(place / "reader"),
        "--gene-texts",
        str(place / "genes.tsv"),
    ]
    return [*told, *(part for change in changes for part in ("--set", change))]


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["interpreter", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_train_then_predict_then_evaluate(place: Path) -> None:
    made, out = str(place / "made"), place / "cells.parquet"
    told = json.loads(run("train", str(place / "learn.h5ad"), "--out", made, "--json", *asked(place)).splitlines()[0])
    assert (told["labels"], told["n_cells"]) == (["blood", "heart", "liver"], 36)
    said = run("predict", made, str(place / "new.h5ad"), "--out", str(out))
    assert "blood" in said
    found = pq.read_table(out)["label"].to_pylist()
    assert sum(one == label for one, label in zip(found, LABELS, strict=True)) > 27
    with pytest.raises(InputError, match="there already"):
        run("predict", made, str(place / "new.h5ad"), "--out", str(out))
    json_of = run(
        "evaluate", str(place / "new.h5ad"), "--seeds", "1", "--folds", "2", "--draws", "20", "--json", *asked(place)
    )
    measured = json.loads(json_of.splitlines()[0])
    assert measured["n"] == 36
    assert {"scinterpreter-paper", "log expression, logistic regression", "GenePT-w, nearest neighbours"} <= set(
        measured["figures"]
    )
    figure = measured["figures"]["scinterpreter-paper"]["f1"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert set(measured["better_by"]) == set(measured["figures"]) - {"scinterpreter-paper"}


def test_device_that_is_not_there_is_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match="'tpu' is not here"):
        run("train", str(place / "learn.h5ad"), "--out", str(place / "other"), "--device", "tpu", *asked(place))
