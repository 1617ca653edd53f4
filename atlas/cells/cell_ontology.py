"""Names of cell types as the Cell Ontology writes them: look-up by name or exact synonym, and the synonyms of a name.

Source: Cell Ontology, release 2024-04-05 (CC BY 4.0), packaged as ``atlas/cells/cell_ontology.tsv``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from atlas.errors import ArtifactError
from atlas.resources import resource_path

_FILE = "cells/cell_ontology.tsv"
_HEADER = "id\tname\tsynonyms"
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class CellType:
    """A term of the ontology: id such as ``CL:0000084``, name, exact synonyms."""

    term_id: str
    name: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class CellOntology:
    """The terms, found by name.

    Attributes
    ----------
    by_name, by_synonym
        Lower-case name or exact synonym -> term; no two terms share one.
    spelling
        Lower-case word -> how the ontology writes it where it is always capitalised: ``schwann`` -> ``Schwann``.
    words
        Every word of a name, lower case.
    """

    by_name: Mapping[str, CellType]
    by_synonym: Mapping[str, CellType]
    spelling: Mapping[str, str]
    words: frozenset[str]

    def find(self, text: str) -> CellType | None:
        """Return the term that ``text`` names, letter case aside; names win over synonyms."""
        key = text.lower()
        return self.by_name.get(key) or self.by_synonym.get(key)

    def spell(self, text: str) -> str:
        """Return ``text`` in the ontology's own letter case if it names a term, else as it is."""
        term = self.find(text)
        names = (term.name, *term.synonyms) if term else ()
        return next((name for name in names if name.lower() == text.lower()), text)


@cache
def cell_ontology() -> CellOntology:
    """Return the packaged terms, read once.

    Raises
    ------
    ArtifactError
        If the installation lacks the table, or it is no such table.
    """
    lines = resource_path(_FILE).read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    if not rows or "\t".join(rows[0]) != _HEADER or any(len(row) != 3 for row in rows):
        raise ArtifactError("The packaged table of cell types is damaged. Reinstall geo-atlas.", kind="corrupt")
    terms = [CellType(term_id, name, tuple(filter(None, names.split("|")))) for term_id, name, names in rows[1:]]
    return CellOntology(
        by_name=MappingProxyType({term.name.lower(): term for term in terms}),
        by_synonym=MappingProxyType({name.lower(): term for term in terms for name in term.synonyms}),
        spelling=MappingProxyType(_spelling(terms)),
        words=frozenset(word.lower() for term in terms for word in _WORD.findall(term.name)),
    )


def _spelling(terms: list[CellType]) -> dict[str, str]:
    """Words of four letters or more that no name writes in lower case."""
    written: dict[str, set[str]] = {}
    for term in terms:
        for word in _WORD.findall(" ".join((term.name, *term.synonyms))):
            written.setdefault(word.lower(), set()).add(word)
    return {
        word: next(iter(forms))
        for word, forms in written.items()
        if len(word) >= 4 and len(forms) == 1 and next(iter(forms)) != word
    }
