"""``geo-atlas model fetch`` and ``geo-atlas model import``, run as a person runs them."""

from __future__ import annotations

import fcntl
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from geneformer_models import write_published
from model_hub import FakeHub, run_hub

from atlas.errors import ArtifactError, BusyError, InputError, NotFoundError, ResourceError, UpstreamError
from atlas.model import published
from atlas.model.geneformer import fetching
from atlas.model.geneformer.fetching import fetch_model
from atlas.model.geneformer.folder import read_geneformer
from atlas.model.geneformer.importing import import_geneformer
from atlas.model.geneformer.tokenizer import RankTokens
from atlas.model.geneformer.tower import TokenEncoder
from atlas.model.hub import Hub


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_published(tmp_path / "published", weights="pytorch_model.bin")
    return tmp_path / "published"


@pytest.fixture
def served(source: Path) -> Iterator[FakeHub]:
    places = {"config.json": "gf-3L", "pytorch_model.bin": "gf-3L"}
    files = {
        f"{places.get(path.name, 'geneformer')}/{path.name}": path.read_bytes() for path in sorted(source.iterdir())
    }
    with run_hub(files) as hub:
        yield hub


def fetch(served: FakeHub, out: Path, *, kind: str = "geneformer") -> Path:
    return fetch_model(served.model(kind=kind), out, hub=Hub(served.url, wait_s=0.0, attempts=2, timeout_s=5.0))


def test_a_fetched_model_is_the_imported_one(served: FakeHub, source: Path, tmp_path: Path) -> None:
    fetched = read_geneformer(fetch(served, tmp_path / "fetched"))
    imported = import_geneformer(source, tmp_path / "imported")
    assert fetched.fingerprint == imported.fingerprint
    assert fetched.source.made_from == imported.source.made_from
    tokens = RankTokens.from_rows([np.array([3, 9, 40])])
    assert TokenEncoder(fetched.path, device="cpu").embed(tokens).shape == (1, 16)
    assert not (tmp_path / "fetched.download").exists()


def test_a_text_tower_is_kept_as_it_was_published(served: FakeHub, source: Path, tmp_path: Path) -> None:
    folder = fetch(served, tmp_path / "text", kind="text")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    assert not (tmp_path / "text.download").exists()


def test_an_interrupted_fetch_keeps_what_came_and_goes_on(served: FakeHub, tmp_path: Path) -> None:
    served.cuts = [1_500, 0, 0]
    with pytest.raises(UpstreamError):
        fetch(served, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path for path in (tmp_path / "out.download").iterdir() if path.suffix == ".part"]
    served.cuts, served.asked = [], []
    fetch(served, tmp_path / "out")
    assert any(range_ and range_.startswith("bytes=") for range_ in served.ranges())
    assert read_geneformer(tmp_path / "out").vocabulary.n_tokens == 66


def test_wrong_bytes_make_no_model(served: FakeHub, tmp_path: Path) -> None:
    served.serve = lambda data: data[:-2] + b"??"
    with pytest.raises(ArtifactError, match="is not the published file"):
        fetch(served, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_room_is_said_before_anything_is_asked(
    served: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(ResourceError, match=r"toy needs .* MiB in .* where 0 MiB are free"):
        fetch(served, tmp_path / "out")
    assert served.asked == []


def test_a_folder_that_exists_and_one_being_fetched_are_left_alone(served: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        fetch(served, tmp_path / "out")
    (tmp_path / "busy.download").mkdir()
    with (tmp_path / "busy.download" / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="in use by another download"):
            fetch(served, tmp_path / "busy")
    fetch(served, tmp_path / "busy")


def test_a_place_that_cannot_be_written_is_named(served: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="Cannot write in"):
        fetch(served, tmp_path / "file" / "out")


def test_the_command_fetches_by_name_from_the_endpoint_of_the_environment(
    served: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli.main import app

    models = {"toy": served.model()}
    monkeypatch.setattr(published, "published_models", lambda: models)
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.chdir(tmp_path)
    app(["model", "fetch", "toy"], standalone_mode=False)
    assert read_geneformer(tmp_path / "toy").dim == 16
    assert "geo-atlas train --preset cellwhisperer-paper --transcriptome toy" in capsys.readouterr().err
    with pytest.raises(NotFoundError, match="no published model 'toys'"):
        app(["model", "fetch", "toys"], standalone_mode=False)
    monkeypatch.setattr(fetching, "refuse_existing", lambda _: None)
    served.files.clear()
    with pytest.raises(NotFoundError):
        app(["model", "fetch", "toy", "--out", "other"], standalone_mode=False)


def test_the_command_imports_a_local_copy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli.main import app

    monkeypatch.chdir(tmp_path)
    app(["model", "import", str(source)], standalone_mode=False)
    assert read_geneformer(tmp_path / "published-imported").vocabulary.n_tokens == 66
    said = capsys.readouterr().err
    assert "not the weights of a model we know" in said
    assert "64 genes, vectors of 16" in said
    with pytest.raises(InputError, match="exists already"):
        app(["model", "import", str(source)], standalone_mode=False)
    app(["model", "import", str(source), "--out", "b", "--dictionaries", str(source)], standalone_mode=False)
    assert read_geneformer(tmp_path / "b").fingerprint == read_geneformer(tmp_path / "published-imported").fingerprint


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_is_no_published_model_is_named(tmp_path: Path, there: bool) -> None:
    source = tmp_path / "absent"
    if there:
        source.mkdir()
    with pytest.raises(ArtifactError, match="no folder of a published model") as refused:
        import_geneformer(source, tmp_path / "out")
    assert refused.value.kind == "missing"
    assert "Geneformer-V1-10M" in refused.value.message
    assert not (tmp_path / "out").exists()
