"""Which tensors a configuration asks for: name, type, shape and the numbers that each may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atlas.model.config import (
    CentreHead,
    GeneTextConfig,
    LoraRecord,
    MemoryHead,
    ModelConfig,
    ProjectionHead,
    TextConfig,
)
from atlas.model.projection import projection_shapes

TEXT_PREFIX = "text_head."
TRANSCRIPTOME_PREFIX = "transcriptome_head."
ADAPTER_PREFIX = "adapter."


@dataclass(frozen=True)
class TensorSpec:
    """What one tensor must be.

    Attributes
    ----------
    types
        Allowed types.
    shape
        Length of each dimension; ``None`` leaves one open.
    numbers
        ``finite``; ``size``: finite and not negative; ``spread``: not negative, infinity allowed.
    below
        Whole numbers from -1 to below this, where they number rows.
    """

    types: tuple[type[np.generic], ...]
    shape: tuple[int | None, ...]
    numbers: Literal["finite", "size", "spread"] = "finite"
    below: int | None = None

    def problem(self, tensor: np.ndarray) -> str | None:
        """Say what is wrong with ``tensor``, ``None`` if nothing is."""
        fits = len(tensor.shape) == len(self.shape) and all(
            wanted in (None, seen) for wanted, seen in zip(self.shape, tensor.shape, strict=True)
        )
        if not fits or tensor.dtype not in [np.dtype(one) for one in self.types]:
            types = " or ".join(str(np.dtype(one)) for one in self.types)
            return f"is {tensor.dtype} {tensor.shape}, expected {types} {self.shape}"
        if self.numbers != "spread" and not bool(np.isfinite(tensor).all()):
            return "is not finite"
        if self.numbers != "finite" and not bool((tensor >= 0).all()):  # also false for NaN
            return "holds a number that is negative or NaN"
        if self.below is not None and tensor.size and not -1 <= int(tensor.min()) <= int(tensor.max()) < self.below:
            return f"points outside the {self.below:,} rows there are"
        return None


def tensor_specs(config: ModelConfig, *, n_genes: int) -> dict[str, TensorSpec]:
    """Return the tensors that a model of this configuration and number of genes must have, no more and no less."""
    specs = _text_specs(config.text, dim=config.dim)
    tower = config.transcriptome
    if isinstance(tower, GeneTextConfig):
        specs |= _gene_text_specs(tower, dim=config.dim, n_genes=n_genes)
    elif tower.head is not None:
        specs |= _projection_specs(tower.dim, config.dim, prefix=TRANSCRIPTOME_PREFIX)
    if config.statistics is not None:
        specs |= {
            "statistics_mean": TensorSpec((np.float32,), (n_genes,)),
            "statistics_deviation": TensorSpec((np.float32,), (n_genes,), "spread"),
            "statistics_n_studies": TensorSpec((np.int32,), (n_genes,), "size"),
        }
    return specs


def _gene_text_specs(tower: GeneTextConfig, *, dim: int, n_genes: int) -> dict[str, TensorSpec]:
    n_rows = n_genes if tower.n_rows is None else tower.n_rows
    specs = _int8_specs("gene_codes", "gene_scales", shape=(n_rows, dim))
    if tower.n_rows is not None:
        specs["gene_rows"] = TensorSpec((np.int32,), (n_genes,), below=n_rows)
    if tower.cells is not None:
        specs["cell_medians"] = TensorSpec((np.float32,), (n_genes,), "size")
    return specs


def _text_specs(text: TextConfig, *, dim: int) -> dict[str, TensorSpec]:
    specs = {} if text.adapter is None else _adapter_specs(text.adapter)
    head = text.head
    if isinstance(head, CentreHead):
        specs["centre"] = TensorSpec((np.float32,), (dim,))
        specs["removed"] = TensorSpec((np.float32,), (head.removed_components, dim))
    elif isinstance(head, MemoryHead):
        specs |= _int8_specs("memory_keys", "memory_key_scales", shape=(head.n_terms, head.key_dim))
        specs |= _int8_specs("memory_values", "memory_value_scales", shape=(head.n_terms, dim))
        if head.gates:
            specs["memory_groups"] = TensorSpec((np.uint8,), (head.n_terms,), below=1 + len(head.gates))
        if head.projected:
            specs["memory_projection"] = TensorSpec((np.float32,), (text.dim, head.key_dim))
    elif isinstance(head, ProjectionHead):
        specs |= _projection_specs(text.dim, dim, prefix=TEXT_PREFIX)
    return specs


def _int8_specs(codes: str, scales: str, *, shape: tuple[int, int]) -> dict[str, TensorSpec]:
    return {codes: TensorSpec((np.int8,), shape), scales: TensorSpec((np.float32,), shape[:1], "size")}


def _projection_specs(n_in: int, n_out: int, *, prefix: str) -> Mapping[str, TensorSpec]:
    shapes = projection_shapes(n_in, n_out)
    return {
        f"{prefix}{name}": TensorSpec((np.float32,), shape, "size" if name.endswith("running_var") else "finite")
        for name, shape in shapes.items()
    }


def _adapter_specs(adapter: LoraRecord) -> dict[str, TensorSpec]:
    floats = (np.float32, np.float16)
    specs: dict[str, TensorSpec] = {}
    for module in adapter.modules:
        specs[f"{ADAPTER_PREFIX}{module}.a"] = TensorSpec(floats, (adapter.rank, None))
        specs[f"{ADAPTER_PREFIX}{module}.b"] = TensorSpec(floats, (None, adapter.rank))
    return specs
