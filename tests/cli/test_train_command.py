"""``geo-atlas train``: what it reads from the command line, and a run from files to a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from expression_files import counts, wide_gene_map, write_archs4
from tiny_encoder import write_tiny_encoder, write_tiny_memory_model
from toy_model import WORDS
from training_files import N_GENES, write_cells, write_corpus
from typer.testing import CliRunner

from atlas.digests import sha256_file
from atlas.errors import ConfigError, InputError
from atlas.expression.genes import GeneMap
from atlas.model.joint import JointModel
from cli.main import app
from cli.train import _changes, _fold
from indexer.training.data import DataOptions, DataSpec, open_sources, weigh_by_density


@pytest.mark.parametrize(
    ("text", "kind", "path", "weight"),
    [
        ("corpus:a.h5", "corpus", "a.h5", 1.0),
        ("genesets:libraries=0.25", "genesets", "libraries", 0.25),
        ("cells:C=D/x=y.h5ad", "cells", "C=D/x=y.h5ad", 1.0),
        ("profiles:x=y.h5ad=2", "profiles", "x=y.h5ad", 2.0),
        ("corpus:a:b.h5=1e-2", "corpus", "a:b.h5", 0.01),
    ],
)
def test_data_is_kind_path_and_weight(text: str, kind: str, path: str, weight: float) -> None:
    assert DataSpec.parse(text) == DataSpec(kind, Path(path), weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a.h5", "corpus:", "corpora:a.h5", "corpus:a.h5=0", "corpus:a.h5=-1", "corpus:a=nan"])
def test_data_that_is_nothing_of_the_kind_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--data"):
        DataSpec.parse(text)


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    genes = GeneMap((), (), ())
    with pytest.raises(InputError, match="no such file"):
        open_sources([DataSpec("corpus", tmp_path / "none.h5")], genes=genes)
    with pytest.raises(InputError, match="no file that ends in .gmt"):
        open_sources([DataSpec("genesets", tmp_path)], genes=genes)


def test_a_library_to_leave_out_may_lie_in_any_folder_but_must_lie_in_one(tmp_path: Path) -> None:
    for folder, library in (("a", "Cells"), ("b", "Illness")):
        (tmp_path / folder).mkdir()
        for name in (library, "Rest"):
            members = "\t".join(f"G{i}" for i in range(6))
            (tmp_path / folder / f"{name}.gmt").write_text(f"heart of {folder}\t\t{members}\n")
    specs = [DataSpec("genesets", tmp_path / "a"), DataSpec("genesets", tmp_path / "b")]
    genes = wide_gene_map(8)
    read = open_sources(specs, genes=genes, options=DataOptions(leave_out=("Cells",)))
    assert [source.libraries for source, _ in read] == [("Rest",), ("Illness", "Rest")]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no library Celsl to leave out"):
        open_sources(specs, genes=genes, options=DataOptions(leave_out=("Celsl",)))
    open_sources(specs, genes=genes, options=DataOptions(leave_out=("Celsl",), may_lack=True))


@pytest.mark.parametrize(("text", "fold"), [(None, None), ("1/5", (1, 5)), ("5/5", (5, 5))])
def test_fold_is_read(text: str | None, fold: tuple[int, int] | None) -> None:
    assert _fold(text) == fold


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "1", "a/b", "-1/5", "1/5/9", "\u0661/5"])
def test_fold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--fold"):
        _fold(text)


def test_a_gpu_that_is_not_there_and_genes_the_start_lacks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    sets = tmp_path / "some.gmt"
    sets.write_text("B cell\t\tTP53\n")
    base = write_tiny_memory_model(tmp_path / "base", write_tiny_encoder(tmp_path / "encoder"))
    command = ["train", "--data", f"genesets:{sets}", "--out", str(tmp_path / "out"), "--transcriptome", str(base)]
    for option, message in (("--device", "no GPU"), ("--organism", "has genes of human")):
        value = {"--device": "cuda", "--organism": "cow"}[option]
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(app, [*command, option, value], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_what_is_told_and_where_to_write_are_checked_before_data_are_opened(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("do not touch")
    command = ["train", "--data", f"corpus:{tmp_path / 'none.h5'}", "--out"]
    for rest, message in (
        ([str(tmp_path / "full")], "not empty"),
        ([str(tmp_path / "full" / "thesis.txt")], "is a file"),
        ([str(tmp_path / "out"), "--fold", "9/5"], "--fold 9/5"),
        ([str(tmp_path / "out"), "--set", "loss.nope=1"], "loss.nope: there is no such field, expected one of anchor"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(app, [*command, *rest], catch_exceptions=False)
    with pytest.raises(InputError, match="no such file"):
        CliRunner().invoke(app, [*command, str(tmp_path / "out")], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_options_become_changes_and_explicit_ones_come_last() -> None:
    given = _changes(["seed=3"], text_tower='a "b"', transcriptome=Path("m"), seed=1)
    assert given == ["text.tower=encoder", 'text.source="a \\"b\\""', 'transcriptome.source="m"', "seed=1", "seed=3"]


def test_command_trains_from_files(tmp_path: Path) -> None:
    n, n_genes = 60, 64
    values = counts(n_genes, n)
    for i in range(n):
        values[i % len(WORDS) :: len(WORDS), i] += 300
    corpus = write_archs4(
        tmp_path / "corpus.h5",
        values,
        samples={
            "title": [f"{WORDS[i % len(WORDS)]} number {i}" for i in range(n)],
            "source_name_ch1": [WORDS[i % len(WORDS)] for i in range(n)],
            "series_id": [f"GSE{i // 2}" for i in range(n)],
        },
    )
    encoder = write_tiny_encoder(tmp_path / "encoder")
    base = write_tiny_memory_model(tmp_path / "base", encoder, n_genes)
    command = [
        "train", "--preset", "starter", "--data", f"corpus:{corpus}", "--out", str(tmp_path / "out"), "--max-steps", "3",
        "--text-tower", str(encoder), "--transcriptome", str(base), "--device", "cpu", "--fold", "1/5", "--json",
        "--set", "closed_form=null", "--set", "text.max_tokens=32", "--set", "batch.size=8", "--set", "validation.times=1",
        "--set", "validation.n_items=8",
    ]  # fmt: skip
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.strip().splitlines()[-1])
    assert report["n_steps"] == 3
    model = JointModel.load(tmp_path / "out")
    assert report["model_hash"] == model.hash
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    held_out = set(record["held_out_studies"])
    assert 4 <= len(held_out) <= 8
    assert not held_out & set(record["split"]["validation_studies"])
    assert record["data"][0]["n_train"] + record["data"][0]["n_validation"] <= n - 2 * len(held_out)
    assert np.isfinite(report["ended_with"]["text_to_transcriptome_AUC"])
    with pytest.raises(ConfigError, match="--resume"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_data_that_share_a_row_with_what_will_be_measured_on_are_refused_before_training(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.h5", [f"GSE{i // 2}" for i in range(16)])
    encoder = write_tiny_encoder(tmp_path / "encoder")
    base = write_tiny_memory_model(tmp_path / "base", encoder, N_GENES)
    fresh = np.random.default_rng(99).lognormal(3, 1.5, size=(3, N_GENES)).astype(np.float32)
    with h5py.File(corpus) as file:
        copy = np.concatenate([fresh, file["data/expression"][:, [5]].T.astype(np.float32)])
    symbols = [f"G{i}" for i in range(N_GENES)]
    clean, leaky = (
        write_cells(tmp_path / f"{name}.h5ad", values, genes=symbols, obs={"cell_type": ["x"] * len(values)})
        for name, values in (("clean", fresh), ("leaky", copy))
    )
    command = [
        "train", "--preset", "starter", "--data", f"corpus:{corpus}", "--out", str(tmp_path / "out"), "--max-steps", "1",
        "--text-tower", str(encoder), "--transcriptome", str(base), "--device", "cpu", "--set", "closed_form=null",
        "--set", "text.max_tokens=32", "--set", "batch.size=8", "--check-against", str(clean),
    ]  # fmt: skip
    with pytest.raises(InputError, match="1 items of training share .* with leaky: GSM6 of corpus"):
        CliRunner().invoke(app, [*command, "--check-against", str(leaky)], catch_exceptions=False)
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "16 items compared with 3 rows of 1 files" in " ".join(result.output.split())
    checked = json.loads((tmp_path / "out" / "training.json").read_text())["split"]["checked_against"]
    assert checked["files"] == [{"name": "clean.h5ad", "sha256": sha256_file(clean), "n_rows": 3}]
    assert checked["same_studies"] == []


def test_rare_samples_weigh_more_by_what_is_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genes, seen = wide_gene_map(8), []
    sets = tmp_path / "sets.gmt"
    sets.write_text("heart\t\t" + "\t".join(f"G{i}" for i in range(6)) + "\n")
    specs = [DataSpec("corpus", write_archs4(tmp_path / "corpus.h5", counts(8, 4))), DataSpec("genesets", sets)]

    def weigh(source: Any, rows: np.ndarray) -> np.ndarray:
        seen.append((source.name, list(rows)))
        return np.arange(1.0, len(source) + 1)

    monkeypatch.setattr("indexer.training.data.item_weights", weigh)
    sources = [source for source, _ in open_sources(specs, genes=genes)]
    assert sources[0].weights.tolist() == [1.0] * 4
    weigh_by_density(sources, [np.array([0, 2]), np.array([0])])
    assert seen == [("corpus:corpus.h5", [0, 2])]
    assert sources[0].weights.tolist() == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert sources[1].weights.tolist() == [1.0]
