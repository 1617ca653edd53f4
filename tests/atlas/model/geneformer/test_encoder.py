"""The encoder against the library's own model with its head, run plainly, one sample at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geneformer_models import TRUE_6L, random_model, toy_config, write_published

from atlas.errors import ArtifactError, ConfigError
from atlas.model.geneformer.importing import import_geneformer
from atlas.model.geneformer.tokenizer import RankTokens
from atlas.model.geneformer.tower import TokenEncoder, length_batches

LENGTHS = (1, 3, 40, 41, 17, 60, 2)


def ragged(n_tokens: int, *, first: int = 2, lengths: tuple[int, ...] = LENGTHS) -> RankTokens:
    chance = np.random.default_rng(3)
    return RankTokens.from_rows([first + chance.permutation(n_tokens - first)[:n] for n in lengths])


def plain_vectors(model: Any, tokens: RankTokens, *, layer: int, pooling: str = "mean") -> np.ndarray:
    """The reference: whole model, eager, all hidden states, no batch and no padding."""
    import torch

    model.config._attn_implementation = "eager"
    rows = []
    with torch.inference_mode():
        for i in range(len(tokens)):
            ids = torch.from_numpy(tokens.row(i).astype(np.int64))[None]
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0].numpy()
            kept = {"mean": slice(None), "mean_genes": slice(1, -1), "cls": slice(1)}[pooling]
            rows.append(hidden[kept].mean(axis=0))
    return np.stack(rows)


def off(seen: np.ndarray, expected: np.ndarray) -> float:
    """Largest distance of a row, as a share of its length."""
    return float((np.linalg.norm(seen - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    root = tmp_path_factory.mktemp("encoder")
    model = write_published(root / "published")
    import_geneformer(root / "published", root / "own")
    return root / "own", model


@pytest.mark.parametrize("layer", [-2, -1, 0, 1, 3])
def test_vectors_are_the_hidden_states_of_the_whole_model(layer: int, imported: tuple[Path, Any]) -> None:
    folder, model = imported
    tokens = ragged(66)
    expected = plain_vectors(model, tokens, layer=layer)
    assert off(TokenEncoder(folder, layer=layer, device="cpu").embed(tokens), expected) < 1e-5
    assert np.linalg.norm(expected - expected.mean(axis=0), axis=1).min() > 1e-2  # the samples do differ


@pytest.mark.parametrize("batch_tokens", [1, 50, 100, 10_000])
def test_neighbours_in_a_batch_move_a_sample_by_rounding_alone(batch_tokens: int, imported: tuple[Path, Any]) -> None:
    folder, _ = imported
    tokens = ragged(66)
    alone = TokenEncoder(folder, device="cpu", batch_tokens=1)
    each = np.concatenate([alone.embed(RankTokens.from_rows([tokens.row(i)])) for i in range(len(tokens))])
    seen = TokenEncoder(folder, device="cpu", batch_tokens=batch_tokens).embed(tokens)
    assert off(seen, each) < 2e-6
    if batch_tokens == 1:
        assert np.array_equal(seen, each)
    order = np.random.default_rng(0).permutation(len(tokens))
    turned = TokenEncoder(folder, device="cpu", batch_tokens=batch_tokens).embed(
        RankTokens.from_rows([tokens.row(int(i)) for i in order])
    )
    assert off(turned, seen[order]) < 2e-6


@pytest.mark.parametrize("pooling", ["mean", "mean_genes", "cls"])
def test_second_version_pools_with_or_without_its_special_tokens(pooling: Any, tmp_path: Path) -> None:
    model = write_published(tmp_path / "published", version="v2")
    import_geneformer(tmp_path / "published", tmp_path / "own")
    genes = ragged(68, first=4)
    tokens = RankTokens.from_rows([np.concatenate(([2], genes.row(i), [3])) for i in range(len(genes))])
    expected = plain_vectors(model, tokens, layer=-2, pooling=pooling)
    seen = TokenEncoder(tmp_path / "own", pooling=pooling, device="cpu", batch_tokens=200).embed(tokens)
    assert off(seen, expected) < 1e-5


def test_half_precision_moves_a_vector_by_about_a_hundredth(imported: tuple[Path, Any]) -> None:
    import torch

    from atlas.model.geneformer.encoder import load_encoder

    folder, model = imported
    tokens = ragged(66)
    encoder = load_encoder(folder, dtype=torch.bfloat16)
    with torch.inference_mode():
        seen = encoder(torch.from_numpy(tokens.padded(np.arange(len(tokens)))))
    assert seen.dtype == torch.float32
    distance = off(seen.numpy(), plain_vectors(model, tokens, layer=-2))
    assert 1e-5 < distance < 3e-2


def test_the_published_six_layers_have_their_shapes_and_parameters(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from transformers import BertConfig, BertForMaskedLM

    from atlas.model.geneformer.encoder import GeneformerEncoder

    kept = {key: value for key, value in TRUE_6L.items() if key not in ("architectures", "model_type")}
    with torch.device("meta"):
        whole = BertForMaskedLM(BertConfig(**kept))
        ours = GeneformerEncoder(TRUE_6L, layer=-1)
    assert sum(p.numel() for p in whole.parameters()) == 10_288_722
    shapes = {name: tuple(p.shape) for name, p in ours.state_dict().items()}
    layer = {
        "attention.self.query": (256, 256),
        "attention.self.key": (256, 256),
        "attention.self.value": (256, 256),
        "attention.output.dense": (256, 256),
        "intermediate.dense": (512, 256),
        "output.dense": (256, 512),
    }
    expected: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (25_426, 256),
        "bert.embeddings.position_embeddings.weight": (2_048, 256),
        "bert.embeddings.token_type_embeddings.weight": (2, 256),
        "bert.embeddings.LayerNorm.weight": (256,),
        "bert.embeddings.LayerNorm.bias": (256,),
    }
    for i in range(6):
        for name, (rows, columns) in layer.items():
            expected[f"bert.encoder.layer.{i}.{name}.weight"] = (rows, columns)
            expected[f"bert.encoder.layer.{i}.{name}.bias"] = (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            expected |= {f"bert.encoder.layer.{i}.{name}.{part}": (256,) for part in ("weight", "bias")}
    assert shapes == expected
    head = 256 * 256 + 256 + 2 * 256 + 25_426  # transform, its norm, bias; the decoder is the embedding
    assert sum(int(np.prod(shape)) for shape in shapes.values()) + head == 10_288_722

    write_published(tmp_path / "published", n_genes=25_424, config=TRUE_6L)
    with safe_open(str(tmp_path / "published" / "model.safetensors"), framework="pt") as stream:
        saved = {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}
    assert expected.items() <= saved.items()
    folder = import_geneformer(tmp_path / "published", tmp_path / "own")
    assert (folder.dim, len(folder.vocabulary), folder.vocabulary.max_length) == (256, 25_424, 2_048)
    seen = TokenEncoder(tmp_path / "own", device="cpu").embed(ragged(25_426, lengths=(2_048, 5)))
    assert seen.shape == (2, 256)
    assert np.isfinite(seen).all()


@pytest.mark.parametrize(("layer", "n"), [(-2, 5), (5, 5), (-1, 6), (0, 0), (-7, 0)])
def test_layers_above_the_one_that_is_read_are_not_built(layer: int, n: int) -> None:
    from atlas.model.geneformer.encoder import GeneformerEncoder

    encoder = GeneformerEncoder(toy_config(20, num_hidden_layers=6), layer=layer)
    assert len(encoder.bert.encoder.layer) == n  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("layer", [4, -5, 99])
def test_a_hidden_state_that_is_not_there_is_refused(layer: int, imported: tuple[Path, Any]) -> None:
    with pytest.raises(ConfigError, match=f"has the hidden states 0 to 3 .* not {layer}"):
        TokenEncoder(imported[0], layer=layer)


def test_batches_hold_every_row_once_within_the_bound() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 200)
    batches = length_batches(lengths, batch_tokens=1_000)
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= 1_000
        assert len(batch) * lengths[batch].max() <= 1_000 + 300
    assert [len(batch) for batch in length_batches(np.array([9, 5]), batch_tokens=1)] == [1, 1]
    assert length_batches(np.array([], dtype=int), batch_tokens=10) == []


def test_no_token_no_vector_and_progress_counts_samples(imported: tuple[Path, Any]) -> None:
    encoder = TokenEncoder(imported[0], device="cpu", batch_tokens=50)
    assert encoder.embed(RankTokens.from_rows([])).shape == (0, 16)
    done: list[int] = []
    encoder.embed(ragged(66), progress=done.append)
    assert sum(done) == len(LENGTHS)
    assert len(done) > 1


@pytest.mark.parametrize(
    ("change", "problem", "kind"),
    [
        ({"model_type": "gpt2"}, "of type 'gpt2'", "incompatible"),
        ({"hidden_size": "16"}, "hidden_size is '16'", "corrupt"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000", "corrupt"),
        ({"num_hidden_layers": None}, "num_hidden_layers is None", "corrupt"),
        ({"num_attention_heads": 3}, "no multiple", "corrupt"),
        ({"intermediate_size": 33}, r"intermediate.dense.weight is \(32, 16\), expected \(33, 16\)", "corrupt"),
        ({"num_hidden_layers": 5}, "is absent", "corrupt"),
    ],
)
def test_configuration_and_weights_that_do_not_belong_together_are_refused(
    change: dict[str, Any], problem: str, kind: str, tmp_path: Path
) -> None:
    write_published(tmp_path / "published")
    path = tmp_path / "published" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match=problem) as failure:
        import_geneformer(tmp_path / "published", tmp_path / "own")
    assert failure.value.kind == kind
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\udcff"])
def test_a_configuration_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    write_published(tmp_path / "published")
    (tmp_path / "published" / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError, match=r"config\.json"):
        import_geneformer(tmp_path / "published", tmp_path / "own")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    write_published(tmp_path / "published")
    path = tmp_path / "published" / "model.safetensors"
    state = load_file(path)
    state["bert.encoder.layer.2.output.dense.bias"][3] = torch.nan
    save_file(state, path)
    with pytest.raises(ArtifactError, match=r"layer\.2\.output\.dense\.bias is not finite"):
        import_geneformer(tmp_path / "published", tmp_path / "own")


def test_random_weights_of_another_seed_are_another_model() -> None:
    one, two = (random_model(toy_config(20), seed=seed) for seed in (0, 1))
    tokens = ragged(20, lengths=(5, 9))
    assert off(plain_vectors(one, tokens, layer=-2), plain_vectors(two, tokens, layer=-2)) > 0.1
