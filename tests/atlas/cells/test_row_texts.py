"""What labels are read as in a row: by the tissue of that row, whatever other rows name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cell_files import cells, write_cells
from toy_model import ToyTextTower, write_toy_model

from atlas.cells import row_texts as row_texts_module
from atlas.cells import rows as rows_module
from atlas.cells.row_texts import RowTexts, TextVectors, row_texts, tissues_of
from atlas.cells.rows import AnnDataRows, H5adRows
from atlas.cells.scoring import score
from atlas.expression.matrix import build_matrix
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS

LABELS = ["alpha", "liver", "B"]
TISSUES = ["brain", "kidney", None, "brain", "pancreatic islet", "blood"]
READ_AS = {
    "brain": "brain alpha cell",
    "kidney": "kidney alpha cell",
    None: "alpha cell",
    "pancreatic islet": "pancreatic alpha cell",
    "blood": "alpha cell",
}


class RoundingTower(ToyTextTower):
    """Rounds otherwise in batches of another size, as matrix products do, and far more visibly."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        vectors = super().embed(texts)
        vectors[:, 0] += np.float32(1e-3) * len(texts)
        return vectors


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JointModel:
    monkeypatch.setitem(TEXT_TOWERS, "toy", RoundingTower)
    return JointModel.load(write_toy_model(tmp_path / "model"))


def of_tissues(tissues: Sequence[str | None], **obs: object) -> object:
    data = cells((["heart", "liver", "brain"] * len(tissues))[: len(tissues)])
    data.obs["tissue"] = tissues
    for name, values in obs.items():
        data.obs[name] = values
    return data


def test_texts_are_those_of_the_rows_own_tissue() -> None:
    texts = RowTexts(LABELS, tissues=TISSUES)
    seen = {int(place): read.texts[0] for places, read in texts.groups(0, 6) for place in places}
    assert seen == {place: READ_AS[tissue] for place, tissue in enumerate(TISSUES)}
    assert [sorted(places.tolist()) for places, read in texts.groups(3, 2) if read.tissue == "brain"] == [[0]]
    assert (texts.common.texts, texts.common.tissue) == (("alpha cell", "liver", "B cell"), None)
    assert texts.n_tissues == 4


def test_what_single_tissues_read_otherwise_is_told_with_the_most_rows_first() -> None:
    told = RowTexts(LABELS, tissues=TISSUES).by_tissue
    assert [(one.tissue, one.n_rows, one.texts) for one in told] == [
        ("brain", 2, {"alpha": "brain alpha cell"}),
        ("kidney", 1, {"alpha": "kidney alpha cell"}),
        ("pancreatic islet", 1, {"alpha": "pancreatic alpha cell"}),
    ]
    alone = RowTexts(LABELS, tissues=["kidney"] * 3)
    assert (alone.common.texts[0], alone.common.tissue, alone.by_tissue) == ("kidney alpha cell", "kidney", ())


def test_labels_as_written_know_no_tissue() -> None:
    texts = RowTexts(LABELS, tissues=TISSUES, as_written=True)
    assert (texts.common.texts, texts.by_tissue, texts.n_tissues) == (tuple(LABELS), (), 0)


def test_a_tissue_without_a_letter_is_no_word_of_a_text() -> None:
    assert RowTexts(["alpha"], tissues=["1.0"]).common.texts == ("alpha cell",)


def test_column_of_tissues_is_chosen_by_its_name_and_not_by_what_rows_hold(tmp_path: Path) -> None:
    data = of_tissues([None, None, "brain"], organ="kidney")
    path = write_cells(tmp_path / "cells.h5ad", data)
    with H5adRows(path) as file:
        for rows in (file, AnnDataRows(data)):
            assert tissues_of(rows) == (None, None, "brain")
    assert tissues_of(AnnDataRows(data[:2].copy())) == (None, None)  # not kidney: the column is still there
    del data.obs["tissue"]
    assert tissues_of(AnnDataRows(data)) == ("kidney",) * 3


def test_a_tissue_that_is_said_holds_for_all_rows() -> None:
    rows = AnnDataRows(of_tissues(["brain", "kidney", None]))
    assert row_texts(rows, ["alpha"]).n_tissues == 2
    assert row_texts(rows, ["alpha"], tissue="islet").common.texts == ("pancreatic alpha cell",)
    for nothing in ("", " "):
        silent = row_texts(rows, ["alpha"], tissue=nothing)
        assert (silent.common.texts, silent.common.tissue, silent.n_tissues) == (("alpha cell",), None, 0)


def test_a_matrix_names_no_tissue() -> None:
    matrix = build_matrix(np.ones((2, 3)), genes=["G0", "G1", "G2"], sample_ids=["a", "b"])
    with rows_module.open_rows(matrix) as rows:
        assert tissues_of(rows) == (None, None)


def test_vectors_are_those_of_the_texts_one_by_one(model: JointModel) -> None:
    """The plain way: a text of a tissue embedded alone and averaged with the bare one, the others in the batch of all labels."""
    texts = RowTexts(LABELS, tissues=TISSUES, templates=["{x}", "skin {x}"])
    bare = texts.read(None).embed(model)
    for places, found in TextVectors(texts, model=model).of_rows(0, 6):
        expected = bare.copy()
        tissue = TISSUES[places[0]]
        if READ_AS[tissue] != "alpha cell":
            parts = sum(model.embed_texts([t.replace("{x}", READ_AS[tissue])]) for t in ("{x}", "skin {x}"))
            both = bare[0] + (parts / np.linalg.norm(parts))[0]
            expected[0] = both / np.linalg.norm(both)
        assert found == pytest.approx(expected, abs=1e-7), tissue


def test_a_row_of_several_tissues_is_scored_alone(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    data = of_tissues(TISSUES * 3)
    whole = score(data, LABELS, model=model)
    by_id = dict(zip(whole.row_ids, whole.cosines, strict=True))
    order = np.random.default_rng(0).permutation(18)
    parts = [data[order], data[data.obs["tissue"] == "brain"], *(data[i : i + 1] for i in range(18))]
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 4 * 64 * 5)
    for part in parts:
        found = score(part.copy(), LABELS, model=model)
        assert all((row == by_id[name]).all() for name, row in zip(found.row_ids, found.cosines, strict=True))
    assert not (by_id["c0"] == score(data, LABELS, model=model, tissue="").cosines[0]).all()  # the tissue does matter


def test_more_tissues_than_are_kept_score_the_same(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    data = of_tissues([f"organ{chr(97 + i % 20)}" for i in range(60)])
    expected = score(data, LABELS, model=model)
    assert len(expected.row_texts.by_tissue) == 20
    for name in ("_TISSUES_KEPT", "_TEXTS_KEPT", "MOST_TISSUES"):
        monkeypatch.setattr(row_texts_module, name, 3)
    found = score(data, LABELS, model=model)
    assert (found.cosines == expected.cosines).all()
    assert len(found.row_texts.by_tissue) == 3
