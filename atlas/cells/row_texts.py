"""What the labels are read as in every row: by the row's own tissue, and by nothing else of the file.

In: rows (:mod:`atlas.cells.rows`) and labels. Out: one :class:`LabelTexts` a tissue, read when it is asked for, and the vectors
of its texts. Memory is bounded by the labels, however many tissues a file names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from atlas.cells.marker_genes import unit
from atlas.cells.rows import CellRows
from atlas.cells.texts import LabelTexts, label_texts
from atlas.errors import NotFoundError
from atlas.model.joint import JointModel

TISSUE_COLUMNS = ("tissue", "organ", "organ_tissue")
MOST_TISSUES = 1_000  # whose texts are told
_TISSUES_KEPT = 256
_TEXTS_KEPT = 16_384  # texts that a tissue made; the ontology has fewer cell types than that


@dataclass(frozen=True)
class TissueTexts:
    """One tissue whose rows are read otherwise than :attr:`RowTexts.common`.

    Attributes
    ----------
    tissue
        The tissue; ``None`` for rows that name none.
    n_rows
        Rows of it.
    texts
        Label -> text, of the labels that are read otherwise.
    """

    tissue: str | None
    n_rows: int
    texts: dict[str, str]


class RowTexts:
    """The texts of one list of labels for every row of a source.

    Parameters
    ----------
    labels, templates, as_written
        See :func:`atlas.cells.texts.label_texts`.
    tissues
        Tissue of each row, ``None`` for none.

    Attributes
    ----------
    common
        What the labels are read as in rows of the one tissue of the source; where it names several, in rows without one.
    n_tissues
        Distinct tissues, "none" not counted.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        tissues: Sequence[str | None],
        templates: Sequence[str] = (),
        as_written: bool = False,
    ) -> None:
        n_rows = Counter(None if as_written else tissue for tissue in tissues)
        self._n_rows = n_rows.most_common()
        codes = {tissue: code for code, (tissue, _) in enumerate(self._n_rows)}
        self._codes = np.fromiter((codes[None if as_written else tissue] for tissue in tissues), dtype=np.int32)

        @lru_cache(maxsize=_TISSUES_KEPT)
        def read(tissue: str | None) -> LabelTexts:
            return label_texts(labels, templates=templates, tissue=tissue, as_written=as_written)

        self.read = read
        self.common = read(self._n_rows[0][0] if len(self._n_rows) == 1 else None)
        self.n_tissues = sum(tissue is not None for tissue, _ in self._n_rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels as given, one a column."""
        return self.common.labels

    @cached_property
    def by_tissue(self) -> tuple[TissueTexts, ...]:
        """What rows are read as otherwise than ``common``, of the ``MOST_TISSUES`` tissues of most rows, these first."""
        found = []
        for tissue, n_rows in self._n_rows[:MOST_TISSUES]:
            pairs = zip(self.labels, self.read(tissue).texts, self.common.texts, strict=True)
            otherwise = {label: text for label, text, common in pairs if text != common}
            if otherwise:
                found.append(TissueTexts(tissue, n_rows, otherwise))
        return tuple(found)

    def groups(self, start: int, n: int) -> Iterator[tuple[npt.NDArray[np.intp], LabelTexts]]:
        """Yield places among the ``n`` rows from ``start``, and the texts of those rows; one group a tissue."""
        codes = self._codes[start : start + n]
        for code in np.unique(codes):
            yield np.flatnonzero(codes == code), self.read(self._n_rows[code][0])


class TextVectors:
    """Unit vectors of texts.

    A label that the tissue changes stands for the mean of both readings, ``alpha cell`` and ``pancreatic alpha cell``: the
    name in its tissue is nearer where a library has it, and drifts to the tissue's other cells where none has.

    What labels are read as without a tissue is embedded together; a text that a tissue made is embedded alone, because texts
    that share a batch round differently and a row must not depend on which other tissues its file names.
    """

    def __init__(self, texts: RowTexts, *, model: JointModel) -> None:
        bare = texts.read(None)
        self._texts, self._bare, self._bare_vectors = texts, bare.texts, bare.embed(model)
        self.n_labels = len(bare.labels)

        @lru_cache(maxsize=_TEXTS_KEPT)
        def alone(text: str) -> npt.NDArray[np.float32]:
            (vector,) = LabelTexts((text,), (text,), ((),), bare.templates, None).embed(model)
            return np.asarray(vector)

        self._alone = alone

    def of_rows(self, start: int, n: int) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
        """Yield places among the ``n`` rows from ``start``, and ``(n_labels, dim)`` float32 of those rows' texts."""
        for places, texts in self._texts.groups(start, n):
            yield places, self._of(texts)

    def _of(self, texts: LabelTexts) -> npt.NDArray[np.float32]:
        if texts.texts == self._bare:
            return self._bare_vectors
        vectors = self._bare_vectors.copy()
        for place, (text, bare) in enumerate(zip(texts.texts, self._bare, strict=True)):
            if text != bare:
                vectors[place] = unit(self._bare_vectors[place].astype(np.float64) + self._alone(text))
        return vectors


def row_texts(
    rows: CellRows,
    labels: Sequence[str],
    *,
    templates: Sequence[str] = (),
    tissue: str | None = None,
    as_written: bool = False,
) -> RowTexts:
    """Return what ``labels`` are read as in each of ``rows``.

    Parameters
    ----------
    tissue
        Where all rows are from; ``None``: what ``obs`` says of each; ``""``: nothing.
    labels, templates, as_written
        See :func:`atlas.cells.texts.label_texts`.

    Raises
    ------
    InputError
        If a label or a template cannot be used.
    """
    said = tissues_of(rows) if tissue is None else (tissue.strip() or None,) * len(rows.row_ids)
    return RowTexts(labels, tissues=said, templates=templates, as_written=as_written)


def tissues_of(rows: CellRows) -> tuple[str | None, ...]:
    """Return the tissue of each row: the first of ``TISSUE_COLUMNS`` that ``obs`` has, whatever it holds; else ``None``."""
    for column in TISSUE_COLUMNS:
        try:
            return rows.labels(column)
        except NotFoundError:
            continue
    return (None,) * len(rows.row_ids)
