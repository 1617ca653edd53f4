"""Contrastive losses over two batches of L2-normalised vectors; row i of one belongs to row i of the other.

A loss knows no tower, no head and no process: it gets vectors, a logit scale and weights of the samples, and returns named
parts whose weighted sum is the total. Parts of weight 0 are not computed at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PRIOR_WEIGHT = 0.1  # CLIP-Lite multiplies its discriminator by one minus this, whether or not a prior is used


@dataclass(frozen=True)
class LossWeights:
    """Share of each part in the total; a part of weight 0 is not computed."""

    clip: float = 1.0
    jsd: float = 0.0
    siglip: float = 0.0


def clip_loss(logits: Tensor, *, weights: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Return InfoNCE in both directions, the mean over samples weighted by ``weights``.

    Parameters
    ----------
    logits
        ``(n, n)`` scaled similarities, transcriptomes by texts.
    weights
        ``(n,)`` non-negative sample weights. They weigh a sample's own two terms and never its role as a negative.
    excluded
        ``(n, n)`` bool, pairs that are no negatives of each other (:func:`equal_texts`); never the diagonal.

    Source: Radford et al. 2021. CellWhisperer hands density weights to the cross-entropy as class weights, which in this
    square problem is nearly the same for one direction only; here they are sample weights of both.
    """
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
    target = torch.arange(logits.shape[0], device=logits.device)
    rows = functional.cross_entropy(logits, target, reduction="none")
    columns = functional.cross_entropy(logits.T, target, reduction="none")
    return _weighted_mean((rows + columns) / 2, weights=weights)


def jsd_loss(logits: Tensor, *, weights: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Return the Jensen-Shannon bound with one negative a sample: the text of the next row.

    Parameters
    ----------
    logits, weights, excluded
        As in :func:`clip_loss`; an excluded negative adds nothing.

    Source: CLIP-Lite (Shrivastava et al. 2023) as the CellWhisperer paper uses it: mean softplus(-positive) + mean
    softplus(negative), times 0.9.
    """
    n = logits.shape[0]
    here = torch.arange(n, device=logits.device)
    following = (here + 1) % n
    negative = functional.softplus(logits[here, following])
    if excluded is not None:
        negative = negative.masked_fill(excluded[here, following], 0.0)
    both = functional.softplus(-logits[here, here]) + negative
    return (1.0 - PRIOR_WEIGHT) * _weighted_mean(both, weights=weights)


def siglip_loss(logits: Tensor, *, bias: Tensor, weights: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Return the pairwise sigmoid loss: every pair is a yes-or-no question of its own.

    Parameters
    ----------
    logits, weights, excluded
        As in :func:`clip_loss`; a sample's weight multiplies its row, the n pairs of one transcriptome.
    bias
        Scalar added to every logit; starts far below zero, for most pairs are negatives.

    Source: Zhai et al. 2023.
    """
    sign = 2.0 * torch.eye(logits.shape[0], device=logits.device, dtype=logits.dtype) - 1.0
    pairs = functional.softplus(-sign * (logits + bias))
    if excluded is not None:
        pairs = pairs.masked_fill(excluded, 0.0)
    return _weighted_mean(pairs.sum(dim=1), weights=weights)


def equal_texts(groups: Tensor) -> Tensor:
    """Return ``(n, n)`` bool, the pairs off the diagonal whose texts are one and the same.

    Parameters
    ----------
    groups
        ``(n,)`` int64, equal for equal texts.

    Notes
    -----
    366 hearts of one study carry a handful of texts; to push a heart away from the text of its twin teaches nothing.
    """
    same = groups[:, None] == groups[None, :]
    return same & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)


class ContrastiveLoss(nn.Module):
    """The mix of losses with its learnable temperature.

    Parameters
    ----------
    weights
        Shares of the parts.
    scale
        First logit scale (one over the temperature); 1/0.07 in CLIP.
    max_scale
        The scale is clamped to [1, max_scale] whenever it is used and after every step (:meth:`clamp`).
    learnable
        Whether the scale is trained.
    """

    def __init__(
        self, weights: LossWeights, *, scale: float = 1 / 0.07, max_scale: float = 100.0, learnable: bool = True
    ) -> None:
        super().__init__()
        self.weights = weights
        self.max_scale = max_scale
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learnable)
        self.bias = nn.Parameter(torch.tensor(-10.0), requires_grad=learnable) if weights.siglip else None

    @property
    def scale(self) -> Tensor:
        """The logit scale, never outside its bounds."""
        return self.log_scale.clamp(0.0, math.log(self.max_scale)).exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring the parameter itself back into its bounds, so that a gradient always reaches it."""
        self.log_scale.clamp_(0.0, math.log(self.max_scale))

    def forward(
        self, transcriptomes: Tensor, texts: Tensor, *, weights: Tensor, excluded: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the parts and their weighted sum ``loss``.

        Parameters
        ----------
        transcriptomes, texts
            ``(n, dim)``, L2-normalised; logits are taken in float32 whatever their precision, in mixed precision too.
        weights
            ``(n,)`` sample weights.
        excluded
            Pairs that are no negatives, see :func:`equal_texts`.
        """
        with torch.autocast(transcriptomes.device.type, enabled=False):  # it would round the cosines to three digits
            logits = self.scale * (transcriptomes.float() @ texts.float().T)
        parts: dict[str, Tensor] = {}
        if self.weights.clip:
            parts["clip_loss"] = clip_loss(logits, weights=weights, excluded=excluded)
        if self.weights.jsd:
            parts["jsd_loss"] = jsd_loss(logits, weights=weights, excluded=excluded)
        if self.bias is not None:
            parts["siglip_loss"] = siglip_loss(logits, bias=self.bias, weights=weights, excluded=excluded)
        shares = {"clip_loss": self.weights.clip, "jsd_loss": self.weights.jsd, "siglip_loss": self.weights.siglip}
        total = torch.stack([shares[name] * part for name, part in parts.items()]).sum()
        return {**parts, "loss": total}


def _weighted_mean(values: Tensor, *, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()
