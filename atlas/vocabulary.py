"""Vocabularies: lists of term names that clusters, samples and phrases are compared with.

In: a gene-set file in GMT format or a plain list, one term a line, UTF-8. Genes are ignored: a vocabulary is its names. The
packaged ones lie in ``atlas/vocabularies/<library>.txt``; a user's lie in ``<home>/vocabularies/<library>.txt`` and replace
none of the packaged.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import InputError, NotFoundError, TooLargeError
from atlas.resources import resource_path

MAX_FILE_BYTES = 512 << 20
MAX_TERMS = 500_000
MAX_TERM_CHARS = 1_000
BACKGROUND_PHRASES = "background_phrases"
"""Off-topic phrases that calibrate scores; packaged beside the vocabularies, but none of them."""
SCAN_ONLY = frozenset({"omim_expanded"})
"""Packaged vocabularies made for sweeps over the atlas; keyword matching takes them only when they are named."""

_LIBRARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ONTOLOGY_SUFFIX = re.compile(r"\s*\((?:GO|CL|UBERON|DOID|HP|MONDO):\d+\)$")
_EXPERIMENT_SUFFIX = re.compile(
    r"\s+(?:(?:DOID-\d+|[CU]\w*\d{4,})\s+)?(?:human|mouse|rat)\s+GSE\d+(?:\s+sample\s+\d+)?$"
)
_LEVEL = re.compile(
    r"(?: v\d(?: \(HLCA\))?)?-(?:L\d+|ann_level_\d+|ann_finest_level|class|subclass|cluster|cross-species cluster)-"
)
_NUMBERING = re.compile(r"_\d+$")


@dataclass(frozen=True)
class TermList:
    """The distinct terms of a file in file order, and what was left out."""

    terms: tuple[str, ...]
    n_blank: int
    n_duplicates: int


@dataclass(frozen=True)
class Vocabulary:
    """One vocabulary at hand; ``keywords`` tells whether clusters are matched with it by default."""

    library: str
    path: Path
    n_terms: int
    packaged: bool
    keywords: bool


def read_terms(path: Path) -> TermList:
    """Read the terms of a GMT file or a term list.

    Of a line with tabs the part before the first tab is the term.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 text, names no term, or a term is absurdly long.
    TooLargeError
        If it has more than 512 MiB or 500,000 terms.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file. Give a GMT file or a list with one term a line.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TooLargeError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read.")
    seen: dict[str, None] = {}
    n_lines = n_blank = 0
    try:
        with path.open(encoding="utf-8-sig") as handle:
            for n_lines, line in enumerate(handle, start=1):
                term = _term_of(line, path=path, number=n_lines)
                n_blank += not term
                if term:
                    seen[term] = None
                if len(seen) > MAX_TERMS:
                    raise TooLargeError(f"{path} has more than {MAX_TERMS:,} terms. Split the file.")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    if not seen:
        raise InputError(f"{path} names no term ({n_lines} lines, {n_blank} blank). Expected one term a line, or GMT.")
    return TermList(tuple(seen), n_blank=n_blank, n_duplicates=n_lines - n_blank - len(seen))


def readable_term(term: str) -> str:
    """Return a term as a person would write it; this text is what the model embeds.

    Ontology ids, and the experiment a signature came from, are cut: ``Acne C0702166 human GSE10432 sample 297`` is
    ``Acne``, ``Heart Development (GO:0007507)`` is ``Heart Development``, ``Tonsil-L2-VEGFA+`` is ``Tonsil VEGFA+``.
    """
    cut = _EXPERIMENT_SUFFIX.sub("", _ONTOLOGY_SUFFIX.sub("", term.strip()))
    organ, cell = split_levels(cut)
    return f"{organ} {cell}".strip() or term


def split_levels(term: str) -> tuple[str, str]:
    """Return (organ, cell type) of a term that names an annotation level between them, else ("", term).

    ``Tonsil-L2-VEGFA+`` is ("Tonsil", "VEGFA+").
    """
    organ, *rest = _LEVEL.split(term, maxsplit=1)
    return (organ, _NUMBERING.sub("", rest[0])) if rest else ("", term)


def packaged_vocabularies() -> dict[str, Path]:
    """Return library name -> file of the vocabularies that travel with the package, sorted by name."""
    files = sorted(resource_path("vocabularies").glob("*.txt"))
    return {path.stem: path for path in files if path.stem != BACKGROUND_PHRASES}


def packaged_texts() -> list[str]:
    """Return what the model embeds of the packaged vocabularies: each readable text once, sorted."""
    return sorted({readable_term(term) for path in packaged_vocabularies().values() for term in read_terms(path).terms})


def background_phrases() -> tuple[str, ...]:
    """Return the packaged off-topic phrases."""
    return read_terms(resource_path(f"vocabularies/{BACKGROUND_PHRASES}.txt")).terms


def user_vocabularies(home: Path) -> dict[str, Path]:
    """Return library name -> file of the vocabularies added to a home, sorted by name."""
    return {path.stem: path for path in sorted((home / "vocabularies").glob("*.txt"))}


def keyword_vocabularies(home: Path, libraries: tuple[str, ...] | None = None) -> dict[str, Path]:
    """Return the vocabularies that clusters are matched with: the packaged ones and the user's, or those named.

    Raises
    ------
    NotFoundError
        If a named library is not at hand.
    """
    known = {**user_vocabularies(home), **packaged_vocabularies()}
    if libraries is None:
        return {name: path for name, path in sorted(known.items()) if name not in SCAN_ONLY}
    if missing := [name for name in libraries if name not in known]:
        raise NotFoundError(
            f"There is no vocabulary {missing[0]!r}; at hand: {', '.join(sorted(known))}. "
            "Add one with `geo-atlas vocabulary add FILE`.",
            details={"vocabulary": missing[0], "known": sorted(known)},
        )
    return {name: known[name] for name in sorted(set(libraries))}


def list_vocabularies(home: Path) -> tuple[Vocabulary, ...]:
    """Return every vocabulary at hand, packaged first, each with its number of terms."""
    packaged = packaged_vocabularies()
    found = [(name, path, True) for name, path in packaged.items()]
    found += [(name, path, False) for name, path in user_vocabularies(home).items() if name not in packaged]
    return tuple(
        Vocabulary(name, path, len(read_terms(path).terms), is_packaged, name not in SCAN_ONLY)
        for name, path, is_packaged in found
    )


def add_vocabulary(home: Path, path: Path, name: str | None = None) -> Vocabulary:
    """Copy the terms of ``path`` into the home; a vocabulary of the same name is replaced.

    Parameters
    ----------
    name
        Name of the library; default: the file's name without its suffix.

    Raises
    ------
    InputError
        If the file cannot be read as terms, the name is no plain file name, or a packaged vocabulary has it.
    """
    library = path.stem if name is None else name
    if not _LIBRARY.fullmatch(library):
        raise InputError(
            f"{library!r} cannot name a vocabulary: expected 1-100 letters, digits, '.', '_' or '-'. Choose one with --name."
        )
    if library in packaged_vocabularies() or library == BACKGROUND_PHRASES:
        raise InputError(f"{library!r} is the name of a packaged vocabulary. Choose another with --name.")
    terms = read_terms(path).terms
    target = home / "vocabularies" / f"{library}.txt"
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{library}.{os.getpid()}.tmp")
    temporary.write_text("".join(f"{term}\n" for term in terms), encoding="utf-8")
    os.replace(temporary, target)
    return Vocabulary(library, target, len(terms), packaged=False, keywords=True)


def _term_of(line: str, *, path: Path, number: int) -> str:
    term = " ".join(line.split("\t", 1)[0].split())
    if "\0" in term:
        raise InputError(f"{path}, line {number}: a binary file, not a list of terms.")
    if len(term) > MAX_TERM_CHARS:
        raise InputError(f"{path}, line {number}: a term of {len(term):,} characters; at most {MAX_TERM_CHARS:,}.")
    return term
