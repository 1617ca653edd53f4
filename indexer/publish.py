"""Turns a finished build folder into a release: manifest written last, one rename makes it visible."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from atlas.blocks import block_digests
from atlas.digests import sha256_json
from atlas.errors import ArtifactError
from atlas.manifest import SCHEMA_VERSION, FileEntry, Manifest, StageEntry, write_json
from atlas.release import SMALL_FILE_BYTES, Home, Release
from indexer.stage import BuildRequest

_VERSIONED = (
    "geo-atlas",
    "numpy",
    "pyarrow",
    "torch",
    "transformers",
    "faiss-cpu",
    "faiss-gpu-cu12",
    "igraph",
    "leidenalg",
    "umap-learn",
    "scikit-learn",
)


def publish(home: Home, folder: Path, request: BuildRequest, entries: Sequence[StageEntry]) -> None:
    """Write the manifest, check the folder against it, and rename it to ``<home>/releases/<name>``.

    A kill before the rename leaves a build that publishes again; after it there is a whole release.
    """
    outputs = sorted((file for entry in entries for file in entry.outputs), key=lambda file: file.path)
    files = [_with_blocks(folder, file) for file in outputs]
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=request.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=request.seed,
        n_samples=pq.read_metadata(folder / "samples.parquet").num_rows,
        dim=int(np.load(folder / "vectors.npy", mmap_mode="r").shape[1]),
        model_hash=_model_hash(entries),
        content_key=content_key(files),
        git_sha=_git_sha(),
        versions=_versions(),
        files=files,
        stages=list(entries),
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json", exclude_defaults=True))
    Release(folder).verify()  # re-read from disk before anyone else can
    home.releases.mkdir(parents=True, exist_ok=True)
    os.replace(folder, home.releases / request.name)


def content_key(files: Sequence[FileEntry]) -> str:
    """Return one digest over all artefacts: two builds with equal keys are the same atlas, byte for byte."""
    return sha256_json([[file.path, file.sha256] for file in sorted(files, key=lambda file: file.path)])


def _with_blocks(folder: Path, file: FileEntry) -> FileEntry:
    """Return a file with the digests of its blocks, if it is large: it is then checked part by part when it is used."""
    if file.bytes < SMALL_FILE_BYTES:
        return file
    return file.model_copy(update={"blocks": block_digests(folder / file.path)})


def _model_hash(entries: Sequence[StageEntry]) -> str:
    for entry in entries:
        if entry.name == "publish_release":
            return str(entry.notes["model_hash"])
    raise ArtifactError("The build has no publish_release record.", kind="missing")


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git_sha() -> str | None:
    """Commit of the running code; containers, which have no repository, set GEO_ATLAS_GIT_SHA."""
    if sha := os.environ.get("GEO_ATLAS_GIT_SHA"):
        return sha
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("-dirty" if dirty.stdout.strip() else "")
