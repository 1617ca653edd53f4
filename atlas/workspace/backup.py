"""Write a backup: one file with everything that no release can give back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Table, select, text

from atlas import __version__
from atlas.catalog.database import Database
from atlas.errors import InputError, ResourceError
from atlas.manifest import FileEntry
from atlas.workspace.archive import (
    BLOCK_BYTES,
    FORMAT_VERSION,
    MANIFEST,
    TABLES,
    BackupArchive,
    BackupManifest,
    BackupReport,
    table_path,
)
from atlas.workspace.kinds import SCANS
from atlas.workspace.lease import RESULTS
from atlas.workspace.restore import verify
from atlas.workspace.rows import to_line
from atlas.workspace.session import take_turn
from atlas.workspace.tables import REVISION

_ROWS_AT_ONCE = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PACKED = {".parquet", ".npy"}  # deflating them again costs minutes and gains nothing


def backup(database: Database, home: Path, path: Path) -> BackupReport:
    """Write all jobs, label edits and ad-hoc scans into one new file, and read it back before it gets its name.

    Parameters
    ----------
    home
        Folder of the atlas, whose ``scans/`` is kept.
    path
        File to make; one that exists is never overwritten.

    Raises
    ------
    InputError
        If the file exists, or its folder does not.
    ResourceError
        If the disk is full or closed; no half file is left.
    """
    path = path.absolute()
    if path.exists():
        raise InputError(f"{path} exists already. Name another file; a backup is never overwritten.")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise InputError(f"No file can be made in {path.parent}: {error.strerror}. Name another place.") from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as handle:
            with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=6) as archive:
                _write(archive, database, home)
            handle.flush()
            os.fsync(handle.fileno())
        with BackupArchive.open(temporary, max_bytes=2**62) as written:
            verify(written)
            report = BackupReport(
                path,
                written.manifest.created_at,
                written.manifest.n_rows,
                len(written.scan_folders),
                temporary.stat().st_size,
            )
        _name(temporary, path)
    except OSError as error:
        raise ResourceError(f"The backup cannot be written to {path}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):  # what went wrong before is what is told
            temporary.unlink(missing_ok=True)
    return report


def _write(archive: zipfile.ZipFile, database: Database, home: Path) -> None:
    files: list[FileEntry] = []
    n_rows: dict[str, int] = {}
    with database.connect() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        take_turn(connection, RESULTS, shared=True)  # no result expires while we write
        for table in TABLES:
            counted = _Counted(_lines(connection, table))
            files.append(_add(archive, table_path(table.name), counted))
            n_rows[table.name] = counted.n
        for name, file in _scan_files(home):
            files.append(_add(archive, name, _blocks(file), stored=file.suffix in _PACKED))
    manifest = BackupManifest(
        format_version=FORMAT_VERSION,
        schema_revision=REVISION,
        program_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        n_rows=n_rows,
        files=files,
    )
    _add(archive, MANIFEST, [manifest.model_dump_json(indent=1).encode()])


class _Counted:
    """Counts what is taken from an iterable."""

    def __init__(self, items: Iterable[bytes]) -> None:
        self._items = items
        self.n = 0

    def __iter__(self) -> Iterator[bytes]:
        for item in self._items:
            self.n += 1
            yield item


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    """Read a table through a cursor of the server, a few rows at a time; edits newest first, as they name newer ones."""
    key = next(iter(table.primary_key.columns))
    order = key.desc() if table.name == "label_edits" else key
    options = {"stream_results": True, "yield_per": _ROWS_AT_ONCE}
    for row in connection.execute(select(table).order_by(order), execution_options=options).mappings():
        yield to_line(dict(row))


def _add(archive: zipfile.ZipFile, name: str, blocks: Iterable[bytes], *, stored: bool = False) -> FileEntry:
    digest, n_bytes = hashlib.sha256(), 0
    info = zipfile.ZipInfo(name, date_time=datetime.now(UTC).timetuple()[:6])
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    with archive.open(info, "w", force_zip64=True) as handle:
        for block in blocks:
            handle.write(block)
            digest.update(block)
            n_bytes += len(block)
    return FileEntry(path=name, bytes=n_bytes, sha256=digest.hexdigest())


def _scan_files(home: Path) -> Iterator[tuple[str, Path]]:
    """Return name in the archive and path of each file of each finished ad-hoc scan."""
    for described in sorted((home / SCANS).glob("*/*/scan.json")):
        folder = described.parent
        if not (_NAME.fullmatch(folder.parent.name) and _NAME.fullmatch(folder.name)):
            continue  # being written or being removed
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.is_symlink() and _NAME.fullmatch(file.name):
                yield f"{SCANS}/{folder.parent.name}/{folder.name}/{file.name}", file


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            yield block


def _name(temporary: Path, path: Path) -> None:
    """Give the finished file its name; a file that appeared there meanwhile is kept."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise InputError(f"{path} exists already. Name another file; a backup is never overwritten.") from None
    except OSError:  # a file system without hard links
        os.replace(temporary, path)
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
