"""A whole run on a tiny encoder: what is written is what was trained, and what goes wrong has a name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny_encoder import spread, write_tiny_encoder, write_tiny_memory_model
from toy_training import ToySource

from atlas.errors import ArtifactError, BusyError, ConfigError, InputError, ResourceError
from atlas.locks import LOCK, one_writer
from atlas.model.checkpoint import model_hash
from atlas.model.joint import JointModel
from indexer.training.job import Job
from indexer.training.locking import learning
from indexer.training.presets import Preset, load_preset
from indexer.training.record import Rows
from indexer.training.run import train
from indexer.training.towers import build, open_base
from indexer.training.trainer import parameter_groups

N = 48


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    return write_tiny_memory_model(tmp_path_factory.mktemp("base"), encoder)


def preset(base: Path, encoder: Path, *changes: str) -> Preset:
    return load_preset(
        "starter",
        changes=[
            "closed_form=null",
            f"transcriptome.source={base}", "text.tower=encoder", f"text.source={encoder}", "text.max_tokens=32",
            "batch.size=8", "max_steps=12", "validation.times=3", "validation.choose_by=text_to_transcriptome_AUC",
            *changes,
        ],
    )  # fmt: skip


def run(
    out: Path, told: Preset, *, source: Any = None, measured: bool = True, resume: bool = False, **named: Any
) -> Any:
    train_rows, held_out = spread(N)
    if not measured:  # nothing to choose by: the last checkpoint is the model
        held_out = held_out[:0]
    rows = Rows([train_rows], [held_out])
    return train(Job(told, [(source or ToySource(N), 1.0)], rows, out, device="cpu", **named), resume=resume)


def log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def vectors_in_memory(told: Preset, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the written model gives when it is opened as modules again."""
    again = told.model_copy(update={"transcriptome": told.transcriptome.model_copy(update={"source": str(out)})})
    model = build(again, open_base(again)).eval()
    source = ToySource(N)
    rows = model.transcriptome.read(source, range(N), rng=None)
    return (
        model.embed_transcriptomes(model.transcriptome.collate(rows)).numpy(),
        model.embed_texts(model.text.collate([source.captions(i)[0] for i in range(N)])).numpy(),
    )


def test_run_writes_a_model_that_gives_what_was_trained(base: Path, encoder: Path, tmp_path: Path) -> None:
    told = preset(base, encoder, "optimiser.tower_learning_rate=0.003", "loss.anchor=0")
    report = run(tmp_path / "out", told, measured=False)
    assert report.n_steps == 12
    model = JointModel.load(tmp_path / "out")
    assert report.model_hash == model_hash(tmp_path / "out") == model.hash
    source = ToySource(N)
    expression = model.embed_expression(source.expression(range(N)))
    texts = model.embed_texts([source.captions(i)[0] for i in range(N)])
    seen_expression, seen_texts = vectors_in_memory(told, tmp_path / "out")
    assert np.allclose(expression, seen_expression, atol=1e-4)
    assert np.allclose(texts, seen_texts, atol=1e-4)
    start = JointModel.load(base)
    assert not np.allclose(expression, start.embed_expression(source.expression(range(N))), atol=1e-3)
    assert model.config.logit_scale is not None
    assert model.config.statistics == start.config.statistics


def test_run_keeps_its_record_log_and_events(base: Path, encoder: Path, tmp_path: Path) -> None:
    report = run(tmp_path, preset(base, encoder))
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["state"] == "done"
    assert record["data"][0]["sha256"] == ToySource(N).fingerprint
    assert (record["data"][0]["n_train"], record["data"][0]["n_validation"]) == (38, 10)
    assert record["preset"]["batch"]["size"] == 8
    assert record["versions"]["torch"]
    assert record["model_hash"] == report.model_hash
    lines = log(tmp_path)
    assert [int(line["step"]) for line in lines if line["loss"]] == list(range(1, 13))
    assert len([line for line in lines if line["eval_text_to_transcriptome_R@1"]]) == 3
    assert all(np.isfinite(float(line["loss"])) for line in lines if line["loss"])
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_training_lowers_the_loss_and_finds_more(base: Path, encoder: Path, tmp_path: Path) -> None:
    told = preset(
        base, encoder, "text.head=projection", "locking=\"UU\"", "optimiser.learning_rate=0.01", "max_steps=40",
        "loss.anchor=0",
    )  # fmt: skip
    report = run(tmp_path, told)
    losses = [float(line["loss"]) for line in log(tmp_path) if line["loss"]]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    name = "text_to_transcriptome_AUC"
    assert report.ended_with[name] > report.started_with[name] + 0.1


@pytest.mark.parametrize("mode", ["LU", "UL", "UU", "LL"])
def test_each_locking_mode_is_written_so_that_it_loads_as_trained(
    base: Path, encoder: Path, tmp_path: Path, mode: str
) -> None:
    told = preset(
        base, encoder, f"locking={mode}", "text.head=projection", "max_steps=2", "optimiser.learning_rate=0.01"
    )
    run(tmp_path / "out", told, measured=False)
    model, start = JointModel.load(tmp_path / "out"), JointModel.load(base)
    source = ToySource(N)
    moved = not np.allclose(
        model.embed_expression(source.expression(range(4))),
        start.embed_expression(source.expression(range(4))),
        atol=1e-6,
    )
    assert moved == (mode[0] == "U")
    assert (tmp_path / "out" / "text_tower").is_dir() == (mode[1] == "U")
    assert model.embed_texts(["heart"]).shape == (1, 16)


def test_low_rank_adapter_is_stored_beside_the_tower_it_changes(base: Path, encoder: Path, tmp_path: Path) -> None:
    told = preset(
        base, encoder, "locking=LU", 'text.adapter={"rank": 2, "alpha": 4}', "text.head=projection", "max_steps=6",
        "optimiser.learning_rate=0.05", "optimiser.tower_learning_rate=0.05",
    )  # fmt: skip
    run(tmp_path / "out", told, measured=False)
    model = JointModel.load(tmp_path / "out")
    assert model.config.text.adapter is not None
    assert model.config.text.adapter.rank == 2
    assert all(name.endswith(("query", "value")) for name in model.config.text.adapter.modules)
    assert not (tmp_path / "out" / "text_tower").exists()
    bare = JointModel.load(base)
    assert not np.allclose(model.embed_raw_texts(["heart"]), bare.embed_raw_texts(["heart"]), atol=1e-4)


def test_a_run_that_learns_nothing_useful_keeps_where_it_began(base: Path, encoder: Path, tmp_path: Path) -> None:
    """A learning rate that ruins the model: the start was better, and is written."""
    told = preset(base, encoder, "optimiser.tower_learning_rate=50", "loss.anchor=0", "optimiser.max_grad_norm=0")
    report = run(tmp_path / "out", told)
    assert report.chosen == "start"
    source = ToySource(N)
    model, start = JointModel.load(tmp_path / "out"), JointModel.load(base)
    expression = source.expression(range(N))
    assert np.allclose(model.embed_expression(expression), start.embed_expression(expression), atol=1e-4)
    assert report.ended_with["text_to_transcriptome_AUC"] == pytest.approx(
        report.started_with["text_to_transcriptome_AUC"], abs=0.05
    )


def test_order_of_the_data_is_reproducible_by_seed(base: Path, encoder: Path, tmp_path: Path) -> None:
    run(tmp_path / "one", preset(base, encoder))
    run(tmp_path / "two", preset(base, encoder))
    run(tmp_path / "other", preset(base, encoder, "seed=1"))
    assert log(tmp_path / "one") == log(tmp_path / "two")
    assert log(tmp_path / "one") != log(tmp_path / "other")
    assert model_hash(tmp_path / "one") == model_hash(tmp_path / "two")


def test_stopped_and_resumed_run_has_the_same_curve(base: Path, encoder: Path, tmp_path: Path) -> None:
    told = preset(base, encoder, "text.memory_dropout=0.3")
    whole = run(tmp_path / "whole", told)

    class Stop(Exception):
        pass

    class Halting(ToySource):
        def expression(self, rows: Any, *, rng: Any = None) -> Any:
            if rng is not None and len([1 for _, given in self.asked if given is not None]) > 7:
                raise Stop
            return super().expression(rows, rng=rng)

    with pytest.raises(Stop):
        run(tmp_path / "parts", told, source=Halting(N))
    assert len(log(tmp_path / "parts")) < len(log(tmp_path / "whole"))
    parts = run(tmp_path / "parts", told, resume=True)
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    assert parts.model_hash == whole.model_hash
    assert parts.n_texts == whole.n_texts


def test_unfinished_checkpoint_is_not_resumed_from(base: Path, encoder: Path, tmp_path: Path) -> None:
    run(tmp_path, preset(base, encoder))
    newest = tmp_path / "checkpoints" / "checkpoint-12"
    (newest / "complete.json").unlink()
    (newest / "optimizer.pt").write_bytes(b"half")
    before = log(tmp_path)
    run(tmp_path, preset(base, encoder), resume=True)
    assert log(tmp_path) == before


def test_resuming_with_another_preset_or_other_data_is_refused(base: Path, encoder: Path, tmp_path: Path) -> None:
    run(tmp_path, preset(base, encoder))
    with pytest.raises(ConfigError, match="--resume"):
        run(tmp_path, preset(base, encoder))
    with pytest.raises(ArtifactError, match="preset differ") as stale:
        run(tmp_path, preset(base, encoder, "loss.jsd=1"), resume=True)
    assert stale.value.kind == "stale"
    with pytest.raises(ArtifactError, match="data differ"):
        run(tmp_path, preset(base, encoder), source=ToySource(N, seed=9), resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_folder_with_other_files_is_left_alone(base: Path, encoder: Path, tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(ConfigError, match="not empty"):
        run(tmp_path, preset(base, encoder), resume=resume)
    with pytest.raises(ConfigError, match="is a file"):
        run(tmp_path / "thesis.txt", preset(base, encoder), resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_that_ends_before_it_begins_does_not_take_the_folder(base: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for change in ("text.max_tokens=100000", "text.source=/nowhere"):
        with pytest.raises((ArtifactError, ConfigError)):
            run(out, preset(base, encoder, change, "text.head=projection"))
        assert not out.exists()
    run(out, preset(base, encoder, "max_steps=1"), resume=True)
    assert json.loads((out / "training.json").read_text())["state"] == "done"


def test_full_disk_is_a_typed_error_wherever_a_run_writes(
    base: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    places = (
        ("indexer.training.record.RunRecord.write", read_only, "Read-only"),
        ("safetensors.torch.save_file", full, "No space"),
        ("indexer.training.trainer.save_learned", full, "No space"),
        ("indexer.training.run.write_model", read_only, "Read-only"),
    )
    for i, (place, failure, message) in enumerate(places):
        with monkeypatch.context() as patch:
            patch.setattr(place, failure)
            with pytest.raises(ResourceError, match=f"cannot be written: .*{message}.*--resume"):
                run(tmp_path / str(i), preset(base, encoder, "max_steps=1"))
        run(tmp_path / str(i), preset(base, encoder, "max_steps=1"), resume=True)
        assert json.loads((tmp_path / str(i) / "training.json").read_text())["state"] == "done"


def test_a_second_run_into_one_folder_is_refused_at_once(base: Path, encoder: Path, tmp_path: Path) -> None:
    told, out = preset(base, encoder, "max_steps=1"), tmp_path / "out"
    with one_writer(out, purpose="training", who="run of training", option="--out"):
        for resume in (False, True):
            with pytest.raises(BusyError, match=r"in use by another run of training \(process \d+: training\)"):
                run(out, told, resume=resume)
    assert [path.name for path in out.iterdir()] == [LOCK]
    run(out, told)
    assert json.loads((out / "training.json").read_text())["state"] == "done"


def test_clipping_measures_what_learns_and_not_towers_that_are_frozen_at_first(
    base: Path, encoder: Path, tmp_path: Path
) -> None:
    """While towers are frozen, a run that clips moves its heads as one whose towers are locked."""
    heads = []
    for mode in ("LL", "UL"):
        told = preset(
            base, encoder, "text.head=projection", f"locking={mode}", "optimiser.frozen_fraction=0.5", "max_steps=4",
            "optimiser.max_grad_norm=0.01", "loss.anchor=0",
        )  # fmt: skip
        run(tmp_path / mode, told, save_every=1, measured=False)
        kept = load_file(tmp_path / mode / "checkpoints" / "checkpoint-2" / "model.safetensors")
        heads.append({name: tensor for name, tensor in kept.items() if name.startswith("text_head.")})
        norms = [float(line["grad_norm"]) for line in log(tmp_path / mode) if line["grad_norm"]]
        heads[-1] |= {"norm": np.array(norms[:2])}
    assert heads[0].keys() == heads[1].keys()
    for name in heads[0]:
        np.testing.assert_allclose(heads[0][name], heads[1][name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_only_matrices_decay(base: Path, encoder: Path) -> None:
    told = preset(base, encoder, "text.head=projection", "locking=UU")
    model = build(told, open_base(told))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model)
    decaying = {names[id(p)] for (_, decays), found in groups.items() for p in found if decays}
    others = {names[id(p)] for (_, decays), found in groups.items() for p in found if not decays}
    assert decaying | others == set(learning(model))
    assert "transcriptome.table" in decaying
    assert any(name.endswith("LayerNorm.weight") for name in others)
    assert any(name.startswith("loss.") for name in others)
    assert not {name for name in decaying if name.endswith("bias")}
    assert [tower for tower, _ in groups] == sorted(tower for tower, _ in groups)


def test_loss_that_is_no_number_stops_with_the_batch_named(base: Path, encoder: Path, tmp_path: Path) -> None:
    source = ToySource(N)
    source.weights = np.where(np.arange(N) == 6, np.nan, 1.0).astype(np.float32)
    with pytest.raises(InputError, match=r"The loss at step \d+ is no number.*--resume") as stopped:
        run(tmp_path, preset(base, encoder), source=source)
    assert "toy/S6" in stopped.value.details["items"]
    assert len(stopped.value.details["items"]) == 8
    assert all(np.isfinite(float(line["loss"])) for line in log(tmp_path) if line["loss"])


def test_gradient_that_is_no_number_stops_before_the_weights_change(
    base: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.training.modules import GeneTableModule

    original = GeneTableModule.forward

    def poisoned(self: Any, weights: torch.Tensor) -> torch.Tensor:
        features = original(self, weights)
        if features.requires_grad:
            features.register_hook(lambda gradient: gradient * float("nan"))
        return features

    monkeypatch.setattr(GeneTableModule, "forward", poisoned)
    with pytest.raises(InputError, match="The gradient at step 1 is no number"):
        run(tmp_path, preset(base, encoder))


class Silent(ToySource):
    """Items without any expression."""

    def __init__(self, n: int, *, silent: set[int]) -> None:
        super().__init__(n)
        self.silent = silent

    def expression(self, rows: Any, *, rng: Any = None) -> Any:
        aligned = super().expression(rows, rng=rng)
        aligned.values[[place for place, row in enumerate(rows) if row in self.silent]] = 0.0
        return aligned


def test_batch_that_is_empty_after_filtering_is_an_error(base: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty after filtering: 0 of 8 items"):
        run(tmp_path, preset(base, encoder), source=Silent(N, silent=set(range(N))))


def test_items_without_signal_are_left_out_and_counted(base: Path, encoder: Path, tmp_path: Path) -> None:
    report = run(tmp_path, preset(base, encoder), source=Silent(N, silent={1, 2, 4}))
    assert report.n_without_signal > 0
    assert report.n_pool == 10
    assert all(np.isfinite(float(line["loss"])) for line in log(tmp_path) if line["loss"])


def test_captions_over_the_limit_are_cut_and_counted(base: Path, encoder: Path, tmp_path: Path) -> None:
    class Wordy(ToySource):
        def captions(self, row: int) -> tuple[str, ...]:
            return ("heart " * 100,) if row == 1 else (f"liver number {row}",)

    report = run(tmp_path, preset(base, encoder), source=Wordy(N))
    assert 0 < report.n_truncated < report.n_texts
    assert json.loads((tmp_path / "training.json").read_text())["n_truncated"] == report.n_truncated


def test_nothing_left_to_train_on_is_an_error(base: Path, encoder: Path, tmp_path: Path) -> None:
    told = preset(base, encoder)
    with pytest.raises(InputError, match="Nothing of toy is left"):
        train(Job(told, [(ToySource(4), 1.0)], Rows([np.array([], int)], [np.arange(4)]), tmp_path, device="cpu"))
    with pytest.raises(ConfigError, match="nothing to train on"):
        train(Job(told, [], Rows([], []), tmp_path, device="cpu"))
    rows = Rows([np.arange(4)] * 2, [np.arange(0)] * 2)
    with pytest.raises(ConfigError, match="share a name"):
        train(Job(told, [(ToySource(4), 1.0)] * 2, rows, tmp_path, device="cpu"))
    with pytest.raises(ConfigError, match="weight of toy is 0"):
        train(Job(told, [(ToySource(4), 0.0)], Rows([np.arange(4)], [np.arange(0)]), tmp_path, device="cpu"))
    few = told.model_copy(update={"max_steps": None, "epochs": 1.0})
    with pytest.raises(InputError, match="make no step"):
        train(Job(few, [(ToySource(4), 1.0)], Rows([np.arange(4)], [np.arange(0)]), tmp_path, device="cpu"))
    with pytest.raises(InputError, match="4 items are left to train on, and 8 pairs meet"):
        train(Job(told, [(ToySource(4), 1.0)], Rows([np.arange(4)], [np.arange(0)]), tmp_path, device="cpu"))


def test_without_held_out_pairs_the_last_checkpoint_is_the_model(base: Path, encoder: Path, tmp_path: Path) -> None:
    told = preset(base, encoder)
    report = run(tmp_path, told, measured=False)
    assert report.chosen == "checkpoint-12"
    assert report.ended_with == {}


def test_folders_without_weights_are_named(base: Path, encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    (tmp_path / "empty" / "vocab.txt").write_text("a")
    with pytest.raises(ArtifactError, match="no weights"):
        run(tmp_path / "a", preset(base, tmp_path / "empty"))
    with pytest.raises(ArtifactError, match="config.json is missing"):
        run(tmp_path / "b", preset(tmp_path / "empty2", encoder))
    geneformer = load_preset("cellwhisperer-paper")
    with pytest.raises(ArtifactError, match="geneformer-v1.*--transcriptome"):
        run(tmp_path / "c", geneformer)


def test_memory_needs_a_model_that_has_one(encoder: Path, tmp_path: Path) -> None:
    from toy_model import write_toy_model

    plain = write_toy_model(tmp_path / "plain")
    with pytest.raises(ArtifactError, match="head 'memory' starts from a model that has one"):
        run(tmp_path / "out", preset(plain, encoder))
