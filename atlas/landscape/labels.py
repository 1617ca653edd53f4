"""A short, readable, unique name for each cluster, with the evidence it rests on.

In: keyword rows of a cluster (library, term, score, z). Out: label, method, evidence, prompt and raw reply. A language model,
where one is configured, sees the keywords alone, never free text of samples; its title is checked and refused if it breaks
a rule. Without one, or after refused replies, the label is the term most words of which other libraries' best terms share;
a term that fits what the members' depositors wrote worse than a random one gives way to a term of like merit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from atlas.errors import UpstreamError
from atlas.vocabulary import readable_term, split_levels

logger = logging.getLogger(__name__)

MAX_WORDS = 5
"""Labels have fewer than six words, as in the paper."""

_MAX_CHARS = 80
_N_EVIDENCE = 12
# How directly a library's terms name what a group of samples is. Perturbations and fitness screens name experiments.
_LIBRARY_WEIGHT = {
    "Azimuth_2023": 1.0,
    "PanglaoDB_Augmented_2021": 1.0,
    "Tabula_Sapiens": 1.0,
    "omim_expanded": 0.8,
    "Disease_Perturbations_from_GEO_down": 0.7,
    "Disease_Perturbations_from_GEO_up": 0.7,
    "MSigDB_Hallmark_2020": 0.5,
    "GO_Biological_Process_2023": 0.5,
    "GO_Cellular_Component_2023": 0.3,
    "GO_Molecular_Function_2023": 0.3,
    "Achilles_fitness_decrease": 0.2,
    "Achilles_fitness_increase": 0.2,
    "MSigDB_Oncogenic_Signatures": 0.1,
}
_OTHER_LIBRARY_WEIGHT = 0.6
NAMING_LIBRARIES = frozenset(library for library, weight in _LIBRARY_WEIGHT.items() if weight == 1.0)
"""Libraries whose terms name tissues and cell types: what a label is compared with to say how well it fits."""
_HYPHENATED = frozenset({"Tabula_Sapiens", "Achilles_fitness_decrease", "Achilles_fitness_increase"})
_AGREEMENT = 0.5  # share of a term's merit that the agreement of other libraries can add, per full word overlap
_CLUSTER_OF_DIFFERENTIATION = re.compile(r"\b[Cc]d(\d+)")
_PLAIN_WORD = re.compile(r"[a-z]{4}")
_CRYPTIC = 0.5  # "hPeri", "VEGFA+": right perhaps, but no name a reader knows
_ACRONYMS = frozenset({"nk", "nkt", "dna", "rna"})  # one library writes them as "Nk"
_JOINED_NAMES = re.compile(r"(?<=[a-z])-(?=[A-Z][a-z])")
_DANGLING = frozenset("a an and by due for from in into of on or the to via with -".split())
_FILLERS = frozenset(
    "a an and by cell cells during due early for from human in into late like mouse negative of on or other positive process "
    "regulation response the to tissue type unspecified v1 v2 via with".split()
)

Agreement = Callable[[Sequence[str]], Sequence[float] | None]
"""How well each of some texts agrees with the annotations of a cluster's members, in [0, 1]; ``None`` if none is annotated."""


@dataclass(frozen=True)
class KeywordRow:
    """One matched term of a cluster.

    Attributes
    ----------
    score, z
        Cosine with the cluster's mean vector, and its z-score over all terms.
    distinct
        How much more the term fits this cluster than the atlas as a whole: z-score of the cosine with the cluster's mean
        less the mean of all clusters. It ranks terms for a label; terms that fit every cluster name none.
    """

    library: str
    term: str
    score: float
    z: float
    distinct: float


@dataclass(frozen=True)
class Label:
    """A cluster's name and where it came from; ``prompt`` and ``raw_reply`` are set if a language model was asked."""

    text: str
    method: Literal["deterministic", "llm"]
    evidence: tuple[KeywordRow, ...]
    prompt: str | None = None
    raw_reply: str | None = None


def label_from_terms(keywords: Sequence[KeywordRow], *, agreement: Agreement | None = None) -> tuple[str, ...]:
    """Return candidate labels of one cluster, best first; empty without keywords.

    A term counts by how distinct it is, by how directly its library names samples, and by how many other libraries have
    its words among their best terms. Single-cell libraries list every cell type under the organ it was taken from; the organ
    is said only where another library's best terms name it too. Where ``agreement`` is given, a label that fits the members'
    annotations worse than a random term (below 0.5) loses up to half of that: annotations can make a label give way to one of
    like evidence, never choose one. Terms of more than five words come last, cut.
    """
    merit = term_merits(keywords)
    supported = None if agreement is None or not merit else agreement(tuple(merit))
    if supported is not None:
        merit = {
            text: value * min(1.0, 0.5 + share) for (text, value), share in zip(merit.items(), supported, strict=True)
        }
    ranked = sorted(merit, key=lambda text: (n_words(text) > MAX_WORDS, -merit[text], text))
    return tuple(dict.fromkeys(_cut(text) for text in ranked))


def term_merits(keywords: Sequence[KeywordRow]) -> dict[str, float]:
    """Return how well each readable label names one cluster, before anyone's annotation is looked at."""
    libraries: dict[str, set[str]] = {}
    for row in keywords:
        for word in _content_words(row):
            libraries.setdefault(word, set()).add(_family(row.library))
    merit: dict[str, float] = {}
    for row in keywords:
        family = {_family(row.library)}
        said = any(libraries[word] - family for word in _words(_organ_and_cell(row)[0]))
        text = readable_label(row, with_organ=said)
        words = _content_words(row)
        if not _words(text):
            continue
        agreeing = sum(len(libraries[word] - family) for word in words) / len(words)
        weight = _LIBRARY_WEIGHT.get(row.library, _OTHER_LIBRARY_WEIGHT)
        weight *= 1.0 if _PLAIN_WORD.search(text) else _CRYPTIC
        value = max(row.distinct, 0.0) * weight * (1 + _AGREEMENT * agreeing)
        merit[text] = max(merit.get(text, 0.0), value)
    return merit


def readable_label(row: KeywordRow, *, with_organ: bool = True) -> str:
    """Return a term as a label: ids cut, organ and cell type joined or the cell type alone, sentence case."""
    organ, cell = _organ_and_cell(row)
    text = f"{organ} {cell}" if organ and with_organ and not _words(organ) & _words(cell) else cell
    label = " ".join(_lower_title_case(word) for word in text.replace("_", " ").split())
    return label[:1].upper() + label[1:]


def n_words(label: str) -> int:
    """Count the words of a label; the stroke that joins two terms is none."""
    return sum(word != "/" for word in label.split())


def make_unique(candidates: Sequence[str], taken: set[str]) -> str:
    """Return the best label not taken yet (case-insensitive): the first, joined by a further one, or numbered."""
    first = candidates[0]
    joined = (f"{first} / {other}" for other in candidates[1:])
    for label in (first, *joined):
        if label.casefold() not in taken and (label == first or n_words(label) <= MAX_WORDS):
            return label
    number = 2
    while f"{first} ({number})".casefold() in taken:
        number += 1
    return f"{first} ({number})"


def label_clusters(
    keywords: Mapping[int, Sequence[KeywordRow]],
    *,
    complete: Callable[[str, int], str] | None = None,
    prompt: str = "{keywords}",
    attempts: int = 3,
    agreement: Callable[[int, Sequence[str]], Sequence[float] | None] | None = None,
    advance: Callable[[int], None] | None = None,
) -> dict[int, Label]:
    """Name every cluster, the largest (lowest number) first; no two names are equal.

    Parameters
    ----------
    keywords
        Keyword rows of each cluster.
    complete
        Asks the language model: (prompt, seed) -> reply. ``None``: no model.
    prompt
        Text with a place ``{keywords}``.
    attempts
        Replies asked for before the deterministic label is taken.
    agreement
        How well texts agree with the annotations of a cluster's members: (cluster, texts) -> one number in [0, 1] a text.
    """
    taken: set[str] = set()
    labels: dict[int, Label] = {}
    for cluster in sorted(keywords):
        rows = keywords[cluster]
        judge = None if agreement is None else partial(agreement, cluster)
        candidates = label_from_terms(rows, agreement=judge) or (f"Cluster {cluster}",)
        asked = None if complete is None or not rows else _ask(rows, complete, prompt=prompt, attempts=attempts)
        if asked is not None and asked.title is not None:
            text = make_unique((asked.title, *candidates), taken)
        else:
            text = make_unique(candidates, taken)
        taken.add(text.casefold())
        labels[cluster] = Label(
            text,
            "llm" if asked is not None and asked.title is not None else "deterministic",
            evidence_for(text, rows),
            prompt=None if asked is None else asked.prompt,
            raw_reply=None if asked is None else asked.reply,
        )
        if advance is not None:
            advance(1)
    return labels


def evidence_for(label: str, rows: Sequence[KeywordRow]) -> tuple[KeywordRow, ...]:
    """Return the keywords that share a word with the label, then the strongest others; at most twelve."""
    said = _words(label)
    return tuple(
        sorted(rows, key=lambda row: (not (_content_words(row) & said), -row.distinct, row.library, row.term))
    )[:_N_EVIDENCE]


def check_title(reply: str) -> str | None:
    """Return the title a reply holds, or ``None`` if it breaks a rule: one line, 1-5 words, no quotation marks."""
    title = reply.strip().removesuffix(".")
    usable = (
        0 < len(title) <= _MAX_CHARS
        and title.isprintable()
        and not re.search("[\"'`\u201c\u201d\u2018\u2019<>{}|]", title)
    )
    return title if usable and len(title.split()) <= MAX_WORDS and any(letter.isalpha() for letter in title) else None


def keyword_lines(rows: Sequence[KeywordRow]) -> str:
    """Return the keywords as a prompt shows them: a line a library, strongest library and term first."""
    groups: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: (-row.distinct, row.library, row.term)):
        groups.setdefault(row.library, []).append(f"{readable_term(row.term)} ({row.distinct:.1f})")
    return "\n".join(f"{library}: {'; '.join(terms)}" for library, terms in groups.items())


@dataclass(frozen=True)
class _Asked:
    prompt: str
    reply: str | None
    title: str | None


def _ask(rows: Sequence[KeywordRow], complete: Callable[[str, int], str], *, prompt: str, attempts: int) -> _Asked:
    filled = prompt.replace("{keywords}", keyword_lines(rows))
    reply: str | None = None
    for attempt in range(attempts):
        try:
            reply = complete(filled, attempt)
        except UpstreamError as error:
            logger.warning("no title from the language model: %s", error.message)
            return _Asked(filled, reply, None)
        if title := check_title(reply):
            return _Asked(filled, reply, title)
    logger.warning("the language model gave no usable title in %d attempts", attempts)
    return _Asked(filled, reply, None)


def _organ_and_cell(row: KeywordRow) -> tuple[str, str]:
    """Split a term of a single-cell or cell-line library; the organ is empty for all others."""
    if row.library in _HYPHENATED and "-" in row.term:
        organ, _, cell = row.term.partition("-")
        return organ, cell
    organ, cell = split_levels(row.term)
    return (organ, _JOINED_NAMES.sub(" ", cell)) if organ else ("", readable_term(row.term))


def _cut(label: str) -> str:
    words = label.split()[:MAX_WORDS] if n_words(label) > MAX_WORDS else label.split()
    while len(words) > 1 and words[-1].casefold() in _DANGLING:
        words.pop()
    return " ".join(words).rstrip(",")


def _lower_title_case(word: str) -> str:
    parts = [part.lower() if part[1:].islower() and part.strip("(),'").isalpha() else part for part in word.split("-")]
    parts = [part.upper() if part in _ACRONYMS else part for part in parts]
    return _CLUSTER_OF_DIFFERENTIATION.sub(r"CD\1", "-".join(parts))


def _words(text: str) -> set[str]:
    found = (word.strip("(),'+").casefold() for word in re.split(r"[\s/\-]+", text))
    return {_singular(word) for word in found if len(word) > 1 and word not in _FILLERS}


def _content_words(row: KeywordRow) -> set[str]:
    return _words(readable_term(row.term))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _family(library: str) -> str:
    """Up and down, or increase and decrease, of one collection are not two witnesses."""
    return re.sub(r"_(?:up|down|increase|decrease)$", "", library)
