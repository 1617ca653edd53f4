"""The paper's projection head: its size to the last parameter, its start, and inference against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_model import ToyTextTower, toy_parts, toy_text_config

from atlas.errors import ArtifactError
from atlas.model.checkpoint import ModelParts, read_model, write_model
from atlas.model.config import ProjectionHead
from atlas.model.joint import JointModel
from atlas.model.projection import Projection, projection_module, projection_shapes, projection_tensors
from atlas.model.text_tower import TEXT_TOWERS

PREFIX = "text_head."


def n_trainable(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_heads_have_the_parameters_of_the_paper() -> None:
    transcriptome, text = projection_module(512, 2048), projection_module(768, 2048)
    assert n_trainable(transcriptome) == 6_303_744
    assert n_trainable(text) == 7_352_320
    temperature = torch.nn.Parameter(torch.zeros(()))
    assert n_trainable(transcriptome) + n_trainable(text) + temperature.numel() == 13_656_065


def test_shortcut_begins_as_nearly_the_identity() -> None:
    weight = projection_module(16, 40).get_parameter("shortcut.weight").detach()
    assert torch.equal(weight.diagonal(), torch.ones(16))
    off = weight[~torch.eye(40, 16, dtype=torch.bool)]
    assert 0.009 < float(off.abs().max()) <= 0.01
    assert abs(float(off.mean())) < 0.001


def trained_module() -> torch.nn.Module:
    """A head after a few steps, so that no tensor is at its start and batch statistics have moved."""
    torch.manual_seed(0)
    module = projection_module(12, 20)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(5):
        batch = torch.randn(16, 12) * 2 + 1
        loss = (module(batch) * torch.randn(20)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def test_inference_without_torch_equals_the_module() -> None:
    module = trained_module()
    features = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
    head = Projection.read(projection_tensors(module, prefix=PREFIX), prefix=PREFIX)
    with torch.inference_mode():
        expected = module(torch.from_numpy(features)).numpy()
    vectors = head.embed(features)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_array_equal(head.embed(features[4:5]), vectors[4:5])
    assert vectors.dtype == np.float32


def test_tensors_have_the_shapes_a_model_file_is_checked_for() -> None:
    tensors = projection_tensors(projection_module(12, 20), prefix="")
    assert {name: tensor.shape for name, tensor in tensors.items()} == projection_shapes(12, 20)


def projection_parts() -> ModelParts:
    parts = toy_parts(16)
    module = projection_module(ToyTextTower.dim, parts.config.dim).eval()
    tensors = {name: value for name, value in parts.tensors.items() if name not in ("centre", "removed")}
    config = parts.config.model_copy(update={"text": toy_text_config(ProjectionHead())})
    return ModelParts(config, parts.genes, {**tensors, **projection_tensors(module, prefix=PREFIX)})


def test_model_with_a_projection_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    parts = projection_parts()
    write_model(tmp_path, parts)
    model = JointModel.load(tmp_path)
    head = Projection.read(parts.tensors, prefix=PREFIX)
    raw = ToyTextTower().embed(["heart", "liver"])
    np.testing.assert_array_equal(model.embed_texts(["heart", "liver"]), head.embed(raw))


def test_projection_with_a_missing_tensor_is_corrupt(tmp_path: Path) -> None:
    parts = projection_parts()
    tensors = {name: value for name, value in parts.tensors.items() if name != f"{PREFIX}norm.bias"}
    with pytest.raises(ArtifactError, match=r"norm\.bias") as caught:
        write_model(tmp_path, ModelParts(parts.config, parts.genes, tensors))
    assert caught.value.kind == "corrupt"
    write_model(tmp_path, parts)
    assert read_model(tmp_path).config.text.head.kind == "projection"
