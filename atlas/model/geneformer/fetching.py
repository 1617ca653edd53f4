"""``geo-atlas model fetch``: a published model by name, downloaded, checked and, for Geneformer, converted.

In: a name of ``atlas.model.published``. Out: a folder that is complete or not there. What has arrived lies in ``OUT.download``
until then, so that an interrupted fetch goes on; another process that wants the same folder meanwhile is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from atlas.errors import ResourceError
from atlas.locks import LOCK, one_writer
from atlas.model.geneformer.importing import import_geneformer, refuse_existing
from atlas.model.hub import Hub
from atlas.model.published import PublishedModel

_SPARE_BYTES = 64 << 20


def fetch_model(model: PublishedModel, out: Path, *, hub: Hub, progress: Callable[[int], None] | None = None) -> Path:
    """Download ``model`` into ``out``.

    Parameters
    ----------
    model
        What to fetch.
    out
        A folder that does not exist yet.
    hub
        Where from.
    progress
        Called with the number of bytes that came since the last call; negative if some are fetched again.

    Raises
    ------
    InputError
        If ``out`` exists.
    BusyError
        If another process fetches into it.
    ResourceError
        If there is no room, or no right to write.
    ArtifactError, NotFoundError, UpstreamError
        As ``Hub.download`` and ``import_geneformer``.
    """
    refuse_existing(out)
    work = out.with_name(f"{out.name}.download")
    with one_writer(work, purpose=f"fetching {model.name}", who="download", option="--out"):
        _need_room(model, work)
        for file in model.files:
            hub.download(file, work, progress=progress)
        if model.kind == "geneformer":
            import_geneformer(work, out, dictionaries=work)
            shutil.rmtree(work, ignore_errors=True)
        else:
            (work / LOCK).unlink()  # still held; it is no part of the model
            os.rename(work, out)
    return out


def _need_room(model: PublishedModel, work: Path) -> None:
    """Refuse at once what cannot fit: the missing bytes, and the copy that the conversion makes."""
    there = sum(path.stat().st_size for path in work.iterdir())
    copies = 2 if model.kind == "geneformer" else 1
    needed = max(copies * model.n_bytes - there, 0) + _SPARE_BYTES
    free = shutil.disk_usage(work).free
    if free < needed:
        raise ResourceError(
            f"{model.name} needs {needed / 2**20:,.0f} MiB in {work.parent}, where {free / 2**20:,.0f} MiB are free. "
            "Make room or choose another folder (--out DIR).",
            details={"needed_bytes": needed, "free_bytes": free},
        )
