"""The model in training: which parameters learn, chunks that give the gradient of the whole batch, pairs left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_training import ToySource, toy_towers

from atlas.errors import ConfigError
from indexer.training.batches import Batches
from indexer.training.draws import Draw
from indexer.training.locking import Locking, learning, lock
from indexer.training.losses import LossWeights
from indexer.training.two_towers import TwoTowers

N = 12


def number(tensor: torch.Tensor) -> float:
    return float(tensor.detach())


def batch(model: TwoTowers, n: int = N) -> dict[str, Any]:
    inputs = Batches([ToySource(n)], model)([Draw(0, i, 0) for i in range(n)])
    return {name: value for name, value in inputs.items() if name not in ("items", "counts")}


def gradients(model: TwoTowers, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
    model.train()
    model(**inputs)["loss"].backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("heads", [False, True], ids=["plain", "with batch normalisation"])
@pytest.mark.parametrize("chunk", [1, 5, 12, 100])
def test_gradient_of_chunks_is_the_gradient_of_the_one_big_batch(chunk: int, heads: bool) -> None:
    mix = LossWeights(clip=0.5, jsd=0.5)
    whole = toy_towers(seed=1, heads=heads, loss=mix).double()
    parts = toy_towers(seed=1, heads=heads, loss=mix, chunk=chunk).double()
    inputs = batch(whole)
    inputs["transcriptome"] = {k: v.double() for k, v in inputs["transcriptome"].items()}
    inputs["text"] = {k: v.double() for k, v in inputs["text"].items()}
    expected, seen = gradients(whole, inputs), gradients(parts, inputs)
    assert set(seen) == set(expected)
    for name in expected:
        assert torch.allclose(seen[name], expected[name], rtol=1e-6, atol=1e-9), name
    assert max(parts.transcriptome.n_seen) <= chunk
    for name, buffer in whole.named_buffers():  # batch normalisation saw the batch once, as a whole
        assert torch.allclose(buffer, parts.get_buffer(name)), name


def test_chunks_differ_from_plain_accumulation() -> None:
    """The point of it: a chunk alone would only know its own negatives."""
    model = toy_towers(seed=1)
    inputs = batch(model)
    expected = gradients(model, inputs)
    model.zero_grad()
    for start in range(0, N, 4):
        part = {
            name: {k: v[start : start + 4] for k, v in value.items()}
            if isinstance(value, dict)
            else value[start : start + 4]
            for name, value in inputs.items()
        }
        (model(**part)["loss"] / 3).backward()
    assert not torch.allclose(model.transcriptome.layer.weight.grad, expected["transcriptome.layer.weight"], rtol=1e-2)


def test_dropout_is_the_same_when_a_chunk_is_run_again() -> None:
    """With other random numbers in the second run the gradient would belong to another loss."""
    model = toy_towers(seed=1, dropout=0.5, chunk=4)
    inputs = batch(model)
    torch.manual_seed(5)
    first = gradients(model, inputs)["text.layer.weight"]
    reference = toy_towers(seed=1, dropout=0.5)
    torch.manual_seed(5)
    reference.train()
    features = torch.cat([reference.transcriptome(values) for values in inputs["transcriptome"]["values"].split(4)])
    texts = torch.cat([reference.text(bags) for bags in inputs["text"]["bags"].split(4)])
    reference.loss(reference.transcriptome_head(features), reference.text_head(texts), weights=inputs["weights"])[
        "loss"
    ].backward()
    assert torch.allclose(first, reference.text.layer.weight.grad, rtol=1e-5, atol=1e-8)


LEARNS = {
    "LU": {"text.layer.weight", "text.layer.bias"},
    "UL": {"transcriptome.layer.weight", "transcriptome.layer.bias"},
    "UU": {"text.layer.weight", "text.layer.bias", "transcriptome.layer.weight", "transcriptome.layer.bias"},
    "LL": set(),
}


@pytest.mark.parametrize("mode", sorted(LEARNS))
def test_exactly_the_unlocked_parameters_get_gradients_and_change(mode: str) -> None:
    model = toy_towers(seed=2, heads=True, dropout=0.3)
    locking = Locking.parse(mode)
    lock(model.transcriptome, unlocked=locking.transcriptome)
    lock(model.text, unlocked=locking.text)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    got = gradients(model, batch(model))
    heads = {name for name in before if "_head." in name}
    expected = LEARNS[mode] | heads | {"loss.log_scale"}
    assert {name for name, gradient in got.items() if gradient.abs().sum() > 0} <= set(got) == expected
    assert set(learning(model)) == expected
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert LEARNS[mode] <= changed <= expected
    assert not any(name.startswith(("text.", "transcriptome.")) for name in changed - LEARNS[mode])


def test_four_modes_are_four_different_trainings() -> None:
    assert len({(Locking.parse(mode).transcriptome, Locking.parse(mode).text) for mode in LEARNS}) == 4


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="LX.*LU, UL, UU, LL"):
        Locking.parse("LX")


def test_locked_tower_stays_in_evaluation_mode() -> None:
    model = toy_towers(dropout=0.9)
    lock(model.text, unlocked=False)
    lock(model.transcriptome, unlocked=True)
    model.train()
    assert not model.text.training
    assert not model.text.dropout.training
    assert model.transcriptome.dropout.training


def test_pair_of_weight_zero_takes_no_part_not_even_as_a_negative() -> None:
    model = toy_towers(seed=3, loss=LossWeights(clip=1.0, siglip=1.0))
    inputs = batch(model, 6)
    inputs["weights"] = torch.tensor([1.0, 1, 1, 1, 0, 0])
    few = {
        name: {k: v[:4] for k, v in value.items()} if isinstance(value, dict) else value[:4]
        for name, value in inputs.items()
    }
    assert number(model(**inputs)["loss"]) == pytest.approx(number(model(**few)["loss"]), rel=1e-6)


def test_equal_texts_can_be_left_out_of_the_negatives() -> None:
    inputs = batch(toy_towers(), 6)
    inputs["groups"] = torch.tensor([1, 1, 2, 3, 4, 5])
    apart, together = toy_towers(seed=4), toy_towers(seed=4, ignore_equal_texts=True)
    assert number(together(**inputs)["loss"]) < number(apart(**inputs)["loss"])
    inputs["groups"] = torch.arange(6)
    assert number(together(**inputs)["loss"]) == pytest.approx(number(apart(**inputs)["loss"]), rel=1e-6)


def test_anchor_pulls_back_to_the_start() -> None:
    model = toy_towers(seed=5, anchor=2.0)
    model.anchor_to_start("transcriptome.layer.weight")
    inputs = batch(model)
    assert number(model(**inputs)["anchor_loss"]) == 0.0
    weight = model.transcriptome.layer.weight
    start = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
    parts = model(**inputs)
    assert number(parts["anchor_loss"]) == pytest.approx(0.25, rel=1e-5)
    assert number(parts["loss"]) == pytest.approx(number(parts["clip_loss"]) + 0.5, rel=1e-5)
    assert torch.equal(model.get_buffer("start_transcriptome_layer_weight"), start)
    assert "start_transcriptome_layer_weight" not in model.state_dict()


def test_vectors_are_of_unit_length_and_come_in_order() -> None:
    model = toy_towers(heads=True, chunk=5).eval()
    inputs = batch(model)
    vectors = model.embed_transcriptomes(inputs["transcriptome"]).numpy()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    one = {k: v[7:8] for k, v in inputs["transcriptome"].items()}
    assert np.allclose(vectors[7], model.embed_transcriptomes(one).numpy()[0], atol=1e-5)
