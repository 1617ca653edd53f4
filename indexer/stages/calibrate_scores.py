"""Stage ``calibrate_scores``: the null distributions that give scores a meaning.

In: ``vectors.npy``, ``index/``, ``samples.parquet`` (series alone), ``terms.parquet``, the packaged off-topic phrases and
vocabularies, the model. Out: ``calibration.json``, ``calibration.npz``. A release whose samples share their series has no
random pairs of its own; it takes those that travel with the model, if any do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.text_cache import embed_raw_terms, text_caches
from atlas.resources import resource_path
from atlas.vectors.calibration import QUANTILE, Calibration, calibrate, random_pairs
from atlas.vectors.faiss_index import open_index
from atlas.vectors.model_null import FILE, ModelNull
from atlas.vectors.store import VectorStore
from atlas.vocabulary import (
    BACKGROUND_PHRASES,
    background_phrases,
    packaged_texts,
    packaged_vocabularies,
    readable_term,
)
from indexer.stage import BuildRequest, StageContext, StageResult

N_PAIRS = 20_000


class CalibrateScores:
    """Ask the atlas what it has nothing to say to."""

    name = "calibrate_scores"
    version = 3
    inputs: tuple[str, ...] = ("samples.parquet", "vectors.npy", "index", "terms.parquet")
    outputs: tuple[str, ...] = ("calibration.json", "calibration.npz")

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the thresholds, the seed, and the model by its hash."""
        return {
            "n_pairs": N_PAIRS,
            "quantile": QUANTILE,
            "seed": request.seed,
            "model_hash": model_hash(request.model_dir),
        }

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the off-topic phrases, the packaged vocabularies, the model's files and its null."""
        phrases = resource_path(f"vocabularies/{BACKGROUND_PHRASES}.txt")
        null = request.model_dir / FILE
        return (
            phrases,
            *packaged_vocabularies().values(),
            *(request.model_dir / name for name in model_files(request.model_dir)),
            *((null,) if null.is_file() else ()),
        )

    def run(self, ctx: StageContext) -> StageResult:
        """Embed the phrases, draw the pairs, measure."""
        from atlas.model.joint import JointModel

        phrases = background_phrases()
        series = pq.read_table(ctx.folder / "samples.parquet", columns=["series_ids"])["series_ids"].to_pylist()
        pairs, across = random_pairs([ids or [] for ids in series], n_pairs=N_PAIRS, seed=ctx.request.seed)
        terms = pq.read_table(ctx.folder / "terms.parquet", columns=["term"])["term"].to_pylist()
        texts = sorted({*packaged_texts(), *map(readable_term, terms)})
        caches = text_caches(ctx.request.home)
        model = JointModel.load(ctx.request.model_dir)
        raw = embed_raw_terms(model, phrases, caches=caches).vectors().astype(np.float32)
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            calibration = calibrate(
                store,
                open_index(ctx.folder / "index", store),
                phrases=model.text_head(raw),
                raw_phrases=raw,
                vocabulary=embed_raw_terms(model, texts, caches=caches),
                pairs=pairs,
                pairs_across_series=across,
            )
        if not across and (null := ModelNull.find(ctx.request.model_dir)) is not None:
            calibration = calibration.with_pairs(null.pair_scores)
        calibration.save(ctx.out)
        notes = {
            "n_phrases": len(phrases),
            "n_pairs": len(pairs),
            "pairs_across_series": across,
            "pairs_of_model": calibration.table.pairs_of_model,
            "n_terms": len(texts),
        }
        return StageResult(n_in=len(phrases), n_out=len(phrases), notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read back: finite values, one mean and deviation a sample."""
        read = Calibration.load(ctx.out / "calibration.json")
        n = pq.read_metadata(ctx.folder / "samples.parquet").num_rows
        values = [read.mean, read.deviation, np.asarray(read.table.answers)]
        if read.mean.shape != (n,) or read.deviation.shape != (n,) or not all(np.isfinite(v).all() for v in values):
            raise ArtifactError("The calibration is not finite, or not one row a sample.", kind="corrupt")


STAGE = CalibrateScores()
