"""Stage ``embed_samples``: one vector a sample, from its expression alone, and the genes that make it.

In: ``samples.parquet`` (only the columns that say where a row's numbers lie), the expression files, the model; or a starter's
stored vectors, taken only if the same model made them. Out: ``vectors.npy``, (n_samples, dim) float16, L2-normalised, row =
row of ``samples.parquet``. Memory is bounded by one block; finished shards survive a kill.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.expression.align import GeneAligner
from atlas.expression.source import ExpressionSource, open_source
from atlas.expression.units import parse_unit
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.config import GeneTextConfig, read_config
from atlas.model.joint import JointModel
from atlas.vectors.gene_weights import N_KEPT, RECORD, check_records, open_records, pack
from indexer.sources.starter import STARTER_SOURCE, Starter, read_starter
from indexer.stage import Advance, BuildRequest, StageContext, StageResult

_SHARD_ROWS = 4_096
_PLACE = ("source_file", "source_row")  # the only columns of samples.parquet that are read: no text enters a vector
_VECTOR = np.dtype("<f2")
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
        model = JointModel.load(ctx.request.model_dir)
        places = pq.read_table(ctx.folder / "samples.parquet", columns=list(_PLACE))
        files, rows = (places[name].to_numpy().astype(np.int64) for name in _PLACE)
        with ExitStack() as stack, ctx.progress(len(rows), "samples") as bar:
            embedder = _Embedder(ctx.request, model, stack)
            starts = range(0, len(rows), _SHARD_ROWS)
            shards = [_Shard.at(ctx.work, start) for start in starts]
            for start, shard in zip(starts, shards, strict=True):
                part = slice(start, start + _SHARD_ROWS)
                if shard.vectors.is_file():
                    bar.advance(len(rows[part]))
                else:
                    shard.write(*embedder.embed(files[part], rows[part], bar=bar))
        _write_npy(
            ctx.out / "vectors.npy", _read_all(s.vectors for s in shards), dtype=_VECTOR, shape=(len(rows), model.dim)
        )
        if model.explains_by_genes:
            weights = _read_all(s.weights for s in shards)
            _write_npy(ctx.out / "gene_weights.npy", weights, dtype=RECORD, shape=(len(rows),))
        from_starter = int((files == STARTER_SOURCE).sum())
        notes = {
            "model_hash": model.hash,
            "dim": model.dim,
            "n_from_starter": from_starter,
            "n_genes_kept": N_KEPT if model.explains_by_genes else 0,
            "coverage": embedder.coverage,
        }
        return StageResult(n_in=len(rows), n_out=len(rows), notes=notes)

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


@dataclass(frozen=True)
class _Shard:
    """Files of one shard; the vectors are written last, so where they are the shard is whole."""

    vectors: Path
    weights: Path

    @classmethod
    def at(cls, folder: Path, start: int) -> _Shard:
        return cls(folder / f"vectors-{start:09d}.npy", folder / f"weights-{start:09d}.npy")

    def write(self, vectors: npt.NDArray[np.float16], records: np.ndarray) -> None:
        _write_npy(self.weights, [records], dtype=RECORD, shape=records.shape)
        _write_npy(self.vectors, [vectors], dtype=_VECTOR, shape=vectors.shape)


@dataclass
class _Embedder:
    """Opens each source once and keeps it open for all shards."""

    request: BuildRequest
    model: JointModel
    stack: ExitStack
    coverage: dict[str, dict[str, Any]] = field(default_factory=dict)
    _sources: dict[int, tuple[ExpressionSource, GeneAligner]] = field(default_factory=dict)
    _stored: Starter | None = None

    def embed(
        self, files: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], *, bar: Advance
    ) -> tuple[npt.NDArray[np.float16], np.ndarray]:
        """Return the float16 vectors and the gene weights of rows ``rows`` of files ``files``, in that order."""
        vectors = np.empty((len(rows), self.model.dim), dtype=np.float16)
        records = np.zeros(len(rows), dtype=RECORD)
        for number in np.unique(files):
            mine = np.flatnonzero(files == number)
            mine = mine[np.argsort(rows[mine], kind="stable")]  # sources are read in their own order
            done = 0
            for part, weights in self._embedded(int(number), rows[mine]):
                places = mine[done : done + len(part)]
                vectors[places], records[places] = part, weights
                done += len(part)
                bar.advance(len(part))
        return vectors, records

    def _embedded(
        self, number: int, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[npt.NDArray[np.float16], np.ndarray]]:
        """Yield vectors and gene weights of increasing rows of one source."""
        if number == STARTER_SOURCE:
            starter = self._starter()
            yield starter.vectors[rows], starter.gene_weights[rows]
            return
        source, aligner = self._source(number)
        for _, matrix in source.blocks(rows):
            aligned = aligner.align(matrix)
            if not self.model.explains_by_genes:
                vectors = self.model.embed_expression(aligned)
                yield vectors.astype(np.float16), np.zeros(len(vectors), dtype=RECORD)
                continue
            vectors, weights = self.model.embed_with_weights(aligned, top=N_KEPT)
            yield vectors.astype(np.float16), pack(weights, n_genes=len(self.model.genes))

    def _source(self, number: int) -> tuple[ExpressionSource, GeneAligner]:
        if number not in self._sources:
            unit = None if self.request.unit is None else parse_unit(self.request.unit)
            source = self.stack.enter_context(open_source(self.request.counts[number], unit=unit))
            aligner = GeneAligner(source.genes, source.symbols, genes=self.model.genes)
            covered = aligner.coverage
            self.coverage[source.path.name] = {"n_given": covered.n_given, "n_covered": covered.n_covered}
            self._sources[number] = source, aligner
        return self._sources[number]

    def _starter(self) -> Starter:
        if self._stored is None:
            if self.request.starter is None:
                raise ArtifactError(
                    "samples.parquet names a starter, but none was given. Give --starter.", kind="stale"
                )
            _check_starter_model(self.request.starter, model=self.model)
            self._stored = read_starter(self.request.starter)
        return self._stored


def _starter_files(starter: Path | None) -> tuple[Path, ...]:
    """Return the files of a starter that this stage reads; gene weights are absent from early ones."""
    if starter is None:
        return ()
    weights = starter / "gene_weights.npy"
    return (starter / "vectors.npy", starter / "starter.json", *((weights,) if weights.exists() else ()))


def _check_starter_model(starter: Path, *, model: JointModel) -> None:
    """Refuse stored vectors of another model: cosines between two models mean nothing."""
    path = starter / "starter.json"
    try:
        seen = json.loads(path.read_text(encoding="utf-8"))["model_hash"]
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing. Fetch the starter again.", kind="missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} does not name the model of its vectors. Fetch the starter again.", kind="corrupt"
        ) from error
    if seen != model.hash:
        raise ArtifactError(
            f"The starter's vectors were made by model {str(seen)[:12]}, but {model.folder} is model {model.hash[:12]}. "
            "Give the model the starter was made with, or build from expression files.",
            kind="incompatible",
            details={"seen": seen, "expected": model.hash},
        )


def _write_npy(path: Path, parts: Iterable[np.ndarray], *, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write an ``.npy`` file part by part, so that it is either whole or absent.

    Plain writes, not a writable memory map: on a full disk a map kills the process, a write raises ``OSError``.
    """
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            stream.write(np.ascontiguousarray(part, dtype=dtype).view(np.uint8).data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(unfinished, path)


def _read_all(paths: Iterable[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        yield np.load(path, mmap_mode="r", allow_pickle=False)


STAGE = EmbedSamples()
