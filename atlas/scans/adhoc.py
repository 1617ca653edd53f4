"""A user's own list of terms, swept over a release and kept in the home.

In: an open atlas, terms. Out: ``<home>/scans/<release>/<key>/``, where the key is made of the terms and the release, so the
same list is swept once.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.answers import ScanSummary
from atlas.digests import sha256_json
from atlas.errors import AtlasError, InputError, ResourceError, TooLargeError
from atlas.scans import SCAN_TEMPLATES
from atlas.scans.background import Background, is_saved, unit
from atlas.scans.files import read_summary, summarise, write_scan
from atlas.scans.ground import Ground, Members
from atlas.scans.sweep import sweep
from atlas.texts import valid_utf8
from atlas.vocabulary import MAX_TERM_CHARS, packaged_vocabularies, readable_term

if TYPE_CHECKING:
    from atlas.atlas import Atlas

Progress = Callable[[float, float], None]
_EMBEDDING = 0.6  # of the time of a job whose terms are new


@dataclass(frozen=True)
class TermsToScan:
    """The distinct terms of a list in its order, and those that stood in it before."""

    terms: tuple[str, ...]
    duplicates: tuple[str, ...]


def read_list(terms: Sequence[str], *, max_terms: int) -> TermsToScan:
    """Read a user's list: space is straightened, blank entries are left out, case makes no other term.

    Raises
    ------
    InputError
        If no term is left, or one is absurdly long or no text.
    TooLargeError
        If more than ``max_terms`` are left.
    """
    seen: dict[str, str] = {}
    duplicates: list[str] = []
    for number, raw in enumerate(terms, start=1):
        term = " ".join(valid_utf8(raw).split())
        if "\0" in term or len(term) > MAX_TERM_CHARS:
            raise InputError(
                f"Term {number} of the list is no readable text of at most {MAX_TERM_CHARS:,} characters: {term[:60]!r}.",
                details={"term": number},
            )
        if term and term.casefold() in seen:
            duplicates.append(term)
        elif term:
            seen[term.casefold()] = term
    if not seen:
        raise InputError("The list names no term. Give one term a line.", details={"n_lines": len(terms)})
    if len(seen) > max_terms:
        raise TooLargeError(
            f"The list has {len(seen):,} terms; at most {max_terms:,} are swept at once. Split it.",
            details={"n_terms": len(seen), "max_terms": max_terms},
        )
    return TermsToScan(tuple(seen.values()), tuple(duplicates))


def scan_key(terms: Sequence[str], *, content_key: str, vocabulary: str | None = None) -> str:
    """Return the name of the sweep of these terms over a release: 16 hexadecimal digits, whatever their order and case."""
    return sha256_json([sorted(term.casefold() for term in terms), content_key, list(SCAN_TEMPLATES), vocabulary])[:16]


def run_scan(
    atlas: Atlas,
    terms: Sequence[str],
    *,
    name: str,
    title: str,
    out: Path,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ScanSummary:
    """Sweep a list of terms and write it under ``out``, all of it or nothing; a list swept before is not swept again.

    Parameters
    ----------
    name
        Name of the list. That of a packaged vocabulary leaves that vocabulary out of the background.
    title
        What people read; default: the name.
    out
        ``<home>/scans/<release>``.
    progress
        Told the work done and its total.
    cancelled
        Asked often.

    Raises
    ------
    InputError, TooLargeError
        If the list cannot be swept.
    ResourceError
        If the disk is full.
    AtlasError
        If it was cancelled.
    """
    wanted = read_list(terms, max_terms=atlas.settings.job_max_terms)
    vocabulary = name if name in packaged_vocabularies() else None
    key = scan_key(wanted.terms, content_key=atlas.release.manifest.content_key, vocabulary=vocabulary)
    target = out / key
    if (target / "scan.json").is_file():
        progress(1.0, 1.0)
        return read_summary(target, release=atlas.release.name)
    check = _checking(progress, cancelled)
    with _whole(target) as folder:
        _sweep_into(
            folder, atlas, wanted, key=key, vocabulary=vocabulary, title=title or name or _title(wanted), check=check
        )
    return read_summary(target, release=atlas.release.name)


def _sweep_into(
    folder: Path,
    atlas: Atlas,
    wanted: TermsToScan,
    *,
    key: str,
    vocabulary: str | None,
    title: str,
    check: Callable[[float], None],
) -> None:
    release, opened = atlas.release, atlas.opened
    caches = _caches(atlas.settings.home_path)
    background = load_background(atlas)
    texts = [readable_term(term) for term in wanted.terms]
    vectors = unit(_embed(atlas, texts, caches=caches, check=check))
    for needed in ("communities.parquet", "samples.parquet", "vectors.npy"):
        release.checked(needed)
    members = Members.read(release.folder)
    check(_EMBEDDING)
    scan = sweep(
        opened.store,
        Ground.measure(opened.store, members),
        vectors,
        background=background.without(vocabulary),
        progress=lambda share: check(_EMBEDDING + (1 - _EMBEDDING) * share),
    )
    summary = summarise(
        scan,
        name=key,
        title=title,
        stored="home",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duplicates=wanted.duplicates,
    )
    ids = release.table("samples.parquet", columns=["sample_id"])["sample_id"]
    write_scan(folder, scan, terms=wanted.terms, sample_ids=ids, members=members, summary=summary)


def load_background(atlas: Atlas) -> Background:
    """Return the background stored with a release, or embed the packaged one where it was built without."""
    stored = atlas.release.folder / "scans"
    if is_saved(stored):
        return Background.load(atlas.release.checked("scans"))
    return Background.embed(atlas.opened.model, caches=_caches(atlas.settings.home_path))


def _embed(atlas: Atlas, texts: Sequence[str], *, caches: tuple[Path, ...], check: Callable[[float], None]):  # type: ignore[no-untyped-def]
    from atlas.model.text_cache import embed_terms

    done = 0

    def step(n: int) -> None:
        nonlocal done
        done += n
        check(_EMBEDDING * min(done / len(texts), 1.0))

    return embed_terms(atlas.opened.model, texts, templates=SCAN_TEMPLATES, caches=caches, progress=step)


def _caches(home: Path) -> tuple[Path, ...]:
    from atlas.model.text_cache import text_caches

    return text_caches(home)


def _checking(progress: Progress, cancelled: Callable[[], bool]) -> Callable[[float], None]:
    def check(share: float) -> None:
        if cancelled():
            raise AtlasError("The scan was cancelled; nothing of it is kept but the vectors of its terms.")
        progress(share, 1.0)

    return check


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give an empty folder that gets its name when all is written; on failure nothing is left of it."""
    # Workers on several machines, or in several containers, may share the home and have the same process id.
    folder = target.with_name(f".{target.name}-{secrets.token_hex(8)}.tmp")
    try:
        folder.mkdir(parents=True)
        yield folder
        if (target / "scan.json").is_file():  # another process was faster; its answer is the same
            return
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise ResourceError(
                f"The scan cannot be written in {target.parent}: {error.strerror}. Free some space, or check its permissions."
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _title(wanted: TermsToScan) -> str:
    more = len(wanted.terms) - 1
    return wanted.terms[0] + (f" and {more:,} more" if more else "")
