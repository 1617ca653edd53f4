"""Zero-shot figures of a file: honest, complete, and equal to what scikit-learn says of the scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_files import cells, write_cells
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from toy_model import ToyTextTower, write_toy_model

from atlas.errors import InputError, NotFoundError
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS
from indexer.evaluation.tables import confusions, zero_shot_json, zero_shot_rows
from indexer.evaluation.zero_shot import evaluate_file, summarise, type_means

LABELS = ["brain", "heart", "liver"]
TRUTH = LABELS * 12


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JointModel:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    return JointModel.load(write_toy_model(tmp_path / "model", n_mouse=64))


def noisy(labels: list[str]) -> Any:
    return cells(labels, contrast=1.4)


def test_figures_are_those_of_scikit_learn(model: JointModel) -> None:
    report = evaluate_file(noisy(TRUTH), label="cell_type", model=model, n_draws=50)
    shares, codes = report.scores.shares(), np.array([LABELS.index(one) for one in TRUTH])
    predicted = np.argmax(shares, axis=1)
    asked = report.as_asked
    assert asked.roc_auc_macro.value == pytest.approx(
        np.mean([roc_auc_score(codes == j, shares[:, j]) for j in range(3)])
    )
    assert 0.5 < asked.roc_auc_macro.value < 1.0  # neither blind nor trivial
    assert asked.accuracy.value == pytest.approx(accuracy_score(codes, predicted))
    assert asked.f1_macro.value == pytest.approx(f1_score(codes, predicted, average="macro"))
    assert report.by_cosine == pytest.approx(
        np.mean([roc_auc_score(codes == j, report.scores.cosines[:, j]) for j in range(3)])
    )
    for figure in (asked.roc_auc_macro, asked.accuracy, asked.f1_macro):
        assert figure.low <= figure.value <= figure.high


def test_figures_of_a_row_do_not_depend_on_the_others(model: JointModel) -> None:
    data = noisy(TRUTH)
    whole = evaluate_file(data, label="cell_type", model=model, n_draws=5)
    mixed = evaluate_file(
        data[np.random.default_rng(1).permutation(36)].copy(), label="cell_type", model=model, n_draws=5
    )
    assert mixed.as_asked.roc_auc_macro.value == whole.as_asked.roc_auc_macro.value
    assert mixed.as_asked.accuracy.value == whole.as_asked.accuracy.value
    two = data[data.obs["cell_type"] != "liver"].copy()
    cut = evaluate_file(two, label="cell_type", model=model, n_draws=5)
    by_id = dict(zip(whole.scores.row_ids, whole.scores.cosines, strict=True))
    assert all((by_id[name][:2] == row).all() for name, row in zip(cut.scores.row_ids, cut.scores.cosines, strict=True))


def test_a_row_of_several_tissues_is_measured_alone(model: JointModel) -> None:
    data = noisy(TRUTH)
    data.obs["cell_type"] = ["alpha", "heart", "beta"] * 12
    data.obs["tissue"] = ["brain", "brain", "liver", "liver", "brain", "liver"] * 6
    whole = evaluate_file(data, label="cell_type", model=model, n_draws=5)
    by_id = dict(zip(whole.scores.row_ids, whole.scores.cosines, strict=True))
    for wanted in (
        np.random.default_rng(1).permutation(36),
        data.obs["tissue"] == "brain",
        data.obs["tissue"] == "liver",
    ):
        part = evaluate_file(data[wanted].copy(), label="cell_type", model=model, n_draws=5)
        kept = [("alpha", "beta", "heart").index(name) for name in part.scores.labels]
        for name, row in zip(part.scores.row_ids, part.scores.cosines, strict=True):
            assert (row == by_id[name][kept]).all()
    told = json.loads(json.dumps(zero_shot_json(whole)))
    assert (told["tissue"], [one["tissue"] for one in told["by_tissue"]]) == (None, ["brain", "liver"])
    assert told["by_tissue"][0]["texts"] == {"alpha": "brain alpha cell", "beta": "brain beta cell"}
    assert whole.scores.texts.texts == ("alpha cell", "beta cell", "heart")


def test_a_type_of_several_tissues_is_measured_by_the_mean_of_its_rows(model: JointModel) -> None:
    data = noisy(TRUTH)
    data.obs["cell_type"] = ["alpha", "heart", "beta"] * 12
    data.obs["tissue"] = ["brain", "liver"] * 18
    report = evaluate_file(data, label="cell_type", model=model, n_draws=5)
    codes = np.array([0, 2, 1] * 12)
    means = np.stack([report.scores.cosines[codes == j].mean(axis=0) for j in range(3)]).astype(np.float64)
    shares = np.exp(report.scores.logit_scale * means)
    shares /= shares.sum(axis=1, keepdims=True)
    expected = np.mean([roc_auc_score(np.arange(3) == j, shares[:, j]) for j in range(3)])
    assert report.as_asked.type_roc_auc == pytest.approx(expected)
    assert report.as_asked.type_accuracy == pytest.approx((shares.argmax(axis=1) == np.arange(3)).mean())


def test_centring_over_the_set_is_another_figure(model: JointModel) -> None:
    report = evaluate_file(noisy(TRUTH), label="cell_type", model=model, n_draws=5)
    assert report.set_centred.roc_auc_macro.value != report.as_asked.roc_auc_macro.value


def test_rows_without_label_or_signal_are_left_out_and_counted(model: JointModel) -> None:
    data = cells(TRUTH)
    counts = data.X.toarray()
    counts[5] = 0
    data.X = counts
    data.obs["cell_type"] = data.obs["cell_type"].astype(object)
    data.obs.iloc[[0, 1], 0] = None
    report = evaluate_file(data, label="cell_type", model=model, n_draws=5)
    assert (report.n_without_label, report.n_without_signal, report.as_asked.n) == (2, 1, 33)
    assert sum(one.n for one in report.as_asked.labels) == 33


def test_one_label_or_none_is_refused(tmp_path: Path, model: JointModel) -> None:
    data = cells(["heart"] * 5)
    with pytest.raises(InputError, match="only the label 'heart'"):
        evaluate_file(write_cells(tmp_path / "one.h5ad", data), label="cell_type", model=model)
    data.obs["empty"] = [None] * 5
    with pytest.raises(InputError, match="no label"):
        evaluate_file(data, label="empty", model=model)
    with pytest.raises(NotFoundError, match="cell_type"):
        evaluate_file(data, label="type", model=model)


def test_labels_whose_rows_have_no_signal_do_not_count(model: JointModel) -> None:
    data = cells(["heart"] * 3 + ["liver"] * 2)
    counts = data.X.toarray()
    counts[3:] = 0
    data.X = counts
    with pytest.raises(InputError, match="3 rows of .* fewer than two labels"):
        evaluate_file(data, label="cell_type", model=model)


def test_mouse_file_and_tissue_of_obs(model: JointModel) -> None:
    data = cells(TRUTH, mouse=True)
    data.obs["tissue"] = "skin"
    report = evaluate_file(data, label="cell_type", model=model, n_draws=5)
    assert report.scores.reading.coverage.organism == "mouse"
    assert report.scores.texts.tissue == "skin"
    assert evaluate_file(data, label="cell_type", tissue="", model=model, n_draws=5).scores.texts.tissue is None


def test_cleaned_and_written_labels_are_both_reported(model: JointModel) -> None:
    data = cells(["heart", "liver"] * 6)
    data.obs["cell_type"] = ["3: heart", "Liver_"] * 6
    report = evaluate_file(data, label="cell_type", model=model, n_draws=5)
    assert report.scores.texts.texts != report.scores.texts.labels
    plain = evaluate_file(data, label="cell_type", model=model, as_written=True, n_draws=5)
    assert plain.as_asked.accuracy.value == report.as_written.accuracy.value
    assert plain.scores.texts.texts == plain.scores.texts.labels


def test_types_are_measured_by_their_mean_row() -> None:
    scores = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 4.0]])
    codes = np.array([0, 0, 1, 1])
    assert type_means(scores, codes).tolist() == [[1.5, 0.5], [0.0, 3.0]]
    assert summarise(scores, codes, labels=["a", "b"], n_draws=5).type_accuracy == 1.0


def test_object_of_json_holds_what_is_promised_and_is_json(model: JointModel) -> None:
    report = evaluate_file(noisy(TRUTH), label="cell_type", model=model, n_draws=5, seed=3)
    found = json.loads(json.dumps(zero_shot_json(report), allow_nan=False))
    assert (found["n"], found["n_labels"], found["seed"], found["model"]) == (36, 3, 3, model.hash)
    for name in ("roc_auc_macro", "accuracy", "f1_macro"):
        assert found[name] == getattr(report.as_asked, name).value
        assert found["intervals"][name]["low"] <= found[name] <= found["intervals"][name]["high"]
    assert np.array(found["confusion"]).sum() == 36
    labels, figures, confused = zero_shot_rows(report, n_confused=2)
    assert [row[0] for row in labels] == LABELS
    assert len(figures) == 6
    assert len(confused) <= 2


def test_largest_confusions_come_first() -> None:
    scores = np.eye(3)[[0, 1, 1, 2, 0, 0, 0]]
    result = summarise(scores, np.array([0, 0, 0, 0, 1, 1, 2]), labels=["a", "b", "c"], n_draws=5)
    assert confusions(result) == [("a", "b", 2), ("b", "a", 2), ("a", "c", 1), ("c", "a", 1)]
    assert result.labels[0].most_taken_for == "b"
    assert result.labels[0].recall == pytest.approx(0.25)
