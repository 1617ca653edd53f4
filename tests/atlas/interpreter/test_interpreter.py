"""An interpreter on disk and in use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cell_files import cells
from tiny_reader import tiny_preset, toy_file, write_tiny_llama

from atlas.errors import ArtifactError, InputError
from atlas.interpreter.checkpoint import FILES, interpreter_hash, read_interpreter, write_interpreter
from atlas.interpreter.interpreter import Interpreter
from atlas.interpreter.output import write_interpretation
from indexer.interpreter.making import train_interpreter

LABELS = ["heart", "liver", "blood"] * 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("interpreter")
    reader = write_tiny_llama(base / "reader")
    file = toy_file(base, LABELS)
    texts = base / "genes.tsv"
    from toy_model import gene_word

    rows = [f"ENSG{i + 1:011d}\tG{i}\thuman\t{gene_word(i)}" for i in range(64)]
    texts.write_text("\n".join(["ensembl_id\tsymbol\torganism\ttext", *rows]) + "\n", encoding="utf-8")
    preset = tiny_preset(
        reader,
        vectors={"kind": "descriptions", "texts": str(texts)},
        training={"epochs": 2, "batch": 8, "answers": 0.1},
    )
    train_interpreter([file], base / "made", preset=preset)
    return base / "made"


def test_probabilities_add_up_and_the_best_is_the_likeliest(folder: Path) -> None:
    found = Interpreter.load(folder).predict(cells(LABELS))
    assert found.labels == ("blood", "heart", "liver")
    assert np.allclose(found.probabilities.sum(axis=1), 1.0, atol=1e-6)
    assert found.best == tuple(found.labels[i] for i in found.probabilities.argmax(axis=1))
    assert found.states.shape == (len(LABELS), 16)


def test_cell_of_which_nothing_can_be_read_gets_no_answer(folder: Path) -> None:
    data = cells(LABELS)
    values = data.X.toarray()
    values[2] = 0
    data.X = values
    found = Interpreter.load(folder).predict(data)
    assert found.best[2] is None
    assert np.isnan(found.probabilities[2]).all()
    assert np.isnan(found.states[2]).all()
    assert "1 of 18 cells express no gene" in " ".join(found.notes)


def test_source_without_any_readable_cell_is_refused(folder: Path) -> None:
    data = cells(["heart", "liver"])
    data.X = np.zeros((2, 64), np.float32)
    with pytest.raises(InputError, match="2 of 2 cells express no gene"):
        Interpreter.load(folder).predict(data)


def test_unknown_texts_can_be_asked_for(folder: Path) -> None:
    made = Interpreter.load(folder)
    read, _ = made.read(cells(LABELS))
    shares = made.ask(read, ["heart", "skin"])
    assert shares.shape == (len(LABELS), 2)
    assert np.allclose(shares.sum(axis=1), 1.0, atol=1e-6)


def test_interpreter_that_learned_labels_alone_answers_no_texts(folder: Path, tmp_path: Path) -> None:
    parts = read_interpreter(folder)
    closed = parts.config.model_copy(update={"network": parts.config.network.model_copy(update={"answers": False})})
    write_interpreter(tmp_path / "closed", type(parts)(closed, parts.vectors, parts.learned))
    made = Interpreter.load(tmp_path / "closed")
    read, _ = made.read(cells(LABELS))
    with pytest.raises(InputError, match="learned its labels alone"):
        made.ask(read, ["heart"])


def test_folder_survives_a_copy_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    write_interpreter(tmp_path / "copy", read_interpreter(folder))
    assert interpreter_hash(tmp_path / "copy") == interpreter_hash(folder)
    one, other = (Interpreter.load(place).predict(cells(LABELS)) for place in (folder, tmp_path / "copy"))
    assert np.array_equal(one.probabilities, other.probabilities)


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_missing_or_damaged_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    write_interpreter(tmp_path / "copy", read_interpreter(folder))
    path = tmp_path / "copy" / name
    path.write_bytes(b"{")
    with pytest.raises(ArtifactError, match="Restore"):
        Interpreter.load(tmp_path / "copy")
    path.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        Interpreter.load(tmp_path / "copy")
    path.mkdir()
    with pytest.raises(ArtifactError, match="Restore"):
        Interpreter.load(tmp_path / "copy")


def test_another_language_model_is_refused(folder: Path, tmp_path: Path) -> None:
    write_interpreter(tmp_path / "copy", read_interpreter(folder))
    config = tmp_path / "copy" / "config.json"
    raw = json.loads(config.read_text(encoding="utf-8"))
    raw["reader"]["source"]["path"] = str(write_tiny_llama(tmp_path / "other", seed=5))
    config.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ArtifactError, match="not the one the interpreter"):
        Interpreter.load(tmp_path / "copy")


def test_reader_of_another_width_is_refused(folder: Path) -> None:
    parts = read_interpreter(folder)
    made = Interpreter.load(folder)
    wider = parts.config.model_copy(update={"reader": parts.config.reader.model_copy(update={"width": 5120})})
    with pytest.raises(ArtifactError, match="16 numbers; the interpreter was trained on 5,120"):
        Interpreter(type(parts)(wider, parts.vectors, parts.learned), reader=made.network.reader, domain=None)


def test_tensor_of_another_shape_or_name_is_refused(folder: Path) -> None:
    parts, made = read_interpreter(folder), Interpreter.load(folder)
    short = {**parts.learned, "class_token": np.zeros(7, np.float32)}
    with pytest.raises(
        ArtifactError, match="class_token has the shape.*not of one training. Restore the folder"
    ) as caught:
        Interpreter(type(parts)(parts.config, parts.vectors, short), reader=made.network.reader, domain=None)
    assert caught.value.kind == "corrupt"
    lost = {name: one for name, one in parts.learned.items() if name != "class_token"}
    with pytest.raises(ArtifactError, match="class_token"):
        Interpreter(type(parts)(parts.config, parts.vectors, lost), reader=made.network.reader, domain=None)


def test_answers_are_written_one_row_a_cell(folder: Path, tmp_path: Path) -> None:
    made = Interpreter.load(folder)
    read, _ = made.read(cells(LABELS))
    found = made.interpret(read)
    write_interpretation(
        tmp_path / "out.parquet", found, texts=["skin", "lung"], shares=made.ask(read, ["skin", "lung"])
    )
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == [
        "row_id", "label", "probability", "p:blood", "p:heart", "p:liver", "ask:skin", "ask:lung", "embedding"
    ]  # fmt: skip
    assert table["label"].to_pylist() == list(found.best)
    assert np.allclose(np.stack(table["embedding"].to_pylist()), found.states)
    with pytest.raises(InputError, match="there already"):
        write_interpretation(tmp_path / "out.parquet", found)


def test_memory_that_does_not_suffice_is_told_with_advice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from atlas.errors import ResourceError

    made = Interpreter.load(folder)

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(type(made.network), "forward", fail)
    with pytest.raises(ResourceError, match="language model is smaller"):
        made.predict(cells(LABELS))


def _changed_config(folder: Path, change: dict[str, object]) -> None:
    path = folder / "config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    for name, value in change.items():
        *parts, last = name.split(".")
        place = told
        for part in parts:
            place = place[part]
        place[last] = value
    path.write_text(json.dumps(told), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["liver", "heart", "blood"]}, "was changed since"),
        ({"labels": ["blood", "blood", "liver"]}, "a label is there twice"),
        ({"network.answers": False}, "was changed since"),
        ({"genes.order": "expression", "genes.strength": "none"}, "was changed since"),
    ],
)
def test_edited_configuration_is_refused(folder: Path, tmp_path: Path, change: dict[str, object], said: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    _changed_config(tmp_path / "copy", change)
    with pytest.raises(ArtifactError, match=said) as caught:
        Interpreter.load(tmp_path / "copy")
    assert caught.value.kind == "corrupt"


def test_tensors_with_other_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "interpreter.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # one bit of one weight
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="is not the file that was written with"):
        Interpreter.load(tmp_path / "copy")


def test_language_model_that_moved_is_named_and_another_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    reader = Path(json.loads((folder / "config.json").read_text(encoding="utf-8"))["reader"]["source"]["path"])
    shutil.copytree(reader, tmp_path / "moved")
    _changed_config(tmp_path / "copy", {"reader.source.path": str(tmp_path / "gone")})
    with pytest.raises(ArtifactError, match="--reader; a service: GEO_ATLAS_INTERPRETER_READER"):
        Interpreter.load(tmp_path / "copy")
    found = Interpreter.load(tmp_path / "copy", reader=str(tmp_path / "moved")).predict(cells(LABELS))
    assert np.array_equal(found.probabilities, Interpreter.load(folder).predict(cells(LABELS)).probabilities)
    write_tiny_llama(tmp_path / "other", seed=9)
    with pytest.raises(ArtifactError, match="is not the one.*--reader"):
        Interpreter.load(folder, reader=str(tmp_path / "other"))


def test_answer_that_is_no_number_is_an_error_and_not_a_cell_unread(folder: Path) -> None:
    made = Interpreter.load(folder)
    made.network.head.linear.weight.data.fill_(3e38)
    with pytest.raises(ArtifactError, match="no number for 18 of 18 cells"):
        made.predict(cells(LABELS))
