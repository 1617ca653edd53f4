"""One set under an interpreter and its floors: the same cells for both, and nothing kept of other cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
from tiny_reader import tiny_preset, toy_file, write_tiny_llama
from toy_model import ToyTextTower, gene_word

from indexer.interpreter import comparison, evaluate, floors, making
from indexer.interpreter.labelled_cells import LabelledCells
from indexer.interpreter.making import Ingredients

LABELS = ["heart", "liver", "blood"] * 10


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ingredients:
    monkeypatch.setattr(evaluate, "MiniLmTower", ToyTextTower)
    texts = tmp_path / "genes.tsv"
    rows = [f"ENSG{i + 1:011d}\tG{i}\thuman\t{gene_word(i)}" for i in range(64)]
    texts.write_text("\n".join(["ensembl_id\tsymbol\torganism\ttext", *rows]) + "\n", encoding="utf-8")
    preset = tiny_preset(write_tiny_llama(tmp_path / "reader"), vectors={"kind": "descriptions", "texts": str(texts)})
    return Ingredients.load(preset, work=tmp_path / "parts")


def log_f1(file: Path, ready: Ingredients, *, keep: Path | None = None) -> float:
    one = evaluate.read_set(file, ready, label="cell_type")
    found = evaluate.measure_floors(one, evaluate.by_folds(one, n_folds=3), seeds=[0], keep=keep)
    return found[f"{evaluate.LOG}, {floors.CLASSIFIERS[0]}"].measure("f1")


def test_cells_of_one_name_are_told_apart(tmp_path: Path, ready: Ingredients) -> None:
    file = toy_file(tmp_path, LABELS)
    plain = log_f1(file, ready)
    assert plain > 0.9
    data = ad.read_h5ad(file)
    data.obs_names = [f"b{i % 4}" for i in range(len(LABELS))]
    data.write_h5ad(tmp_path / "twice.h5ad")
    assert log_f1(tmp_path / "twice.h5ad", ready) == plain


def test_nothing_is_kept_of_other_cells_under_the_same_name(tmp_path: Path, ready: Ingredients) -> None:
    file = toy_file(tmp_path, LABELS)
    keep = tmp_path / "kept"
    assert log_f1(file, ready, keep=keep) > 0.9
    n_kept = len(list(keep.iterdir()))
    assert log_f1(file, ready, keep=keep) > 0.9
    assert len(list(keep.iterdir())) == n_kept
    data = ad.read_h5ad(file)
    data.X = data.X[np.random.default_rng(0).permutation(len(LABELS))]
    data.write_h5ad(file)
    assert log_f1(file, ready, keep=keep) < 0.8


def test_label_to_learn_from_may_be_the_only_one() -> None:
    assert floors.logistic(np.eye(3), np.array([2, 2, 2]), np.eye(3)).tolist() == [2, 2, 2]


def test_label_without_an_example_is_told_and_not_among_the_answers(
    tmp_path: Path, ready: Ingredients, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[str, ...]] = []

    def learn(ingredients: Ingredients, cells: LabelledCells, **more: Any) -> Any:
        learned.append(cells.labels)
        return making.learn(ingredients, cells, **more)

    monkeypatch.setattr(evaluate, "learn", learn)
    one = evaluate.read_set(toy_file(tmp_path, LABELS), ready, label="cell_type")
    blood = one.cells.labels.index("blood")
    known = one.cells.codes != blood
    split = comparison.Split(np.flatnonzero(known), np.flatnonzero(~known))
    found = evaluate.measure_interpreter(one, ready, lambda seed: (split,), seeds=[0])
    assert learned == [("heart", "liver")]
    assert (found.predicted[0][~known] >= 0).all()
    assert set(np.unique(found.predicted[0][~known])) <= set(one.cells.codes[known])
    assert "blood (10)" in evaluate.without_example(one, lambda seed: (split,), seeds=[0])[0]
    assert not evaluate.without_example(one, evaluate.by_folds(one, n_folds=3), seeds=[0])


def test_cells_taken_keep_their_labels_and_no_others(tmp_path: Path, ready: Ingredients) -> None:
    cells = evaluate.read_set(toy_file(tmp_path, LABELS), ready, label="cell_type").cells
    rows = np.flatnonzero(cells.codes != 1)[::-1]
    taken = cells.take(rows)
    assert taken.labels == (cells.labels[0], cells.labels[2])
    assert [taken.labels[code] for code in taken.codes] == [cells.labels[code] for code in cells.codes[rows]]
    assert np.array_equal(taken.cells.genes, cells.cells.genes[rows])
    assert taken.cells.row_ids == tuple(cells.cells.row_ids[row] for row in rows)
