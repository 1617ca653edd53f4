"""Encoders in Hugging Face layout: small random ones, saved as the real ones are."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from toy_model import toy_parts
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

from atlas.errors import ArtifactError, ConfigError, UpstreamError
from atlas.model.checkpoint import ModelParts, write_model
from atlas.model.config import CentreHead, LoraRecord, Source, TextConfig
from atlas.model.joint import JointModel
from atlas.model.text_encoder import EncoderTower
from atlas.model.text_tower import MiniLmTower

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "heart", "liver", "brain", "of", "a", "donor")
HIDDEN, LIMIT = 9, 32


def save_encoder(folder: Path, *, pooler: bool = True, pickled: bool = False) -> Path:
    """A BERT of one layer with a word tokenizer; without a pooler as a masked language model is saved."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=12,
        max_position_embeddings=LIMIT,
        architectures=["BertModel"],
    )
    model: Any = BertModel(config) if pooler else BertForMaskedLM(config)
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def without_pooler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("masked"), pooler=False)


def plain(folder: Path, text: str, *, pooling: str) -> np.ndarray:
    """One text through the library itself."""
    ids = [2, *(WORDS.index(word) if word in WORDS else 1 for word in text.split()), 3]
    model = BertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([ids]))
    hidden = output.last_hidden_state[0]
    vector = {"mean": hidden.mean(dim=0), "cls": hidden[0], "pooler": output.pooler_output[0]}[pooling].numpy()
    return np.asarray(vector / np.linalg.norm(vector))


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_vectors_are_those_of_the_library_text_by_text(folder: Path, pooling: Any) -> None:
    texts = ["heart", "liver of a donor", "brain of a strange donor"]
    tower = EncoderTower(folder, pooling=pooling)
    vectors = tower.embed(texts)
    np.testing.assert_allclose(vectors, [plain(folder, text, pooling=pooling) for text in texts], atol=1e-6)
    assert vectors.dtype == np.float32
    assert (tower.dim, tower.pooling) == (HIDDEN, pooling)
    assert tower.embed([]).shape == (0, HIDDEN)


def test_auto_pooling_is_the_pooler_where_there_is_a_trained_one_else_the_mean(
    folder: Path, without_pooler: Path
) -> None:
    assert EncoderTower(folder).pooling == "pooler"
    tower = EncoderTower(without_pooler)
    assert tower.pooling == "mean"
    assert np.isfinite(tower.embed(["heart", ""])).all()


def test_pooler_that_is_not_there_is_refused(without_pooler: Path) -> None:
    """The library would make one up, with random weights."""
    with pytest.raises(ArtifactError, match="no trained pooler") as caught:
        EncoderTower(without_pooler, pooling="pooler")
    assert caught.value.kind == "incompatible"


def test_long_texts_are_cut_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tower = EncoderTower(folder, pooling="mean", max_tokens=6)
    exact, longer = "heart of a donor", "heart of a donor liver"
    with caplog.at_level(logging.WARNING):
        vectors = tower.embed([exact, longer, "heart " * 5_000])
    assert "2 of 3 texts are longer than 6 tokens" in caplog.text
    assert tower.n_truncated([exact, longer, "heart " * 5_000]) == 2
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_cut_off_beyond_what_the_encoder_reads_is_refused(folder: Path) -> None:
    assert EncoderTower(folder).max_tokens == LIMIT
    with pytest.raises(ConfigError, match="reads 3 to 32"):
        EncoderTower(folder, max_tokens=LIMIT + 1)


def test_fingerprint_changes_with_weights_tokenizer_pooling_and_cut_off(folder: Path, tmp_path: Path) -> None:
    base = EncoderTower(folder, pooling="mean").fingerprint
    seen = {base, EncoderTower(folder, pooling="cls").fingerprint, EncoderTower(folder, max_tokens=9).fingerprint}
    for number, change in enumerate(("tokenizer.json", "model.safetensors")):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        if change == "tokenizer.json":
            raw = json.loads((copy / change).read_text())
            (copy / change).write_text(json.dumps(raw))
        else:
            torch.manual_seed(1)
            BertModel(BertConfig.from_pretrained(copy)).save_pretrained(copy)
        seen.add(EncoderTower(copy, pooling="mean").fingerprint)
    assert len(seen) == 5
    assert EncoderTower(folder, pooling="mean").fingerprint == base


def test_weights_saved_by_torch_are_read_as_tensors_alone(tmp_path: Path, folder: Path) -> None:
    pickled = save_encoder(tmp_path / "bin", pickled=True)
    np.testing.assert_allclose(EncoderTower(pickled).embed(["heart"]), EncoderTower(folder).embed(["heart"]), atol=1e-6)


class _Hostile:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched-by-a-pickle"),))


def test_pickle_that_would_run_code_is_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "hostile"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").unlink()
    torch.save({"embeddings": _Hostile()}, copy / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="cannot be read"):
        EncoderTower(copy)
    assert not (tmp_path / "touched-by-a-pickle").exists()


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer"])
def test_folder_that_lacks_a_part_names_it(tmp_path: Path, folder: Path, lost: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for path in copy.glob(f"{lost}*"):
        path.unlink()
    with pytest.raises(ArtifactError, match=f"has no .*{lost.split('.')[-1]}") as caught:
        EncoderTower(copy)
    assert caught.value.kind == "missing"


def test_weights_that_lack_layers_are_corrupt(tmp_path: Path, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    tensors.pop("encoder.layer.0.attention.self.query.weight")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="lack 1 layers") as caught:
        EncoderTower(copy)
    assert caught.value.kind == "corrupt"


def test_weights_that_are_no_tensors_are_corrupt(tmp_path: Path, folder: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").write_bytes(b"an error page")
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        EncoderTower(copy)
    assert caught.value.kind == "corrupt"


def test_path_that_is_nothing_is_named_and_never_looked_up(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no folder") as caught:
        EncoderTower(tmp_path / "nothing")
    assert caught.value.kind == "missing"


def test_hub_that_cannot_be_reached_is_an_upstream_error() -> None:
    with pytest.raises(UpstreamError, match="could not be fetched"):
        EncoderTower("nobody/no-such-encoder")


def encoder_parts(tower: EncoderTower, source: str, *, adapter: LoraRecord | None = None) -> ModelParts:
    parts = toy_parts(16)
    assert tower.dim == parts.config.dim
    text = TextConfig(
        tower="encoder",
        source=Source(path=source),
        dim=tower.dim,
        fingerprint=tower.fingerprint,
        pooling=tower.pooling,
        max_tokens=tower.max_tokens,
        adapter=adapter,
        head=CentreHead(),
    )
    return ModelParts(parts.config.model_copy(update={"text": text}), parts.genes, parts.tensors)


def test_model_finds_its_encoder_beside_itself(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "model" / "text_tower")
    tower = EncoderTower(folder, pooling="mean", max_tokens=8)
    write_model(tmp_path / "model", encoder_parts(tower, "text_tower"))
    model = JointModel.load(tmp_path / "model")
    np.testing.assert_allclose(
        model.embed_raw_texts(["heart of a donor"]), tower.embed(["heart of a donor"]), atol=1e-6
    )


def test_encoder_with_other_weights_than_the_models_is_refused(tmp_path: Path, folder: Path) -> None:
    parts = encoder_parts(EncoderTower(folder, pooling="mean"), str(folder))
    text = parts.config.text.model_copy(update={"max_tokens": 5})
    write_model(tmp_path, ModelParts(parts.config.model_copy(update={"text": text}), parts.genes, parts.tensors))
    with pytest.raises(ArtifactError, match="not the one the model") as caught:
        JointModel.load(tmp_path).embed_texts(["heart"])
    assert caught.value.kind == "incompatible"


LAYER = "encoder.layer.0.attention.self.query"


def low_rank(*, rank: int = 2, width: int = HIDDEN) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"adapter.{LAYER}.a": rng.normal(size=(rank, width)).astype(np.float32),
        f"adapter.{LAYER}.b": rng.normal(size=(width, rank)).astype(np.float16),
    }


def test_copy_with_an_adapter_does_not_share_the_tower_without_it(folder: Path) -> None:
    record, tensors = LoraRecord(rank=2, alpha=4.0, modules=(LAYER,)), low_rank()
    tower = EncoderTower(folder, pooling="mean")
    plain = JointModel.of_parts(encoder_parts(tower, str(folder)))
    before = plain.embed_raw_texts(["heart"])  # the tower is loaded now
    parts = encoder_parts(tower, str(folder), adapter=record)
    adapted = ModelParts(parts.config, parts.genes, {**parts.tensors, **tensors})
    expected = JointModel.of_parts(adapted).embed_raw_texts(["heart"])
    assert not np.array_equal(expected, before)
    assert np.array_equal(plain.with_parts(adapted).embed_raw_texts(["heart"]), expected)


def test_low_rank_changes_are_merged_on_loading(tmp_path: Path, folder: Path) -> None:
    record, tensors = LoraRecord(rank=2, alpha=4.0, modules=(LAYER,)), low_rank()
    parts = encoder_parts(EncoderTower(folder, pooling="mean"), str(folder), adapter=record)
    write_model(tmp_path, ModelParts(parts.config, parts.genes, {**parts.tensors, **tensors}))
    model = BertModel.from_pretrained(folder)
    with torch.no_grad():
        a, b = (torch.from_numpy(tensors[f"adapter.{LAYER}.{part}"].astype(np.float32)) for part in "ab")
        model.get_parameter(f"{LAYER}.weight").add_(2.0 * b @ a)
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    model.save_pretrained(changed)
    merged, base = JointModel.load(tmp_path), JointModel.of_parts(encoder_parts(EncoderTower(folder), str(folder)))
    texts = ["heart of a donor", "liver"]
    np.testing.assert_allclose(
        merged.embed_raw_texts(texts), EncoderTower(changed, pooling="mean").embed(texts), atol=1e-5
    )
    assert merged.raw_text_key != base.raw_text_key


@pytest.mark.parametrize("wrong", ["layer", "shape"])
def test_low_rank_changes_of_another_encoder_are_refused(folder: Path, wrong: str) -> None:
    tensors = low_rank(width=HIDDEN if wrong == "layer" else HIDDEN + 1)
    name = LAYER if wrong == "shape" else LAYER.replace("layer.0", "layer.7")
    tensors = {key.replace(LAYER, name): value for key, value in tensors.items()}
    with pytest.raises(ArtifactError, match="adapter changes the layer") as caught:
        EncoderTower(folder, adapter=LoraRecord(rank=2, alpha=1.0, modules=(name,)), adapter_tensors=tensors)
    assert caught.value.kind == "incompatible"


def test_minilm_takes_low_rank_changes_too() -> None:
    tensors = {
        f"adapter.{LAYER}.a": np.ones((1, 384), np.float32),
        f"adapter.{LAYER}.b": np.linspace(-1, 1, 384, dtype=np.float32)[:, None],
    }
    changed = MiniLmTower(threads=1, adapter=LoraRecord(rank=1, alpha=1.0, modules=(LAYER,)), adapter_tensors=tensors)
    base = MiniLmTower(threads=1)
    assert not np.allclose(changed.embed(["heart failure"]), base.embed(["heart failure"]), atol=1e-3)
    assert base.n_truncated(["heart", "heart " * 300]) == 1
