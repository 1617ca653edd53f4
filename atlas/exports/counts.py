"""Hits with their counts: the samples of a list, taken out of the user's own ARCHS4 file into one h5ad file.

In: a :class:`~atlas.exports.hit_lists.HitList` and an ARCHS4 HDF5 file. Out: an h5ad file, whole or absent: it is written beside
its place by a process of its own (``atlas.expression.extract``), which a damaged file may crash, and renamed once it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from atlas.errors import AtlasError, InputError, NotFoundError, ResourceError, TooLargeError
from atlas.exports.hit_lists import HitList
from atlas.expression.isolated import child_environment

_COMMAND = ("-P", "-m", "atlas.expression.extract")  # -P: the current folder is no place to import from
_FULL_BYTES = 4 << 20
_ERRORS = {kind.code: kind for kind in (InputError, TooLargeError, NotFoundError, ResourceError)}


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes
    ----------
    path
        The h5ad file.
    n_samples, n_genes
        Its shape.
    missing
        Samples of the list that the counts file lacks, in the order of the list.
    n_duplicates
        Lines of the list that repeated a sample.
    """

    path: Path
    n_samples: int
    n_genes: int
    missing: tuple[str, ...]
    n_duplicates: int


def export_counts(
    hits: HitList,
    out: Path,
    *,
    counts: Path,
    force: bool = False,
    advance: Callable[[int], None] = lambda n: None,
) -> ExportReport:
    """Write the counts of the listed samples as h5ad.

    Parameters
    ----------
    hits
        The samples, in the order the rows shall have.
    out
        File to write: ``X`` the values as the counts file has them; ``obs`` rank, score and what list and file say of each
        sample; ``var`` Ensembl ids and symbols; ``uns["geo_atlas"]`` where it came from and what is missing.
    counts
        ARCHS4 HDF5 file of any size; only the chunks with listed samples are read.
    force
        Replace ``out`` if it is there.
    advance
        Called with the number of samples written since the last call.

    Raises
    ------
    InputError
        If ``out`` is there already or is the counts file, or the counts file is damaged or no ARCHS4 gene file.
    NotFoundError
        If the counts file has none of the samples.
    ResourceError
        If ``out`` cannot be written.
    """
    _check_target(out, counts=counts, force=force)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    request = {
        "counts": str(counts),
        "out": str(unfinished),
        "accessions": hits.accessions,
        "columns": hits.columns,
        "about": {"counts_file": counts.name, "release": _one(hits, "release"), "query": _one(hits, "query")},
    }
    try:
        result = _run(request, advance=advance)
        with unfinished.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(unfinished, out)
    except OSError as error:
        raise ResourceError(f"{out} cannot be written: {error.strerror}.", details={"path": str(out)}) from error
    finally:
        with suppress(OSError):  # what went wrong before is what is told
            unfinished.unlink(missing_ok=True)
    return ExportReport(
        out, result["n_samples"], result["n_genes"], missing=tuple(result["missing"]), n_duplicates=hits.n_duplicates
    )


def _check_target(out: Path, *, counts: Path, force: bool) -> None:
    if out.is_dir():
        raise InputError(f"{out} is a folder. Name a file to write, such as hits.h5ad.")
    if out.exists() and counts.exists() and out.samefile(counts):
        raise InputError(f"{out} is the counts file itself. Name another file to write.")
    if out.exists() and not force:
        raise InputError(f"{out} is there already. Name another file, or give --force to replace it.")
    if not out.parent.is_dir():
        raise InputError(f"The folder {out.parent} does not exist. Make it first, or name a file elsewhere.")
    if not os.access(out.parent, os.W_OK):
        raise ResourceError(f"{out.parent} may not be written to by this user. Name a file elsewhere.")


def _one(hits: HitList, column: str) -> str:
    """Return what all samples of the list agree on, in one line."""
    return "; ".join(sorted({value for value in hits.columns.get(column, []) if value}))


def _run(request: dict[str, Any], *, advance: Callable[[int], None]) -> dict[str, Any]:
    """Run the child and return its result; whatever becomes of it, it is gone afterwards."""
    child = subprocess.Popen(
        [sys.executable, *_COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment()
    )
    if child.stdin is None or child.stdout is None:
        raise ResourceError("The process that reads the counts could not be started.")
    try:
        with child.stdin as stdin:
            _send(stdin, request)
        last: dict[str, Any] = {}
        with child.stdout as stdout:
            for line in stdout:
                last = json.loads(line)
                advance(last.get("done", 0))
        status = child.wait()
    finally:
        child.kill()
        child.wait()
    if "result" in last:
        result: dict[str, Any] = last["result"]
        return result
    raise _failure(last, request=request, status=status)


def _send(stdin: IO[bytes], request: dict[str, Any]) -> None:
    try:
        stdin.write(json.dumps(request).encode())
    except BrokenPipeError:
        return  # the child is gone already; its status tells why


def _failure(last: dict[str, Any], *, request: dict[str, Any], status: int) -> AtlasError:
    if "error" in last:
        return _ERRORS.get(last["error"], InputError)(last["message"], details=last["details"])
    folder = Path(request["out"]).parent
    if shutil.disk_usage(folder).free < _FULL_BYTES:  # HDF5 may crash on a full disk instead of saying so
        return ResourceError(
            f"The file cannot be written in {folder}: the disk is full. Free some space or write elsewhere, then run the same "
            "command again.",
            details={"folder": str(folder)},
        )
    return InputError(
        f"{request['counts']} cannot be read: the HDF5 library gave up on it (status {status}). The file is damaged; fetch it "
        "again and compare its size or checksum.",
        details={"file": request["counts"], "status": status},
    )
