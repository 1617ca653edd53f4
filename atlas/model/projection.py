"""The paper's projection head: a two-layer branch plus a linear shortcut, layer norm, L2 norm.

:func:`projection_module` makes it as a torch module for training; :class:`Projection` is the same at rest, in numpy, where
batch normalisation is a fixed change of scale and a row depends on itself alone.

``branch(x) = Linear(ReLU(BatchNorm(Linear without bias(x))))``; ``shortcut(x) = Linear(x)``, which begins as nearly the
identity (uniform within 0.01, ones on the diagonal); the answer is ``normalise(LayerNorm(branch(x) + shortcut(x)))``.

Source: Schaefer et al. (CellWhisperer), Methods, "Model architecture"; we changed nothing but the framework of inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

_EPS = 1e-5  # of both normalisations; torch's default
_TINY = float(np.finfo(np.float32).tiny)
_SHORTCUT_SPREAD = 0.01


def projection_shapes(n_in: int, n_out: int) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the tensors a stored head has, all float32."""
    return {
        "branch_in.weight": (n_out, n_in),
        "branch_norm.weight": (n_out,),
        "branch_norm.bias": (n_out,),
        "branch_norm.running_mean": (n_out,),
        "branch_norm.running_var": (n_out,),
        "branch_out.weight": (n_out, n_out),
        "branch_out.bias": (n_out,),
        "shortcut.weight": (n_out, n_in),
        "shortcut.bias": (n_out,),
        "norm.weight": (n_out,),
        "norm.bias": (n_out,),
    }


def projection_module(n_in: int, n_out: int) -> nn.Module:
    """Return the head as a torch module that maps ``(batch, n_in)`` to ``(batch, n_out)``, L2-normalised.

    In training mode a batch needs two rows at least. Of 512 inputs and 2,048 outputs it has 6,303,744 trainable parameters,
    of 768 inputs 7,352,320.
    """
    import torch
    from torch import nn

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch_in = nn.Linear(n_in, n_out, bias=False)
            self.branch_norm = nn.BatchNorm1d(n_out, eps=_EPS)
            self.branch_out = nn.Linear(n_out, n_out)
            self.shortcut = nn.Linear(n_in, n_out)
            self.norm = nn.LayerNorm(n_out, eps=_EPS)
            with torch.no_grad():
                self.shortcut.weight.uniform_(-_SHORTCUT_SPREAD, _SHORTCUT_SPREAD)
                self.shortcut.weight.fill_diagonal_(1.0)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            branch = self.branch_out(torch.relu(self.branch_norm(self.branch_in(features))))
            return nn.functional.normalize(self.norm(branch + self.shortcut(features)), dim=-1)

    return Head()


def projection_tensors(module: nn.Module, *, prefix: str) -> dict[str, np.ndarray]:
    """Return the tensors of a trained :func:`projection_module` under the names of a model file."""
    state: dict[str, Any] = module.state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    return {f"{prefix}{name}": tensor.detach().float().cpu().numpy() for name, tensor in kept.items()}


@dataclass(frozen=True)
class Projection:
    """The head at rest.

    Attributes
    ----------
    tensors
        As :func:`projection_shapes` names them.
    """

    tensors: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray], *, prefix: str) -> Projection:
        """Return the head whose tensors' names begin with ``prefix``."""
        return cls({name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)})

    def embed(self, raw: np.ndarray) -> np.ndarray:
        """Return ``(n, n_out)`` float32, L2-normalised, of ``(n, n_in)`` float32."""
        out = np.zeros((len(raw), len(self.tensors["norm.bias"])), dtype=np.float32)
        for i, row in enumerate(raw.astype(np.float32)):  # one by one: no row's bits depend on the batch
            out[i] = self._embed_row(row)
        return out

    def _embed_row(self, row: np.ndarray) -> np.ndarray:
        t = self.tensors
        hidden = (t["branch_in.weight"] @ row - t["branch_norm.running_mean"]) / np.sqrt(
            t["branch_norm.running_var"] + _EPS
        )
        hidden = np.maximum(hidden * t["branch_norm.weight"] + t["branch_norm.bias"], 0.0)
        both = t["branch_out.weight"] @ hidden + t["branch_out.bias"] + t["shortcut.weight"] @ row + t["shortcut.bias"]
        both = (both - both.mean()) / np.sqrt(both.var() + _EPS)
        both = (both * t["norm.weight"] + t["norm.bias"]).astype(np.float64)
        return np.asarray(both / max(float(np.sqrt(both @ both)), _TINY), dtype=np.float32)
