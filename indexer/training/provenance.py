"""Which series, atlases and gene-set libraries share their origin with an evaluation set.

The table is data: ``indexer/training/provenance.json``, keyed by the name of the set's file without suffix. A figure is
from a model that saw related data where :func:`seen_by` says so; the headline figure is from one trained without
:func:`withheld_from`. Markers collected from the literature may rest on any published study; where that is all that is known the
relation is "may include" and the library is named, not withheld.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

NEVER_TRAINED = frozenset({"GTEx-average-recount2", "MADE:heme-16populations"})
"""Series that are the same rows as evaluation sets: no source offers them and no statistics are taken from them."""

Relation = Literal["same samples", "same study", "same atlas", "same cell lines", "same tissue", "may include"]


class Related(BaseModel):
    """A library or series that has to do with an evaluation set.

    Attributes
    ----------
    kind, name
        What it is.
    relation
        How near it is; ``same tissue`` are other people's samples of the same material.
    withheld
        Whether the headline figure of the set must come from a model trained without it.
    why
        One line for the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["library", "series"]
    name: str
    relation: Relation
    withheld: bool
    why: str


class Provenance(BaseModel):
    """Where an evaluation set comes from, and what else comes from there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str
    accessions: tuple[str, ...]
    related: tuple[Related, ...]


@cache
def evaluation_provenance() -> Mapping[str, Provenance]:
    """Return evaluation set -> provenance, in the order of the table."""
    text = files("indexer.training").joinpath("provenance.json").read_text(encoding="utf-8")
    return MappingProxyType(TypeAdapter(dict[str, Provenance]).validate_json(text))


def seen_by(
    evaluation_set: str, *, libraries: Collection[str] = (), series: Collection[str] = ()
) -> tuple[Related, ...]:
    """Return what a model that was trained on these libraries and series saw of the set's origin; empty for an unknown set."""
    known = evaluation_provenance().get(evaluation_set)
    used = {"library": frozenset(libraries), "series": frozenset(series)}
    return tuple(one for one in known.related if one.name in used[one.kind]) if known else ()


def withheld_from_all() -> tuple[frozenset[str], frozenset[str]]:
    """Return (libraries, series) that a model is trained without to have a headline figure for every set."""
    withheld = [withheld_from(name) for name in evaluation_provenance()]
    return (
        frozenset().union(*(libraries for libraries, _ in withheld)),
        frozenset().union(*(series for _, series in withheld)),
    )


def withheld_from(evaluation_set: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return (libraries, series) that a model for the set's headline figure is trained without."""
    known = evaluation_provenance().get(evaluation_set)
    related = known.related if known else ()
    return (
        frozenset(one.name for one in related if one.withheld and one.kind == "library"),
        frozenset(one.name for one in related if one.withheld and one.kind == "series"),
    )
