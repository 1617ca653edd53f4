"""``GeneMap``: which row of the model a gene name belongs to, human and mouse.

A name is tried as Ensembl id (version stripped), then as current symbol, then as a synonym that only one gene of the organism
carries and that is no current symbol. A column that has a well-formed Ensembl id unknown to the model is matched by its current
symbol only: the synonym of one gene is often the symbol of a neighbouring non-coding one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError, InputError

Organism = Literal["human", "mouse"]

_ENSEMBL = re.compile(r"^(ENS(?:[A-Z]{3,4})?G\d{11})(?:\.\d+)?(?:_PAR_Y)?$", re.IGNORECASE)
_PREFIX = {"human": "ENSG", "mouse": "ENSMUSG"}
_MOUSE_CASE = re.compile(r"^[A-Z][a-z0-9]*[a-z][a-z0-9]*$")
_SCHEMA = pa.schema(
    [
        ("ensembl_id", pa.string()),
        ("symbol", pa.string()),
        ("synonyms", pa.list_(pa.string())),
        ("organism", pa.string()),
    ]
)


def strip_version(label: str) -> str | None:
    """Return the Ensembl gene id of ``label`` without version, upper case; ``None`` if it is no such id."""
    match = _ENSEMBL.match(label)
    return match.group(1).upper() if match else None


@dataclass(frozen=True)
class GeneMap:
    """Identity of the model's genes; row order is the order of the model's gene table.

    Attributes
    ----------
    ensembl_ids, symbols, organisms
        One a row; ``organisms`` holds ``human`` or ``mouse``.
    synonyms
        The other names of each row's gene; may be empty.
    """

    ensembl_ids: tuple[str, ...]
    symbols: tuple[str, ...]
    organisms: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse columns of different length."""
        lengths = {len(self.ensembl_ids), len(self.symbols), len(self.organisms)}
        if len(lengths) != 1 or (self.synonyms and len(self.synonyms) != len(self.symbols)):
            raise ArtifactError("The columns of the gene map differ in length.", kind="corrupt")

    def __len__(self) -> int:
        return len(self.ensembl_ids)

    @classmethod
    def read(cls, path: Path) -> GeneMap:
        """Read ``genes.parquet`` of a model folder.

        Raises
        ------
        ArtifactError
            If the file is missing or is no gene map.
        """
        if not path.is_file():
            raise ArtifactError(f"The gene map {path} does not exist. Give a complete model folder.", kind="missing")
        try:
            table = pq.read_table(path, columns=_SCHEMA.names).cast(_SCHEMA)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ArtifactError(f"{path} is no gene map (expected columns {_SCHEMA.names}).", kind="corrupt") from error
        return cls(
            ensembl_ids=tuple(table["ensembl_id"].to_pylist()),
            symbols=tuple(table["symbol"].to_pylist()),
            organisms=tuple(table["organism"].to_pylist()),
            synonyms=tuple(tuple(names or ()) for names in table["synonyms"].to_pylist()),
        )

    def write(self, path: Path) -> None:
        """Write ``genes.parquet``; ``read`` gives the same map back."""
        synonyms = self.synonyms or ((),) * len(self)
        columns = [self.ensembl_ids, self.symbols, [list(names) for names in synonyms], self.organisms]
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        pq.write_table(pa.table(arrays, schema=_SCHEMA), path)

    def mask(self, organism: str) -> npt.NDArray[np.bool_]:
        """Return (n_rows,) bool, true for the genes of ``organism``."""
        return np.array([name == organism for name in self.organisms], dtype=bool)

    def rows_of(
        self, labels: Sequence[str], symbols: Sequence[str] | None = None, *, organism: str = "human"
    ) -> npt.NDArray[np.int32]:
        """Return the row of each label, (n_labels,) int32, -1 where the model does not know the gene.

        Parameters
        ----------
        labels
            Ensembl ids or symbols, mixed if need be.
        symbols
            A second name of each label, used where the first is not found.
        organism
            Only genes of this organism are matched.
        """
        tables = self._tables[organism] if organism in self._tables else _Tables({}, {}, {}, {})
        second: Sequence[str] = symbols if symbols is not None else [""] * len(labels)
        rows = (tables.row_of(label.strip(), name.strip()) for label, name in zip(labels, second, strict=True))
        return np.fromiter(rows, dtype=np.int32, count=len(labels))

    def n_exact(self, labels: Sequence[str], *, organism: str) -> int:
        """Return how many labels are an Ensembl id or, letter case included, a current symbol of ``organism``."""
        tables = self._tables.get(organism)
        prefix = _PREFIX.get(organism, "\0")
        ids = [strip_version(label) for label in labels]
        by_id = sum(1 for id_ in ids if id_ and re.fullmatch(prefix + r"\d+", id_))
        by_symbol = sum(1 for id_, x in zip(ids, labels, strict=True) if not id_ and tables and x in tables.symbols)
        return by_id + by_symbol

    @cached_property
    def _tables(self) -> Mapping[str, _Tables]:
        return {organism: self._build_tables(organism) for organism in sorted(set(self.organisms))}

    def _build_tables(self, organism: str) -> _Tables:
        rows = [row for row, name in enumerate(self.organisms) if name == organism]
        symbols = {self.symbols[row]: row for row in reversed(rows) if self.symbols[row]}  # the first row wins
        folded = Counter(symbol.upper() for symbol in symbols)
        upper = {symbol.upper(): row for symbol, row in symbols.items() if folded[symbol.upper()] == 1}
        named = [(name, row) for row in rows for name in set(self.synonyms[row] if self.synonyms else ())]
        uses = Counter(name for name, _ in named)
        synonyms = {name: row for name, row in named if name and uses[name] == 1 and name.upper() not in upper}
        ids = {self.ensembl_ids[row].upper(): row for row in reversed(rows) if self.ensembl_ids[row]}
        return _Tables(ids, symbols, upper, synonyms)


@dataclass(frozen=True)
class _Tables:
    """Look-up tables of one organism: name -> row."""

    ids: Mapping[str, int]
    symbols: Mapping[str, int]
    upper: Mapping[str, int]  # symbols in upper case, where that is unambiguous: C1ORF112 is C1orf112
    synonyms: Mapping[str, int]

    def row_of(self, label: str, symbol: str) -> int:
        """Row of one gene, -1 if unknown."""
        id_ = strip_version(label)
        if id_ is None:
            row = self._by_name(label)
            if row >= 0 or not symbol:
                return row
            second = strip_version(symbol)
            return self._by_name(symbol) if second is None else self.ids.get(second, -1)
        row = self.ids.get(id_, -1)
        return row if row >= 0 else self.symbols.get(symbol, -1)

    def _by_name(self, name: str) -> int:
        for table, key in ((self.symbols, name), (self.upper, name.upper()), (self.synonyms, name)):
            if key in table:
                return table[key]
        return -1


def looks_like_mouse(labels: Sequence[str]) -> bool:
    """Whether most labels are written as mouse genes are: ``ENSMUSG...`` or ``Gapdh``."""
    mouse = sum(1 for x in labels if x.upper().startswith("ENSMUSG") or _MOUSE_CASE.match(x))
    return mouse > len(labels) / 2


def refuse_other_organism(labels: Sequence[str], *, genes: GeneMap, organism: str) -> None:
    """Raise ``InputError`` if the labels are clearly genes of the other organism.

    Clearly: more labels are, letter for letter, genes of the other one than of ``organism``.
    """
    other = "mouse" if organism == "human" else "human"
    n_own, n_other = genes.n_exact(labels, organism=organism), genes.n_exact(labels, organism=other)
    if n_other <= n_own and not (organism == "human" and n_own == 0 and looks_like_mouse(labels)):
        return
    examples = ", ".join(labels[:5])
    raise InputError(
        f"The genes are {other} genes, and {organism} ones are expected: of {len(labels):,} names {n_other:,} are {other} "
        f"and {n_own:,} {organism} genes (for example {examples}). Give {organism} samples, or leave the organism to the names "
        "where it was declared.",
        details={"organism": other, "expected_organism": organism, "n_other": n_other, "n_own": n_own},
    )
