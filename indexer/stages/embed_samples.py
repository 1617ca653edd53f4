"""Stage ``embed_samples``: one vector a sample, from its expression alone, and the genes that make it.

In: ``samples.parquet`` (only the columns that say where a row's numbers lie), the expression files, the model; or a starter's
stored vectors, taken only if the same model made them. Out: ``vectors.npy``, (n_samples, dim) float16, L2-normalised, row =
row of ``samples.parquet``. Finished shards survive a kill; what writes them, this process or a Ray cluster, changes no byte and
is no part of the stage's key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.config import GeneTextConfig, read_config
from atlas.model.joint import JointModel
from atlas.vectors.gene_weights import N_KEPT, RECORD, check_records, open_records
from indexer.embedding import VECTOR, EmbeddingJob, Shard, ShardWriter, read_all, write_npy
from indexer.sources.starter import STARTER_SOURCE
from indexer.stage import Advance, BuildRequest, StageContext, StageResult

_SHARD_ROWS = 4_096
_NORM_TOLERANCE = 2e-3  # float16 components, each off by up to 2**-12 of itself


class EmbedSamples:
    """Embed every sample of the release; see the module."""

    name = "embed_samples"
    version = 2
    inputs = ("samples.parquet",)
    outputs = ("vectors.npy", "gene_weights.npy")
    optional_outputs = ("gene_weights.npy",)  # vectors of some towers are no sums over genes

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the model by its hash and the declared unit."""
        return {"model_hash": model_hash(request.model_dir), "unit": request.unit}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the expression files, the starter's vectors and the model's files."""
        return (
            *request.counts,
            *_starter_files(request.starter),
            *(request.model_dir / name for name in model_files(request.model_dir)),
        )

    def run(self, ctx: StageContext) -> StageResult:
        """Embed shard by shard, then join the shards."""
        request = ctx.request
        job = EmbeddingJob(
            samples=ctx.folder / "samples.parquet",
            work=ctx.work,
            shard_rows=_SHARD_ROWS,
            model_dir=request.model_dir,
            counts=request.counts,
            starter=request.starter,
            unit=request.unit,
        )
        shards = job.shards()
        n = shards[-1].stop if shards else 0
        with ctx.progress(n, "samples") as bar:
            for shard in shards:
                if shard.is_whole:
                    bar.advance(shard.stop - shard.start)
            todo = [shard for shard in shards if not shard.is_whole]
            coverage = _ENGINES[request.engine](job, todo, request=request, bar=bar)
        model = JointModel.load(request.model_dir)
        write_npy(ctx.out / "vectors.npy", read_all(s.vectors for s in shards), dtype=VECTOR, shape=(n, model.dim))
        if model.explains_by_genes:
            write_npy(ctx.out / "gene_weights.npy", read_all(s.weights for s in shards), dtype=RECORD, shape=(n,))
        files = pq.read_table(job.samples, columns=["source_file"])["source_file"].to_numpy()
        notes = {
            "model_hash": model.hash,
            "dim": model.dim,
            "n_from_starter": int((files == STARTER_SOURCE).sum()),
            "n_genes_kept": N_KEPT if model.explains_by_genes else 0,
            "coverage": coverage,
        }
        return StageResult(n_in=n, n_out=n, notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Re-read vectors and, where there are any, gene weights: shape, type, unit length, genes that the model has."""
        n = pq.read_metadata(ctx.folder / "samples.parquet").num_rows
        vectors = np.load(ctx.out / "vectors.npy", mmap_mode="r", allow_pickle=False)
        if vectors.dtype != np.float16 or vectors.ndim != 2 or len(vectors) != n:
            raise ArtifactError(
                f"vectors.npy is {vectors.dtype} {vectors.shape}, expected float16 with {n} rows.", kind="corrupt"
            )
        for start in range(0, n, _SHARD_ROWS):
            lengths = np.linalg.norm(vectors[start : start + _SHARD_ROWS].astype(np.float32), axis=1)
            if not (np.abs(lengths - 1.0) < _NORM_TOLERANCE).all():  # also false for NaN
                row = start + int(np.flatnonzero(~(np.abs(lengths - 1.0) < _NORM_TOLERANCE))[0])
                raise ArtifactError(f"Row {row} of vectors.npy is not L2-normalised.", kind="corrupt")
        recipe = read_config(ctx.request.model_dir / "config.json").transcriptome
        if isinstance(recipe, GeneTextConfig):
            self._validate_gene_weights(ctx, n, signed=recipe.weighs_negatively)

    def _validate_gene_weights(self, ctx: StageContext, n: int, *, signed: bool) -> None:
        records = open_records(ctx.out / "gene_weights.npy")
        if len(records) != n:
            raise ArtifactError(f"gene_weights.npy has {len(records)} rows, expected {n}.", kind="corrupt")
        n_genes = pq.read_metadata(ctx.request.model_dir / "genes.parquet").num_rows
        for start in range(0, n, _SHARD_ROWS):
            check_records(records[start : start + _SHARD_ROWS], n_genes=n_genes, signed=signed, start=start)


def _starter_files(starter: Path | None) -> tuple[Path, ...]:
    """Return the files of a starter that this stage reads; gene weights are absent from early ones."""
    if starter is None:
        return ()
    weights = starter / "gene_weights.npy"
    return (starter / "vectors.npy", starter / "starter.json", *((weights,) if weights.exists() else ()))


def _embed_here(
    job: EmbeddingJob, todo: Sequence[Shard], *, request: BuildRequest, bar: Advance
) -> dict[str, dict[str, Any]]:
    """Write the shards in this process, one after the other; return the coverage of the files read."""
    with ShardWriter(job) as writer:
        for shard in todo:
            writer.write(shard, bar=bar)
        return writer.coverage


def _embed_on_ray(
    job: EmbeddingJob, todo: Sequence[Shard], *, request: BuildRequest, bar: Advance
) -> dict[str, dict[str, Any]]:
    from indexer.embedding_ray import embed_on_ray

    return embed_on_ray(job, todo, address=request.ray_address, bar=bar)


_ENGINES: dict[str, Callable[..., dict[str, dict[str, Any]]]] = {"local": _embed_here, "ray": _embed_on_ray}

STAGE = EmbedSamples()
