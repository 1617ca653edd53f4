"""Small training data written by the tests: corpora with known studies, gene-set libraries, labelled h5ad files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from expression_files import write_archs4

N_GENES = 700


def write_corpus(path: Path, series: Sequence[str], *, seed: int = 0, n_genes: int = N_GENES, **samples: Any) -> Path:
    """One sample a series entry, log-normal counts; other fields of the samples as given."""
    values = np.random.default_rng(seed).lognormal(3, 1.5, size=(n_genes, len(series))).astype(np.uint32)
    titles = sorted(set(",".join(series).split(",")))
    fields = {
        "series_id": list(series),
        "title": [f"sample number {i}" for i in range(len(series))],
        "characteristics_ch1": [f"tissue: liver,age: {i}" for i in range(len(series))],
        **samples,
    }
    told = {"series_id": titles, "title": [f"A study of {name}" for name in titles]}
    return write_archs4(path, values, samples=fields, series=told, chunks=(n_genes, min(4, len(series))))


def write_gmt(path: Path, sets: Mapping[str, Sequence[str]]) -> Path:
    path.write_text("".join("\t".join([name, "", *genes]) + "\n" for name, genes in sets.items()), encoding="utf-8")
    return path


def write_cells(
    path: Path,
    values: npt.NDArray[Any],
    *,
    genes: Sequence[str],
    obs: Mapping[str, Sequence[str]],
    ids: Sequence[str] | None = None,
) -> Path:
    """A dense h5ad file of (n_cells, n_genes) values."""
    names = list(ids) if ids is not None else [f"cell{i}" for i in range(len(values))]
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=values.astype(np.float32))
        for table, index, columns in (("obs", names, obs), ("var", list(genes), {})):
            group = file.create_group(table)
            group.attrs["_index"] = "_index"
            group.create_dataset("_index", data=index, dtype=h5py.string_dtype())
            for name, column in columns.items():
                group.create_dataset(name, data=list(column), dtype=h5py.string_dtype())
    return path
