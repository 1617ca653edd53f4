"""Stage ``calibrate_scores``: the null distributions that give scores a meaning.

In: ``vectors.npy``, ``index/``, ``samples.parquet`` (series alone), ``term_vectors.npy``, the packaged off-topic phrases, the
model. Out: ``calibration.json``, ``calibration.npz``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.model.checkpoint import model_files, model_hash
from atlas.resources import resource_path
from atlas.vectors.calibration import Calibration, calibrate, random_pairs
from atlas.vectors.faiss_index import open_index
from atlas.vectors.store import VectorStore
from atlas.vocabulary import BACKGROUND_PHRASES, background_phrases
from indexer.stage import BuildRequest, StageContext, StageResult

N_PAIRS = 20_000
RESPONSE_QUANTILE = 0.75
SUBJECT_QUANTILE = 0.95


class CalibrateScores:
    """Ask the atlas what it has nothing to say to."""

    name = "calibrate_scores"
    version = 1
    inputs: tuple[str, ...] = ("samples.parquet", "vectors.npy", "index", "term_vectors.npy")
    outputs: tuple[str, ...] = ("calibration.json", "calibration.npz")

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the thresholds, the seed, and the model by its hash."""
        return {
            "n_pairs": N_PAIRS,
            "response_quantile": RESPONSE_QUANTILE,
            "subject_quantile": SUBJECT_QUANTILE,
            "seed": request.seed,
            "model_hash": model_hash(request.model_dir),
        }

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the off-topic phrases and the model's files."""
        phrases = resource_path(f"vocabularies/{BACKGROUND_PHRASES}.txt")
        return (phrases, *(request.model_dir / name for name in model_files(request.model_dir)))

    def run(self, ctx: StageContext) -> StageResult:
        """Embed the phrases, draw the pairs, measure."""
        from atlas.model.joint import JointModel

        phrases = background_phrases()
        series = pq.read_table(ctx.folder / "samples.parquet", columns=["series_ids"])["series_ids"].to_pylist()
        pairs, across = random_pairs([ids or [] for ids in series], n_pairs=N_PAIRS, seed=ctx.request.seed)
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            calibration = calibrate(
                store,
                open_index(ctx.folder / "index", store),
                phrases=JointModel.load(ctx.request.model_dir).embed_texts(phrases),
                term_vectors=np.load(ctx.folder / "term_vectors.npy", allow_pickle=False),
                pairs=pairs,
                pairs_across_series=across,
                response_quantile=RESPONSE_QUANTILE,
                subject_quantile=SUBJECT_QUANTILE,
            )
        calibration.save(ctx.out)
        notes = {"n_phrases": len(phrases), "n_pairs": len(pairs), "pairs_across_series": across}
        return StageResult(n_in=len(phrases), n_out=len(phrases), notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read back: finite values, one mean and deviation a sample."""
        read = Calibration.load(ctx.out / "calibration.json", terms=ctx.folder / "term_vectors.npy")
        n = pq.read_metadata(ctx.folder / "samples.parquet").num_rows
        values = [read.mean, read.deviation, np.asarray(read.table.responses)]
        if read.mean.shape != (n,) or read.deviation.shape != (n,) or not all(np.isfinite(v).all() for v in values):
            raise ArtifactError("The calibration is not finite, or not one row a sample.", kind="corrupt")


STAGE = CalibrateScores()
