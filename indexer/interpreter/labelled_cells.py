"""Labelled cells of one or several files, ready to be learned from or measured on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from atlas.cells.label_text import clean_labels
from atlas.cells.row_texts import tissues_of
from atlas.cells.rows import CellRows, open_rows
from atlas.errors import InputError, NotFoundError
from atlas.expression.units import Unit
from atlas.interpreter.cell_genes import CellGenes, GeneReader, joined

MIN_CELLS = 2
"""A label with fewer cells cannot be learned: there is nothing to tell its cells' own noise from."""


@dataclass(frozen=True)
class LabelledCells:
    """Cells with labels.

    Attributes
    ----------
    cells
        What is read of each.
    rows
        ``(n,)`` int64, which rows of the files they are, in order; names may repeat.
    labels, texts
        Names, in alphabetical order, and what they are in words: cleaned, with the tissue where a file names one.
    codes
        ``(n,)`` int64, place of each cell's label.
    groups
        ``(n,)`` text: the donor of each cell, "" where none is known.
    organisms
        ``(n,)`` text: ``human`` or ``mouse``.
    left_out
        Label -> cells, of the labels that have too few.
    notes
        What a person should know, in sentences.
    """

    cells: CellGenes
    rows: np.ndarray
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    codes: np.ndarray
    groups: np.ndarray
    organisms: np.ndarray
    left_out: dict[str, int]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.codes)

    def take(self, chosen: np.ndarray) -> LabelledCells:
        """Return some of the cells, by number, with the labels that these have."""
        present, codes = np.unique(self.codes[chosen], return_inverse=True)
        return replace(
            self,
            cells=self.cells.take(chosen),
            rows=self.rows[chosen],
            labels=tuple(self.labels[code] for code in present),
            texts=tuple(self.texts[code] for code in present),
            codes=codes.astype(np.int64),
            groups=self.groups[chosen],
            organisms=self.organisms[chosen],
        )


def read_labelled(
    files: Sequence[Path],
    reader: GeneReader,
    *,
    label: str,
    group: str | None = None,
    layer: str | None = None,
    unit: Unit | None = None,
    organism: str | None = None,
    min_cells: int = MIN_CELLS,
) -> LabelledCells:
    """Read files of labelled cells; cells without a label, and of which nothing can be read, are left out and told.

    Parameters
    ----------
    label, group
        Columns of ``obs`` with the labels, and with the donors.
    layer, unit
        See :func:`atlas.cells.rows.open_rows`.
    organism
        ``human`` or ``mouse``, of all files; ``None``: of each, the one whose genes the names are.
    min_cells
        Labels with fewer cells are left out.

    Raises
    ------
    InputError
        If a file cannot be read, knows no gene, or fewer than two labels remain.
    NotFoundError
        If a column is missing.
    """
    parts, labels, groups, notes = [], [], [], []
    tissues: set[str | None] = set()
    for file in files:
        with open_rows(file, layer=layer, unit=unit) as rows:
            cells, reading = reader.read(rows, organism=organism)
            labels += list(rows.labels(label))
            groups += [one or "" for one in _groups(rows, group)]
            tissues |= set(tissues_of(rows))
        parts.append(cells)
        notes += [*reading.notes, *reader.few_described(cells)]
    tissue = tissues.pop() if len(tissues) == 1 else None
    return choose(joined(parts), labels, groups=groups, min_cells=min_cells, tissue=tissue, notes=notes)


def expect_columns(
    files: Sequence[Path], *, label: str, group: str | None = None, layer: str | None = None, unit: Unit | None = None
) -> None:
    """Refuse files without the columns that will be asked for, before anything costly begins.

    Raises
    ------
    InputError
        If a file cannot be read.
    NotFoundError
        If a column is missing.
    """
    for place, file in enumerate(files):
        if any(os.path.realpath(file) == os.path.realpath(one) for one in files[:place]):
            raise InputError(f"{file} is given twice, and its cells would count twice. Give each file once.")
        with open_rows(file, layer=layer, unit=unit) as rows:
            rows.labels(label)
            _groups(rows, group)


def choose(
    cells: CellGenes,
    labels: Sequence[str | None],
    *,
    groups: Sequence[str],
    min_cells: int,
    tissue: str | None = None,
    notes: Sequence[str] = (),
) -> LabelledCells:
    """Keep the cells that have a label with enough others, and of which something can be read.

    Parameters
    ----------
    tissue
        Where all cells are from; what a label is in words depends on it.

    Raises
    ------
    InputError
        If fewer than two labels remain.
    """
    readable = cells.has_genes
    counts = Counter(one for one, ok in zip(labels, readable, strict=True) if one is not None and ok)
    few = {name: n for name, n in sorted(counts.items()) if n < min_cells}
    names = tuple(name for name in sorted(counts) if name not in few)
    if not readable.any():
        raise InputError(
            f"Of none of the {len(labels):,} cells any gene can be read: their expression is empty or constant, or the genes "
            "that they express have no description. Choose another matrix of the file (--layer), or give other cells.",
            details={"cells": len(labels)},
        )
    if len(names) < 2:
        seen = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items())[:10]) or "none"
        raise InputError(
            f"Two labels with at least {min_cells} readable cells each are needed; there are: {seen}. Choose another column "
            "(--label), or give more cells.",
            details={"labels": dict(counts), "minimum": min_cells},
        )
    place = {name: i for i, name in enumerate(names)}
    rows = np.array(
        [i for i, (one, ok) in enumerate(zip(labels, readable, strict=True)) if ok and one in place], dtype=np.int64
    )
    said = [*notes]
    if few:
        said.append(
            f"Left out: labels with fewer than {min_cells} cells: {', '.join(f'{a} ({n})' for a, n in few.items())}."
        )
    said += _spelt_alike(names)
    unlabelled = sum(one is None for one in labels)
    unread = sum(one is not None and not ok for one, ok in zip(labels, readable, strict=True))
    said += [f"Left out: {unlabelled:,} cells without a label."] if unlabelled else []
    said += [f"Left out: {unread:,} cells of which no gene can be read."] if unread else []
    organisms = np.array(cells.organisms, dtype=str)[rows]
    codes = np.array([place[str(labels[row])] for row in rows], dtype=np.int64)
    texts = _apart(tuple(one.cleaned for one in clean_labels(names, tissue=tissue)), names)
    return LabelledCells(
        cells.take(rows), rows, names, texts, codes, np.array(groups, dtype=str)[rows], organisms, few, tuple(said)
    )


def _apart(texts: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Keep the labels as they are written where two would be the same text."""
    often = Counter(texts)
    kept = tuple(text if often[text] == 1 else name for text, name in zip(texts, names, strict=True))
    return kept if len(set(kept)) == len(kept) else names


def _spelt_alike(names: Sequence[str]) -> list[str]:
    """Say which labels differ in nothing but case and signs: they are learned apart, which nobody means."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault("".join(sign for sign in name.casefold() if sign.isalnum() or sign in "+-"), []).append(name)
    return [
        f"These labels differ in spelling alone and are learned apart: {', '.join(some)}. Write them one way if they are one."
        for some in alike.values()
        if len(some) > 1
    ]


def _groups(rows: CellRows, column: str | None) -> Sequence[str | None]:
    if column is None:
        return [""] * len(rows.row_ids)
    try:
        return rows.labels(column)
    except NotFoundError as error:
        raise NotFoundError(
            f"{error.message} It was asked for as the column of donors.", details=error.details
        ) from error
