"""What the name of a gene set says: a readable text, a direction, and the studies it was made from.

``Acne C0702166 human GSE10432 sample 297`` is the text ``Acne`` of study GSE10432. Accessions are taken from the raw name, so
that sets of a held-out study can be left out before cleaning hides where they come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from atlas.cells.label_text import join_hierarchy
from atlas.vocabulary import readable_term

_ACCESSION = re.compile(r"\b(GSE\d+|GDS\d+|[SED]RP\d+|PRJ[A-Z]{2}\d+|E-[A-Z]{4}-\d+)\b")
_DIRECTION = re.compile(r"\s+(up|down|dn)$", re.IGNORECASE)
_FILE_DIRECTION = re.compile(r"_(up|down|dn)$", re.IGNORECASE)
_EXPERIMENT = re.compile(r"\s*(?:\b(?:human|mouse|rat)\s+)?\b(?:GSE|GDS)\d+\b.*$", re.IGNORECASE)
_ID = re.compile(r"\s*\(?\b(?:(?:GO|HP|CL|UBERON|DOID|MONDO)[:_-]?\s?\d{4,}|(?:UMLS CUI-)?C\d{6,7})\)?$")
_ORGANISM = re.compile(r"\s+(human|mouse)$", re.IGNORECASE)
_NOTHING = re.compile(r"\s*[:-]?\s*\bUndefined$")


@dataclass(frozen=True)
class SetName:
    """One name, read.

    Attributes
    ----------
    text
        What a person would write, and a model reads.
    key
        Name without its direction: the two halves of a signed signature share it.
    direction
        1 genes that go up (or belong to the set), -1 genes that go down.
    accessions
        Public studies that the raw name mentions.
    """

    text: str
    key: str
    direction: int
    accessions: tuple[str, ...]


def library_of(stem: str) -> tuple[str, int]:
    """Return (library, direction) of a file's name: ``X_up`` and ``X_down`` are the halves of the library ``X``."""
    match = _FILE_DIRECTION.search(stem)
    if not match:
        return stem, 1
    return stem[: match.start()], _sign(match.group(1))


def read_set_name(raw: str, *, library: str, direction: int = 1) -> SetName:
    """Read the raw name of a set.

    Parameters
    ----------
    raw
        As it stands in the file.
    library
        Name of the library, which may have a notation of its own.
    direction
        Direction of the file.
    """
    name = " ".join(raw.split())
    match = _DIRECTION.search(name)
    key = name[: match.start()] if match else name
    return SetName(
        text=clean_set_name(key, library=library),
        key=key,
        direction=_sign(match.group(1)) if match else direction,
        accessions=tuple(dict.fromkeys(_ACCESSION.findall(name))),
    )


def clean_set_name(key: str, *, library: str) -> str:
    """Return the readable text of a name without direction; never empty."""
    text = key
    for prefix, rule in _NOTATIONS.items():
        if library.startswith(prefix):
            text = rule(text)
    text = _ID.sub("", _EXPERIMENT.sub("", readable_term(text)))
    text = _NOTHING.sub("", _ORGANISM.sub("", text)) if library.startswith("CellMarker") else text
    return " ".join(join_hierarchy(text.replace("_", " ")).split()) or key


def _sign(word: str) -> int:
    return 1 if word.lower() == "up" else -1


def _disease(text: str) -> str:
    """``lung cancer DOID-1324 human GSE10072 sample 1`` -> ``lung cancer``; ``Cancer, lung`` -> ``lung Cancer``."""
    cut = re.sub(r"\s+(?:(?:UMLS CUI-)?(?:DOID-?\s?\d+|C\d{5,}|CUI-C\d+)|\d{3,})$", "", _EXPERIMENT.sub("", text))
    return re.sub(r"^([^,]+), ([^,]+)$", r"\2 \1", cut)


_PERTURBED = {"KD": "knockdown", "KO": "knockout", "OE": "overexpression", "SIRNA": "knockdown", "SHRNA": "knockdown"}


def _transcription_factor(text: str) -> str:
    """``ADAR KD HUVEC HUMAN GSE60217 RNASEQ`` -> ``ADAR knockdown in HUVEC``."""
    match = re.match(r"^(\S+) (\S+)(?: (.+?))? (?:HUMAN|MOUSE)\b", text)
    if not match:
        return text
    gene, how, where = match.groups()
    return f"{gene} {_PERTURBED.get(how, how.lower())}" + (f" in {where}" if where and where != gene else "")


def _kinase(text: str) -> str:
    """``ABL1 druginhibition 77 GSE24493`` -> ``ABL1 drug inhibition``."""
    return re.sub(r" \d+$", "", _EXPERIMENT.sub("", text)).replace("druginhibition", "drug inhibition")


def _sapiens(text: str) -> str:
    """``Large Intestine-cd4-positive T Cell`` -> ``Large Intestine CD4-positive T Cell``."""
    parted = re.sub(r"^([^-]+)-", r"\1 ", text)
    return re.sub(r"\b(t|b|nk|cd\d+)\b", lambda match: match.group().upper(), parted)


def _shouted(text: str) -> str:
    """``ADIPOSE (BULK TISSUE)`` -> ``adipose tissue``; words with digits are symbols and stay."""
    text = re.sub(r"\s*\(BULK( TISSUE)?\)$", " tissue", text)
    return " ".join(word if any(map(str.isdigit, word)) or len(word) == 1 else word.lower() for word in text.split())


def _glued(text: str) -> str:
    """``Salivarygland`` -> ``Salivary gland``, ``CD19+ BCells(neg. sel.)`` -> ``CD19+ B Cells``."""
    text = re.sub(r"\(neg\. sel\.\)", "", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[+ ][BT])(?=[Cc]ell)|(?<=NK)(?=Cell)", " ", text)
    return re.sub(
        r"(?<=[a-z])(gland|brain|liver|lung|cord|node|marrow|nucleus|adenocarcinoma|lymphoblastic)\b", r" \1", text
    )


_NOTATIONS: dict[str, Callable[[str], str]] = {
    "ARCHS4_Tissues": _shouted,
    "CellMarker_Augmented": lambda text: re.sub(r"^([^:]+):(?!Undefined)(.+)$", r"\2 \1", text),
    "ClinVar": _shouted,
    "Achilles": lambda text: re.sub(r"^([^-]+)-(.+)$", r"\1 \2", text),
    "Disease_Perturbations": _disease,
    "GTEx_Tissues": lambda text: re.sub(r"\s+(Male|Female)\s+[\d-]+$", "", text),
    "HuBMAP": lambda text: re.sub(r"^(.+) - ([^-]+)$", r"\2 \1", text),
    "Human_Gene_Atlas": _glued,
    "Kinase_Perturbations": _kinase,
    "TF_Perturbations": _transcription_factor,
    "Tabula_Sapiens": _sapiens,
}
"""Library (beginning of its name) -> how it writes names."""
