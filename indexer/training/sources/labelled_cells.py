"""``LabelledCellsSource``: cells of h5ad files with their labels, expanded by a template.

In: h5ad files with a label column. Out: pairs such as ("A sample of a B cell from a healthy individual", the cell).
Source: the Tabula Sapiens fine-tuning of CellWhisperer (Schaefer et al. 2025); here labels are cleaned, and the rows that changed
a label are kept for the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from atlas.cells.label_text import CleanLabel, clean_labels, label_paraphrases
from atlas.cells.rows import H5adRows
from atlas.digests import sha256_file, sha256_json
from atlas.errors import InputError
from atlas.expression.align import AlignedExpression
from atlas.expression.genes import GeneMap
from atlas.expression.units import Unit
from indexer.studies import donors_in, study_of
from indexer.training.augmentation import Augmentation, augment
from indexer.training.blocking import STUDY
from indexer.training.provenance import evaluation_provenance
from indexer.training.sources.items import Items
from indexer.training.sources.reading import AlignedFiles
from indexer.training.sources.source import RowRandom, Rows, SourceKind

TEMPLATE = "A sample of {x} from a healthy individual"
_MAX_CAPTIONS = 6


@dataclass(frozen=True)
class Columns:
    """Columns of ``obs`` that are read.

    Attributes
    ----------
    label
        What a cell is; rows without a value are left out.
    tissue, study, donor
        Optional. Without a study column a file is one study; donors are told apart within a study.
    """

    label: str = "cell_type"
    tissue: str | None = None
    study: str | None = None
    donor: str | None = None


@dataclass(frozen=True)
class LabelledRows:
    """Rows of all files that have a label; lists are parallel.

    Attributes
    ----------
    files, rows
        Number of the file, row in it.
    ids, labels, tissues, studies, donors
        Names; tissues and donors may be empty.
    n_unlabelled
        Rows left out because they have no label.
    """

    files: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    tissues: tuple[str, ...]
    studies: tuple[str, ...]
    donors: tuple[str, ...]
    n_unlabelled: int


def read_labelled_rows(paths: Sequence[Path], columns: Columns) -> LabelledRows:
    """Read the labels of h5ad files, no expression.

    Raises
    ------
    InputError
        If a file is an evaluation set: nothing is trained on those.
    NotFoundError
        If a column is missing.
    """
    found: list[tuple[int, int, str, str, str, str, str]] = []
    n_unlabelled = 0
    for number, path in enumerate(paths):
        if path.stem in evaluation_provenance():
            raise InputError(f"{path.name} is an evaluation set; a model must not be trained on it. Give other files.")
        with H5adRows(path) as rows:
            empty: tuple[str | None, ...] = (None,) * rows.n_samples
            labels = rows.labels(columns.label)
            tissues, studies, donors = (
                empty if name is None else rows.labels(name) for name in (columns.tissue, columns.study, columns.donor)
            )
            for row, label in enumerate(labels):
                n_unlabelled += label is None
                if label is not None:
                    study = study_of(studies[row] or path.stem)
                    found.append((number, row, rows.row_ids[row], label, tissues[row] or "", study, donors[row] or ""))
    if not found:
        raise InputError(f"No row of {', '.join(path.name for path in paths)} has a value in obs/{columns.label}.")
    files, places, *names = zip(*found, strict=True)
    ids, texts, of_tissue, of_study, of_donor = (tuple(map(str, column)) for column in names)
    return LabelledRows(
        files=np.array(files, dtype=np.int64),
        rows=np.array(places, dtype=np.int64),
        ids=ids,
        labels=texts,
        tissues=of_tissue,
        studies=of_study,
        donors=of_donor,
        n_unlabelled=n_unlabelled,
    )


class LabelCaptions:
    """Captions of labels: the template filled with the cleaned label, the label alone, then its synonyms in the template.

    Parameters
    ----------
    labels, tissues
        Parallel; labels are cleaned together within a tissue, so that they stay apart.
    template
        Text with ``{x}``.

    Attributes
    ----------
    cleaning
        (tissue, label) -> what was made of it.
    """

    def __init__(self, labels: Sequence[str], tissues: Sequence[str], *, template: str) -> None:
        if "{x}" not in template:
            raise InputError(f"The template {template!r} has no {{x}} where the label goes.")
        self._template = template
        self.cleaning: dict[tuple[str, str], CleanLabel] = {}
        for tissue in sorted(set(tissues)):
            here = sorted({label for label, where in zip(labels, tissues, strict=True) if where == tissue})
            for row in clean_labels(here, tissue=tissue or None):
                self.cleaning[tissue, row.raw] = row

    def of(self, label: str, tissue: str) -> tuple[str, ...]:
        """Return the captions of a label."""
        text = self.cleaning[tissue, label].cleaned
        synonyms = label_paraphrases(text)[1:] if self.cleaning[tissue, label].term_id else ()
        filled = [self._template.replace("{x}", name) for name in (text, *synonyms)]
        return tuple(dict.fromkeys((filled[0], text, *filled[1:])))[:_MAX_CAPTIONS]


class LabelledCellsSource(Items):
    """Cells with labels.

    Parameters
    ----------
    paths
        h5ad files.
    genes
        The model's genes.
    columns
        Columns of ``obs``.
    template
        Text around a label.
    max_per_label
        Most cells of one label and study, drawn with ``seed``; ``None``: all.
    augmentation, organism, name
        As for the other sources.
    seed
        Of the draw of cells.

    Attributes
    ----------
    captions_of
        How labels were read.

    Raises
    ------
    InputError
        If a file is an evaluation set, no row has a label, or the template has no place for it.
    """

    kind: SourceKind = "cells"

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        genes: GeneMap,
        columns: Columns | None = None,
        template: str = TEMPLATE,
        max_per_label: int | None = None,
        unit: Unit | None = None,
        augmentation: Augmentation | None = None,
        organism: str = "human",
        name: str = "cells",
        seed: int = 0,
    ) -> None:
        self._columns, self._template = columns or Columns(), template
        self._rows = read_labelled_rows(paths, self._columns)
        self._kept = _cap(self._rows, max_per_label, seed=seed)
        self.captions_of = LabelCaptions(self._rows.labels, self._rows.tissues, template=template)
        self._augmentation = augmentation
        self._genes_digest = sha256_json([genes.ensembl_ids, organism, unit])
        self._reader = AlignedFiles(
            paths, opener=lambda path: H5adRows(path, unit=unit), genes=genes, organism=organism
        )
        super().__init__(name, [self._rows.ids[row] for row in self._kept])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the files and everything that decides items and captions."""
        files = [sha256_file(path) for path in self._reader.paths]
        return sha256_json(
            [self.kind, files, vars(self._columns), self._template, self._kept.tolist(), self._genes_digest]
        )

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield study and donor of each cell."""
        for row, place in enumerate(self._kept):
            study, donor = self._rows.studies[place], self._rows.donors[place]
            yield row, f"{STUDY}{study}"
            if donor:
                public = donors_in(donor)
                yield row, f"donor:{public[0] if public else f'{study}/{donor}'}"

    def captions(self, row: int) -> tuple[str, ...]:
        """Return the texts of a cell's label, the filled template first."""
        place = self._kept[row]
        return self.captions_of.of(self._rows.labels[place], self._rows.tissues[place])

    def expression(self, rows: Rows, *, rng: RowRandom | None = None) -> AlignedExpression:
        """Return the expression of ``rows``; see ``PairSource``."""
        wanted = self._checked(rows)
        places = self._kept[wanted]
        aligned = self._reader.read(self._rows.files[places], self._rows.rows[places])
        if rng is None or self._augmentation is None:
            return aligned
        return augment(aligned, self._augmentation, rngs=[rng.of(self.name, int(row)) for row in wanted])


def _cap(rows: LabelledRows, most: int | None, *, seed: int) -> npt.NDArray[np.int64]:
    """Rows kept, in order: at most so many of a label in a study."""
    every = np.arange(len(rows.ids), dtype=np.int64)
    if most is None:
        return every
    order = np.random.default_rng(seed).permutation(every)
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for row in order:
        group = (rows.studies[row], rows.labels[row])
        seen[group] += 1
        if seen[group] <= most:
            kept.append(int(row))
    return np.array(sorted(kept), dtype=np.int64)
