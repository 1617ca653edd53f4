"""Labels of cell types as texts that a model can read: ``CD14+ Mono`` becomes ``CD14-positive monocyte``.

In: labels as people write them, and the tissue if it is known. Out: one :class:`CleanLabel` a label with the text and the rules
that changed it, so that cleaning is shown and never hidden. The rules are general; none was made for one data set, and labels
stay apart: where two would read the same, both keep their own words.
Sources: names and synonyms of the Cell Ontology (CC BY 4.0); the abbreviations are those of common usage in immunology,
haematology and neuroscience.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType

from atlas.cells.cell_ontology import CellOntology, cell_ontology
from atlas.errors import InputError

MAX_LABEL_CHARS = 500
_LABELS_KEPT = 16_384

# What people write for a cell type and the ontology does not list as an unshared exact synonym. Only forms of one meaning in
# single-cell annotation; EC, SMC, MSC, TA or IT are left alone because they have several.
ABBREVIATIONS = MappingProxyType(
    {
        "NK": "natural killer cell",
        "NKT": "natural killer T cell",
        "DC": "dendritic cell",
        "pDC": "plasmacytoid dendritic cell",
        "cDC": "conventional dendritic cell",
        "mDC": "myeloid dendritic cell",
        "moDC": "monocyte-derived dendritic cell",
        "Mono": "monocyte",
        "Mac": "macrophage",
        "Mk": "megakaryocyte",
        "Treg": "regulatory T cell",
        "Tfh": "follicular helper T cell",
        "Th": "helper T cell",
        "MAIT": "mucosal-associated invariant T cell",
        "gdT": "gamma-delta T cell",
        "ILC": "innate lymphoid cell",
        "RBC": "erythrocyte",
        "HSC": "hematopoietic stem cell",
        "HSPC": "hematopoietic stem and progenitor cell",
        "MPP": "multipotent progenitor cell",
        "LMPP": "lymphoid-primed multipotent progenitor cell",
        "CMP": "common myeloid progenitor",
        "CLP": "common lymphoid progenitor",
        "GMP": "granulocyte-monocyte progenitor",
        "MEP": "megakaryocyte-erythroid progenitor cell",
        "OPC": "oligodendrocyte precursor cell",
        "Astro": "astrocyte",
        "Oligo": "oligodendrocyte",
        "VLMC": "vascular leptomeningeal cell",
        "AT1": "type I alveolar epithelial cell",
        "AT2": "type II alveolar epithelial cell",
    }
)
# A tissue as files name it -> the word that stands before a cell of it; any other tissue of one or two words is used as it is.
_OF_TISSUE = (
    (re.compile(r"\b(pancrea\w*|islets?)\b"), "pancreatic"),
    (re.compile(r"\bliver\b"), "hepatic"),
    (re.compile(r"\bkidney\b"), "kidney"),
    (re.compile(r"\bheart\b"), "cardiac"),
    (re.compile(r"\bretina\b"), "retinal"),
    (re.compile(r"\b(small )?intestin\w*\b"), "intestinal"),
    (re.compile(r"\b(blood|pbmc|bone marrow|mononuclear)\b"), ""),  # blood is everywhere: it tells nothing of a cell
)
_NO_TISSUE = frozenset(
    (
        "unknown", "unspecified", "unassigned", "missing", "other", "others", "normal", "healthy", "control", "disease", "tumor",
        "tumour", "cancer", "true", "false", "tissue", "cell", "cells", "culture", "cultured", "n/a", "not available",
        "not applicable", "not collected", "not provided", "cell culture", "cultured cells", "cell line", "cell lines",
    )
)  # fmt: skip
_STATES = frozenset("activated quiescent proliferating cycling immature mature resting reactive naive memory".split())
_CELL_NOUN = re.compile(
    r"(cells?|\w+cytes?|\w*blasts?|\w*phages?|\w*phils?|\w*clasts?|\w*glia|\w*neurons?|platelets?|\w*keratocytes?|sperm\w*"
    r"|progenitors?|precursors?|lines?|lineage|\w*glial|microglia|glia|pericytes?|leu[ck]ocytes?|\w*trophs?|killer)$",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(r"[\w-]{3,}(al|ic|ar|ous|ed|ing|tive)$")
_LINEAGES = frozenset("T B mast plasma stem stellate goblet acinar ductal immune lymphoid myeloid erythroid".split())
_GREEK = frozenset("alpha beta gamma delta epsilon".split())
_ENUMERATED = re.compile(r"^(?:c(?:luster)?[ _-]?)?\d{1,3}(?:\s*[:._]\s*|\s+-\s+)(?=[A-Za-z])", re.IGNORECASE)
_NUMBERED_BY_NAME = re.compile(r"\b(type|layer|class|line|stage|day|week|cluster|group) \d+$", re.IGNORECASE)
_SUBTYPE_NUMBER = re.compile(r"(?<=[a-z]{3})[ _.-]+\d{1,2}$")
_MARKER = re.compile(
    r"(?<![\w-])([A-Z]{1,3}-\d+|(?:[A-Za-z]{1,3}-)?[A-Z][A-Za-z0-9]*?)(hi|high|lo|low)?(\++|−|-(?!\w))"
)
_LISTED_MARKER = re.compile(r"(?<=[+-])/(CD\d+\w*)(?![\w+-])")  # CD4+/CD25 T: both are meant
_MARKER_T = re.compile(r"\b(CD[48])(?: (?=(?:[\w-]+ )*T\b))")
_CD4_OR_CD8 = re.compile(r"\bCD[48]-positive\b", re.IGNORECASE)
_T_STATE = re.compile(r"\b(naive|memory|cytotoxic|helper|effector)\b", re.IGNORECASE)
_SIDE_OF_ORGAN = re.compile(r"[\w-]{3,}(al|ic|ar|ary|oid|ous|ed)$")
_HIERARCHY = re.compile(r"^([^-(]+) - ([^(]+?)(\s*\(.*\))?$")

_Rule = Callable[[str, CellOntology], str]


@dataclass(frozen=True)
class CleanLabel:
    """One label before and after.

    Attributes
    ----------
    raw
        As given.
    cleaned
        The text to compare with.
    rules
        Names of the rules that changed it, in order; empty if the label was left alone.
    term_id
        Cell Ontology id that the cleaned text names, if it names one.
    """

    raw: str
    cleaned: str
    rules: tuple[str, ...]
    term_id: str | None


def clean_labels(labels: Sequence[str], *, tissue: str | None = None) -> tuple[CleanLabel, ...]:
    """Return one row a label, in order.

    Parameters
    ----------
    labels
        Distinct labels of one file or list.
    tissue
        Where the cells are from; names an ``alpha`` of the pancreas a ``pancreatic alpha cell``.

    Raises
    ------
    InputError
        If a label is empty or longer than 500 characters.
    """
    rows = [_clean(label, tissue=tissue) for label in labels]
    rows = [_clean(row.raw, tissue=tissue, without=("number",)) if alike else row for row, alike in _alike(rows)]
    return tuple(_own_words(row) if alike else row for row, alike in _alike(rows))


def label_paraphrases(label: str, *, tissue: str | None = None) -> tuple[str, ...]:
    """Return texts that mean the same, distinct, the cleaned label first, then the ontology's name and exact synonyms."""
    row = _clean(label, tissue=tissue)
    term = cell_ontology().find(row.cleaned)
    distinct: dict[str, str] = {}
    for name in (row.cleaned, *((term.name, *term.synonyms) if term else ())):
        distinct.setdefault(name.lower(), name)
    return tuple(distinct.values())


def _clean(label: str, *, tissue: str | None, without: tuple[str, ...] = ()) -> CleanLabel:
    ontology = cell_ontology()
    text, rules = _bare(label, without)
    placed = _in_tissue(text, ontology, tissue=tissue)
    if placed != text:
        text, rules = placed, (*rules, "tissue")
    term = ontology.find(text)
    return CleanLabel(label, ontology.spell(text), rules, term.term_id if term else None)


@lru_cache(maxsize=_LABELS_KEPT)  # a file of many tissues asks again for each
def _bare(label: str, without: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the text without regard to a tissue, and the rules that changed it."""
    if not label.strip() or len(label) > MAX_LABEL_CHARS:
        raise InputError(
            f"The label {label.strip()[:60]!r} has {len(label.strip()):,} characters; expected 1 to {MAX_LABEL_CHARS}."
        )
    ontology = cell_ontology()
    text, rules = label, []
    for name, rule in _RULES:
        changed = text if name in without else rule(text, ontology)
        if changed and changed != text:
            text = changed
            rules.append(name)
    return text, tuple(rules)


def _alike(rows: Sequence[CleanLabel]) -> list[tuple[CleanLabel, bool]]:
    """Each row, and whether another one reads the same."""
    n_rows = Counter(row.cleaned.lower() for row in rows)
    return [(row, n_rows[row.cleaned.lower()] > 1) for row in rows]


def _own_words(row: CleanLabel) -> CleanLabel:
    return CleanLabel(row.raw, _spaces(row.raw, cell_ontology()), ("kept apart",), None)


def _spaces(text: str, _: CellOntology) -> str:
    """``T_cell`` -> ``T cell``; dots between words likewise, dots of numbers and initials stay."""
    parted = re.sub(r"(?<=[A-Za-z0-9])\.+(?=[A-Za-z])", " ", text.replace("_", " "))
    return " ".join(parted.split())


def _numbers(text: str, _: CellOntology) -> str:
    """``3: T cell`` and ``T cells 2`` -> ``T cell(s)``; a type that is numbered by name keeps it."""
    cut = _ENUMERATED.sub("", text)
    return cut if _NUMBERED_BY_NAME.search(cut.replace("_", " ")) else _SUBTYPE_NUMBER.sub("", cut)


def join_hierarchy(text: str) -> str:
    """Return ``Coronary Artery`` for ``Artery - Coronary`` and ``Brain Amygdala`` for ``Brain - Amygdala``."""
    match = _HIERARCHY.match(text)
    if not match:
        return text
    whole, part, remark = match.group(1).strip(), match.group(2).strip(), match.group(3) or ""
    if whole.lower() == "cells":
        return f"{part}{remark}"
    turned = f"{part} {whole}" if _SIDE_OF_ORGAN.fullmatch(part.split()[-1].lower()) else f"{whole} {part}"
    return f"{turned}{remark}"


def _markers(text: str, _: CellOntology) -> str:
    """``CD14+`` -> ``CD14-positive``, ``CD25-`` -> ``CD25-negative``, ``CD4 T`` -> ``CD4-positive T``."""
    parted = _LISTED_MARKER.sub(r" \1+", text)
    parted = re.sub(r"([+-])(?:/(?=[A-Z])|(?=CD\d+[A-Za-z]*[+-]))", r"\1 ", parted)

    def spell(match: re.Match[str]) -> str:
        marker, level, sign = match.groups()
        low = sign[0] != "+"
        amount = {"hi": "-high", "high": "-high", "lo": "-low", "low": "-low"}.get(level or "")
        return f"{marker}{amount or ('-negative' if low else '-positive')} "

    spelled = _MARKER.sub(spell, parted)
    spelled = re.sub(r"\b(CD[48])/(?=CD\d)", r"\1-positive ", spelled)
    return " ".join(_MARKER_T.sub(r"\1-positive ", spelled).split()) or text


def _abbreviations(text: str, _: CellOntology) -> str:
    """Spell out what is abbreviated, word by word."""
    words = re.sub(r"\bT[ -]?[Rr]eg(s?)\b", r"Treg\1", text).split()
    joined = " ".join(map(_spell, words))
    return re.sub(r" cell[ -]like\b", "-like", re.sub(r"\b(cells?) cells?\b", r"\1", joined))


def _spell(word: str) -> str:
    stem = word.rstrip(",;")
    tail = word[len(stem) :]
    for name in (stem, stem.removesuffix("s")):
        if name in ABBREVIATIONS:
            return ABBREVIATIONS[name] + tail
    return word


def _plural(text: str, ontology: CellOntology) -> str:
    """``B cells`` -> ``B cell``, ``Platelets`` -> ``Platelet``: the last word, where it is a cell."""
    *before, last = text.split()
    single = last[:-1]
    if not last.endswith("s") or last.endswith(("ss", "us", "is")):
        return text
    known = single.lower() in ontology.words or _CELL_NOUN.fullmatch(single)
    return " ".join((*before, single)) if known else text


def _letter_case(text: str, ontology: CellOntology) -> str:
    """Lower case but for symbols, single letters and names of people: ``Naive CD4 T`` -> ``naive CD4 T``."""
    return " ".join(_word_case(word, ontology) for word in text.split())


def _word_case(word: str, ontology: CellOntology) -> str:
    core = word.strip("(),;")
    if core.lower() in ontology.spelling:
        return word.replace(core, ontology.spelling[core.lower()])
    is_plain = (
        len(core.split("-")[0]) > 1 and core.replace("-", "").isalpha() and (core.istitle() or core[1:].islower())
    )
    return word.replace(core, core.lower()) if is_plain else word


def _noun(text: str, ontology: CellOntology) -> str:
    """Say that it is a cell: ``alpha`` -> ``alpha cell``, ``CD19-positive B`` -> ``CD19-positive B cell``."""
    if re.search(r"\b(other|unknown|unassigned)$", text, re.IGNORECASE):
        text = text.rsplit(maxsplit=1)[0] if " " in text else text
    *before, last = text.split()
    if ontology.find(text) or _CELL_NOUN.search(text) or any(_CELL_NOUN.fullmatch(word) for word in before):
        return text
    if _CD4_OR_CD8.search(text) and _T_STATE.search(text) and not re.search(r"\b(T|B|NK)\b", text):
        return f"{text} T cell"
    is_marker = last.endswith(("-positive", "-negative"))
    is_person = last in ontology.spelling.values() and ontology.find(f"{text} cell") is not None
    is_adjective = _ADJECTIVE.fullmatch(last) is not None and f"{last.split('-')[-1]} cell" in _cell_kinds()
    return f"{text} cell" if last in _LINEAGES | _GREEK or is_marker or is_person or is_adjective else text


@cache
def _cell_kinds() -> frozenset[str]:
    """``<adjective> cell`` as names of the ontology end in them."""
    ends = (name.split()[-2:] for name in cell_ontology().by_name if name.endswith(" cell"))
    return frozenset(" ".join(pair) for pair in ends)


def _in_tissue(text: str, ontology: CellOntology, *, tissue: str | None) -> str:
    """Name the tissue where the ontology has the cell type of that tissue, or has no such cell without it."""
    place = _tissue_word(tissue)
    if not place or not _CELL_NOUN.search(text) or text.lower() in ontology.by_name or place in text.lower():
        return text
    if ontology.find(f"{place} {text}"):
        return f"{place} {text}"
    state, _, rest = text.partition(" ")
    if state in _STATES and ontology.find(f"{place} {rest}"):
        return f"{state} {place} {rest}"
    return f"{place} {text}" if text.removesuffix(" cell") in _GREEK else text


def _tissue_word(tissue: str | None) -> str:
    lowered = (tissue or "").strip().lower()
    if lowered in _NO_TISSUE:
        return ""
    for pattern, word in _OF_TISSUE:
        if pattern.search(lowered):
            return word
    is_word = 0 < len(lowered.split()) <= 2 and any(map(str.isalpha, lowered))
    return lowered if is_word else ""


_RULES: tuple[tuple[str, _Rule], ...] = (
    ("number", _numbers),
    ("spaces", _spaces),
    ("hierarchy", lambda text, _: join_hierarchy(text)),
    ("marker", _markers),
    ("abbreviation", _abbreviations),
    ("letter case", _letter_case),
    ("plural", _plural),
    ("noun", _noun),
)
