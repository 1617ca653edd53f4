"""Folds of models: a model scores what it was made without, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toy_model import toy_parts

from atlas.errors import ArtifactError, InputError
from atlas.model.checkpoint import write_model
from atlas.model.joint import JointModel
from indexer.evaluation.corpus import study_folds
from indexer.evaluation.curated import CuratedSamples
from indexer.evaluation.folds import folds_of_models

STUDIES = [f"GSE{i}" for i in range(7)]


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    from toy_model import ToyTextTower

    from atlas.model import text_tower

    monkeypatch.setitem(text_tower.TEXT_TOWERS, "toy", ToyTextTower)


def samples(studies: list[str], series: list[str] | None = None) -> CuratedSamples:
    names = np.array(studies)
    empty = np.full(len(names), "")
    return CuratedSamples(np.arange(len(names)).astype(str), empty, empty, np.array(series or studies), names)


def model(folder: Path, *, held_out: list[str] | None = None, excluded: tuple[str, ...] = ()) -> JointModel:
    parts = toy_parts(16)
    assert parts.config.statistics is not None
    record = parts.config.statistics.model_copy(update={"excluded_series": excluded})
    assert parts.statistics is not None
    write_model(folder, parts.with_statistics(parts.statistics, record))
    if held_out is not None:
        (folder / "training.json").write_text(json.dumps({"held_out_studies": held_out}))
    return JointModel.load(folder)


def test_each_study_is_scored_by_the_model_made_without_it(tmp_path: Path) -> None:
    """The models of other folds than the evaluation would deal: their records decide."""
    dealt = study_folds(np.array(STUDIES), n_folds=2)
    other = [STUDIES[i] for i in np.flatnonzero(dealt == 1)]  # the first model was made without the second fold
    first = model(tmp_path / "a", held_out=other)
    second = model(tmp_path / "b", held_out=[name for name in STUDIES if name not in other])
    assert (folds_of_models(samples(STUDIES), [first, second]) == 1 - dealt).all()
    assert (folds_of_models(samples(STUDIES), [second, first]) == dealt).all()


def test_study_that_several_models_lack_stays_in_its_fold(tmp_path: Path) -> None:
    both = [model(tmp_path / name, held_out=STUDIES) for name in "ab"]
    assert (folds_of_models(samples(STUDIES), both) == study_folds(np.array(STUDIES), n_folds=2)).all()


def test_series_that_statistics_exclude_count_when_they_are_the_whole_study(tmp_path: Path) -> None:
    studies, series = ["P", "P", "Q"], ["P-1", "P-2", "Q"]
    without_q = model(tmp_path / "q", excluded=("Q",))
    whole = model(tmp_path / "p", excluded=("P-1", "P-2"))
    assert folds_of_models(samples(studies, series), [whole, without_q]).tolist() == [0, 0, 1]
    part = model(tmp_path / "part", excluded=("P-1",))
    with pytest.raises(InputError, match=r"made without P \(1 studies"):
        folds_of_models(samples(studies, series), [part, without_q])


def test_model_that_learned_from_its_fold_is_refused(tmp_path: Path) -> None:
    held = model(tmp_path / "a", held_out=STUDIES[:4])
    unknown = model(tmp_path / "b")  # no record: it may have learned from anything
    with pytest.raises(InputError, match="GSE4, GSE5, GSE6") as caught:
        folds_of_models(samples(STUDIES), [held, unknown])
    assert caught.value.details["studies"] == STUDIES[4:]
    with pytest.raises(InputError, match="no study of its own"):
        folds_of_models(samples(STUDIES), [model(tmp_path / "c", held_out=STUDIES), unknown])
    (tmp_path / "b" / "training.json").write_text("[]")
    with pytest.raises(ArtifactError, match="no record of a training"):
        folds_of_models(samples(STUDIES), [held, unknown])
