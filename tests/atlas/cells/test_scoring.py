"""Scores of rows by texts: the same however the rows come, bounded, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from cell_files import cells, write_cells
from toy_model import ToyTextTower, write_toy_memory_model, write_toy_model

from atlas.cells import rows as rows_module
from atlas.cells.rows import AnnDataRows, H5adRows, open_rows, repeated
from atlas.cells.scoring import PAPER_LOGIT_SCALE, logit_scale_of, score, softmax
from atlas.cells.texts import ENSEMBLE, TEMPLATES, label_texts
from atlas.errors import InputError, NotFoundError
from atlas.expression.matrix import build_matrix
from atlas.expression.units import Unit
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS

LABELS = ["heart", "liver", "brain"]
TRUTH = LABELS * 7


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


@pytest.fixture(params=["centre", "memory"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> JointModel:
    write = write_toy_model if request.param == "centre" else write_toy_memory_model
    return JointModel.load(write(tmp_path / "model", n_mouse=64))


def test_each_row_finds_its_label(model: JointModel) -> None:
    found = score(cells(TRUTH), LABELS, model=model)
    assert found.row_ids == tuple(f"c{i}" for i in range(21))
    assert found.best() == tuple(TRUTH)
    assert found.cosines.dtype == np.float32
    assert found.shares().sum(axis=1) == pytest.approx(np.ones(21))


def test_scores_are_those_of_the_model_one_row_at_a_time(model: JointModel) -> None:
    data = cells(TRUTH)
    matrix = build_matrix(data.X.toarray(), genes=list(data.var_names), sample_ids=list(data.obs_names))
    vectors, _ = model.embed_matrix(matrix)
    as_written = vectors.astype(np.float64) @ model.embed_texts(LABELS).astype(np.float64).T
    assert score(data, LABELS, model=model, as_written=True).cosines == pytest.approx(as_written, abs=1e-6)
    filled = [model.embed_texts([sentence.replace("{x}", label) for label in LABELS]) for sentence in ENSEMBLE]
    mean = sum(filled) / np.linalg.norm(sum(filled), axis=1, keepdims=True)
    assert score(data, LABELS, model=model).cosines == pytest.approx(vectors @ mean.T, abs=1e-6)
    assert (score(matrix, LABELS, model=model).cosines == score(data, LABELS, model=model).cosines).all()


def test_a_row_is_scored_alone(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, shuffled, row by row, cut to one type, in blocks of another size: identical scores."""
    data = cells(TRUTH)
    whole = score(data, LABELS, model=model)
    by_id = dict(zip(whole.row_ids, whole.cosines, strict=True))
    order = np.random.default_rng(0).permutation(len(TRUTH))
    parts = [data[order], data[data.obs["cell_type"] == "liver"], *(data[i : i + 1] for i in range(len(TRUTH)))]
    for part in parts:
        found = score(part.copy(), LABELS, model=model)
        assert all((row == by_id[name]).all() for name, row in zip(found.row_ids, found.cosines, strict=True))
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 4 * 64 * 2)
    assert (score(data, LABELS, model=model).cosines == whole.cosines).all()


@pytest.mark.parametrize("base", [np.e, 2.0])
def test_a_row_of_logarithms_is_scored_alone(model: JointModel, base: float) -> None:
    """The base is told from the row itself: rows of one file cannot be compared to find it."""
    data = cells(TRUTH)
    counts = data.X.toarray()
    data.X = (np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e6) / np.log(base)).astype(np.float32)
    whole = score(data, LABELS, model=model).cosines
    assert whole == pytest.approx(score(cells(TRUTH), LABELS, model=model).cosines, abs=1e-3)
    for row in range(0, 21, 4):
        assert (score(data[row : row + 1].copy(), LABELS, model=model).cosines[0] == whole[row]).all()


def test_matrix_is_chosen_by_what_is_there_and_not_by_what_rows_hold(tmp_path: Path, model: JointModel) -> None:
    data = cells(TRUTH)
    counts = data.X.toarray()
    data.raw = data.copy()
    data.X = np.where(np.arange(21)[:, None] == 0, 0, np.log1p(counts[:, ::-1]))  # a first row of whole numbers
    expected = score(cells(TRUTH), LABELS, model=model).cosines
    for source in (data, write_cells(tmp_path / "raw.h5ad", data)):
        assert (score(source, LABELS, model=model).cosines == expected).all()
        declared = score(source, LABELS, model=model, unit=Unit.TPM)  # which a matrix of counts is not
        assert declared.reading.scale == "linear (as declared)"
        assert not (declared.cosines[1:] == expected[1:]).all()
    assert (score(data[:1].copy(), LABELS, model=model).cosines == expected[:1]).all()
    data.layers["counts"] = counts[:, ::-1].copy()  # of other genes, to be seen
    for source in (data, write_cells(tmp_path / "layer.h5ad", data)):
        assert not (score(source, LABELS, model=model).cosines == expected).all()


def test_genes_without_a_finite_value_are_not_measured_in_that_row(
    tmp_path: Path, model: JointModel, caplog: pytest.LogCaptureFixture
) -> None:
    data = cells(TRUTH)
    counts = data.X.toarray()
    data.X = counts.copy()
    data.X[2, :10], data.X[5, 3], data.X[7] = np.nan, np.inf, np.nan
    fewer = build_matrix(counts[:, 10:], genes=list(data.var_names[10:]), sample_ids=list(data.obs_names))
    expected, less = (score(one, LABELS, model=model).cosines for one in (cells(TRUTH), fewer))
    others = np.delete(np.arange(21), [2, 5, 7])
    for source in (data, write_cells(tmp_path / "cells.h5ad", data)):
        caplog.clear()
        found = score(source, LABELS, model=model)
        assert np.flatnonzero(~found.has_signal).tolist() == [7]
        assert (found.cosines[others] == expected[others]).all()
        assert (found.cosines[2] == less[2]).all()
        assert "3 row(s) hold values that are not finite" in caplog.text
        assert "1 row(s) without signal" in caplog.text


def test_rows_for_training_must_be_whole(tmp_path: Path) -> None:
    data = cells(TRUTH)
    data.X = data.X.toarray()
    data.X[5, 3] = np.nan
    with H5adRows(write_cells(tmp_path / "cells.h5ad", data)) as rows:
        with pytest.raises(InputError, match="not finite in row 'c5'"):
            list(rows.blocks())
        assert sum(matrix.n_samples for matrix in rows.matrices()) == 21


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "layer", "raw", "log"])
def test_files_of_any_form_give_the_scores_of_the_object(tmp_path: Path, model: JointModel, form: str) -> None:
    data = cells(TRUTH)
    counts = data.X.toarray()
    expected = score(data, LABELS, model=model).cosines
    logs = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 10_000).astype(np.float32)
    if form == "csc":
        data.X = sp.csc_matrix(counts)
    elif form == "dense":
        data.X = counts
    elif form == "layer":
        data.layers["spliced"], data.X = counts.copy(), sp.csr_matrix(logs)
    elif form == "raw":
        data.raw = data.copy()
        data.X = sp.csr_matrix(logs - 1.0)
    elif form == "log":
        data.X = sp.csr_matrix(logs)
    path = write_cells(tmp_path / "cells.h5ad", data)
    layer = {"layer": "spliced", "raw": "raw"}.get(form)
    found = score(path, LABELS, model=model, layer=layer)
    tolerance = 1e-3 if form == "log" else 0.0
    assert found.cosines == pytest.approx(expected, abs=tolerance)
    assert score(data, LABELS, model=model, layer=layer).cosines == pytest.approx(expected, abs=tolerance)


def test_a_backed_object_is_read_block_by_block(tmp_path: Path, model: JointModel) -> None:
    import anndata

    path = write_cells(tmp_path / "cells.h5ad", cells(TRUTH))
    backed = anndata.read_h5ad(path, backed="r")
    try:
        assert (score(backed, LABELS, model=model).cosines == score(path, LABELS, model=model).cosines).all()
    finally:
        backed.file.close()


def test_mouse_genes_are_told_from_their_names(model: JointModel) -> None:
    found = score(cells(TRUTH, mouse=True), LABELS, model=model)
    assert found.reading.coverage.organism == "mouse"
    assert found.best() == tuple(TRUTH)
    with pytest.raises(InputError, match="human"):
        score(cells(TRUTH, mouse=True), LABELS, model=model, organism="human")
    with pytest.raises(InputError, match="yeast"):
        score(cells(TRUTH), LABELS, model=model, organism="yeast")


def test_row_without_signal_has_no_score_and_costs_no_other(model: JointModel) -> None:
    data = cells(TRUTH)
    counts = data.X.toarray()
    counts[4] = 0
    data.X = sp.csr_matrix(counts)
    found = score(data, LABELS, model=model)
    assert np.flatnonzero(~found.has_signal).tolist() == [4]
    assert found.best()[4] is None
    others = np.delete(np.arange(21), 4)
    assert (found.cosines[others] == score(cells(TRUTH), LABELS, model=model).cosines[others]).all()


def test_file_without_any_signal_is_refused(model: JointModel) -> None:
    data = cells(TRUTH)
    data.X = sp.csr_matrix(np.zeros(data.shape, np.float32))
    with pytest.raises(InputError, match="None of the 21 rows"):
        score(data, LABELS, model=model)


def test_file_without_rows_is_refused(tmp_path: Path) -> None:
    for source in (write_cells(tmp_path / "cells.h5ad", cells(TRUTH)[:0].copy()), cells(TRUTH)[:0].copy()):
        with pytest.raises(InputError, match="no rows"), open_rows(source):
            pass


def test_unknown_genes_are_refused_with_examples(model: JointModel) -> None:
    data = cells(TRUTH)
    data.var_names = [f"probe_{i}" for i in range(data.n_vars)]
    with pytest.raises(InputError, match="probe_0"):
        score(data, LABELS, model=model)


def test_repeated_row_ids_are_kept_and_named(tmp_path: Path, model: JointModel) -> None:
    data = cells(TRUTH)
    data.obs.index = [*(f"c{i}" for i in range(19)), "c0", "c0"]
    found = score(write_cells(tmp_path / "cells.h5ad", data), LABELS, model=model)
    assert found.row_ids[-2:] == ("c0", "c0")
    assert found.reading.repeated_ids == ("c0",)
    assert any("c0" in note for note in found.reading.notes)
    assert repeated(["a", "b", "a", "b", "a"]) == ("a", "b")


def test_labels_of_every_column_kind_are_read_with_their_gaps(tmp_path: Path) -> None:
    import pandas as pd

    data = cells(["heart"] * 4)
    data.obs["category"] = pd.Categorical(["a", None, "b", "a"])
    data.obs["plain"] = ["a", "NA", "b ", "a"]
    data.obs["number"] = [1.0, np.nan, 2.0, 1.0]
    data.obs["nullable"] = pd.array(["a", None, "b", "a"], dtype="string")
    path = write_cells(tmp_path / "cells.h5ad", data)
    with H5adRows(path) as file:
        for rows in (file, AnnDataRows(data)):
            for column in ("category", "plain", "nullable"):
                assert rows.labels(column) == ("a", None, "b", "a"), column
            assert rows.labels("number") == ("1.0", None, "2.0", "1.0")
            with pytest.raises(NotFoundError, match="category"):
                rows.labels("donor")


def test_missing_layer_names_those_that_are_there(tmp_path: Path) -> None:
    data = cells(TRUTH)
    data.layers["spliced"] = data.X.copy()
    path = write_cells(tmp_path / "cells.h5ad", data)
    for source in (path, data):
        with pytest.raises(NotFoundError, match="spliced"), open_rows(source, layer="unspliced"):
            pass


def test_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="list"), open_rows([1, 2]):
        pass
    with pytest.raises(InputError, match="does not exist"), open_rows("nowhere.h5ad"):
        pass


def test_templates_are_averaged_and_cleaning_is_shown(model: JointModel) -> None:
    texts = label_texts(["CD14+ Mono", "B"], templates=["celltype", "A {x}"])
    assert texts.templates == (TEMPLATES["celltype"], "A {x}")
    assert texts.texts == ("CD14-positive monocyte", "B cell")
    assert all(texts.rules)
    plain = label_texts(["heart", "liver"], templates=["heart {x}", "skin {x}"], as_written=True)
    parts = sum(model.embed_texts([t.replace("{x}", x) for x in plain.texts]) for t in plain.templates)
    assert plain.embed(model) == pytest.approx(parts / np.linalg.norm(parts, axis=1, keepdims=True), abs=1e-6)
    assert label_texts(["CD14+ Mono"], as_written=True).texts == ("CD14+ Mono",)


@pytest.mark.parametrize(
    ("labels", "templates", "message"),
    [
        ([], [], "no label"),
        (["a", " "], [], "empty"),
        (["a", "a "], [], "more than once"),
        (["a"], ["no blank"], "blank"),
    ],
)
def test_wrong_labels_and_templates_are_refused(labels: list[str], templates: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_texts(labels, templates=templates)


def test_result_is_written_back_to_the_object(model: JointModel) -> None:
    data = cells(TRUTH)
    found = score(data, LABELS, model=model)
    found.write_to(data, key="types")
    assert list(data.obs["types_label"]) == TRUTH
    assert data.obs["types_share"].to_numpy() == pytest.approx(found.shares().max(axis=1))
    assert (data.obsm["types"].to_numpy() == found.cosines).all()
    assert list(data.obsm["types"].columns) == LABELS
    assert data.uns["types"]["model"] == model.hash
    assert json.loads(data.uns["types"]["by_tissue"]) == []
    with pytest.raises(InputError, match="other rows"):
        found.write_to(data[::-1].copy())


def test_softmax_looks_at_its_row_alone() -> None:
    cosines = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    whole = softmax(cosines, logit_scale=7.0)
    assert (whole[2] == softmax(cosines[2:3], logit_scale=7.0)[0]).all()
    expected = np.exp(7.0 * cosines.astype(np.float64))
    assert whole == pytest.approx(expected / expected.sum(axis=1, keepdims=True), rel=1e-5)


def test_factor_is_the_models_or_the_papers(tmp_path: Path) -> None:
    assert logit_scale_of(JointModel.load(write_toy_model(tmp_path / "a"))) == PAPER_LOGIT_SCALE
    assert logit_scale_of(JointModel.load(write_toy_memory_model(tmp_path / "b"))) == 20.0


def test_unknown_input_kind_is_refused(model: JointModel) -> None:
    with pytest.raises(InputError, match="bulk"):
        score(cells(TRUTH), LABELS, model=model, input="spatial")  # type: ignore[arg-type]
