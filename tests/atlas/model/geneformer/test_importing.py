"""A published folder becomes one of ours, complete or not at all, and nothing in it is run."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geneformer_models import toy_config, toy_dictionaries, write_dictionaries, write_published

from atlas.errors import ArtifactError, InputError, ResourceError
from atlas.model.geneformer import importing
from atlas.model.geneformer.folder import SOURCE_FILE, read_geneformer
from atlas.model.geneformer.importing import import_geneformer
from atlas.model.geneformer.tokenizer import RankTokens
from atlas.model.geneformer.tower import TokenEncoder

TOKENS = RankTokens.from_rows([np.array([5, 9, 3]), np.array([30, 2])])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_formats_of_weights_give_the_same_vectors(version: str, tmp_path: Path) -> None:
    vectors = []
    for weights in ("model.safetensors", "pytorch_model.bin"):
        source = tmp_path / weights
        write_published(source, version=version, weights=weights)
        folder = import_geneformer(source, tmp_path / f"own-{weights}")
        assert folder.vocabulary.version == version
        assert folder.source.name is None
        assert {path.name for path in folder.path.iterdir()} == {
            "config.json",
            "model.safetensors",
            "vocabulary.parquet",
            "source.json",
        }
        assert weights in folder.source.made_from
        assert any(name.startswith("token_dictionary") for name in folder.source.made_from)
        vectors.append(TokenEncoder(folder.path, device="cpu").embed(TOKENS))
    assert np.array_equal(vectors[0], vectors[1])


def test_a_folder_is_read_back_with_the_same_fingerprint_and_configuration(tmp_path: Path) -> None:
    write_published(tmp_path / "published", version="v2")
    made = import_geneformer(tmp_path / "published", tmp_path / "own")
    read = read_geneformer(tmp_path / "own")
    assert read.fingerprint == made.fingerprint
    config = read.config(path="../own", layer=-1, pooling="mean_genes")
    assert (config.source.path, config.fingerprint, config.vocabulary) == ("../own", made.fingerprint, "v2")
    assert (config.dim, config.layer, config.pooling, config.max_length) == (16, -1, "mean_genes", 2_048)
    again = import_geneformer(tmp_path / "own", tmp_path / "copy")  # our own folder is taken over as well
    assert again.fingerprint == made.fingerprint


def test_fingerprint_changes_with_weights_dictionaries_and_configuration(tmp_path: Path) -> None:
    prints = set()
    tokens, medians = toy_dictionaries(64)
    first = next(iter(medians))
    for i, (seed, more, config) in enumerate(
        [(0, {}, {}), (1, {}, {}), (0, {first: 99.0}, {}), (0, {}, {"layer_norm_eps": 1e-6})]
    ):
        source = tmp_path / f"published{i}"
        write_published(source, seed=seed, config=toy_config(66, **config))
        write_dictionaries(source, tokens, {**medians, **more})
        prints.add(import_geneformer(source, tmp_path / f"own{i}").fingerprint)
    assert len(prints) == 4


@pytest.mark.parametrize(
    "place", [".", "geneformer", "../geneformer", "..", "../geneformer/gene_dictionaries_30m", "gene_dictionaries_30m"]
)
def test_dictionaries_are_found_where_the_published_repository_has_them(place: str, tmp_path: Path) -> None:
    source = tmp_path / "repository" / "Model"
    write_published(source)
    for path in source.glob("*.pkl"):
        path.unlink()
    write_dictionaries(source.parent / "geneformer", *toy_dictionaries(20), suffix="_another")  # of another length
    write_dictionaries(source / place, *toy_dictionaries(64), suffix="_gc30M")
    assert len(import_geneformer(source, tmp_path / "own").vocabulary) == 64


def test_dictionaries_of_another_model_are_refused_by_number(tmp_path: Path) -> None:
    write_published(tmp_path / "published", config=toy_config(70))
    with pytest.raises(ArtifactError, match=r"No dictionaries of 70 tokens .* \(66 tokens\)") as failure:
        import_geneformer(tmp_path / "published", tmp_path / "own")
    assert failure.value.kind == "incompatible"
    for path in (tmp_path / "published").glob("gene_median*"):
        path.unlink()
    with pytest.raises(ArtifactError, match="No dictionaries of 70 tokens"):
        import_geneformer(tmp_path / "published", tmp_path / "own", dictionaries=tmp_path / "published")
    for path in (tmp_path / "published").glob("*.pkl"):
        path.unlink()
    with pytest.raises(ArtifactError, match="seen: none") as failure:
        import_geneformer(tmp_path / "published", tmp_path / "own")
    assert failure.value.kind == "missing"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is no folder of a published model: it is not there"):
        import_geneformer(tmp_path / "none", tmp_path / "own")
    write_published(tmp_path / "published")
    (tmp_path / "published" / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="holds no weights"):
        import_geneformer(tmp_path / "published", tmp_path / "own")
    (tmp_path / "published" / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      junk")
    with pytest.raises(ArtifactError, match="absent|not a readable"):
        import_geneformer(tmp_path / "published", tmp_path / "own")
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


class _Runs:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_code_in_weights_does_not_run(tmp_path: Path) -> None:
    import torch

    write_published(tmp_path / "published")
    (tmp_path / "published" / "model.safetensors").unlink()
    path, trap = tmp_path / "published" / "pytorch_model.bin", tmp_path / "trap"
    torch.save({"bert.embeddings.word_embeddings.weight": _Runs(str(trap))}, path)
    hostile = path.read_bytes()
    for data in (hostile, pickle.dumps(_Runs(str(trap))), hostile[:100], b"", b"version https://git-lfs\noid x\n"):
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match="no file of plain tensors") as failure:
            import_geneformer(tmp_path / "published", tmp_path / "own")
        assert failure.value.kind == "corrupt"
        assert not trap.exists()
        assert not (tmp_path / "own").exists()
    torch.save([1, 2], path)
    with pytest.raises(ArtifactError, match="something else than named tensors"):
        import_geneformer(tmp_path / "published", tmp_path / "own")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    write_published(tmp_path / "published")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        import_geneformer(tmp_path / "published", tmp_path / "own")
    assert (tmp_path / "own" / "mine").read_text() == "x"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published(tmp_path / "published")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(ResourceError, match="No space left on device"):
        import_geneformer(tmp_path / "published", tmp_path / "own")
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def test_published_weights_are_known_by_their_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published(tmp_path / "published")
    monkeypatch.setattr(importing, "name_of_file", lambda sha256: "geneformer-v1-6l" if len(sha256) == 64 else None)
    import_geneformer(tmp_path / "published", tmp_path / "own")
    assert read_geneformer(tmp_path / "own").source.name == "geneformer-v1-6l"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.parquet"])
def test_a_changed_or_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    write_published(tmp_path / "published")
    import_geneformer(tmp_path / "published", tmp_path / "own")
    path = tmp_path / "own" / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="changed since it was imported") as failure:
        read_geneformer(tmp_path / "own")
    assert failure.value.kind == "corrupt"
    path.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        read_geneformer(tmp_path / "own")


def test_a_folder_of_another_kind_is_refused_with_advice(tmp_path: Path) -> None:
    write_published(tmp_path / "published")
    with pytest.raises(ArtifactError, match=r"no Geneformer folder .* geo-atlas model import"):
        read_geneformer(tmp_path / "published")
    import_geneformer(tmp_path / "published", tmp_path / "own")
    record = json.loads((tmp_path / "own" / SOURCE_FILE).read_text())
    for broken in ({}, {**record, "schema_version": 2}, {**record, "files": {}}):
        (tmp_path / "own" / SOURCE_FILE).write_text(json.dumps(broken))
        with pytest.raises(ArtifactError, match=r"source\.json"):
            read_geneformer(tmp_path / "own")
