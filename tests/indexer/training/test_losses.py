"""Each loss against a double loop in plain numpy that spells it out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from indexer.training import losses
from indexer.training.losses import ContrastiveLoss, LossWeights, clip_loss, equal_texts, jsd_loss, siglip_loss

N = 7


def number(tensor: torch.Tensor) -> float:
    return float(tensor.detach())


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def slow_clip(logits: np.ndarray, weights: np.ndarray, excluded: np.ndarray) -> float:
    total = 0.0
    for i in range(len(logits)):
        row = sum(math.exp(logits[i, j]) for j in range(len(logits)) if not excluded[i, j])
        column = sum(math.exp(logits[j, i]) for j in range(len(logits)) if not excluded[j, i])
        total += weights[i] * ((math.log(row) - logits[i, i]) + (math.log(column) - logits[i, i])) / 2
    return total / weights.sum()


def slow_jsd(logits: np.ndarray, weights: np.ndarray, excluded: np.ndarray) -> float:
    total = 0.0
    for i in range(len(logits)):
        j = (i + 1) % len(logits)
        total += weights[i] * (softplus(-logits[i, i]) + (0.0 if excluded[i, j] else softplus(logits[i, j])))
    return 0.9 * total / weights.sum()


def slow_siglip(logits: np.ndarray, weights: np.ndarray, excluded: np.ndarray, bias: float) -> float:
    total = 0.0
    for i in range(len(logits)):
        for j in range(len(logits)):
            if not excluded[i, j]:
                total += weights[i] * softplus((-1 if i == j else 1) * (logits[i, j] + bias))
    return total / weights.sum()


@pytest.fixture(params=["plain", "weighted", "excluded"])
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=4, size=(N, N))
    weights = np.ones(N) if request.param == "plain" else rng.uniform(0.1, 3, size=N)
    excluded = np.zeros((N, N), dtype=bool)
    if request.param == "excluded":
        excluded = rng.random((N, N)) < 0.3
        excluded[2, 3] = True  # a rolled negative of JSD
        np.fill_diagonal(excluded, False)
    return logits, weights, excluded


def torched(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    logits, weights, excluded = case
    return torch.tensor(logits), {"weights": torch.tensor(weights), "excluded": torch.tensor(excluded)}


def test_clip_loss_equals_the_double_loop(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, named = torched(case)
    assert number(clip_loss(logits, **named)) == pytest.approx(slow_clip(*case), rel=1e-12)


def test_jsd_loss_equals_the_loop_over_one_rolled_negative(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, named = torched(case)
    assert number(jsd_loss(logits, **named)) == pytest.approx(slow_jsd(*case), rel=1e-12)


def test_siglip_loss_equals_the_double_loop(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, named = torched(case)
    assert number(siglip_loss(logits, bias=torch.tensor(-2.5), **named)) == pytest.approx(
        slow_siglip(*case, bias=-2.5), rel=1e-12
    )


def test_a_sample_weight_scales_both_terms_of_its_own_sample_and_nothing_else() -> None:
    """Class weights of a cross-entropy, which this is easily mistaken for, give another number."""
    logits = torch.tensor(np.random.default_rng(1).normal(size=(4, 4)))
    each = [number(clip_loss(logits, weights=torch.eye(4)[i])) for i in range(4)]
    weights = torch.tensor([4.0, 1.0, 0.0, 1.0])
    assert number(clip_loss(logits, weights=weights)) == pytest.approx((4 * each[0] + each[1] + each[3]) / 6)


def unit(n: int, seed: int) -> torch.Tensor:
    rows = torch.tensor(np.random.default_rng(seed).normal(size=(n, 5)), dtype=torch.float32)
    return torch.nn.functional.normalize(rows, dim=1)


def test_mix_is_the_weighted_sum_of_its_named_parts() -> None:
    loss = ContrastiveLoss(LossWeights(clip=0.5, jsd=0.25, siglip=2.0), scale=10.0)
    parts = loss(unit(N, 0), unit(N, 1), weights=torch.ones(N))
    assert set(parts) == {"clip_loss", "jsd_loss", "siglip_loss", "loss"}
    expected = 0.5 * parts["clip_loss"] + 0.25 * parts["jsd_loss"] + 2.0 * parts["siglip_loss"]
    assert number(parts["loss"]) == pytest.approx(number(expected), rel=1e-6)
    logits = 10.0 * (unit(N, 0).numpy().astype(float) @ unit(N, 1).numpy().astype(float).T)
    nothing = np.zeros((N, N), dtype=bool)
    assert number(parts["clip_loss"]) == pytest.approx(slow_clip(logits, np.ones(N), nothing), rel=1e-5)
    assert number(parts["siglip_loss"]) == pytest.approx(slow_siglip(logits, np.ones(N), nothing, bias=-10.0), rel=1e-5)


def test_loss_of_mixed_precision_is_that_of_float32() -> None:
    """Cosines in half precision tell near pairs apart no longer; at a scale of 100 the loss would be another one."""
    loss = ContrastiveLoss(LossWeights(), scale=100.0)
    expected = number(loss(unit(N, 0), unit(N, 1), weights=torch.ones(N))["loss"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert number(loss(unit(N, 0), unit(N, 1), weights=torch.ones(N))["loss"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("weights", "unused"), [(LossWeights(), "jsd_loss"), (LossWeights(clip=0, jsd=1), "clip_loss")]
)
def test_a_part_of_weight_zero_is_not_computed(
    monkeypatch: pytest.MonkeyPatch, weights: LossWeights, unused: str
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError(f"{unused} was computed")

    monkeypatch.setattr(losses, unused, refuse)
    parts = ContrastiveLoss(weights)(unit(N, 0), unit(N, 1), weights=torch.ones(N))
    assert unused not in parts


def test_a_part_of_weight_zero_cannot_spoil_the_loss() -> None:
    """Zero times NaN is NaN: the reference computes its JSD always and is exposed to that."""
    parts = ContrastiveLoss(LossWeights(clip=1.0, jsd=0.0))(unit(N, 0), unit(N, 1), weights=torch.ones(N))
    assert torch.isfinite(parts["loss"])


def test_temperature_learns_and_never_leaves_its_bounds() -> None:
    loss = ContrastiveLoss(LossWeights(), scale=14.0, max_scale=20.0)
    optimiser = torch.optim.SGD(loss.parameters(), lr=50.0)
    vectors = unit(N, 0)
    for _ in range(5):  # perfect pairs: a larger scale is always better
        optimiser.zero_grad()
        loss(vectors, vectors, weights=torch.ones(N))["loss"].backward()
        assert loss.log_scale.grad is not None
        assert number(loss.log_scale.grad) < 0  # also once it stands at the bound
        optimiser.step()
        loss.clamp()
        assert 1.0 <= number(loss.scale) <= 20.0001
    assert number(loss.scale) == pytest.approx(20.0)
    loss.log_scale.data.fill_(99.0)
    assert number(loss.scale) == pytest.approx(20.0)


def test_fixed_temperature_gets_no_gradient() -> None:
    loss = ContrastiveLoss(LossWeights(), learnable=False)
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_equal_texts_are_no_negatives_of_each_other() -> None:
    groups = torch.tensor([5, 8, 5, 5])
    expected = [[i != j and groups[i] == groups[j] for j in range(4)] for i in range(4)]
    assert equal_texts(groups).tolist() == expected
