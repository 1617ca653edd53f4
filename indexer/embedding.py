"""Embedding samples shard by shard: the same files, byte by byte, whichever process writes a shard and in which order.

In: ``samples.parquet`` (only the columns that say where a row's numbers lie), the expression files or a starter's stored vectors,
the model. Out: two files a shard in the work folder. A block is read while the one before it is embedded; memory is bounded by
a few blocks.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from atlas.errors import ArtifactError
from atlas.expression.align import GeneAligner
from atlas.expression.source import ExpressionSource, open_source
from atlas.expression.units import parse_unit
from atlas.model.joint import JointModel
from atlas.vectors.gene_weights import N_KEPT, RECORD, pack
from indexer.sources.starter import STARTER_SOURCE, Starter, read_starter
from indexer.stage import Advance

VECTOR = np.dtype("<f2")
_PLACE = ("source_file", "source_row")  # the only columns of samples.parquet that are read: no text enters a vector
_T = TypeVar("_T")


@dataclass(frozen=True)
class EmbeddingJob:
    """What whoever writes shards is told; paths are the same for all of them.

    Attributes
    ----------
    samples
        ``samples.parquet``.
    work
        Folder of the shards.
    shard_rows
        Rows of a shard.
    model_dir, counts, starter, unit
        As in ``BuildRequest``.
    """

    samples: Path
    work: Path
    shard_rows: int
    model_dir: Path
    counts: tuple[Path, ...] = ()
    starter: Path | None = None
    unit: str | None = None

    def shards(self) -> list[Shard]:
        """Return all shards in row order, written or not."""
        n = pq.read_metadata(self.samples).num_rows
        return [Shard.at(self.work, start, min(start + self.shard_rows, n)) for start in range(0, n, self.shard_rows)]


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` and their files; the vectors are written last, so where they are the shard is whole."""

    start: int
    stop: int
    vectors: Path
    weights: Path

    @classmethod
    def at(cls, folder: Path, start: int, stop: int) -> Shard:
        """Name the files of a shard."""
        return cls(start, stop, folder / f"vectors-{start:09d}.npy", folder / f"weights-{start:09d}.npy")

    @property
    def is_whole(self) -> bool:
        """Whether it is written."""
        return self.vectors.is_file()

    def write(self, vectors: npt.NDArray[np.float16], records: np.ndarray) -> None:
        """Write both files, each whole or not at all."""
        write_npy(self.weights, [records], dtype=RECORD, shape=records.shape)
        write_npy(self.vectors, [vectors], dtype=VECTOR, shape=vectors.shape)


class ShardWriter:
    """Embeds shards of one job; opens each source once and keeps it open. A context manager.

    Attributes
    ----------
    coverage
        By file name, how many of its genes the model has; of the files that were read.
    """

    def __init__(self, job: EmbeddingJob) -> None:
        self.model = JointModel.load(job.model_dir)
        self.coverage: dict[str, dict[str, Any]] = {}
        self._job = job
        self._stack = ExitStack()
        self._sources: dict[int, tuple[ExpressionSource, GeneAligner]] = {}
        self._stored: Starter | None = None
        places = pq.read_table(job.samples, columns=list(_PLACE))
        self._files, self._rows = (places[name].to_numpy() for name in _PLACE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write(self, shard: Shard, *, bar: Advance) -> None:
        """Embed the rows of a shard and write its files."""
        part = slice(shard.start, shard.stop)
        files, rows = (column[part].astype(np.int64) for column in (self._files, self._rows))
        # The products are small: more threads of BLAS wait for one another longer than they save, and in the way of the reader.
        with threadpool_limits(1 if self.model.explains_by_genes else None, user_api="blas"):
            shard.write(*self._embed(files, rows, bar=bar))

    def _embed(
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
        with closing(read_ahead(aligner.align(matrix) for _, matrix in source.blocks(rows))) as blocks:
            for aligned in blocks:
                if not self.model.explains_by_genes:
                    vectors = self.model.embed_expression(aligned)
                    yield vectors.astype(np.float16), np.zeros(len(vectors), dtype=RECORD)
                    continue
                vectors, weights = self.model.embed_with_weights(aligned, top=N_KEPT)
                yield vectors.astype(np.float16), pack(weights, n_genes=len(self.model.genes))

    def _source(self, number: int) -> tuple[ExpressionSource, GeneAligner]:
        if number not in self._sources:
            unit = None if self._job.unit is None else parse_unit(self._job.unit)
            source = self._stack.enter_context(open_source(self._job.counts[number], unit=unit))
            aligner = GeneAligner(source.genes, source.symbols, genes=self.model.genes)
            covered = aligner.coverage
            self.coverage[source.path.name] = {"n_given": covered.n_given, "n_covered": covered.n_covered}
            self._sources[number] = source, aligner
        return self._sources[number]

    def _starter(self) -> Starter:
        if self._stored is None:
            if self._job.starter is None:
                raise ArtifactError(
                    "samples.parquet names a starter, but none was given. Give --starter.", kind="stale"
                )
            _check_starter_model(self._job.starter, model=self.model)
            self._stored = read_starter(self._job.starter)
        return self._stored


def read_ahead(blocks: Iterator[_T]) -> Generator[_T, None, None]:
    """Yield what ``blocks`` yields, while a thread already reads the next one: reading and embedding take turns no more."""
    waiting: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1)
    left = threading.Event()

    def put(item: tuple[bool, Any]) -> bool:
        while not left.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for block in blocks:
                if not put((True, block)):
                    return
            put((False, None))
        except BaseException as error:  # noqa: BLE001 - raised again below, by whoever waits for the block
            put((False, error))

    reader = threading.Thread(target=read, name="read-ahead", daemon=True)
    reader.start()
    try:
        while True:
            there, item = waiting.get()
            if there:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        left.set()
        reader.join()  # nobody closes a file that is being read


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


def write_npy(path: Path, parts: Iterable[np.ndarray], *, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
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


def read_all(paths: Iterable[Path]) -> Iterator[np.ndarray]:
    """Yield the arrays of ``.npy`` files as memory maps."""
    for path in paths:
        yield np.load(path, mmap_mode="r", allow_pickle=False)
