"""A folder of evaluation data in small: two corpora of toy samples with curated labels, and one labelled set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cell_files import cell_counts, cells, write_cells
from expression_files import write_archs4

TISSUES = ("heart", "liver", "brain", "lung")
N_GENES = 64


def write_evaluation_data(folder: Path) -> Path:
    """Six series in ``counts.h5`` and four in ``tpm.h5``, each of four tissues; every other heart is a dilated one."""
    for path, numbers in (("counts.h5", range(1, 7)), ("tpm.h5", range(7, 11))):
        (folder / "corpora").mkdir(parents=True, exist_ok=True)
        _write_corpus(folder / "corpora" / path, [f"GSE{number}" for number in numbers])
    (folder / "evaluation").mkdir()
    write_cells(folder / "evaluation" / "human_pbmc3k_10x.h5ad", cells(["heart", "liver", "brain"] * 6, contrast=2.0))
    return folder


def _write_corpus(path: Path, series: list[str]) -> None:
    whose = [name for name in series for _ in range(2 * len(TISSUES))]
    tissues = [tissue for _ in series for tissue in TISSUES for _ in range(2)]
    is_case = [tissue == "heart" and place % 2 == 0 for place, tissue in enumerate(tissues)]
    values = cell_counts(tissues, n_genes=N_GENES, depth=6.0, contrast=3.0, seed=len(series)).T.astype(np.uint32)
    write_archs4(
        path,
        values,
        samples={
            "geo_accession": [f"{path.stem}{i}" for i in range(len(whose))],
            "series_id": whose,
            "title": [f"{tissue} number {i}" for i, tissue in enumerate(tissues)],
            "source_name_ch1": tissues,
            "characteristics_ch1": [f"tissue: {tissue},age: {i}" for i, tissue in enumerate(tissues)],
            "curated_tissue": tissues,
            "curated_condition": ["dilated cardiomyopathy" if case else "non-failing" for case in is_case],
        },
        series={"series_id": series, "title": [f"A study of {name}" for name in series]},
    )
