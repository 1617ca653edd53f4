"""Small AnnData objects of toy genes: every label is a word, and its cells express the genes that speak of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from toy_model import WORDS

N_GENES = 64


def cell_counts(
    labels: list[str], *, seed: int = 0, n_genes: int = N_GENES, depth: float = 1.2, contrast: float = 10.0
) -> np.ndarray:
    """Counts (n_cells, n_genes); genes of a cell's own word are expressed ``contrast`` times as much as others."""
    rng = np.random.default_rng(seed)
    words = np.array([WORDS[i % len(WORDS)] for i in range(n_genes)])
    rates = np.stack([np.where(words == label, contrast * depth, depth) for label in labels])
    return rng.poisson(rates).astype(np.float32)


def cells(labels: list[str], *, mouse: bool = False, **options: Any) -> Any:
    """AnnData with ``obs.cell_type``, ids c0, c1, ... and sparse counts."""
    import anndata
    import pandas as pd

    values = cell_counts(labels, **options)
    names = [f"Mus{i}" if mouse else f"G{i}" for i in range(values.shape[1])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata about pandas
        return anndata.AnnData(
            sp.csr_matrix(values),
            obs=pd.DataFrame({"cell_type": pd.Categorical(labels)}, index=[f"c{i}" for i in range(len(labels))]),
            var=pd.DataFrame(index=names),
        )


def write_cells(path: Path, data: Any) -> Path:
    """Write an AnnData object."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.write_h5ad(path)
    return path
