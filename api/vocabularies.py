"""The vocabularies at hand, counted once a file: counting reads them whole."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from atlas.accessions import near_matches
from atlas.errors import NotFoundError
from atlas.vocabulary import SCAN_ONLY, Vocabulary, packaged_vocabularies, read_terms, user_vocabularies


def list_counted(home: Path) -> tuple[Vocabulary, ...]:
    """Return every vocabulary at hand, packaged first."""
    packaged, own = packaged_vocabularies(), user_vocabularies(home)
    return tuple(
        Vocabulary(name, path, _n_terms(path, path.stat().st_mtime_ns), name in packaged, name not in SCAN_ONLY)
        for name, path in [*packaged.items(), *((n, p) for n, p in own.items() if n not in packaged)]
    )


def terms_of(home: Path, name: str) -> list[str]:
    """Return the terms of a vocabulary; raises ``NotFoundError`` with the names at hand."""
    known = {**user_vocabularies(home), **packaged_vocabularies()}
    if name not in known:
        raise NotFoundError(
            f"There is no vocabulary {name[:100]!r}; at hand: {', '.join(sorted(known))}.",
            details={"known": sorted(known), "near_matches": list(near_matches(name, sorted(known)))},
        )
    return list(read_terms(known[name]).terms)


@lru_cache(maxsize=256)
def _n_terms(path: Path, changed_ns: int) -> int:
    return len(read_terms(path).terms)
