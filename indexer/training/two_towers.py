"""Both towers, their heads and the loss as one module: what the trainer trains.

All pairs of a step meet in one loss, however many chunks or processes the towers need for them. Towers run chunk by chunk under
activation checkpointing, which keeps no more than one chunk's activations and gives the gradient of the one big batch; features
are gathered from all processes with their gradients; heads, whose batch normalisation must see the whole batch, and the loss run
on all of it in every process, so that the processes' mean gradient is the true one.

Source: Gao et al. 2021 (GradCache) for the idea of running towers twice; recomputation by ``torch.utils.checkpoint`` is ours and
keeps random states, mixed precision and DistributedDataParallel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from indexer.training.losses import ContrastiveLoss, equal_texts


class TwoTowers(nn.Module):
    """A model in training.

    Parameters
    ----------
    transcriptome, text
        Towers of ``indexer.training.modules``.
    transcriptome_head, text_head
        Features to L2-normalised vectors of the joint space.
    loss
        The loss, with its temperature.
    chunk
        Largest number of pairs a tower sees at once; ``None``: the whole batch.
    ignore_equal_texts
        Whether pairs with equal texts are no negatives of each other.
    anchor
        Pull of the parameters named by :meth:`anchor_to_start` back to where they began.
    """

    def __init__(
        self,
        *,
        transcriptome: nn.Module,
        transcriptome_head: nn.Module,
        text: nn.Module,
        text_head: nn.Module,
        loss: ContrastiveLoss,
        chunk: int | None = None,
        ignore_equal_texts: bool = False,
        anchor: float = 0.0,
    ) -> None:
        super().__init__()
        self.transcriptome: Any = transcriptome
        self.transcriptome_head = transcriptome_head
        self.text: Any = text
        self.text_head = text_head
        self.loss = loss
        self._chunk = chunk
        self._ignore_equal_texts = ignore_equal_texts
        self._anchor = anchor
        self._anchors: dict[str, str] = {}  # parameter -> buffer with its first value

    def anchor_to_start(self, *names: str) -> None:
        """Remember where the parameters ``names`` are now."""
        parameters = dict(self.named_parameters())
        for name in names:
            buffer = "start_" + name.replace(".", "_")
            self.register_buffer(buffer, parameters[name].detach().clone(), persistent=False)
            self._anchors[name] = buffer

    def train(self, mode: bool = True) -> TwoTowers:
        """Set the mode; a locked tower stays in evaluation mode."""
        super().train(mode)
        for tower in (self.transcriptome, self.text):
            if tower.locked:
                tower.eval()
        return self

    def forward(
        self, transcriptome: Mapping[str, Tensor], text: Mapping[str, Tensor], weights: Tensor, groups: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss and its parts over the pairs of all processes.

        Parameters
        ----------
        transcriptome, text
            Tensors of a tower's ``collate``, or ``features`` computed before.
        weights
            ``(n,)`` sample weights; a pair of weight 0 takes no part, not even as a negative.
        groups
            ``(n,)`` int64, equal for equal texts.
        """
        features = self._features(self.transcriptome, transcriptome)
        text_features = self._features(self.text, text)
        features, text_features = _gather_with_gradient(features), _gather_with_gradient(text_features)
        weights, groups = _gather(weights), _gather(groups)
        parts = self.loss(
            self.transcriptome_head(features),
            self.text_head(text_features),
            weights=weights,
            excluded=self._excluded(weights, groups),
        )
        if self._anchor and self._anchors:
            parts["anchor_loss"] = self._distance_from_start()
            parts["loss"] = parts["loss"] + self._anchor * parts["anchor_loss"]
        return {name: part if name == "loss" else part.detach() for name, part in parts.items()}

    @torch.no_grad()
    def embed_transcriptomes(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return ``(n, dim)`` float32 vectors of the joint space."""
        vectors: Tensor = self.transcriptome_head(self._features(self.transcriptome, inputs)).float()
        return vectors

    @torch.no_grad()
    def embed_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return ``(n, dim)`` float32 vectors of the joint space."""
        vectors: Tensor = self.text_head(self._features(self.text, inputs)).float()
        return vectors

    def _features(self, tower: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        if "features" in inputs:
            return inputs["features"]
        if tower.locked or not torch.is_grad_enabled():
            with torch.no_grad():
                return torch.cat([tower(**part) for part in self._chunks(inputs)])
        parts = self._chunks(inputs)
        if len(parts) == 1:
            found: Tensor = tower(**parts[0])
            return found
        return torch.cat([_checkpointed(tower, part) for part in parts])

    def _chunks(self, inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        n = len(next(iter(inputs.values())))
        size = self._chunk or n
        return [{k: v[start : start + size] for k, v in inputs.items()} for start in range(0, n, size)]

    def _excluded(self, weights: Tensor, groups: Tensor) -> Tensor | None:
        absent = weights == 0
        if not self._ignore_equal_texts and not bool(absent.any()):
            return None
        excluded = absent[:, None] | absent[None, :]
        excluded = excluded & ~torch.eye(len(weights), dtype=torch.bool, device=weights.device)
        return excluded | equal_texts(groups) if self._ignore_equal_texts else excluded

    def _distance_from_start(self) -> Tensor:
        """Mean over the anchored parameters of their squared distance from the start over its squared length."""
        parameters = dict(self.named_parameters())
        distances = []
        for name, buffer in self._anchors.items():
            start = self.get_buffer(buffer)
            distances.append((parameters[name] - start).square().sum() / start.square().sum().clamp_min(1e-12))
        return torch.stack(distances).mean()


def _checkpointed(tower: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Run a tower, keeping nothing but its inputs; it runs again on the way back."""
    features: Tensor = checkpoint(lambda: tower(**inputs), use_reentrant=False)
    return features


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class _AllGather(torch.autograd.Function):
    """Rows of all processes; the gradient of a process's rows is the sum over the processes of what they made of them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.n = len(rows)
        return _gather(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        distributed.all_reduce(total)
        start = distributed.get_rank() * ctx.n
        return total[start : start + ctx.n]


def _gather_with_gradient(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in their order; gradients flow back to where the rows came from."""
    if not _several_processes() or not torch.is_grad_enabled():
        return rows
    gathered: Tensor = _AllGather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def _gather(rows: Tensor) -> Tensor:
    if not _several_processes():
        return rows
    parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
