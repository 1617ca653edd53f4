"""A release on disk: layout, checksums, the ``current`` pointer, atomic publish.

In: a finished build folder. Out: ``<home>/releases/<name>/``, immutable from then on. The pointer file ``<home>/current``
alone decides which release is served.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.accessions import near_matches
from atlas.blocks import CheckedBlocks
from atlas.digests import DigestCache, sha256_file
from atlas.errors import ArtifactError, InputError, NotFoundError, ResourceError
from atlas.locks import one_writer
from atlas.manifest import FileEntry, Manifest, read_manifest, write_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

SMALL_FILE_BYTES = 64 * 2**20
"""Files below this are hashed when a release is opened, larger ones by blocks, in the background and before they are used."""


def check_name(name: str) -> str:
    """Return ``name`` if it can be a release name, else raise ``InputError``."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a release: expected 1-64 letters, digits, '.', '_' or '-', beginning with a letter or digit."
        )
    return name


@dataclass(frozen=True)
class Home:
    """The folder that holds everything: releases, builds, the pointer, the embedded database."""

    path: Path

    @property
    def releases(self) -> Path:
        """Folder of the published releases."""
        return self.path / "releases"

    @property
    def builds(self) -> Path:
        """Folder of the unfinished builds."""
        return self.path / "builds"

    @property
    def pointer(self) -> Path:
        """The file that names the current release."""
        return self.path / "current"

    @property
    def digests(self) -> Path:
        """Digest cache of external inputs."""
        return self.path / "digests.json"

    def names(self) -> list[str]:
        """Names of the published releases, sorted."""
        if not self.releases.is_dir():
            return []
        return sorted(p.name for p in self.releases.iterdir() if (p / "manifest.json").is_file())

    def current(self) -> str:
        """Name of the current release, or raise ``NotFoundError``."""
        try:
            name = self.pointer.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            raise NotFoundError(
                f"No atlas is published in {self.path}. Build one with `geo-atlas build`, try `geo-atlas demo`, "
                "or name the right folder with --home.",
                details={"home": str(self.path), "releases": self.names()},
            ) from None
        return check_name(name)

    def use(self, name: str) -> None:
        """Point ``current`` at a published release, atomically."""
        release_folder(self, name)
        write_pointer(self.pointer, name)

    def remove(self, name: str) -> None:
        """Delete a published release that is not current; it vanishes in one rename before its files go.

        A note under ``retired/`` stays, so that an address which names the release is answered "gone", not "never was".
        """
        folder = release_folder(self, name)
        if self.pointer.is_file() and self.current() == name:
            raise InputError(
                f"{name!r} is the current release. Point to another one first: geo-atlas release use NAME."
            )
        self._note_removal(folder)
        grave = self.path / f".removed-{name}-{os.getpid()}"
        os.replace(folder, grave)
        shutil.rmtree(grave)

    def retired(self, name: str) -> dict[str, Any] | None:
        """Return when a removed release was removed and what it was; ``None`` if it is at hand or never was."""
        if (self.releases / name / "manifest.json").is_file():
            return None
        try:
            note = json.loads((self.path / "retired" / f"{check_name(name)}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def retired_names(self) -> list[str]:
        """Names of the removed releases, sorted."""
        return sorted(
            path.stem for path in (self.path / "retired").glob("*.json") if self.retired(path.stem) is not None
        )

    def _note_removal(self, folder: Path) -> None:
        note: dict[str, Any] = {"removed_at": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            manifest = read_manifest(folder / "manifest.json")
            note |= {"created_at": manifest.created_at, "content_key": manifest.content_key}
        except ArtifactError as error:
            note["problem"] = error.message  # a broken release can be removed all the same
        try:
            write_json(self.path / "retired" / f"{folder.name}.json", note)
        except OSError as error:
            raise ResourceError(f"Cannot write in {self.path}: {error.strerror}. Nothing was removed.") from error

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Hold the home for one writer; a second one gets ``BusyError`` at once, never waits."""
        with one_writer(self.path, purpose=purpose, who="build", option="--home"):
            yield


def write_pointer(pointer: Path, name: str) -> None:
    """Replace the pointer file; a reader sees the old name or the new one."""
    temporary = pointer.with_name(f".current.{os.getpid()}.tmp")
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(name + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, pointer)
    except OSError as error:
        raise ResourceError(f"Cannot write {pointer}: {error.strerror}. The current release is unchanged.") from error


def release_folder(home: Home, name: str) -> Path:
    """Return the folder of a published release, or raise ``NotFoundError`` with near matches."""
    folder = home.releases / check_name(name)
    if not (folder / "manifest.json").is_file():
        names = home.names()
        raise NotFoundError(
            f"There is no release {name!r} in {home.path}; it holds: {', '.join(names) or 'none'}.",
            details={"releases": names, "near_matches": list(near_matches(name, names))},
        )
    return folder


class Release:
    """A published release, opened read-only and checked against its manifest.

    Parameters
    ----------
    folder
        ``<home>/releases/<name>``.

    Raises
    ------
    ArtifactError
        If the manifest is missing or of another schema, a file is missing, or a small file's digest differs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder / "manifest.json")
        self.name = self.manifest.name
        self._failure: ArtifactError | None = None
        self._unverified = {entry.path: entry for entry in self.manifest.files}
        self._checking = threading.Lock()
        self._digests = DigestCache(folder.parent.parent / "digests.json")
        for entry in self.manifest.files:
            self._check_size(entry.path, entry.bytes)
        self._blocks = {
            entry.path: CheckedBlocks(
                folder / entry.path, entry.blocks, name=entry.path, release=self.name, failed=self._remember
            )
            for entry in self.manifest.files
            if entry.blocks is not None
        }
        for entry in self.manifest.files:
            if entry.bytes < SMALL_FILE_BYTES:
                self._check_digest(entry)

    @classmethod
    def open(cls, home: Home, name: str | None = None) -> Release:
        """Open a release by name, or the current one."""
        release = cls(release_folder(home, name or home.current()))
        if release.name != release.folder.name:
            raise ArtifactError(
                f"The folder {release.folder} holds the manifest of release {release.name!r}. A release keeps the name it was "
                "built under: rename the folder back.",
                kind="incompatible",
                details={"seen": release.name, "expected": release.folder.name},
            )
        return release

    def path(self, relative: str) -> Path:
        """Absolute path of an artefact."""
        return self.folder / relative

    def table(self, relative: str, *, columns: list[str] | None = None) -> pa.Table:
        """Read one parquet artefact."""
        return pq.read_table(self.checked(relative), columns=columns)

    @property
    def verified(self) -> float:
        """Share of the release's bytes whose digest was checked since opening, in [0, 1]."""
        total = sum(entry.bytes for entry in self.manifest.files)
        left = sum(self._bytes_left(entry) for entry in list(self._unverified.values()))
        return 1.0 if left == 0 else 1.0 - left / total

    def checked(self, relative: str) -> Path:
        """Return the path of a file or folder once all its bytes are known to be as published.

        A large file without digests of its blocks is read once; the home remembers its digest by size, time and inode.

        Raises
        ------
        ArtifactError
            ``corrupt`` if a file was changed.
        """
        self._verify(
            [e for e in list(self._unverified.values()) if e.path == relative or e.path.startswith(relative + "/")]
        )
        return self.folder / relative

    def guarded(self, relative: str) -> tuple[Path, CheckedBlocks | None]:
        """Return the path of a file, and what its parts are to be checked with before they are used.

        A file without digests of its blocks is checked whole, now, and comes without.

        Raises
        ------
        ArtifactError
            ``corrupt`` if such a file was changed.
        """
        blocks = self._blocks.get(relative)
        return (self.checked(relative) if blocks is None else self.folder / relative), blocks

    def verify(self) -> None:
        """Read every file again and check all its digests; raises ``ArtifactError`` and remembers it."""
        self._unverified = {entry.path: entry for entry in self.manifest.files}
        for blocks in self._blocks.values():
            blocks.forget()
        self._verify(self.manifest.files, from_disk=True)

    def check_all(self) -> None:
        """Check what has not been checked since opening; raises ``ArtifactError`` and remembers it."""
        self._verify(list(self._unverified.values()))

    def raise_if_corrupt(self) -> None:
        """Raise the failure that an earlier check found, if any."""
        if self._failure is not None:
            raise self._failure

    def _verify(self, entries: Sequence[FileEntry], *, from_disk: bool = False) -> None:
        for entry in entries:
            blocks = self._blocks.get(entry.path)
            if blocks is not None:
                blocks.require(0, entry.bytes)
            if blocks is None or from_disk:
                with self._checking:  # two askers read a large file once
                    if entry.path in self._unverified:
                        self._check_digest(entry, from_disk=from_disk or entry.bytes < SMALL_FILE_BYTES)
            self._unverified.pop(entry.path, None)

    def _remember(self, error: ArtifactError) -> None:
        self._failure = error

    def _bytes_left(self, entry: FileEntry) -> int:
        blocks = self._blocks.get(entry.path)
        return entry.bytes if blocks is None else blocks.bytes_left

    def _check_size(self, relative: str, expected: int) -> None:
        path = self.folder / relative
        if not path.is_file():
            raise ArtifactError(
                f"Release {self.name!r} lacks {relative}. Restore it or rebuild.",
                kind="missing",
                details={"path": relative},
            )
        seen = path.stat().st_size
        if seen != expected:
            raise ArtifactError(
                f"{relative} of release {self.name!r} has {seen} bytes, its manifest says {expected}. Restore it or rebuild.",
                kind="corrupt",
                details={"path": relative, "seen": seen, "expected": expected},
            )

    def _check_digest(self, entry: FileEntry, *, from_disk: bool = True) -> None:
        relative, expected = entry.path, entry.sha256
        path = self.folder / relative
        seen = sha256_file(path) if from_disk else self._digests.entry(path).sha256
        if seen != expected:
            error = ArtifactError(
                f"{relative} of release {self.name!r} was changed after it was published (sha256 {seen[:12]}…, "
                f"manifest says {expected[:12]}…). Restore it or rebuild.",
                kind="corrupt",
                details={"path": relative, "seen": seen, "expected": expected},
            )
            self._remember(error)
            raise error
        self._unverified.pop(relative, None)
