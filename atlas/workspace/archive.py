"""The file that a backup is: a zip of table rows as JSON lines, folders of ad-hoc scans, and a manifest with every sha256.

Reading trusts nothing: names, sizes and kinds of entries are held against the manifest and a bound before a byte is expanded,
and every entry is read no further than it was announced.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atlas.errors import ArtifactError, InputError, ResourceError, TooLargeError
from atlas.manifest import FileEntry
from atlas.workspace.kinds import SCANS
from atlas.workspace.tables import SCHEMA, WorkspaceBase

FORMAT_VERSION = 1
"""Raised when an older program could not read the file any more."""

MANIFEST = "manifest.json"

TABLES = tuple(WorkspaceBase.metadata.tables[f"{SCHEMA}.{name}"] for name in ("member_sets", "label_edits", "jobs"))
"""In an order in which no row names one that comes later."""

BLOCK_BYTES = 2**20
_MAX_MANIFEST_BYTES = 256 * 2**20
_MAX_LINE_BYTES = 512 * 2**20
_SMALL_BYTES = 2**30
_MAX_GROWTH = 100
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_SCAN_FILE = re.compile(rf"{SCANS}/{_NAME}/{_NAME}/{_NAME}")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)


class BackupManifest(BaseModel):
    """What a backup holds; ``schema_revision`` names the migration its rows belong to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["geo-atlas backup"] = "geo-atlas backup"
    format_version: int
    schema_revision: str
    program_version: str
    created_at: str
    n_rows: dict[str, int] = Field(description="rows by table")
    files: list[FileEntry]


@dataclass(frozen=True)
class BackupReport:
    """What was written or restored."""

    path: Path
    created_at: str
    n_rows: dict[str, int]
    n_scans: int
    n_bytes: int


def table_path(name: str) -> str:
    """Return the name of a table's entry."""
    return f"tables/{name}.jsonl"


class BackupArchive:
    """A backup opened for reading; use ``BackupArchive.open``, then ``verify`` before anything is believed."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: BackupManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._archive = archive
        self._files = {entry.path: entry for entry in manifest.files}

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, max_bytes: int | None = None) -> Iterator[Self]:
        """Open a backup and check its table of contents.

        Parameters
        ----------
        max_bytes
            Most bytes it may expand to; by default 1 GiB, or a hundred times its own size if that is more.

        Raises
        ------
        InputError, TooLargeError
            If it is no backup, or expands to more.
        ArtifactError
            ``incompatible`` if a newer program made it, ``corrupt`` if contents and manifest differ.
        """
        try:
            archive = zipfile.ZipFile(path)
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror}. Name a file that `geo-atlas backup` made."
            ) from error
        except _BROKEN as error:
            raise InputError(
                f"{path} is no backup of geo-atlas: {error}. Name one that `geo-atlas backup` made."
            ) from error
        with archive:
            manifest = _read_manifest(archive, path)
            opened = cls(path, archive, manifest)
            opened._check_contents(max_bytes or max(_SMALL_BYTES, _MAX_GROWTH * path.stat().st_size))
            yield opened

    @property
    def scan_files(self) -> list[FileEntry]:
        """The files of ad-hoc scans."""
        return [entry for entry in self.manifest.files if entry.path.startswith(f"{SCANS}/")]

    @property
    def scan_folders(self) -> list[str]:
        """The folders of ad-hoc scans, ``scans/<release>/<key>``."""
        return sorted({entry.path.rpartition("/")[0] for entry in self.scan_files})

    def blocks(self, name: str) -> Iterator[bytes]:
        """Read an entry block by block; at its end size and sha256 must be those of the manifest.

        Raises
        ------
        ArtifactError
            ``corrupt`` if they are not, after the blocks were handed out: believe none of them before the end.
        """
        expected = self._files[name]
        digest, n_bytes = hashlib.sha256(), 0
        with self._readable(name) as handle:
            while block := handle.read(BLOCK_BYTES):
                n_bytes += len(block)
                if n_bytes > expected.bytes:
                    break
                digest.update(block)
                yield block
        if n_bytes != expected.bytes or digest.hexdigest() != expected.sha256:
            raise corrupt(self.path, f"{name} is not what its manifest says")

    def lines(self, table: str) -> Iterator[bytes]:
        """Read the lines of a table, as ``blocks`` does."""
        rest: list[bytes] = []
        held = 0
        for block in self.blocks(table_path(table)):
            *whole, tail = block.split(b"\n")
            for line in whole:
                yield b"".join([*rest, line])
                rest, held = [], 0
            rest.append(tail)
            held += len(tail)
            if held > _MAX_LINE_BYTES:
                raise TooLargeError(f"A row of {table} in {self.path} is longer than {_MAX_LINE_BYTES} bytes.")
        if b"".join(rest):
            raise corrupt(self.path, f"the last row of {table} is cut off")

    @contextmanager
    def _readable(self, name: str) -> Iterator[IO[bytes]]:
        try:
            with self._archive.open(name) as handle:
                yield handle
        except _BROKEN as error:
            raise corrupt(self.path, f"{name} cannot be read ({error})") from error
        except OSError as error:
            raise ResourceError(f"{self.path} cannot be read: {error.strerror or error}.") from error

    def _check_contents(self, max_bytes: int) -> None:
        entries = [info for info in self._archive.infolist() if info.filename != MANIFEST]
        seen = {info.filename: info.file_size for info in entries}
        if len(seen) != len(entries) or len(self._files) != len(self.manifest.files):
            raise corrupt(self.path, "an entry occurs twice")
        if seen != {entry.path: entry.bytes for entry in self.manifest.files}:
            raise corrupt(self.path, "its entries are not those of its manifest")
        tables = {table_path(table.name) for table in TABLES}
        strange = [name for name in seen if name not in tables and not _SCAN_FILE.fullmatch(name)]
        if strange or not tables <= set(seen) or set(self.manifest.n_rows) != {table.name for table in TABLES}:
            raise corrupt(self.path, f"it holds or lacks an entry that no backup has: {strange[:1] or 'a table'}")
        if any(info.flag_bits & 1 or info.compress_type not in _OUR_METHODS for info in entries):
            raise corrupt(self.path, "an entry is encrypted or packed in a way that no backup is")
        total = sum(seen.values())
        if total > max_bytes:
            raise TooLargeError(
                f"{self.path} would expand to {total} bytes; at most {max_bytes} are allowed. If you trust it, "
                "allow more with --max-bytes.",
                details={"seen": total, "limit": max_bytes},
            )


_OUR_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> BackupManifest:
    try:
        info = archive.getinfo(MANIFEST)
        if info.file_size > _MAX_MANIFEST_BYTES:
            raise TooLargeError(f"The manifest of {path} has {info.file_size} bytes; no backup has such a one.")
        with archive.open(info) as handle:
            payload = json.loads(handle.read(_MAX_MANIFEST_BYTES))
    except (KeyError, ValueError, RecursionError, *_BROKEN) as error:
        raise InputError(
            f"{path} is no backup of geo-atlas: it has no readable manifest. Name one that `geo-atlas backup` made."
        ) from error
    version = payload.get("format_version") if isinstance(payload, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise newer(path, f"format {version}", expected=f"format {FORMAT_VERSION}")
    try:
        return BackupManifest.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]["loc"]
        raise InputError(f"{path} is no backup of geo-atlas: its manifest lacks or garbles {first}.") from error


def newer(path: Path, seen: str, *, expected: str) -> ArtifactError:
    """Return the error for a backup that this program is too old for."""
    return ArtifactError(
        f"{path} was made by a newer geo-atlas ({seen}; this one reads {expected}). Update this program, then restore.",
        kind="incompatible",
        details={"seen": seen, "expected": expected},
    )


def corrupt(path: Path, what: str) -> ArtifactError:
    """Return the error for a backup that is not as it was written."""
    return ArtifactError(f"{path} is damaged: {what}. Nothing was restored; use another copy.", kind="corrupt")
