"""The card of a model tells its hash, its data with licences, its split and its figures as they were measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_model import toy_memory_parts, write_toy_model

from atlas.errors import InputError
from atlas.model.checkpoint import model_hash, write_model
from indexer.model_card import model_card, read_json
from indexer.starter_notice import Library


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


ZERO_SHOT = {"n": 2638, "n_labels": 9, "roc_auc_macro": 0.971, "accuracy": 0.81, "f1_macro": 0.7}
EVALUATION = {
    "models": {"shipped": "a" * 64, "fold 1": "b" * 64},
    "seed": 7,
    "n_draws": 1000,
    "phrases": {
        "figures": {
            "model": {
                "located": estimate(0.961), "every": estimate(0.912), "diseases": estimate(0.88),
                "contrasts": {"value": None, "low": None, "high": None},
                "first": {"every": {"n": 2100, "top_1": 0.61, "top_5": 0.93}},
            }
        }
    },
    "zero_shot": {
        "pbmc3k": {
            "headline": {**ZERO_SHOT, "intervals": {"roc_auc_macro": estimate(0.971)}},
            "shipped": {**ZERO_SHOT, "roc_auc_macro": 0.983},
            "seen": ["Azimuth_2023"],
        }
    },
}  # fmt: skip
TRAINING = {
    "preset": {"name": "starter"},
    "seed": 3,
    "n_steps": 1500,
    "data": [{"name": "corpus:c.h5", "kind": "corpus", "share": 0.5, "n_train": 1900, "n_validation": 100}],
    "split": {"n_blocks": 61},
    "held_out_studies": ["GSE1", "GSE2"],
    "left_out_libraries": ["Azimuth_2023"],
    "excluded_series": ["GSE3"],
}


def test_card_tells_data_split_and_figures(tmp_path: Path) -> None:
    write_model(tmp_path, toy_memory_parts(64, n_mouse=2))
    card = model_card(
        tmp_path, training=TRAINING, evaluation=EVALUATION, libraries={"Toy": Library("some/repo", "CC BY-NC-SA 4.0")}
    )
    assert model_hash(tmp_path) in card
    assert "64 human, 2 mouse" in card
    assert "8 entries (gene sets, statements of samples), of each group the 3 nearest names count" in card
    assert "| Toy | some/repo | CC BY-NC-SA 4.0 |" in card
    assert "| corpus:c.h5 | corpus | 0.5 | 1,900 | 100 |" in card
    assert "1,500 steps" in card
    assert "2 studies were held out of these weights, and by name Azimuth_2023, GSE3." in card
    assert "0.961 [0.951, 0.971]" in card
    assert "| pbmc3k | 2,638 | 9 | 0.971 [0.961, 0.981] | 0.810 | 0.700 | 0.983 | Azimuth_2023 |" in card
    assert "cases against controls of the same study | - |" in card
    for section in ("Data and licences of inputs", "Split", "Numbers", "Biases", "What it cannot do"):
        assert f"## {section}\n" in card


def test_card_of_an_untrained_unmeasured_model_claims_nothing(tmp_path: Path) -> None:
    card = model_card(write_toy_model(tmp_path / "m"))
    assert "Nothing was trained" in card
    assert "Not measured." in card
    assert model_card(tmp_path / "m") == card


def test_card_of_a_closed_form_says_that_nothing_was_trained_by_steps(tmp_path: Path) -> None:
    folder, told = write_toy_model(tmp_path / "m"), {**TRAINING, "n_steps": 0, "left_out_libraries": []}
    assert "a closed form of its inputs, without a step of training" in model_card(folder, training=told)
    assert "by name GSE3." in model_card(folder, training=told)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "e.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"e\.json"):
        read_json(path)
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path) == {"a": 1}
