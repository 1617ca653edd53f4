"""A person's own list of terms, read from what was pasted or uploaded before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_TERM = 300


@dataclass(frozen=True)
class TermList:
    """Terms in their order, each once; ``problem`` says in a sentence why there are none to send."""

    terms: tuple[str, ...] = ()
    n_duplicates: int = 0
    problem: str | None = None


def read_terms(text: str = "", content: bytes | None = None) -> TermList:
    """Read one term a line, from a file if there is one, else from the text; blank lines and ``#`` comments are left out."""
    if content is not None:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return TermList(problem="This file is not plain text (UTF-8). Save the list as text with one term a line.")
        if "\x00" in text:
            return TermList(problem="This file is not plain text. Save the list as text with one term a line.")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    terms = [line for line in lines if line and not line.startswith("#")]
    if not terms:
        return TermList(problem="The list is empty. Give one term a line, e.g. a disease or a tissue.")
    if too_long := next((term for term in terms if len(term) > LONGEST_TERM), None):
        return TermList(
            problem=f"“{too_long[:40]}…” has {len(too_long):,} characters; a term has at most {LONGEST_TERM}. One term a line?"
        )
    distinct: dict[str, str] = {}
    for term in terms:
        distinct.setdefault(term.casefold(), term)
    kept = tuple(distinct.values())
    return TermList(terms=kept, n_duplicates=len(terms) - len(kept))
