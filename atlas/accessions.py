"""Accessions of samples and series: their kind, their public record, and the structured text that comes with them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache
from heapq import nlargest
from urllib.parse import quote

_KINDS = (
    ("GSM", re.compile(r"GSM\d+")),
    ("run", re.compile(r"[SED]RR\d+")),
    ("TCGA", re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(-[A-Z0-9]+)*")),
)
MADE = "made"

_GEO = "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc={}"
_SRA = "https://www.ncbi.nlm.nih.gov/sra/?term={}"
_ENA = "https://www.ebi.ac.uk/ena/browser/view/{}"
_BIOSTUDIES = "https://www.ebi.ac.uk/biostudies/arrayexpress/studies/{}"
_GDC = "https://portal.gdc.cancer.gov/projects/{}"
_DBGAP = "https://www.ncbi.nlm.nih.gov/projects/gap/cgi-bin/study.cgi?study_id={}"
# What stands in front of a record's name is the whole rule; a name that matches none has no public record.
_RECORDS = (
    (re.compile(r"GS[EM]\d+"), _GEO),
    (re.compile(r"SR[RXSP]\d+"), _SRA),
    (re.compile(r"[ED]R[RXSP]\d+"), _ENA),
    (re.compile(r"SAM(N|EA|D)\d+"), "https://www.ncbi.nlm.nih.gov/biosample/?term={}"),
    (re.compile(r"PRJ(NA|EB|DB)\d+"), "https://www.ncbi.nlm.nih.gov/bioproject/{}"),
    (re.compile(r"E-[A-Z]{4}-\d+"), _BIOSTUDIES),
    (re.compile(r"phs\d{6}(\.v\d+)?(\.p\d+)?"), _DBGAP),
    (re.compile(r"TCGA-[A-Z]{2,5}"), _GDC),
)
_GDC_CASE = "https://api.gdc.cancer.gov/cases?pretty=true&filters={}"
_GDC_FILTER = '{{"op":"=","content":{{"field":"submitter_id","value":"{}"}}}}'
_KEY = re.compile(r"\s*([^:,;\t]{1,80}?)\s*:(?:\s+|$)(.*)", re.DOTALL)
_NEAR = 0.6
_N_LIKELY = 200
_SEPARATORS = re.compile(r"\s*Xx-xXx\s*|[,;\t\n]")


def id_kind(accession: str) -> str:
    """Return what kind of sample accession this is: ``GSM``, ``run``, ``TCGA`` or ``made``.

    ``made`` is every id that no public archive gave; it has no record to link to and must not be shown as one that has.
    """
    for kind, pattern in _KINDS:
        if pattern.fullmatch(accession):
            return kind
    return MADE


@lru_cache(8_192)  # an answer names the same study many times
def record_url(accession: str, kind: str | None = None) -> str | None:
    """Return the address of the public record of a sample or series, ``None`` if there is none.

    Parameters
    ----------
    accession
        Sample or series accession.
    kind
        ``id_kind`` where it is known; ``made`` never has a record, whatever the name looks like.
    """
    if kind == MADE:
        return None
    for pattern, address in _RECORDS:
        if pattern.fullmatch(accession):
            return address.format(quote(accession, safe=""))
    if id_kind(accession) == "TCGA":
        return _GDC_CASE.format(quote(_GDC_FILTER.format(tcga_case(accession)), safe=""))
    return None


def tcga_case(barcode: str) -> str:
    """Return the patient part of a TCGA barcode: ``TCGA-4N-A93T-01A-11R`` is of ``TCGA-4N-A93T``."""
    return "-".join(barcode.split("-")[:3])


@lru_cache(8_192)  # samples of one study state the same, and hits are shown again
def parse_characteristics(raw: str) -> tuple[tuple[str, str], ...]:
    """Split ``"tissue: liver,age: 5"`` into ``(("tissue", "liver"), ("age", "5"))``.

    A value may hold a comma (``"center: B1, A1,sex: M"``): a piece that does not begin with ``key: `` belongs to the value
    before it. A piece before the first key gets the empty key.
    """
    pairs: list[tuple[str, str]] = []
    for piece, separator in _pieces(raw):
        match = _KEY.fullmatch(piece)
        if match:
            pairs.append((match.group(1), match.group(2)))
        elif pairs:
            key, value = pairs[-1]
            pairs[-1] = (key, f"{value}{separator}{piece}")
        elif piece.strip():
            pairs.append(("", piece))
    return tuple((key, value.strip()) for key, value in pairs)


def _pieces(raw: str) -> Iterable[tuple[str, str]]:
    """Pieces of ``raw`` with the separator that stood before each."""
    before, start = "", 0
    for match in _SEPARATORS.finditer(raw):
        yield raw[start : match.start()], before
        before, start = match.group(0), match.end()
    yield raw[start:], before


def near_matches(accession: str, candidates: Iterable[str], n: int = 5) -> tuple[str, ...]:
    """Return up to ``n`` candidates that are written most like ``accession``, the best first, ties by name.

    Case is ignored; names that share fewer than six tenths of their letters are not near. A first pass compares beginnings and
    ends alone and leaves few candidates for the exact comparison, so that hundreds of thousands may be given.
    """
    wanted = accession.strip().upper()
    likely = nlargest(_N_LIKELY, ((_shared_ends(wanted, name.upper()), name) for name in candidates))
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    scored = []
    for _, name in likely:
        matcher.set_seq1(name.upper())
        scored.append((-matcher.ratio(), name))
    return tuple(name for score, name in sorted(scored)[:n] if -score >= _NEAR)


def _shared_ends(wanted: str, name: str) -> int:
    """Letters that both begin with, plus those both end with, less the difference in length."""
    shortest = min(len(wanted), len(name))
    start = 0
    while start < shortest and wanted[start] == name[start]:
        start += 1
    end = 0
    while end < shortest - start and wanted[-1 - end] == name[-1 - end]:
        end += 1
    return start + end - abs(len(wanted) - len(name))
