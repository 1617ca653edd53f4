"""The kinds of jobs a worker can carry out; one entry of ``KINDS`` each.

A kind runs in the worker's process with an open atlas, tells its progress, looks often whether it is cancelled, writes its
answer to disk atomically under a name that the request decides, and returns where the answer is. So it may be repeated at will.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import InputError
from atlas.release import check_name
from atlas.settings import Settings

if TYPE_CHECKING:
    from atlas.atlas import Atlas

SCANS = "scans"
"""Folder of a home that holds ad-hoc scans, ``<home>/scans/<release>/<key>/``."""


@dataclass(frozen=True)
class JobContext:
    """What a job is given.

    Attributes
    ----------
    request
        As submitted.
    open_atlas
        Opens the job's release, or returns it if it is open already.
    progress
        To be called with the share done, in [0, 1], and a sentence or ``None``.
    cancelled
        Whether to stop; cheap enough to ask in every step.
    """

    request: Mapping[str, Any]
    release: str
    settings: Settings
    open_atlas: Callable[[], Atlas]
    progress: Callable[[float, str | None], None]
    cancelled: Callable[[], bool]


@dataclass(frozen=True)
class JobKind:
    """How a kind of job is run, and the folder its result names (``None``: nothing on disk)."""

    run: Callable[[JobContext], dict[str, Any]]
    folder: Callable[[Path, str, Mapping[str, Any]], Path | None] = lambda home, release, result: None


def scan_folder(home: Path, release: str, result: Mapping[str, Any]) -> Path | None:
    """Return the folder of an ad-hoc scan, ``<home>/scans/<release>/<key>``; ``None`` if the result names none."""
    key = result.get("scan")
    if not isinstance(key, str):
        return None
    return home / SCANS / check_name(release) / check_name(key)


def _scan(context: JobContext) -> dict[str, Any]:
    from atlas.scans.adhoc import run_scan

    terms = context.request.get("terms")
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise InputError("A scan needs a list of terms, each a text.")
    name = str(context.request.get("name") or "")
    summary = run_scan(
        context.open_atlas(),
        terms,
        name=name,
        title=str(context.request.get("title") or name),
        out=context.settings.home_path / SCANS / check_name(context.release),
        progress=lambda done, total: context.progress(done / max(total, 1), None),
        cancelled=context.cancelled,
    )
    return {"scan": summary.name}


KINDS: Mapping[str, JobKind] = {"scan": JobKind(run=_scan, folder=scan_folder)}
