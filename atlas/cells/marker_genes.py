"""Marker genes that a label names: ``FCGR3A-positive monocyte`` is a monocyte with much FCGR3A.

In: a cleaned label (:mod:`atlas.cells.label_text` writes signs out). Out: the genes with their sign, and their direction in the
space of a model whose vectors are weighted sums of gene vectors. A text tower knows words and few genes; the gene table knows
the genes. Ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from atlas.expression.genes import GeneMap
from atlas.model.joint import JointModel

# Names in use that mean several genes, one of several that share the name, or an isoform, which the expression of a gene
# cannot tell.
SEVERAL = MappingProxyType(
    {
        "C-KIT": ("KIT",),
        "CD3": ("CD3D", "CD3E", "CD3G"),
        "CD8": ("CD8A", "CD8B"),
        "CD8ALPHA": ("CD8A",),
        "CD11B": ("ITGAM",),
        "CD11C": ("ITGAX",),
        "CD16": ("FCGR3A",),
        "CD20": ("MS4A1",),
        "CD25": ("IL2RA",),
        "CD45RA": (),
        "CD45RO": (),
        "CD105": ("ENG",),
        "HLA-DR": ("HLA-DRA", "HLA-DRB1"),
        "KI67": ("MKI67",),
        "KI-67": ("MKI67",),
        "PD1": ("PDCD1",),
        "PD-1": ("PDCD1",),
        "TIM-3": ("HAVCR2",),
    }
)
_SIGNED = re.compile(r"(?<![\w-])([A-Za-z][\w-]+?)-(positive|high|negative)(?![\w-])")
_SHORTEST_SYNONYM = 3
_TINY = 1e-12


@dataclass(frozen=True)
class Marker:
    """A gene, or the genes of one complex.

    Attributes
    ----------
    name
        As the label has it, e.g. ``CD8``.
    rows
        Rows of the model's gene map.
    sign
        1 where the label says positive or high, -1 where negative.
    """

    name: str
    rows: tuple[int, ...]
    sign: int


def markers_of(text: str, genes: GeneMap) -> tuple[Marker, ...]:
    """Return the genes that a cleaned label names with a sign, in order; names that are no human gene are left out.

    ``-low`` says neither that a gene is there nor that it is not, and counts as nothing.
    """
    found = []
    for name, said in _SIGNED.findall(text):
        rows = genes.rows_of(SEVERAL.get(name.upper(), (name,)), organism="human")
        known = tuple(int(row) for row in rows if row >= 0 and _is_name(name, genes.symbols[row]))
        if known:
            found.append(Marker(name, known, -1 if said == "negative" else 1))
    return tuple(found)


def _is_name(name: str, symbol: str) -> bool:
    """Whether a name of two letters is the gene's symbol: of synonyms so short most mean something else (``MS``, ``ER``)."""
    return len(name) >= _SHORTEST_SYNONYM or name.upper() == symbol.upper()


def marker_directions(texts: Sequence[str], model: JointModel) -> np.ndarray:
    """Return ``(n_texts, dim)`` float64: the signed sum of unit vectors of the markers of each text, 0 where it names none.

    Of a complex the unit vectors of its genes are averaged first. A model whose vectors are no weighted sums of gene vectors
    has no such directions: all are 0.
    """
    directions = np.zeros((len(texts), model.dim), dtype=np.float64)
    if not model.explains_by_genes:
        return directions
    for i, text in enumerate(texts):
        for marker in markers_of(text, model.genes):
            directions[i] += marker.sign * unit(unit(model.gene_vectors(np.array(marker.rows))).sum(axis=0))
    return directions


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return ``(..., dim)`` vectors of length 1; a zero stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY))
