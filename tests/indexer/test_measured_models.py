"""One command makes the models that figures come from, and each says what it was made without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_encoder import write_tiny_encoder, write_tiny_memory_model
from toy_model import WORDS
from training_files import write_corpus, write_gmt

from atlas.errors import ConfigError
from atlas.model.checkpoint import model_hash, read_model
from indexer.measured_models import measured_models
from indexer.training.data import DataSpec
from indexer.training.presets import Preset, load_preset
from indexer.training.provenance import evaluation_provenance, withheld_from, withheld_from_all

N_GENES = 64
STUDIES = ("GSE1", "GSE2", "GSE3", "GSE4", "GSE5", "GSE147507")  # the last one shares cell lines with an evaluation set
FORM = {"libraries": ["Tissues", "Azimuth_2023"], "dim": 4, "components": 8, "neighbours": 2}  # Azimuth is withheld


@pytest.fixture
def told(tmp_path: Path) -> tuple[Preset, list[DataSpec]]:
    """Six studies of three samples, a library of everyday sets with one named after a study, and one that is withheld."""
    encoder = write_tiny_encoder(tmp_path / "encoder")
    base = write_tiny_memory_model(tmp_path / "base", encoder, N_GENES)
    series = [study for study in STUDIES for _ in range(3)]
    corpus = write_corpus(
        tmp_path / "corpus.h5", series, n_genes=N_GENES, source_name_ch1=[WORDS[i % 3] for i in range(len(series))]
    )
    genes = [[f"G{i}" for i in range(8 * k, 8 * k + 8)] for k in range(8)]
    sets = tmp_path / "sets"
    sets.mkdir()
    write_gmt(sets / "Tissues.gmt", {**dict(zip(WORDS[:5], genes, strict=False)), "skin GSE2": genes[5]})
    write_gmt(sets / "Azimuth_2023.gmt", dict(zip(WORDS[:3], genes[3:], strict=False)))
    changes = [
        f"closed_form={json.dumps(FORM)}", f'transcriptome.source="{base}"', "text.tower=encoder",
        f'text.source="{encoder}"', "text.max_tokens=32",
    ]  # fmt: skip
    return load_preset("starter", changes=changes), [DataSpec("corpus", corpus), DataSpec("genesets", sets)]


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "training.json").read_text()))


def test_models_of_folds_and_the_one_without_say_what_they_never_saw(
    told: tuple[Preset, list[DataSpec]], tmp_path: Path
) -> None:
    reports = measured_models(*told, out=tmp_path / "out", n_folds=3)
    names = ["fold-1", "fold-2", "fold-3", "without"]
    assert [report.model.name for report in reports] == names
    records = {name: record(tmp_path / "out" / name) for name in names}
    held_out = [set(records[name]["held_out_studies"]) for name in names[:3]]
    assert set.union(*held_out) == set(STUDIES)
    assert sum(map(len, held_out)) == len(STUDIES)
    for report, mine in zip(reports, held_out, strict=False):
        model = read_model(report.model)
        assert model.config.statistics is not None
        assert model.config.statistics.n_studies == len(STUDIES) - len(mine)
        assert model_hash(report.model) == report.model_hash == record(report.model)["model_hash"]
        said = model.memory
        assert said is not None
        assert ("skin" in said["set"].to_pylist()) == ("GSE2" not in mine)
        assert "Azimuth_2023" in said["library"].to_pylist()
        assert record(report.model)["left_out_libraries"] == []
    without = records["without"]
    assert without["held_out_studies"] == []
    assert "Azimuth_2023" in without["left_out_libraries"]
    assert {"GSE147507", "MADE:ABIS-PBMC", "GTEx-average-recount2"} <= set(without["excluded_series"])
    model = read_model(tmp_path / "out" / "without")
    assert model.config.statistics is not None
    assert model.config.statistics.n_studies == len(STUDIES) - 1
    said = model.memory
    assert said is not None
    assert "Azimuth_2023" not in said["library"].to_pylist()


def test_a_fold_is_what_the_command_makes_of_it(told: tuple[Preset, list[DataSpec]], tmp_path: Path) -> None:
    """The same fold by itself gives the same tensors: folds do not depend on what was made before them."""
    from indexer.training.data import open_sources
    from indexer.training.hold_out import split_rows
    from indexer.training.job import Job
    from indexer.training.run import train
    from indexer.training.towers import open_base

    preset, data = told
    measured_models(preset, data, out=tmp_path / "out", n_folds=2)
    base = open_base(preset)
    sources = open_sources(data, genes=base.genes)
    rows = split_rows([source for source, _ in sources], fold=(2, 2), n_validation=0, seed=preset.seed)
    train(Job(preset, sources, rows, tmp_path / "alone", base=base))
    one, other = (read_model(folder).tensors for folder in (tmp_path / "out" / "fold-2", tmp_path / "alone"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_folder_in_use_is_refused(told: tuple[Preset, list[DataSpec]], tmp_path: Path) -> None:
    (tmp_path / "out" / "without").mkdir(parents=True)
    (tmp_path / "out" / "without" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        measured_models(*told, out=tmp_path / "out", n_folds=2)
    assert not (tmp_path / "out" / "fold-1").exists()


def test_all_that_any_set_withholds_is_withheld() -> None:
    libraries, series = withheld_from_all()
    for name in evaluation_provenance():
        mine, its = withheld_from(name)
        assert mine <= libraries
        assert its <= series
    assert {"Azimuth_2023", "GTEx_Tissues_V8_2023", "Human_Gene_Atlas", "ARCHS4_Cell-lines"} <= libraries
    assert {"HPA-tissue-and-cellline", "MADE:ABIS-PBMC"} <= series
