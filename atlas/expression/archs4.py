"""ARCHS4 HDF5 files: version 2 with its renamed fields, version 1 with flat names, and the extra fields of annotated corpora.

Layout read: ``data/expression`` (genes x samples, or samples x genes where the lengths of the metadata say so), ``meta/genes/*``,
``meta/samples/*``, ``meta/series/*``; version 1: ``meta/genes`` itself a data set and ``meta/Sample_*``. Extra fields honoured:
``meta/samples/{unit,is_log2,id_kind,series_index}`` and ``meta/series/{series_id,title,gene_measured}``. Values are read in whole
chunks, block by block; a failing read is an error, never zeros.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.accessions import id_kind
from atlas.errors import InputError
from atlas.expression import hdf5
from atlas.expression.dates import iso_dates
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.source import BLOCK_BYTES, SAMPLE_SCHEMA, SERIES_SCHEMA, Block, check_rows, settle_units
from atlas.expression.units import Unit, parse_unit

logger = logging.getLogger(__name__)

_ENSEMBL_FIELDS = ("ensembl_gene_id", "ensembl_gene", "ensembl_id", "gene_ensemblid")
_SYMBOL_FIELDS = ("symbol", "gene_symbol", "genes", "gene_hgnc", "hgnc_symbol")
_SERIES_SEPARATOR = re.compile(r"[,;\t\s]+|Xx-xXx")
_WIDEST = 8  # a block may grow to this multiple of the wanted size, to hold a whole chunk


class Archs4Source(hdf5.Hdf5Samples):
    """Samples of one ARCHS4 file; see ``ExpressionSource``.

    Parameters
    ----------
    path
        The file.
    unit
        Unit of samples for which the file declares none.

    Raises
    ------
    InputError
        If the file is damaged, is a transcript-level file, or its parts disagree in length.
    """

    def __init__(self, path: Path, *, unit: Unit | None = None) -> None:
        self.path = path
        self._unit = unit
        self._file = hdf5.open_hdf5(str(path), name=str(path))
        try:
            with hdf5.reading(str(path)):
                self.genes, self.symbols = self._read_genes()
                self.sample_ids = self._read_sample_ids()
                self._data, self._by_sample = self._read_layout()
        except BaseException:
            self.close()
            raise

    def sample_table(self) -> pa.Table:
        """Return one row a sample; columns of ``SAMPLE_SCHEMA``."""
        n = self.n_samples
        with hdf5.reading(str(self.path)):
            stated_kinds = self._field("id_kind").to_pylist()
            kinds = [kind or id_kind(sample) for kind, sample in zip(stated_kinds, self.sample_ids, strict=True)]
            series = [_split_series(text) for text in self._field("series_id").to_pylist()]
            probability = self._sample_data("singlecellprobability", "singlecell_probability")
            single = pa.nulls(n, pa.float64()) if probability is None else pa.array(hdf5.read_floats(probability))
            columns = {
                "sample_id": pa.array(self.sample_ids, pa.string()),
                "id_kind": pa.array(kinds, pa.string()),
                "series_ids": pa.array(series, pa.list_(pa.string())),
                "title": self._field("title"),
                "source_name": self._field("source_name_ch1"),
                "characteristics": self._field("characteristics_ch1"),
                "organism": self._field("organism_ch1"),
                "molecule": self._field("molecule_ch1"),
                "platform": self._field("platform_id"),
                "date": iso_dates(self._field("submission_date")),
                "unit": pa.array([None if unit is None else unit.value for unit in self._units], pa.string()),
                "singlecell_probability": single,
                "source_row": pa.array(np.arange(n, dtype=np.int32)),
            }
        return pa.table(columns, schema=SAMPLE_SCHEMA)

    def series_table(self) -> pa.Table:
        """Return series ids and titles, empty where the file describes no series."""
        with hdf5.reading(str(self.path)):
            ids = hdf5.dataset(self._file, "meta/series/series_id")
            titles = hdf5.dataset(self._file, "meta/series/title")
            if ids is None or titles is None:
                return SERIES_SCHEMA.empty_table()
            self._expect(len(titles), len(ids), what="meta/series/title", of="meta/series/series_id")
            return pa.table([hdf5.read_strings(ids), hdf5.read_strings(titles)], schema=SERIES_SCHEMA)

    def blocks(self, rows: npt.NDArray[np.integer] | None = None, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield ``(source rows, matrix)`` in source order; see ``ExpressionSource.blocks``."""
        for wanted, raw in self.raw_blocks(rows, block_bytes=block_bytes):
            yield wanted, self._matrix(wanted, raw)

    def raw_blocks(
        self, rows: npt.NDArray[np.integer] | None = None, *, block_bytes: int = BLOCK_BYTES
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Yield ``(source rows, (m, n_genes) values as the file has them)`` in source order.

        Only the chunks between the first and the last wanted sample of a block are read.
        """
        wanted = check_rows(rows, n_samples=self.n_samples)
        width, chunk = self._block_width(block_bytes), self._chunk
        for start in range(0, self.n_samples, width):
            low, high = np.searchsorted(wanted, [start, start + width])
            if low < high:
                mine = wanted[low:high]
                first = max(start, int(mine[0]) // chunk * chunk)
                last = min(start + width, self.n_samples, (int(mine[-1]) // chunk + 1) * chunk)
                with hdf5.reading(str(self.path)):
                    raw = self._data[first:last] if self._by_sample else self._data[:, first:last].T
                    values = np.ascontiguousarray(raw[mine - first])
                yield mine, values

    def sample_fields(self, names: Sequence[str], *, rows: npt.NDArray[np.int64]) -> dict[str, list[str]]:
        """Return text fields of the samples ``rows`` (increasing) by name; fields that the file lacks are left out."""
        found = {}
        with hdf5.reading(str(self.path)):
            for name in names:
                data = self._sample_data(name)
                if data is not None:
                    self._expect(len(data), self.n_samples, what=f"the sample field {name}", of="the accessions")
                    found[name] = hdf5.read_strings_at(data, rows=rows)
        return found

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values in the file."""
        kind: np.dtype[Any] = self._data.dtype
        return kind

    def _matrix(self, wanted: npt.NDArray[np.int64], raw: npt.NDArray[Any]) -> ExpressionMatrix:
        values = np.ascontiguousarray(raw, dtype=np.float32)
        with hdf5.reading(str(self.path)):
            measured = self._read_measured(wanted)
        ids = tuple(self.sample_ids[row] for row in wanted)
        declared = [self._units[row] for row in wanted]
        units = settle_units(values, declared=declared, sample_ids=ids, measured=measured)
        return ExpressionMatrix(values, self.genes, ids, units, measured, self.symbols)

    @property
    def _chunk(self) -> int:
        """Samples that are stored, and therefore read, together."""
        return int(self._data.chunks[0 if self._by_sample else 1]) if self._data.chunks else 1

    def _block_width(self, block_bytes: int) -> int:
        """Return the samples a block: whole chunks, near ``block_bytes``, never more than ``_WIDEST`` times that."""
        sample_bytes = max(1, len(self.genes) * max(4, self._data.dtype.itemsize))
        wanted = max(1, block_bytes // sample_bytes)
        chunk = self._chunk
        if chunk <= wanted:
            return int(wanted // chunk * chunk)
        if chunk <= wanted * _WIDEST:
            return int(chunk)
        widest = int(wanted * _WIDEST)
        times = -(-chunk // widest)
        logger.warning("%s: chunks span %d samples; each is read %d times to bound memory", self.path, chunk, times)
        return widest

    def _read_genes(self) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
        flat = hdf5.dataset(self._file, "meta/genes")
        if flat is not None:  # version 1
            ensembl = hdf5.dataset(self._file, *(f"meta/{name}" for name in _ENSEMBL_FIELDS))
            symbol: h5py.Dataset | None = flat
        else:
            ensembl = hdf5.dataset(self._file, *(f"meta/genes/{name}" for name in _ENSEMBL_FIELDS))
            symbol = hdf5.dataset(self._file, *(f"meta/genes/{name}" for name in _SYMBOL_FIELDS))
        if ensembl is None and symbol is None:
            if hdf5.find(self._file, "meta/transcripts") is not None:
                raise InputError(
                    f"{self.path} holds transcripts, not genes. Use the gene-level file (human_gene_v2.x.h5)."
                )
            raise InputError(
                f"{self.path} names no genes: meta/genes has none of {[*_ENSEMBL_FIELDS, *_SYMBOL_FIELDS]}.",
                details={"file": str(self.path)},
            )
        names = [tuple(hdf5.read_strings(data).to_pylist()) for data in (ensembl, symbol) if data is not None]
        if len(names) == 2:
            self._expect(len(names[1]), len(names[0]), what="the gene symbols", of="the Ensembl ids")
        return names[0], names[1] if len(names) == 2 else None

    def _read_sample_ids(self) -> tuple[str, ...]:
        data = self._sample_data("geo_accession", "sample")
        if data is None:
            raise InputError(f"{self.path} names no samples: there is no meta/samples/geo_accession.")
        ids = tuple(name.strip() for name in hdf5.read_strings(data).to_pylist())
        if "" in ids:
            raise InputError(f"{self.path}: sample number {ids.index('')} has an empty accession.")
        return ids

    def _read_layout(self) -> tuple[h5py.Dataset, bool]:
        """Return the values and whether a sample is a row of them, told by the lengths of the metadata."""
        data = hdf5.dataset(self._file, "data/expression")
        if data is None:
            raise InputError(f"{self.path} has no data/expression.", details={"file": str(self.path)})
        if data.dtype.kind not in "iuf":
            raise InputError(f"{self.path}: data/expression has type {data.dtype}, expected numbers.")
        n_genes, n_samples = len(self.genes), self.n_samples
        fits = {False: data.shape == (n_genes, n_samples), True: data.shape == (n_samples, n_genes)}
        if fits[False] and fits[True]:  # as many samples as genes: version 1 wrote samples as rows
            return data, hdf5.dataset(self._file, "meta/genes") is not None
        if not (fits[False] or fits[True]):
            raise InputError(
                f"{self.path}: data/expression has shape {data.shape}, but the metadata name {n_genes:,} genes and "
                f"{n_samples:,} samples. Expected (genes, samples) or (samples, genes); the file is damaged or mixed up."
            )
        return data, fits[True]

    def _sample_data(self, *names: str) -> h5py.Dataset | None:
        paths = [path for name in names for path in (f"meta/samples/{name}", f"meta/Sample_{name}")]
        return hdf5.dataset(self._file, *paths)

    def _field(self, name: str) -> pa.ChunkedArray:
        """One text field of all samples; empty strings where the file lacks it."""
        data = self._sample_data(name)
        if data is None:
            return pa.chunked_array([pa.array([""] * self.n_samples, pa.string())])
        self._expect(len(data), self.n_samples, what=f"the sample field {name}", of="the accessions")
        return hdf5.read_strings(data)

    def _expect(self, seen: int, expected: int, *, what: str, of: str) -> None:
        if seen != expected:
            raise InputError(f"{self.path}: {what} has {seen:,} entries, expected {expected:,} as {of}.")

    @cached_property
    def _units(self) -> list[Unit | None]:
        declared = self._field("unit").to_pylist()
        flags = self._sample_data("is_log2")
        logs = np.zeros(self.n_samples) if flags is None else hdf5.read_floats(flags)
        self._expect(len(logs), self.n_samples, what="is_log2", of="the accessions")
        known = {
            (text, log): parse_unit(text, is_log2=log)
            for text, log in set(zip(declared, logs > 0, strict=True))
            if text or log
        }
        return [known.get((text, bool(log)), self._unit) for text, log in zip(declared, logs > 0, strict=True)]

    @cached_property
    def _series_rows(self) -> npt.NDArray[np.int64] | None:
        """Row of each sample in ``gene_measured``; ``None`` where every gene counts as measured."""
        mask = hdf5.dataset(self._file, "meta/series/gene_measured")
        if mask is None:
            return None
        index = self._sample_data("series_index")
        if index is None:
            raise InputError(f"{self.path} has meta/series/gene_measured but no meta/samples/series_index to use it.")
        rows = hdf5.read_floats(index).astype(np.int64)
        self._expect(len(rows), self.n_samples, what="series_index", of="the accessions")
        if mask.ndim != 2 or mask.shape[1] != len(self.genes) or rows.min() < 0 or rows.max() >= mask.shape[0]:
            raise InputError(
                f"{self.path}: meta/series/gene_measured {mask.shape} does not fit its series_index or the genes."
            )
        return rows

    def _read_measured(self, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        if self._series_rows is None:
            return None
        mask = self._file["meta/series/gene_measured"]
        series, place = np.unique(self._series_rows[wanted], return_inverse=True)
        masks = np.stack([mask[int(row)] > 0 for row in series])
        return np.ascontiguousarray(masks[place])


def _split_series(text: str) -> list[str]:
    """Split ``"GSE1,GSE2"`` into accessions, in order, each once."""
    return list(dict.fromkeys(part for part in _SERIES_SEPARATOR.split(text) if part))
