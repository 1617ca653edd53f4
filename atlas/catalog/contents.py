"""What of a release the database holds, and the key that says which bytes a loaded release came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from atlas.digests import sha256_file, sha256_json
from atlas.errors import ArtifactError

LAYOUT_VERSION = 2
"""Raised when the loader writes other rows from the same files; releases loaded before then count as not loaded."""

CATALOG_FILES = (
    "samples.parquet",
    "series.parquet",
    "captions.parquet",
    "landscape.parquet",
    "terms.parquet",
    "keywords.parquet",
    "labels.parquet",
)
"""Files of a release folder that the catalog is derived from."""


def content_key(digests: Mapping[str, str]) -> str:
    """Return the key of a catalog made from files with these sha256 sums (by release-relative path; others are ignored).

    Raises
    ------
    ArtifactError
        If one of the files is missing.
    """
    missing = [name for name in CATALOG_FILES if name not in digests]
    if missing:
        raise ArtifactError(
            f"The release lacks {', '.join(missing)}, from which the database is loaded. Finish its build first.",
            kind="missing",
            details={"missing": missing},
        )
    return sha256_json({"layout": LAYOUT_VERSION, "files": {name: digests[name] for name in CATALOG_FILES}})


def folder_key(folder: Path) -> str:
    """Return the key of the catalog that the files in ``folder`` make; reads them whole."""
    return content_key({name: sha256_file(folder / name) for name in CATALOG_FILES if (folder / name).is_file()})
