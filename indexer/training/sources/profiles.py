"""``ProfileSource``: the mean profile of each label, one item a label, tissue and study.

In: h5ad files of cells or of ready profiles. Out: pairs of label text and mean profile. A cell counts with the parts per million
of its own total, so deep cells do not outweigh shallow ones; a row that is alone in its group is its own profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from atlas.cells.rows import H5adRows
from atlas.digests import sha256_file, sha256_json
from atlas.expression.align import AlignedExpression, Coverage, GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.log import linear_values
from atlas.expression.units import Unit
from indexer.training.augmentation import Augmentation, augment
from indexer.training.blocking import STUDY
from indexer.training.sources.items import Items
from indexer.training.sources.labelled_cells import TEMPLATE, Columns, LabelCaptions, read_labelled_rows
from indexer.training.sources.source import RowRandom, Rows, SourceKind

_PER_ROW = 1e6


class ProfileSource(Items):
    """Mean profiles with labels.

    Parameters
    ----------
    paths, genes, columns, template, unit, augmentation, organism, name
        As for :class:`LabelledCellsSource`. Memory is one (n_profiles, n_model_genes) float32 table.

    Raises
    ------
    InputError
        If a file is an evaluation set, no row has a label, or the template has no place for it.
    """

    kind: SourceKind = "profiles"

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        genes: GeneMap,
        columns: Columns | None = None,
        template: str = TEMPLATE,
        unit: Unit | None = None,
        augmentation: Augmentation | None = None,
        organism: str = "human",
        name: str = "profiles",
    ) -> None:
        self._paths, self._genes, self._organism, self._unit = tuple(paths), genes, organism, unit
        self._columns, self._template = columns or Columns(), template
        self._augmentation = augmentation
        self._rows = read_labelled_rows(paths, self._columns)
        keys = list(zip(self._rows.studies, self._rows.tissues, self._rows.labels, strict=True))
        self._groups = sorted(set(keys))
        place = {key: number for number, key in enumerate(self._groups)}
        self._group_of = np.array([place[key] for key in keys], dtype=np.int64)
        self.captions_of = LabelCaptions(self._rows.labels, self._rows.tissues, template=template)
        super().__init__(name, [" / ".join(filter(None, key)) for key in self._groups])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the files and everything that decides items and captions."""
        files = [sha256_file(path) for path in self._paths]
        genes = sha256_json(self._genes.ensembl_ids)
        return sha256_json([self.kind, files, vars(self._columns), self._template, genes, self._organism, self._unit])

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield the study of each profile."""
        for row, (study, _, _) in enumerate(self._groups):
            yield row, f"{STUDY}{study}"

    def captions(self, row: int) -> tuple[str, ...]:
        """Return the texts of a profile's label, the filled template first."""
        _, tissue, label = self._groups[row]
        return self.captions_of.of(label, tissue)

    def expression(self, rows: Rows, *, rng: RowRandom | None = None) -> AlignedExpression:
        """Return the profiles ``rows``, parts per million of the measured genes."""
        wanted = self._checked(rows)
        values, measured, coverage = self._profiles
        ids = tuple(self.item_ids[row] for row in wanted)
        aligned = AlignedExpression(values[wanted], measured[wanted], (Unit.TPM,) * wanted.size, ids, coverage)
        if rng is None or self._augmentation is None:
            return aligned
        return augment(aligned, self._augmentation, rngs=[rng.of(self.name, int(row)) for row in wanted])

    @cached_property
    def _profiles(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], Coverage]:
        """Read all files once, block by block."""
        shape = (len(self), len(self._genes))
        sums, measured = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
        n_rows = np.bincount(self._group_of, minlength=len(self))
        coverage: Coverage | None = None
        for number, path in enumerate(self._paths):
            mine = self._rows.files == number
            group_of = dict(zip(self._rows.rows[mine].tolist(), self._group_of[mine].tolist(), strict=True))
            with H5adRows(path, unit=self._unit) as source:
                aligner = GeneAligner(source.genes, source.symbols, genes=self._genes, organism=self._organism)
                coverage = coverage or aligner.coverage
                for rows, matrix in source.blocks(np.array(sorted(group_of), dtype=np.int64)):
                    _add(aligner.align(matrix), [group_of[int(row)] for row in rows], sums=sums, measured=measured)
        sums /= np.maximum(n_rows, 1)[:, None]
        return sums, measured, coverage or Coverage(0, 0, 0, 0, 0, "mixed", self._organism, ())


def _add(
    aligned: AlignedExpression,
    groups: Sequence[int],
    *,
    sums: npt.NDArray[np.float32],
    measured: npt.NDArray[np.bool_],
) -> None:
    """Add each row's parts per million to its group."""
    for row, group in enumerate(groups):
        known = aligned.measured[row]
        linear = linear_values(aligned.values[row, known], unit=aligned.units[row])
        total = float(linear.sum())
        if total > 0:
            sums[group, known] += (linear * (_PER_ROW / total)).astype(np.float32)
        measured[group] |= known
