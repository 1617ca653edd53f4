"""What belongs together: the study of a series, the donors a sample names.

Samples of one study share laboratory, protocol and often patients, and one patient may stand in several studies. Accessions
alone do not tell: GEO splits a study into series, programmes deposit theirs in parts, atlases are copied into each other.
"""

from __future__ import annotations

import re

# Series that are one study: GEO splits it into several accessions, one programme deposits it in parts, or it is one atlas.
_SAME_STUDY = (
    (re.compile(r"GSE10799[1-5]"), "GSE107991"),
    (re.compile(r"phs003208-.*"), "phs003208"),
    (re.compile(r"(TCGA-[A-Z]+)(-.*)?"), r"\1"),
    (re.compile(r"(?:MADE:)?GTEx-.*|phs000424.*"), "GTEx"),
    (re.compile(r"HPA-.*"), "HPA"),
)
# Names of people that mean the same person in every study; a "patient 1" is somebody else in each.
_DONORS = re.compile(
    r"(?<![A-Za-z0-9])(?:TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}|GTEX-[A-Z0-9]{4,5}|(?:NA|HG)\d{5}|SAM(?:N|EA|D)\d{4,}|HPSI\d{4}[a-z]+-[a-z]{4})"
    r"(?![A-Za-z0-9])"
)


def study_of(series_id: str) -> str:
    """Return the study a series belongs to, by default itself."""
    for pattern, study in _SAME_STUDY:
        match = pattern.fullmatch(series_id)
        if match:
            return match.expand(study)
    return series_id


def donors_in(*texts: str) -> tuple[str, ...]:
    """Return the people that texts name by a public identifier: TCGA patient, GTEx donor, 1000 Genomes line, BioSample."""
    return tuple(dict.fromkeys(name for text in texts for name in _DONORS.findall(text)))
