"""``POST /v1/cells/interpret`` with a tiny interpreter, and without one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_checks import assert_error
from api_server import served
from cell_files import cell_counts
from fake_atlas import FakeBackend
from tiny_reader import tiny_preset, toy_file, write_tiny_llama
from toy_model import gene_word

from api.interpreting import CellDesk
from api.main import create_app
from atlas.client import Client
from atlas.errors import ArtifactError
from atlas.interpreter.interpreter import Interpreter
from atlas.release import write_pointer
from atlas.settings import Settings
from indexer.interpreter.making import train_interpreter

LABELS = ["heart", "liver", "blood"] * 8
URL = "/v1/cells/interpret"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("cells")
    rows = [f"ENSG{i + 1:011d}\tG{i}\thuman\t{gene_word(i)}" for i in range(64)]
    (base / "genes.tsv").write_text("\n".join(["ensembl_id\tsymbol\torganism\ttext", *rows]) + "\n", encoding="utf-8")
    preset = tiny_preset(
        write_tiny_llama(base / "reader"), vectors={"kind": "descriptions", "texts": str(base / "genes.tsv")},
        training={"epochs": 10, "batch": 8, "learning_rate": 0.02, "answers": 0.1},
    )  # fmt: skip
    train_interpreter([toy_file(base, LABELS)], base / "made", preset=preset)
    return base / "made"


@pytest.fixture(scope="module")
def service(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    write_pointer(home / "current", "one")
    settings = Settings(home=home, interpreter=folder)
    with served(create_app(settings, lambda _: FakeBackend())) as url:
        yield url


def table(labels: list[str]) -> dict[str, object]:
    return {"genes": [f"G{i}" for i in range(64)], "values": cell_counts(labels, seed=4).tolist()}


def test_cells_are_interpreted_as_the_interpreter_does(service: str, folder: Path) -> None:
    found = httpx.post(f"{service}{URL}", params={"genes": 2}, json=table(["heart", "liver"])).json()
    made = Interpreter.load(folder)
    assert (found["interpreter"], found["labels"], found["organism"]) == (made.hash, list(made.labels), "human")
    from cell_files import cells

    expected = made.predict(cells(["heart", "liver"], seed=4))
    for cell, label, row in zip(found["cells"], expected.best, expected.probabilities, strict=True):
        assert cell["label"] == cell["explained"] == label
        assert list(cell["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-4)
        assert len(cell["genes"]) == 2
        assert set(cell["genes"][0]) == {"ensembl_id", "symbol", "rank", "effect"}


def test_texts_and_label_may_be_asked_for(service: str) -> None:
    with Client(service, timeout=20) as client:
        sent = {
            f"c{i}": dict(zip([f"G{j}" for j in range(64)], row, strict=True))
            for i, row in enumerate(cell_counts(["heart"]).tolist())
        }
        found = client.interpret_cells(sent, label="liver", genes=1, text=["heart", "skin"])
    (cell,) = found["cells"]
    assert cell["explained"] == "liver"
    assert set(cell["texts"]) == {"heart", "skin"}
    assert sum(cell["texts"].values()) == pytest.approx(1.0, abs=1e-5)


def test_text_given_twice_has_one_share_and_what_was_read_is_told(service: str) -> None:
    found = httpx.post(
        f"{service}{URL}", params={"genes": 0, "text": ["heart", "heart", "skin"]}, json=table(["heart"])
    ).json()
    assert sum(found["cells"][0]["texts"].values()) == pytest.approx(1.0, abs=1e-5)
    assert "64 of 64 genes recognised" in found["notes"][0]


def test_nothing_is_explained_where_nobody_asks(service: str) -> None:
    found = httpx.post(f"{service}{URL}", params={"genes": 0}, json=table(LABELS)).json()
    assert len(found["cells"]) == len(LABELS)
    assert all(cell["genes"] == [] and cell["explained"] is None for cell in found["cells"])


def test_hostile_questions_are_refused(service: str) -> None:
    with httpx.Client(base_url=service, timeout=20) as http:
        assert_error(http.post(URL, json=table(LABELS)), 422, "invalid_input")
        assert_error(http.post(URL, params={"label": "neuron"}, json=table(["heart"])), 404, "not_found")
        assert_error(http.post(URL, params={"label": "neuron", "genes": 0}, json=table(["heart"])), 404, "not_found")
        assert_error(http.post(URL, params={"text": "  "}, json=table(["heart"])), 422, "invalid_input")
        assert_error(http.post(URL, params={"text": "x" * 501}, json=table(["heart"])), 422, "invalid_input")
        assert_error(http.post(URL, params={"genes": -1}, json=table(["heart"])), 422, "invalid_input")
        assert_error(http.post(URL, params={"organism": "rat"}, json=table(["heart"])), 422, "invalid_input")
        assert_error(http.post(URL, params={"text": "x " * 200}, json=table(["heart"])), 422, "invalid_input")
        assert_error(http.post(URL, json={"genes": ["nothing"], "values": [3]}), 422, "invalid_input")
        assert_error(http.post(URL, json={"genes": ["G1"], "values": [0]}), 422, "invalid_input")
        assert_error(
            http.post(URL, content=b"x", headers={"content-type": "text/plain"}), 415, "unsupported_media_type"
        )


def test_language_model_that_moved_is_found_where_the_settings_say(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "made")
    config = tmp_path / "made" / "config.json"
    told = json.loads(config.read_text(encoding="utf-8"))
    shutil.copytree(told["reader"]["source"]["path"], tmp_path / "moved")
    told["reader"]["source"]["path"] = str(tmp_path / "gone")
    config.write_text(json.dumps(told), encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    moved = CellDesk(tmp_path / "made", reader="~/moved")
    assert moved.genes() is not None
    with pytest.raises(ArtifactError, match="GEO_ATLAS_INTERPRETER_READER"):
        CellDesk(tmp_path / "made").genes()


def test_empty_variables_are_as_if_nobody_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERPRETER", "INTERPRETER_READER", "INTERPRETER_DOMAIN"):
        monkeypatch.setenv(f"GEO_ATLAS_{name}", "")
    used = Settings()
    assert (used.interpreter, used.interpreter_reader, used.interpreter_domain) == (None, None, None)


def test_settings_of_moved_models_reach_the_desk(tmp_path: Path) -> None:
    write_pointer(tmp_path / "current", "one")
    settings = Settings(
        home=tmp_path, interpreter=tmp_path, interpreter_reader="owner/name", interpreter_domain=tmp_path / "joint"
    )
    desk = create_app(settings, lambda _: FakeBackend()).state.cells
    assert (desk._reader, desk._domain) == ("owner/name", str(tmp_path / "joint"))


def test_service_without_an_interpreter_says_so(base_url: str) -> None:
    answer = httpx.post(f"{base_url}{URL}", json={"genes": ["MYH6"], "values": [3]})
    assert_error(answer, 404, "not_found")
    assert "GEO_ATLAS_INTERPRETER" in answer.json()["error"]["message"]
