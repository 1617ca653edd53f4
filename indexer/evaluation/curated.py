"""The curated labels of evaluation corpora, and the rules that say which of them a phrase should find.

This is the only place that reads ``curated_*``: they enter no caption, no pair, no facet.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import h5py
import numpy as np

from atlas.errors import InputError
from indexer.studies import study_of

PHRASE_RULES = Path(__file__).with_name("phrase_rules.tsv")
CONTRAST_RULES = Path(__file__).with_name("contrast_rules.tsv")
WORDINGS = Path(__file__).with_name("wordings.tsv")

Kind = Literal["tissue", "tumour", "disease"]
_RULE_COLUMNS = ["phrase", "kind", "tissue", "condition", "control"]
_WORDING_COLUMNS = ["phrase", "wording"]


@dataclass(frozen=True)
class CuratedSamples:
    """Labels of samples, one entry a sample in the order of the files; all arrays hold strings."""

    sample_ids: np.ndarray
    tissues: np.ndarray
    conditions: np.ndarray
    series: np.ndarray
    studies: np.ndarray

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True)
class PhraseRule:
    """Which samples a phrase should find.

    Attributes
    ----------
    phrase
        What is asked.
    kind
        ``tissue`` (or cell), ``tumour`` or ``disease``.
    tissue, condition
        Case-insensitive patterns searched in the curated fields; ``None`` asks nothing of that field.
    control
        Pattern of the conditions that count as controls of a disease.
    """

    phrase: str
    kind: Kind
    tissue: re.Pattern[str] | None
    condition: re.Pattern[str] | None
    control: re.Pattern[str] | None

    def positives(self, samples: CuratedSamples) -> np.ndarray:
        """Return ``(n_samples,)`` bool."""
        found: np.ndarray = _matches(self.tissue, samples.tissues) & _matches(self.condition, samples.conditions)
        return found

    def controls(self, samples: CuratedSamples) -> np.ndarray:
        """Return ``(n_samples,)`` bool; nobody for a tissue."""
        if self.control is None:
            return np.zeros(len(samples), dtype=bool)
        found: np.ndarray = _matches(self.control, samples.conditions) & ~self.positives(samples)
        return found


def read_curated(paths: Sequence[Path]) -> CuratedSamples:
    """Read the curated labels of HDF5 files, in order."""
    columns: dict[str, list[str]] = {
        name: [] for name in ("geo_accession", "curated_tissue", "curated_condition", "series_id")
    }
    for path in paths:
        with h5py.File(path) as file:
            for name, values in columns.items():
                if f"meta/samples/{name}" not in file:
                    raise InputError(f"{path} has no field meta/samples/{name}; it cannot serve as an evaluation set.")
                values += file[f"meta/samples/{name}"].asstr()[:].tolist()
    series = [ids.split(",")[0].strip() for ids in columns["series_id"]]
    return CuratedSamples(
        np.array(columns["geo_accession"]),
        np.array(columns["curated_tissue"]),
        np.array(columns["curated_condition"]),
        np.array(series),
        np.array([study_of(name) for name in series]),
    )


def read_phrase_rules(path: Path) -> tuple[PhraseRule, ...]:
    """Read a table of rules.

    Raises
    ------
    InputError
        If a column is missing, a pattern is none, or a kind is unknown.
    """
    return tuple(_rule(row, path) for row in _rows(path, columns=_RULE_COLUMNS))


def read_wordings(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the wordings of each phrase, the phrase itself first."""
    found: dict[str, tuple[str, ...]] = {}
    for row in _rows(path, columns=_WORDING_COLUMNS):
        found[row["phrase"]] = (*found.get(row["phrase"], (row["phrase"],)), row["wording"])
    return found


def _rows(path: Path, *, columns: list[str]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        if reader.fieldnames != columns:
            raise InputError(f"{path} has the columns {reader.fieldnames}, expected {columns}.")
        return list(reader)


def _matches(pattern: re.Pattern[str] | None, values: np.ndarray) -> np.ndarray:
    if pattern is None:
        return np.ones(len(values), dtype=bool)
    names, inverse = np.unique(values, return_inverse=True)
    return np.array([bool(pattern.search(name)) for name in names], dtype=bool)[inverse]


def _rule(row: dict[str, str], path: Path) -> PhraseRule:
    kind = next((known for known in get_args(Kind) if known == row["kind"]), None)
    if kind is None:
        raise InputError(
            f"{path}: the kind of {row['phrase']!r} is {row['kind']!r}, expected {' or '.join(get_args(Kind))}."
        )
    patterns: dict[str, re.Pattern[str] | None] = {}
    for name in ("tissue", "condition", "control"):
        try:
            patterns[name] = re.compile(row[name], re.IGNORECASE) if row[name] else None
        except re.error as error:
            raise InputError(f"{path}: {row[name]!r} of {row['phrase']!r} is no pattern: {error}.") from error
    if patterns["tissue"] is None and patterns["condition"] is None:
        raise InputError(f"{path}: {row['phrase']!r} has neither a tissue nor a condition pattern.")
    return PhraseRule(row["phrase"], kind, patterns["tissue"], patterns["condition"], patterns["control"])
