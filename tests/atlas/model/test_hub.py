"""Downloads from a hub: redirected, resumed, checked."""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_hub import FakeHub, run_hub

from atlas.errors import ArtifactError, ConfigError, NotFoundError, ResourceError, UpstreamError
from atlas.model import hub as module
from atlas.model.hub import Hub
from atlas.model.published import find_model, name_of_file, published_models

LARGE = bytes(range(256)) * 40_000  # 10 MB, ten of our reads
SMALL = b'{"model_type": "bert"}'


@pytest.fixture
def served() -> Iterator[FakeHub]:
    with run_hub({"folder/model.safetensors": LARGE, "folder/config.json": SMALL}) as hub:
        yield hub


def client(hub: FakeHub, **more: Any) -> Hub:
    return Hub(hub.url, timeout_s=5.0, wait_s=0.0, **more)


def test_small_and_large_files_arrive_whole(served: FakeHub, tmp_path: Path) -> None:
    counted: list[int] = []
    for file, data in zip(served.model().files, (LARGE, SMALL), strict=True):
        path = client(served).download(file, tmp_path, progress=counted.append)
        assert path.read_bytes() == data
    assert sum(counted) == len(LARGE) + len(SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert [asked.place for asked in served.asked] == ["hub", "store", "hub"]


def test_a_file_that_is_there_is_not_fetched_again_but_a_changed_one_is(served: FakeHub, tmp_path: Path) -> None:
    file = served.model().files[0]
    client(served).download(file, tmp_path)
    n = len(served.asked)
    client(served).download(file, tmp_path)
    assert len(served.asked) == n
    (tmp_path / file.name).write_bytes(LARGE[:-1])
    assert client(served).download(file, tmp_path).read_bytes() == LARGE


def test_a_broken_download_goes_on_where_it_stopped(served: FakeHub, tmp_path: Path) -> None:
    served.cuts = [3_000_000, 0, 2_000_000]
    counted: list[int] = []
    file = served.model().files[0]
    path = client(served, attempts=3).download(file, tmp_path, progress=counted.append)
    assert path.read_bytes() == LARGE
    starts = [0 if text is None else int(text.removeprefix("bytes=").removesuffix("-")) for text in served.ranges()]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert 0 < starts[1] <= 3_000_000
    assert starts[2] == starts[1]  # the second answer brought nothing
    assert starts[3] > starts[2]
    assert sum(counted) == len(LARGE)


def test_the_next_run_goes_on_too(served: FakeHub, tmp_path: Path) -> None:
    served.cuts = [4_000_000, 0, 0, 0]
    file = served.model().files[0]
    with pytest.raises(UpstreamError, match="what has arrived is kept"):
        client(served, attempts=3).download(file, tmp_path)
    arrived = (tmp_path / f"{file.name}.part").stat().st_size
    assert 0 < arrived <= 4_000_000
    served.cuts, served.asked = [], []
    assert client(served).download(file, tmp_path).read_bytes() == LARGE
    assert served.ranges() == [f"bytes={arrived}-"]


def test_a_store_that_ignores_ranges_is_read_from_the_beginning(served: FakeHub, tmp_path: Path) -> None:
    file = served.model().files[0]
    (tmp_path / f"{file.name}.part").write_bytes(LARGE[:5_000])
    served.ignores_ranges = True
    counted: list[int] = []
    assert client(served).download(file, tmp_path, progress=counted.append).read_bytes() == LARGE
    assert counted[0] == -5_000
    assert sum(counted) == len(LARGE) - 5_000


@pytest.mark.parametrize("sizes", [True, False])
def test_a_part_that_is_whole_already_is_only_checked(sizes: bool, served: FakeHub, tmp_path: Path) -> None:
    file = served.model(sizes=sizes).files[0]
    (tmp_path / f"{file.name}.part").write_bytes(LARGE)
    assert client(served).download(file, tmp_path).read_bytes() == LARGE
    assert len(served.ranges()) == (0 if sizes else 1)


@pytest.mark.parametrize("sizes", [True, False])
def test_a_part_of_something_else_is_not_completed(sizes: bool, served: FakeHub, tmp_path: Path) -> None:
    file = served.model(sizes=sizes).files[0]
    part = tmp_path / f"{file.name}.part"
    part.write_bytes(b"x" * 1_000)
    with pytest.raises(ArtifactError, match="is not the published file") as failure:
        client(served).download(file, tmp_path)
    assert failure.value.kind == "corrupt"
    assert list(tmp_path.iterdir()) == []
    assert client(served).download(file, tmp_path).read_bytes() == LARGE
    part.write_bytes(LARGE + b"more")
    (tmp_path / file.name).unlink()
    assert client(served).download(file, tmp_path).read_bytes() == LARGE


def test_another_file_is_refused_before_a_byte_is_read(served: FakeHub, tmp_path: Path) -> None:
    file = served.model().files[0]
    served.tell = lambda data: data[::-1]
    with pytest.raises(ArtifactError, match="by the hub's own word"):
        client(served).download(file, tmp_path)
    served.tell = lambda data: data + b"1"
    with pytest.raises(ArtifactError, match="by the hub's own word"):
        client(served).download(file, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"!", lambda data: data + b"more"])
def test_wrong_bytes_are_refused_and_not_kept(change: Any, served: FakeHub, tmp_path: Path) -> None:
    served.serve = change
    for file in served.model().files:
        with pytest.raises(ArtifactError, match="is not the published file"):
            client(served).download(file, tmp_path)
        assert not (tmp_path / file.name).exists()


def test_a_hub_that_is_busy_is_asked_again(served: FakeHub, tmp_path: Path) -> None:
    served.statuses = [503, 429, 500]
    assert client(served, attempts=4).download(served.model().files[1], tmp_path).read_bytes() == SMALL
    served.statuses = [503] * 9
    (tmp_path / "config.json").unlink()
    with pytest.raises(UpstreamError, match="answered 503"):
        client(served, attempts=3).download(served.model().files[1], tmp_path)
    assert len(served.statuses) == 6


def test_a_file_the_hub_does_not_have_is_named(served: FakeHub, tmp_path: Path) -> None:
    file = served.model().files[0]
    served.files.clear()
    with pytest.raises(NotFoundError, match=r"has no someone/Model/folder/model\.safetensors at 9d41e7053af8"):
        client(served).download(file, tmp_path)


def test_a_token_goes_to_the_hub_and_not_to_its_store(served: FakeHub, tmp_path: Path) -> None:
    served.needs_token = "secret-of-mine"
    file = served.model().files[0]
    with pytest.raises(UpstreamError, match="answered 401 .* set HF_TOKEN"):
        client(served).download(file, tmp_path)
    with pytest.raises(UpstreamError) as failure:
        client(served, token="wrong-secret").download(file, tmp_path)
    assert "wrong-secret" not in str(failure.value) + str(failure.value.details)
    client(served, token="secret-of-mine").download(file, tmp_path)
    assert [asked.authorization for asked in served.asked[-2:]] == ["Bearer secret-of-mine", None]


def test_without_a_network_the_way_round_is_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = published_models()["geneformer-v1-6l"].files[0]
    with pytest.raises(UpstreamError, match=r"cannot be reached, .* geo-atlas model import DIR"):
        Hub(f"http://127.0.0.1:{port}", wait_s=0.0, attempts=2).download(file, tmp_path)
    for address in ("example.org", "ftp://example.org", "file:///etc"):
        with pytest.raises(ConfigError, match="begins with https"):
            Hub(address)
    assert Hub("").endpoint == module.DEFAULT_ENDPOINT


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_refuses_is_named_and_what_arrived_is_kept(
    number: int, served: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = served.model().files[0]
    part = tmp_path / f"{file.name}.part"
    part.write_bytes(LARGE[:1_000])

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "the reason")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_append", fail)
        with pytest.raises(ResourceError, match="the disk is full" if number != errno.EACCES else "the reason"):
            client(served).download(file, tmp_path)
    assert part.read_bytes() == LARGE[:1_000]


def test_published_facts_are_complete() -> None:
    models = published_models()
    assert list(models) == [
        "geneformer-v1-6l",
        "geneformer-v1-12l",
        "geneformer-v2-104m",
        "geneformer-v2-316m",
        "biobert-v1.1",
    ]
    for model in models.values():
        names = [file.name for file in model.files]
        assert len(set(names)) == len(names)
        assert "config.json" in names
        assert all(len(bytes.fromhex(file.sha256)) == 32 for file in model.files)
        if model.kind == "geneformer":
            assert {name.split("_gc")[0] for name in names if name.endswith(".pkl")} == {
                "token_dictionary",
                "gene_median_dictionary",
            }
            assert all(file.n_bytes and len(file.revision) == 40 for file in model.files)
    assert models["geneformer-v1-12l"].n_bytes == 158_467_410 + 567 + 788_424 + 940_965
    weights = models["geneformer-v1-6l"].files[1]
    assert name_of_file(weights.sha256) == "geneformer-v1-6l"
    assert name_of_file(models["geneformer-v1-6l"].files[0].sha256) is None
    assert name_of_file(hashlib.sha256(b"").hexdigest()) is None


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(NotFoundError, match="Known: geneformer-v1-6l") as failure:
        find_model("Geneformer-V1-12")
    assert "geneformer-v1-12l" in failure.value.details["near_matches"]


@pytest.mark.data
def test_published_facts_are_those_of_the_pointers(data_root: Path) -> None:
    import csv

    folder = data_root / "genes" / "geneformer_original"
    with (folder / "weights_expected.tsv").open(encoding="utf-8") as stream:
        expected = {row["sha256"]: int(row["bytes"]) for row in csv.DictReader(stream, delimiter="\t")}
    for model in published_models().values():
        for file in model.files if model.kind == "geneformer" else ():
            if file.name.endswith((".safetensors", ".bin")):
                assert expected[file.sha256] == file.n_bytes
            elif file.name.endswith(".pkl"):
                data = (folder / file.name).read_bytes()
                assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.n_bytes)
    configs = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("config_*.json")}
    named = (file for model in published_models().values() for file in model.files if model.kind == "geneformer")
    assert {file.sha256 for file in named if file.name == "config.json"} == configs
