"""Frozen language models of both kinds: what they read, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoder import write_tiny_encoder
from tiny_reader import instruction, some_cells, tiny_network, tiny_reader, write_tiny_llama

from atlas.errors import ArtifactError, ConfigError, MissingExtraError
from atlas.interpreter.reader import Reader, load_reader
from atlas.model.config import Source
from atlas.model.encoding import quiet_transformers


@pytest.fixture(params=["llama", "bert"])
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> Reader:
    return tiny_reader(tmp_path / "reader", request.param)


def test_no_weight_of_a_reader_has_a_gradient_and_it_stays_in_evaluation_mode(reader: Reader) -> None:
    assert not any(one.requires_grad for one in reader.parameters())
    reader.train()
    assert not any(one.training for one in reader.modules())


def test_reading_words_as_vectors_is_reading_the_words(reader: Reader) -> None:
    frame = reader.frame(instruction(reader))
    ids = torch.tensor([[*frame.before, *frame.text, *frame.after]])
    with torch.no_grad():
        mine = reader.read(reader.words(ids), torch.ones_like(ids, dtype=torch.bool))
        plain = reader.backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert torch.allclose(mine, plain, atol=1e-6)


def test_frame_holds_the_special_tokens_around_a_text(reader: Reader) -> None:
    frame = reader.frame(instruction(reader))
    assert len(frame.text) == 5
    assert (len(frame.before), len(frame.after)) == ((1, 0) if reader.kind == "causal" else (1, 1))


def test_kind_is_told_from_the_model(tmp_path: Path) -> None:
    assert load_reader(Source(path=str(write_tiny_llama(tmp_path / "a")))).kind == "causal"
    assert load_reader(Source(path=str(write_tiny_encoder(tmp_path / "b")))).kind == "encoder"


def test_model_that_takes_no_vectors_in_place_of_words_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    folder = write_tiny_llama(tmp_path / "vision")
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (folder / name).unlink(missing_ok=True)
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=8, patch_size=4
    )
    with quiet_transformers():
        ViTModel(config).save_pretrained(str(folder))
    with pytest.raises(ArtifactError, match="takes no inputs_embeds"):
        load_reader(Source(path=str(folder)))


def test_sequence_longer_than_the_reader_is_refused(tmp_path: Path) -> None:
    reader = tiny_reader(tmp_path / "reader", "bert")
    with pytest.raises(ConfigError, match="33 tokens; the reader takes at most 32"):
        reader.read(torch.zeros(1, 33, reader.width), torch.ones(1, 33, dtype=torch.bool))


def test_quantised_weights_without_their_library_name_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    plain = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "bitsandbytes":
            raise ImportError(name)
        return plain(name, *rest, **more)

    folder = write_tiny_llama(tmp_path / "reader")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="pip install bitsandbytes"):
        load_reader(Source(path=str(folder)), quantised="8bit")


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json", "config.json"])
def test_folder_that_lacks_a_file_is_named(tmp_path: Path, lost: str) -> None:
    folder = write_tiny_llama(tmp_path / "reader")
    for name in (lost, "tokenizer_config.json") if lost == "tokenizer.json" else (lost,):
        (folder / name).unlink()
    with pytest.raises(ArtifactError, match=str(folder)):
        load_reader(Source(path=str(folder)))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path / "reader")
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_reader(Source(path=str(folder)))


def test_recomputing_hidden_states_changes_no_gradient(reader: Reader) -> None:
    found: list[Any] = []
    again: list[int] = []

    def counted(plain: Any) -> Any:
        return lambda *some, **more: again.append(1) or plain(*some, **more)

    for recompute in (False, True):
        network = tiny_network(reader)
        if recompute:
            reader.recompute_in_backward()
            for layer in reader.backbone.modules():
                if hasattr(layer, "_gradient_checkpointing_func"):
                    layer._gradient_checkpointing_func = counted(layer._gradient_checkpointing_func)
        network.train()  # which a frozen reader does not do, and still recomputes
        logits, state = network(some_cells())
        (logits.sum() + state.sum()).backward()
        found.append([one.grad.clone() for _, one in network.learning() if one.grad is not None])
    assert len(again) == reader.backbone.config.num_hidden_layers  # in the second round alone
    assert len(found[0]) == len(found[1]) > 6
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("kind", ["mpnet", "roberta", "electra"])
def test_words_read_as_vectors_are_read_as_words_or_the_model_is_refused(tmp_path: Path, kind: str) -> None:
    from transformers import ElectraConfig, ElectraModel, MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

    folder = write_tiny_encoder(tmp_path / "reader")
    sizes = {
        "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 40, "pad_token_id": 1, "initializer_range": 0.5,
    }  # fmt: skip
    config, model = {
        "mpnet": (MPNetConfig, MPNetModel),
        "roberta": (RobertaConfig, RobertaModel),
        "electra": (ElectraConfig, ElectraModel),
    }[kind]
    model(config(**sizes, **({"embedding_size": 8} if kind == "electra" else {}))).save_pretrained(folder)
    if kind == "electra":
        with pytest.raises(ArtifactError, match="token vectors of 8 numbers and hidden states of 16"):
            load_reader(Source(path=str(folder)))
        return
    reader = load_reader(Source(path=str(folder)))
    assert reader.n_positions == 38
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        plain = reader.backbone(input_ids=ids).last_hidden_state
        assert torch.allclose(reader.read(reader.words(ids), torch.ones(1, 3, dtype=torch.bool)), plain, atol=1e-5)


def test_half_precision_reads_about_the_same(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path / "reader")
    cells = some_cells()
    with torch.no_grad():
        full, half = (
            tiny_network(load_reader(Source(path=str(folder)), precision=one))(cells)[1] for one in ("fp32", "bf16")
        )
    assert half.dtype == torch.float32
    assert torch.allclose(full, half, atol=0.1)


def test_reader_of_relative_positions_keeps_all_of_them(tmp_path: Path) -> None:
    reader = tiny_reader(tmp_path / "reader", "llama")  # its padding's id is 3
    assert reader.n_positions == 1200


def test_tokens_are_as_large_as_they_are_read_where_a_model_multiplies_its_table(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = write_tiny_llama(tmp_path / "reader")
    n_words = load_reader(Source(path=str(folder))).backbone.config.vocab_size
    config = Gemma2Config(
        vocab_size=n_words, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(folder)
    reader = load_reader(Source(path=str(folder)))
    expected = reader.words(torch.arange(n_words)).float().pow(2).mean().sqrt()
    table = reader.backbone.get_input_embeddings().weight.float().pow(2).mean().sqrt()
    assert reader.token_size == pytest.approx(float(expected), rel=1e-3)
    assert float(expected) == pytest.approx(4.0 * float(table), rel=1e-2)
