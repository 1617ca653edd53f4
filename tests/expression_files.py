"""Small expression files written by the tests: ARCHS4 layouts, gene maps, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from atlas.expression.genes import GeneMap

HUMAN = ("TP53", "GAPDH", "MYH7", "ALB", "C1orf112", "NPPA")
MOUSE = ("Trp53", "Gapdh", "Myh7", "Alb")


def ensembl(number: int, organism: str = "human") -> str:
    return f"{'ENSG' if organism == 'human' else 'ENSMUSG'}{number:011d}"


def small_gene_map() -> GeneMap:
    """Six human and four mouse genes; P53 is a synonym of TP53, MIX one of two genes."""
    synonyms = (("P53", "MIX"), ("G3PD",), ("MIX",), (), (), ()) + ((),) * 4
    return GeneMap(
        ensembl_ids=tuple(ensembl(i + 1) for i in range(6)) + tuple(ensembl(i + 1, "mouse") for i in range(4)),
        symbols=HUMAN + MOUSE,
        organisms=("human",) * 6 + ("mouse",) * 4,
        synonyms=synonyms,
    )


def wide_gene_map(n_human: int) -> GeneMap:
    """``n_human`` human genes named G0, G1, ... and one mouse gene."""
    return GeneMap(
        ensembl_ids=(*(ensembl(i + 1) for i in range(n_human)), ensembl(1, "mouse")),
        symbols=(*(f"G{i}" for i in range(n_human)), "Gapdh"),
        organisms=("human",) * n_human + ("mouse",),
    )


def write_archs4(
    path: Path,
    values: npt.NDArray[Any],
    *,
    genes: Mapping[str, Sequence[str]] | None = None,
    samples: Mapping[str, Any] | None = None,
    series: Mapping[str, Any] | None = None,
    chunks: tuple[int, int] | None = None,
    compression: str | None = None,
    transposed: bool = False,
) -> Path:
    """Write (n_genes, n_samples) ``values`` as ARCHS4 version 2; fields given replace the usual ones."""
    n_genes, n_samples = values.shape
    genes = genes or {
        "ensembl_gene_id": [ensembl(i + 1) for i in range(n_genes)],
        "symbol": [f"G{i}" for i in range(n_genes)],
    }
    fields: dict[str, Any] = {
        "geo_accession": [f"GSM{i + 1}" for i in range(n_samples)],
        "series_id": ["GSE1"] * n_samples,
        "title": [f"sample {i}" for i in range(n_samples)],
        "source_name_ch1": ["liver"] * n_samples,
        "characteristics_ch1": ["tissue: liver,age: 5"] * n_samples,
        "organism_ch1": ["Homo sapiens"] * n_samples,
        "molecule_ch1": ["total RNA"] * n_samples,
        **(samples or {}),
    }
    with h5py.File(path, "w") as file:
        data = values.T if transposed else values
        file.create_dataset("data/expression", data=data, chunks=chunks, compression=compression)
        for group, columns in (("genes", genes), ("samples", fields), ("series", series or {})):
            for name, column in columns.items():
                if column is not None:
                    write_column(file, f"meta/{group}/{name}", column)
    return path


def write_column(file: h5py.Group, path: str, column: Any) -> None:
    array = np.asarray(column)
    if array.dtype.kind == "U":
        file.create_dataset(path, data=[str(x) for x in column], dtype=h5py.string_dtype())
    else:
        file.create_dataset(path, data=array)


def counts(n_genes: int, n_samples: int, seed: int = 0) -> npt.NDArray[np.uint32]:
    """(n_genes, n_samples) whole numbers, no sample empty."""
    return np.random.default_rng(seed).poisson(20, size=(n_genes, n_samples)).astype(np.uint32)
