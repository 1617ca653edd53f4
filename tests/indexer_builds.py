"""One run of the embedding stage in folders of its own, on a toy model and small expression files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from expression_files import counts, write_archs4
from toy_model import write_toy_model

from atlas.settings import Settings
from indexer.stage import BuildRequest, StageContext, StageResult
from indexer.stages.embed_samples import STAGE

N_GENES = 300


class Build:
    """One embedding in folders of its own."""

    def __init__(
        self, root: Path, name: str, *, places: Sequence[tuple[int, int]], files: Sequence[Path] = (), **more: Any
    ) -> None:
        model = root / "model"
        if not model.exists():
            write_toy_model(model, N_GENES)
        self.request = BuildRequest(
            name=name, home=root, model_dir=model, settings=Settings(), counts=tuple(files), **more
        )
        folders = [root / name / part for part in ("build", "out", "work")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        self.ctx = StageContext(self.request, *folders)
        table = {
            "source_file": pa.array([file for file, _ in places], pa.int16()),
            "source_row": pa.array([row for _, row in places], pa.int32()),
        }
        pq.write_table(pa.table(table), self.ctx.folder / "samples.parquet")

    def run(self) -> StageResult:
        result = STAGE.run(self.ctx)
        STAGE.validate(self.ctx)
        return result

    @property
    def bytes(self) -> bytes:
        return (self.ctx.out / "vectors.npy").read_bytes()

    @property
    def weight_bytes(self) -> bytes:
        return (self.ctx.out / "gene_weights.npy").read_bytes()

    @property
    def vectors(self) -> np.ndarray:
        return np.load(self.ctx.out / "vectors.npy")

    @property
    def records(self) -> np.ndarray:
        return np.load(self.ctx.out / "gene_weights.npy")


def corpus(root: Path, name: str, *, n: int = 10, seed: int = 0) -> Path:
    samples = {"geo_accession": [f"GSM{seed}{i:03d}" for i in range(n)]}
    return write_archs4(root / name, counts(N_GENES, n, seed), samples=samples, chunks=(N_GENES, 2))
