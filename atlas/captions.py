"""One readable line a sample, made of its structured fields alone: source, characteristics, title, series title.

Nothing is inferred. Fields that tell nothing about biology (identifiers, RNA quality, batches, "not available") are left out.
"""

from __future__ import annotations

import re
from functools import lru_cache

from atlas.accessions import MADE, id_kind, parse_characteristics

_EMPTY_VALUES = frozenset(
    "|-|--|.|?|na|n/a|n.a.|nan|null|missing|unknown|not known|not applicable|not available|not collected|not provided"
    "|not determined|not reported|unspecified|undetermined".split("|")
)
_TECHNICAL_KEYS = frozenset(
    "rin|rin score|rin number|rna integrity number|ercc|ercc mix|pmi|batch|plate|well|lane|flowcell|flow cell|barcode|index"
    "|library|run|center|sequencing center|read length|replicate|biological replicate|technical replicate|rep|id|study"
    "|patient|donor|subject|individual|participant|sample|sample name|sample number|tcga sample type code".split("|")
)
_TISSUE_KEYS = ("tissue", "tissue type", "tissue/cell type", "organ", "tissue source", "body site")
_CELL_KEYS = ("brain region", "brainregion", "cell type", "celltype", "sorted population", "cells", "cell line")
_ORIGIN_KEYS = frozenset((*_TISSUE_KEYS, *_CELL_KEYS, "source name"))  # left out where they repeat the source
_SPACE = re.compile(r"[\s_]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
_ACCESSION = re.compile(r"\(?\b(GS[EM]|[SED]R[RPXS]|PRJ[A-Z]{2})\d+\b\)?")


def deterministic_caption(title: str, source_name: str, *, characteristics: str, series_title: str) -> str:
    """Return one line such as ``"left ventricle; etiology: DCM; age: 51. Study: MAGNet ..."``.

    Parameters
    ----------
    title, source_name
        The sample's own title and source.
    characteristics
        Raw ``"key: value,key: value"`` text.
    series_title
        Title of the first series the sample belongs to; may be empty.

    Returns
    -------
    str
        Empty if no field tells anything.
    """
    source = _clean(source_name)
    facts = [source] if _tells(source) else []
    seen = {source.lower()}
    for key, value in informative_characteristics(characteristics):
        if value.lower() not in seen or key.lower() not in _ORIGIN_KEYS:
            facts.append(f"{key}: {value}" if key else value)
        seen.add(value.lower())
    sample_title = _clean(title)
    if _is_words(title) and sample_title.lower() not in seen:
        facts.append(sample_title)
    study = " ".join(_ACCESSION.sub("", series_title).split()).strip(" :;,-")
    parts = ["; ".join(facts)] if facts else []
    if _WORD.search(study):
        parts.append(f"Study: {study}")
    return ". ".join(part.rstrip(".") for part in parts) + ("." if parts else "")


@lru_cache(maxsize=65_536)  # samples of one study state the same
def informative_characteristics(raw: str) -> tuple[tuple[str, str], ...]:
    """Return the ``(key, value)`` pairs of ``raw`` that tell something about the sample, cleaned, in order."""
    pairs = ((_clean(key), _clean(value)) for key, value in parse_characteristics(raw))
    return tuple((key, value) for key, value in pairs if _tells(value) and not _is_technical(key))


def tissue_facet(source_name: str, characteristics: str) -> str:
    """Return the tissue a sample states, lower case; empty if it states none.

    A characteristic that is named for a tissue or organ comes first, then the source, then a cell type or cell line.
    """
    stated = {key.lower(): value.lower() for key, value in reversed(informative_characteristics(characteristics))}
    source = _clean(source_name).lower()
    candidates = [stated.get(key, "") for key in _TISSUE_KEYS] + [source] + [stated.get(key, "") for key in _CELL_KEYS]
    return next((value for value in candidates if _tells(value)), "")


def stated_material(source_name: str, characteristics: str) -> tuple[str, ...]:
    """Return what a sample is said to be made of, lower case: its source, cell type and cell line, where they tell."""
    stated = {key.lower(): value.lower() for key, value in reversed(informative_characteristics(characteristics))}
    values = (_clean(source_name).lower(), *(stated.get(key, "") for key in _CELL_KEYS))
    return tuple(value for value in values if _tells(value))


@lru_cache(maxsize=65_536)
def _clean(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def _tells(value: str) -> bool:
    return value.lower() not in _EMPTY_VALUES


def _is_technical(key: str) -> bool:
    lowered = key.lower()
    return lowered in _TECHNICAL_KEYS or lowered.endswith((" id", "identifier", "accession"))


def _is_words(title: str) -> bool:
    """Whether a title is more than a number, a code or an accession."""
    return id_kind(title.strip()) == MADE and bool(_WORD.search(_ACCESSION.sub("", title)))
