"""``CorpusSource``: samples of ARCHS4-layout files, each with captions made of its own annotation.

In: expression files as for a build. Out: pairs of caption and expression. Text is held in memory as Arrow strings, expression is
read from the files block by block. ``curated_*`` fields are not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.digests import sha256_file, sha256_json
from atlas.errors import InputError
from atlas.expression.align import AlignedExpression
from atlas.expression.genes import GeneMap
from atlas.expression.source import open_source
from atlas.expression.units import Unit
from indexer.studies import donors_in, study_of
from indexer.training.augmentation import Augmentation, augment
from indexer.training.blocking import STUDY
from indexer.training.provenance import NEVER_TRAINED
from indexer.training.sources.captions import caption_variants, statements
from indexer.training.sources.items import Items
from indexer.training.sources.reading import AlignedFiles
from indexer.training.sources.source import RowRandom, Rows, SourceKind

_TEXT = ("title", "source_name", "characteristics")
_SINGLE_CELL = 0.5
_SPECIES = {"human": "homo sapiens", "mouse": "mus musculus"}


@dataclass(frozen=True)
class _File:
    """One file: which of its samples are items, and their annotation."""

    path: Path
    rows: npt.NDArray[np.int64]
    text: pa.Table
    series_titles: Mapping[str, str]


class CorpusSource(Items):
    """Samples with captions.

    Parameters
    ----------
    paths
        Expression files, in a fixed order.
    genes
        The model's genes.
    exclude_series
        Series whose samples are left out, beside those that ``exclude_evaluation`` means.
    unit
        Unit of samples whose file declares none.
    augmentation
        What may happen to a row when it is asked for with randomness.
    replicates
        Sample id -> further captions, for instance written by a language model.
    name, organism
        Name in reports; organism of the model's genes that are read.
    exclude_evaluation
        Leave out the series that are evaluation sets elsewhere (``NEVER_TRAINED``). ``False`` only to look for leaks.
    require_excluded
        Refuse a series to exclude that no sample has; ``False`` where other files are asked too.

    Attributes
    ----------
    found_excluded
        Those of the series to exclude that occur.
    dropped
        Reason -> number of samples left out: ``excluded_series``, ``no_caption``, ``other_organism``, ``single_cell``.

    Raises
    ------
    InputError
        If a series to exclude does not occur, or no sample is left.
    """

    kind: SourceKind = "corpus"

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        genes: GeneMap,
        exclude_series: Collection[str] = (),
        unit: Unit | None = None,
        augmentation: Augmentation | None = None,
        replicates: Mapping[str, Sequence[str]] | None = None,
        name: str = "corpus",
        organism: str = "human",
        exclude_evaluation: bool = True,
        require_excluded: bool = True,
    ) -> None:
        self._genes, self._unit, self._organism = genes, unit, organism
        self._augmentation = augmentation
        self._replicates = {key: tuple(texts) for key, texts in (replicates or {}).items()}
        self.excluded = frozenset(exclude_series) | (NEVER_TRAINED if exclude_evaluation else frozenset())
        self.dropped: Counter[str] = Counter()
        self._reader = AlignedFiles(
            paths, opener=lambda path: open_source(path, unit=unit), genes=genes, organism=organism
        )
        met: set[str] = set()
        self._files = [self._read_file(path, met) for path in paths]
        self.found_excluded = frozenset(met)
        absent = sorted(set(exclude_series) - met)
        if absent and require_excluded:
            raise InputError(
                f"The series {', '.join(absent)} cannot be excluded: no sample has it. Check the spelling.",
                details={"absent": absent},
            )
        self._starts = np.concatenate([[0], np.cumsum([file.rows.size for file in self._files])]).astype(np.int64)
        super().__init__(name, [str(id_) for file in self._files for id_ in file.text["sample_id"].to_pylist()])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the files and everything that decides items and captions."""
        return sha256_json(
            {
                "kind": self.kind,
                "files": [sha256_file(file.path) for file in self._files],
                "rows": [sha256_json(file.rows.tolist()) for file in self._files],
                "replicates": sha256_json(self._replicates),
                "unit": self._unit,
                "organism": self._organism,
                "genes": sha256_json(self._genes.ensembl_ids),
            }
        )

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield studies, public accessions and public donor names of each sample."""
        for file, start in zip(self._files, self._starts, strict=False):
            columns = [file.text[name].to_pylist() for name in ("sample_id", "id_kind", "series_ids", *_TEXT)]
            for row, (sample, kind, series, *texts) in enumerate(zip(*columns, strict=True), start=int(start)):
                for series_id in series or (file.path.name,):
                    yield row, f"{STUDY}{study_of(series_id)}"
                if kind != "made":
                    yield row, f"sample:{sample}"
                for donor in donors_in(sample, *texts):
                    yield row, f"donor:{donor}"

    def captions(self, row: int) -> tuple[str, ...]:
        """Return the captions of a sample, the full one first."""
        file, place = self._locate(row)
        return self._texts(file.text.slice(place, 1).to_pylist()[0], file.series_titles)

    def statements(self, row: int) -> tuple[str, ...]:
        """Return the single facts a sample states of itself; see ``captions.statements``."""
        file, place = self._locate(row)
        record = file.text.slice(place, 1).to_pylist()[0]
        return statements(record["source_name"] or "", record["characteristics"] or "")

    def series_of(self, row: int) -> tuple[str, ...]:
        """Return the series a sample is listed under."""
        file, place = self._locate(row)
        return tuple(file.text["series_ids"][place].as_py() or ())

    def expression(self, rows: Rows, *, rng: RowRandom | None = None) -> AlignedExpression:
        """Return the expression of ``rows``; see ``PairSource``."""
        wanted = self._checked(rows)
        numbers = np.searchsorted(self._starts, wanted, side="right") - 1
        places = [
            self._files[number].rows[row - self._starts[number]] for number, row in zip(numbers, wanted, strict=True)
        ]
        aligned = self._reader.read(numbers, np.array(places, dtype=np.int64))
        if rng is None or self._augmentation is None:
            return aligned
        return augment(aligned, self._augmentation, rngs=[rng.of(self.name, int(row)) for row in wanted])

    def _locate(self, row: int) -> tuple[_File, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._files[number], row - int(self._starts[number])

    def _read_file(self, path: Path, met: set[str]) -> _File:
        with open_source(path, unit=self._unit) as source:
            columns = ["sample_id", "id_kind", "series_ids", *_TEXT, "organism", "singlecell_probability", "source_row"]
            table = source.sample_table().select(columns)
            series = source.series_table()
        titles = dict(zip(series["series_id"].to_pylist(), series["title"].to_pylist(), strict=True))
        reasons = [self._reason(record, titles, met) for record in _records(table)]
        self.dropped.update(reason for reason in reasons if reason)
        kept = table.filter(pa.array([reason is None for reason in reasons]))
        rows = kept["source_row"].to_numpy().astype(np.int64)
        return _File(path, rows, kept.drop(["organism", "singlecell_probability", "source_row"]), titles)

    def _reason(self, record: Mapping[str, Any], titles: Mapping[str, str], met: set[str]) -> str | None:
        """Why a sample is no item, if it is none."""
        series = record["series_ids"] or ()
        met.update(self.excluded.intersection(series))
        if not self.excluded.isdisjoint(series):
            return "excluded_series"
        stated = (record["organism"] or "").lower()
        if stated and stated != _SPECIES.get(self._organism, self._organism):
            return "other_organism"
        if (record["singlecell_probability"] or 0) >= _SINGLE_CELL:
            return "single_cell"
        return None if self._texts(record, titles) else "no_caption"

    def _texts(self, record: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
        return caption_variants(
            record["title"],
            record["source_name"],
            characteristics=record["characteristics"],
            series_title=next((titles.get(series, "") for series in record["series_ids"] or ()), ""),
            extra=self._replicates.get(record["sample_id"], ()),
        )


def _records(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of a table as dictionaries, a batch at a time."""
    for batch in table.to_batches(max_chunksize=65_536):
        yield from batch.to_pylist()
