"""A model folder: round trip, hash, and every way it can be wrong."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file
from toy_model import toy_parts, write_toy_memory_model, write_toy_model

from atlas.errors import ArtifactError, ResourceError
from atlas.model.checkpoint import MODEL_FILES, ModelParts, gene_vocabulary, model_hash, read_model, write_model
from atlas.model.libraries import installed_libraries


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_toy_model(tmp_path / "model", 20, n_mouse=4)


def damage_tensor(folder: Path, name: str, tensor: np.ndarray | None) -> None:
    tensors = dict(load_file(folder / "model.safetensors"))
    tensors.pop(name)
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


def damage_config(folder: Path, **changes: object) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | changes))


def test_model_round_trip(folder: Path) -> None:
    written, read = toy_parts(20, n_mouse=4), read_model(folder)
    filled_in = {"vocabulary": gene_vocabulary(written.genes), "libraries": installed_libraries()}
    assert read.config == written.config.model_copy(update=filled_in)
    assert read.genes.equals(written.genes)
    assert set(read.tensors) == set(written.tensors)
    for name in written.tensors:
        np.testing.assert_array_equal(read.tensors[name], written.tensors[name])
    assert read.statistics is not None
    assert written.statistics is not None
    np.testing.assert_array_equal(read.statistics.deviation, written.statistics.deviation)


def test_model_without_statistics_round_trip(tmp_path: Path) -> None:
    assert read_model(write_toy_model(tmp_path, 20, fitted=False)).statistics is None


def test_equal_parts_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    other = write_toy_model(tmp_path / "other", 20, n_mouse=4)
    assert all((folder / name).read_bytes() == (other / name).read_bytes() for name in MODEL_FILES)
    assert model_hash(folder) == model_hash(other)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_hash_covers_each_file(folder: Path, name: str) -> None:
    before = model_hash(folder)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert model_hash(folder) != before


def test_hash_ignores_other_files(folder: Path) -> None:
    before = model_hash(folder)
    (folder / "README.md").write_text("words")
    assert model_hash(folder) == before


@pytest.mark.parametrize("name", MODEL_FILES)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    for read in (read_model, model_hash):
        with pytest.raises(ArtifactError, match=name) as caught:
            read(folder)
        assert caught.value.kind == "missing"


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, True])
def test_other_schema_is_incompatible_before_anything_else_is_read(folder: Path, version: object) -> None:
    damage_config(folder, schema_version=version)
    (folder / "model.safetensors").write_bytes(b"of the future")
    with pytest.raises(ArtifactError, match="schema version") as caught:
        read_model(folder)
    assert caught.value.kind == "incompatible"


def test_model_of_the_first_format_is_told_what_to_do(folder: Path) -> None:
    damage_config(folder, schema_version=1)
    with pytest.raises(ArtifactError, match="earlier geo-atlas: use the packaged model .* or make this one again"):
        read_model(folder)


@pytest.mark.parametrize(
    ("part", "name", "key"), [("transcriptome", "scbert", "tower"), ("text", "perceptron", "kind")]
)
def test_unknown_tower_or_head_is_incompatible_and_named(folder: Path, part: str, name: str, key: str) -> None:
    raw = json.loads((folder / "config.json").read_text())
    section = raw[part] if key == "tower" else raw[part]["head"]
    section |= {key: name, "of_the_future": True}
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match=f"{key} '{name}'; this geo-atlas has") as caught:
        read_model(folder)
    assert caught.value.kind == "incompatible"


def test_other_genes_than_the_model_was_made_for_are_refused(folder: Path) -> None:
    genes = pq.read_table(folder / "genes.parquet")
    order = [1, 0, *range(2, genes.num_rows)]
    pq.write_table(genes.take(order), folder / "genes.parquet")
    with pytest.raises(ArtifactError, match="holds other genes, or in another order") as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


def test_library_that_is_not_there_is_named_with_its_command(folder: Path) -> None:
    damage_config(folder, libraries={"no-such-library": "2.1"})
    with pytest.raises(ArtifactError, match=r"pip install 'no-such-library>=2\.1'") as caught:
        read_model(folder)
    assert caught.value.kind == "incompatible"


def test_library_of_another_major_version_is_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage_config(folder, libraries={"numpy": "99.0"})
    with caplog.at_level(logging.WARNING):
        read_model(folder)
    assert "was written with numpy 99.0; installed is" in caplog.text


def test_a_full_disk_leaves_the_old_model_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, names = model_hash(folder), sorted(path.name for path in folder.iterdir())
    parts = read_model(folder)
    changed = replace(parts, config=parts.config.model_copy(update={"logit_scale": 3.0}))
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name.startswith("genes.parquet"):
            write_bytes(path, data[:10])
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ResourceError, match="No space left"):
            write_model(folder, changed)
    assert model_hash(folder) == before
    assert sorted(path.name for path in folder.iterdir()) == names
    with pytest.raises(ResourceError, match="cannot be written"):
        write_model(folder / "config.json", parts)


def test_parts_that_do_not_belong_together_are_not_written(tmp_path: Path) -> None:
    parts = toy_parts(20)
    short = {**parts.tensors, "gene_scales": parts.tensors["gene_scales"][1:]}
    with pytest.raises(ArtifactError, match="gene_scales"):
        write_model(tmp_path / "new", ModelParts(parts.config, parts.genes, short))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("wrong", [-2, 20])
def test_gene_that_points_outside_the_table_is_corrupt(tmp_path: Path, wrong: int) -> None:
    folder = write_toy_memory_model(tmp_path, 20, n_mouse=4)
    rows = np.arange(24, dtype=np.int32) % 20
    rows[3] = wrong
    damage_tensor(folder, "gene_rows", rows)
    with pytest.raises(ArtifactError, match="points outside the 20 rows") as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize(
    "changes",
    [{"dim": 0}, {"unknown": 1}, {"transcriptome": {"power": -1}}, {"text": {"tower": "toy", "fingerprint": "short"}}],
    ids=["dim", "unknown", "power", "fingerprint"],
)
def test_wrong_configuration_is_corrupt(folder: Path, changes: dict[str, object]) -> None:
    damage_config(folder, **changes)
    with pytest.raises(ArtifactError, match="not a model configuration") as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize("templates", [[], ["no blank"], ["{x} and {x}"]])
def test_templates_hold_the_blank_once(folder: Path, templates: list[str]) -> None:
    text = json.loads((folder / "config.json").read_text())["text"]
    damage_config(folder, text=text | {"templates": templates})
    with pytest.raises(ArtifactError, match="templates"):
        read_model(folder)


def test_config_that_is_a_folder_is_corrupt(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_config_with_a_number_that_is_none_is_corrupt(folder: Path, number: str) -> None:
    path = folder / "config.json"
    path.write_text(re.sub(r'"logit_scale": [^,]+', f'"logit_scale": {number}', path.read_text()))
    assert number in path.read_text()
    with pytest.raises(ArtifactError, match="logit_scale") as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


def test_config_that_is_no_json_is_corrupt(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="not JSON") as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("gene_codes", None),
        ("gene_codes", np.zeros((3, 9), np.int8)),
        ("gene_scales", np.zeros(24, np.float64)),
        ("centre", np.full(9, np.nan, np.float32)),
        ("removed", np.zeros((1, 9), np.float32)),
        ("statistics_mean", np.zeros(23, np.float32)),
        ("statistics_deviation", np.full(24, np.nan, np.float32)),
        ("statistics_deviation", np.full(24, -1.0, np.float32)),
    ],
)
def test_wrong_tensor_is_corrupt(folder: Path, name: str, tensor: np.ndarray | None) -> None:
    damage_tensor(folder, name, tensor)
    with pytest.raises(ArtifactError) as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize("name", ["genes.parquet", "model.safetensors"])
def test_damaged_bytes_are_corrupt(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:40])
    with pytest.raises(ArtifactError) as caught:
        read_model(folder)
    assert caught.value.kind == "corrupt"


def test_gene_named_twice_is_corrupt(folder: Path) -> None:
    genes = pq.read_table(folder / "genes.parquet")
    pq.write_table(pa.concat_tables([genes.slice(0, 1), genes.slice(0, 1), genes.slice(2)]), folder / "genes.parquet")
    with pytest.raises(ArtifactError, match="names a gene twice"):
        read_model(folder)


def test_write_leaves_no_unfinished_file(folder: Path) -> None:
    write_model(folder, toy_parts(20))
    assert sorted(path.name for path in folder.iterdir()) == sorted(MODEL_FILES)
