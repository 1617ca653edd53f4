"""Scores as files: whole or not there, rows in order, columns by label, what they are of."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from cell_files import cells
from toy_model import ToyTextTower, write_toy_model

from atlas.cells.output import refuse_target, write_scores
from atlas.cells.row_texts import RowTexts
from atlas.cells.rows import AnnDataRows
from atlas.cells.scoring import Reading, ScoreBlock, read_genes, score, score_blocks, softmax
from atlas.errors import InputError, ResourceError
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS

TRUTH = ["heart", "liver", "brain"] * 4


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JointModel:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    return JointModel.load(write_toy_model(tmp_path / "model"))


@pytest.fixture
def reading(model: JointModel) -> Reading:
    return read_genes(AnnDataRows(cells(TRUTH)), model=model)


def texts(*labels: str) -> RowTexts:
    return RowTexts(labels, tissues=(None,) * len(TRUTH), as_written=True)


def blocks(n: int, *, n_labels: int = 2) -> Iterator[ScoreBlock]:
    for i in range(n):
        yield ScoreBlock((f"r{i}", "same"), np.full((2, n_labels), i / 10, np.float32))


def test_file_holds_rows_in_order_and_a_column_a_label(tmp_path: Path, model: JointModel) -> None:
    rows = AnnDataRows(cells(TRUTH))
    asked = texts("liver", "heart")
    reading = read_genes(rows, model=model)
    scored = score_blocks(rows, asked, model=model, organism="human")
    path = tmp_path / "scores.parquet"
    assert write_scores(path, scored, texts=asked, reading=reading, model_hash=model.hash, logit_scale=5.0) == 12
    frame = pd.read_parquet(path)
    assert list(frame.index) == [f"c{i}" for i in range(12)]
    assert list(frame.columns) == ["liver", "heart"]
    cosines = score(cells(TRUTH), ["liver", "heart"], model=model, as_written=True).cosines
    expected = softmax(cosines, logit_scale=5.0)
    assert (frame.to_numpy() == expected).all()
    table = pq.read_table(path)
    assert table.column_names == ["row_id", "liver", "heart"]
    described = json.loads(table.schema.metadata[b"geo_atlas"])
    assert (described["model"], described["logit_scale"], described["organism"]) == (model.hash, 5.0, "human")
    assert described["texts"] == {"liver": "liver", "heart": "heart"}


def test_file_names_what_rows_of_each_tissue_were_read_as(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "scores.parquet"
    asked = RowTexts(["alpha", "liver"], tissues=["brain", "kidney", "brain", None])
    write_scores(path, blocks(2), texts=asked, reading=reading, model_hash="m")
    described = json.loads(pq.read_schema(path).metadata[b"geo_atlas"])
    assert (described["texts"], described["tissue"], described["n_tissues"]) == (
        {"alpha": "alpha cell", "liver": "liver"},
        None,
        2,
    )
    assert described["by_tissue"] == [
        {"tissue": "brain", "n_rows": 2, "texts": {"alpha": "brain alpha cell"}},
        {"tissue": "kidney", "n_rows": 1, "texts": {"alpha": "kidney alpha cell"}},
    ]


def test_repeated_rows_and_blocks_are_all_written(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "scores.parquet"
    assert write_scores(path, blocks(3), texts=texts("a", "b"), reading=reading, model_hash="m") == 6
    table = pq.read_table(path)
    assert table["row_id"].to_pylist() == ["r0", "same", "r1", "same", "r2", "same"]
    assert table["a"].to_pylist() == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2])
    assert json.loads(table.schema.metadata[b"geo_atlas"])["score"] == "cosine"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, reading: Reading) -> None:
    def broken() -> Iterator[ScoreBlock]:
        yield from blocks(2)
        raise InputError("the file ends here")

    path = tmp_path / "scores.parquet"
    with pytest.raises(InputError, match="ends here"):
        write_scores(path, broken(), texts=texts("a", "b"), reading=reading, model_hash="m")
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_a_read_only_folder_is_said_to_be_one(
    tmp_path: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("atlas.cells.output.pq.ParquetWriter", refused)
    monkeypatch.setattr(Path, "unlink", refused)  # as the system answers, though there is nothing to remove
    with pytest.raises(ResourceError, match=r"cannot be written: Read-only"):
        write_scores(tmp_path / "s.parquet", blocks(1), texts=texts("a", "b"), reading=reading, model_hash="m")


def test_a_file_is_replaced_only_by_force(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "scores.parquet"
    path.write_text("kept")
    with pytest.raises(InputError, match="--force"):
        write_scores(path, blocks(1), texts=texts("a", "b"), reading=reading, model_hash="m")
    assert path.read_text() == "kept"
    write_scores(path, blocks(1), texts=texts("a", "b"), reading=reading, model_hash="m", force=True)
    assert pq.read_table(path).num_rows == 2


def test_names_that_cannot_be_written_are_refused(tmp_path: Path, reading: Reading) -> None:
    with pytest.raises(InputError, match="row_id"):
        write_scores(tmp_path / "s.parquet", blocks(1), texts=texts("row_id", "b"), reading=reading, model_hash="m")
    with pytest.raises(ResourceError, match="cannot be written"):
        write_scores(tmp_path / "no" / "s.parquet", blocks(1), texts=texts("a", "b"), reading=reading, model_hash="m")


def test_what_is_read_or_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    source, link = tmp_path / "cells.h5ad", tmp_path / "link.h5ad"
    source.write_text("cells")
    link.symlink_to(source)
    for out in (source, link):
        with pytest.raises(InputError, match="would be lost"):
            refuse_target(out, force=True, inputs=(tmp_path / "absent", source))
    with pytest.raises(InputError, match="folder or a device"):
        refuse_target(Path("/dev/null"), force=True)
    with pytest.raises(InputError, match="folder or a device"):
        refuse_target(tmp_path, force=True)
    refuse_target(source, force=True)
    refuse_target(tmp_path / "new.parquet", force=False, inputs=(source,))
