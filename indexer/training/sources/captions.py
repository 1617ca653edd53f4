"""Several texts of one sample, all made of what the sample itself states: replicates that say the same in other words.

Nothing is inferred and nothing is random; labels that a curator added (``curated_*``) never reach this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from atlas.captions import deterministic_caption, informative_characteristics, stated_material, tissue_facet

_NUMBER = re.compile(r"[\d.,+\- ]+")
_SHORTEST = 3  # letters of a value that still says something


def caption_variants(
    title: str, source_name: str, *, characteristics: str, series_title: str, extra: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the distinct captions of a sample; empty if it states nothing.

    Parameters
    ----------
    title, source_name, characteristics, series_title
        As in :func:`atlas.captions.deterministic_caption`.
    extra
        Captions written elsewhere, for instance by a language model; they follow the plain one.
    """
    full = deterministic_caption(title, source_name, characteristics=characteristics, series_title=series_title)
    own = deterministic_caption(title, source_name, characteristics=characteristics, series_title="")
    facts = informative_characteristics(characteristics)
    named = _named(source_name, characteristics, written=[source_name, *(value for _, value in facts)])
    told = [
        f"{key} {value}" if key else value for key, value in facts if value.lower() not in named.lower().split(", ")
    ]
    texts = [full, *extra, own]
    if named:
        texts.append(f"A sample of {named}.")
        if told:
            texts.append(f"A sample of {named} with {', '.join(told)}.")
    study = full.rpartition("Study: ")[2] if "Study: " in full else ""
    if study and named:
        texts.append(f"{study.rstrip('.')}: {named}.")
    return tuple(dict.fromkeys(text for text in texts if text))


def statements(source_name: str, characteristics: str) -> tuple[str, ...]:
    """Return the single facts a sample states of itself: what it is made of, each characteristic's value, its source.

    Numbers and values of three letters or fewer stand for nothing on their own and are left out.
    """
    material = (*stated_material(source_name, characteristics), tissue_facet(source_name, characteristics))
    values = (value for _, value in informative_characteristics(characteristics) if len(value) > _SHORTEST)
    texts = (", ".join(dict.fromkeys(name for name in material if name)), *values, " ".join(source_name.split()))
    return tuple(dict.fromkeys(text for text in texts if text and not _NUMBER.fullmatch(text)))


def _named(source_name: str, characteristics: str, *, written: Sequence[str]) -> str:
    """Name what a sample is made of, in the letter case it is written in, each once."""
    case = {text.replace("_", " ").strip().lower(): text.replace("_", " ").strip() for text in written}
    names = (*stated_material(source_name, characteristics), tissue_facet(source_name, characteristics))
    return ", ".join(case.get(name, name) for name in dict.fromkeys(names) if name)
