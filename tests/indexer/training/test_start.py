"""A start that may know what a run holds out is refused; one that says it was made without is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tiny_encoder import write_tiny_encoder, write_tiny_memory_model
from toy_model import toy_memory_parts
from toy_training import ToySource

from atlas.errors import ArtifactError, ConfigError
from indexer.training.job import Job
from indexer.training.presets import load_preset
from indexer.training.record import Rows
from indexer.training.run import train
from indexer.training.start import refuse_seen
from indexer.training.towers import Base


def start(folder: Path, *, record: dict[str, Any] | None = None, excluded: tuple[str, ...] = ()) -> Base:
    """A model of samples with gene sets of the library Cells, and its record."""
    parts = toy_memory_parts(16)
    assert parts.config.statistics is not None
    assert parts.memory is not None
    statistics = parts.config.statistics.model_copy(update={"sources": ("0" * 64,), "excluded_series": excluded})
    names = parts.memory["set"].to_pylist()
    memory = pa.table({"set": names, "library": ["Cells"] * len(names)})
    if record is not None:
        (folder / "training.json").write_text(json.dumps(record))
    config = parts.config.model_copy(update={"statistics": statistics})
    return Base(replace(parts, config=config, memory=memory), folder)


def rows(**report: list[str]) -> Rows:
    return Rows([], [], report)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"held_out_studies": ["GSE1", "GSE2"]}, "GSE1, GSE2"),
        ({"excluded_series": ["GSE3"]}, "GSE3"),
        ({"left_out_libraries": ["Cells"]}, "Cells"),
        ({"left_out_libraries": ["Cells_up"]}, "Cells_up"),
    ],
)
def test_a_start_of_samples_that_says_nothing_is_refused(
    tmp_path: Path, told: dict[str, list[str]], named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as refused:
        refuse_seen(start(tmp_path), rows(**told))
    assert "closed form" in str(refused.value)


def test_nothing_held_out_and_what_no_source_offers_are_no_reason(tmp_path: Path) -> None:
    refuse_seen(start(tmp_path), rows())
    refuse_seen(start(tmp_path), rows(excluded_series=["GTEx-average-recount2"], left_out_libraries=["Unread"]))


def test_a_start_made_without_is_taken(tmp_path: Path) -> None:
    record = {"held_out_studies": ["GSE1", "GSE2", "GTEx"], "excluded_series": ["GSE3"], "n_steps": 0}
    base = start(tmp_path, record=record, excluded=("GSE4",))
    refuse_seen(base, rows(held_out_studies=["GSE1", "GSE2"], excluded_series=["GSE3", "GSE4", "GTEx-Analysis"]))
    with pytest.raises(ConfigError, match="from GSE5, which"):
        refuse_seen(base, rows(held_out_studies=["GSE1", "GSE5"]))


def test_one_series_left_out_is_no_whole_study(tmp_path: Path) -> None:
    """GTEx-average-recount2 is of the study GTEx, which has other series."""
    with pytest.raises(ConfigError, match="GTEx"):
        refuse_seen(start(tmp_path, excluded=("GTEx-average-recount2",)), rows(held_out_studies=["GTEx"]))


def test_a_trained_start_must_name_the_library_itself(tmp_path: Path) -> None:
    """Training may have used a library that its memory does not list."""
    told = rows(left_out_libraries=["Unlisted"])
    refuse_seen(start(tmp_path, record={"n_steps": 0}), told)
    with pytest.raises(ConfigError, match="Unlisted"):
        refuse_seen(start(tmp_path, record={"n_steps": 9}), told)
    refuse_seen(start(tmp_path, record={"n_steps": 9, "left_out_libraries": ["Unlisted"]}), told)


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(ArtifactError, match="training.json"):
        refuse_seen(start(tmp_path), rows(held_out_studies=["GSE1"]))


def test_a_run_asks_before_it_writes(tmp_path: Path) -> None:
    encoder = write_tiny_encoder(tmp_path / "encoder")
    base = write_tiny_memory_model(tmp_path / "base", encoder)
    (tmp_path / "base" / "training.json").write_text(json.dumps({"held_out_studies": ["GSE1"], "n_steps": 0}))
    told = load_preset(
        "starter",
        changes=[
            "closed_form=null", f'transcriptome.source="{base}"', "text.tower=encoder", f'text.source="{encoder}"',
            "text.max_tokens=32", "batch.size=8",
        ],
    )  # fmt: skip
    split = Rows([np.arange(16)], [np.arange(0)], {"held_out_studies": ["GSE2"]})
    with pytest.raises(ConfigError, match="GSE2"):
        train(Job(told, [(ToySource(16), 1.0)], split, tmp_path / "out", max_steps=1, device="cpu"))
    assert not (tmp_path / "out").exists()
