"""The manifest of a release: what every stage read, made, dropped and measured. A type, written last, read back strictly."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atlas.errors import ArtifactError

SCHEMA_VERSION = "1.1"
"""Schema of the release folder (``docs/schema.md``); another major number is refused."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    """One file: path (relative to the release for artefacts, absolute for sources), size, digest.

    ``blocks`` are the digests of each 16 MiB of a large file of a release; ``None`` of small files, and where a release was
    built before 1.1.
    """

    path: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    blocks: list[str] | None = None


class StageEntry(_Strict):
    """What one stage did."""

    name: str
    version: int
    key: str
    params: dict[str, Any]
    inputs: list[FileEntry]
    outputs: list[FileEntry]
    n_in: int
    n_out: int
    dropped: dict[str, int]
    notes: dict[str, Any]
    started_at: str
    finished_at: str
    wall_s: float = Field(ge=0)
    peak_rss_bytes: int = Field(ge=0, description="largest resident size of the building process so far")


class Manifest(_Strict):
    """The manifest of one release."""

    schema_version: str
    name: str
    created_at: str
    seed: int
    n_samples: int
    dim: int
    model_hash: str
    content_key: str = Field(description="sha256 over all artefact digests: two builds are the same atlas if equal")
    git_sha: str | None
    versions: dict[str, str]
    files: list[FileEntry]
    stages: list[StageEntry]

    def stage(self, name: str) -> StageEntry:
        """Return the entry of one stage, or raise ``ArtifactError``."""
        for entry in self.stages:
            if entry.name == name:
                return entry
        raise ArtifactError(f"The manifest of release {self.name!r} has no stage {name!r}.", kind="missing")


def write_json(path: Path, payload: Any) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(payload, handle, indent=1, sort_keys=True, ensure_ascii=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises
    ------
    ArtifactError
        ``missing``; ``corrupt`` if it is not the JSON we write; ``incompatible`` if its schema has another major version.
    """
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"No manifest at {path}: this is not a finished release.", kind="missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"The manifest {path} is not readable JSON: {error}.", kind="corrupt") from error
    version = str(payload.get("schema_version", "none")) if isinstance(payload, dict) else "none"
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise ArtifactError(
            f"The release at {path.parent} has schema {version}; this program reads {SCHEMA_VERSION}. "
            "Rebuild it, or use the geo-atlas version that made it.",
            kind="incompatible",
            details={"seen": version, "expected": SCHEMA_VERSION},
        )
    try:
        return Manifest.model_validate(payload)
    except ValidationError as error:
        raise ArtifactError(
            f"The manifest {path} lacks or garbles {error.error_count()} field(s), first: {error.errors()[0]['loc']}.",
            kind="corrupt",
        ) from error
