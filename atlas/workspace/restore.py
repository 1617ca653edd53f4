"""Bring a backup back: everything is checked first, then rows and folders appear together, or nothing does."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
from sqlalchemy import Connection, func, select, text

from atlas.catalog.database import Database, driver_errors_translated
from atlas.errors import InputError, ResourceError
from atlas.release import Home
from atlas.workspace.archive import TABLES, BackupArchive, BackupReport, corrupt, newer
from atlas.workspace.kinds import SCANS
from atlas.workspace.rows import copied, from_line, revived
from atlas.workspace.tables import REVISION, SCHEMA, LabelEditRow

_SPARE_BYTES = 64 * 2**20
_STAGE = ".restore-"
_KEPT = ".replaced-"


def verify(archive: BackupArchive) -> None:
    """Read a backup whole and check every byte, row and key.

    Raises
    ------
    ArtifactError
        ``corrupt``, or ``incompatible`` if its rows belong to a newer schema.
    """
    if archive.manifest.schema_revision != REVISION:
        raise newer(archive.path, f"schema {archive.manifest.schema_revision[:20]!r}", expected=f"schema {REVISION}")
    for table in TABLES:
        n_rows = 0
        for line in archive.lines(table.name):
            n_rows += 1
            try:
                from_line(line, table=table)
            except ValueError as error:
                raise corrupt(archive.path, f"row {n_rows} of {table.name} is no such row ({error})") from error
        if n_rows != archive.manifest.n_rows[table.name]:
            raise corrupt(
                archive.path, f"it has {n_rows} rows of {table.name}, not {archive.manifest.n_rows[table.name]}"
            )
    for entry in archive.scan_files:
        for _ in archive.blocks(entry.path):
            continue


def restore(
    database: Database, home: Path, path: Path, *, replace: bool = False, max_bytes: int | None = None
) -> BackupReport:
    """Restore jobs, label edits and ad-hoc scans.

    Parameters
    ----------
    home
        Folder of the atlas, which gets the scans.
    path
        A file that ``backup`` made.
    replace
        Give up the jobs and label edits that are there, and scans of the same name; else they are a reason to refuse.
    max_bytes
        Most bytes the file may expand to; see ``BackupArchive.open``.

    Raises
    ------
    InputError
        If the file is no backup, or there is something it would replace.
    ArtifactError
        If it is damaged or of a newer program. In each case nothing was changed.
    ResourceError
        If the disk has no room.
    """
    with BackupArchive.open(path, max_bytes=max_bytes) as archive, Home(home).lock("restore a backup"):
        verify(archive)
        if not replace:
            with database.connect() as connection:
                _refuse_if_used(connection)
        with _staged(archive, home) as stage, contextlib.ExitStack() as undo:
            with database.begin(unlimited=True) as connection:
                _load(connection, archive, replace=replace)
                old = _move_in(archive, stage, home, replace=replace, undo=undo)
            undo.pop_all()  # committed: what was moved stays
            for folder in old:
                shutil.rmtree(folder, ignore_errors=True)
        manifest = archive.manifest
        return BackupReport(path, manifest.created_at, manifest.n_rows, len(archive.scan_folders), path.stat().st_size)


def _refuse_if_used(connection: Connection) -> None:
    n_rows = {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES}
    if any(n_rows.values()):
        raise InputError(
            f"The database already has {n_rows['label_edits']} label edits and {n_rows['jobs']} jobs. Keep them, or give "
            "them up for those of the backup with --replace.",
            details=n_rows,
        )


def _load(connection: Connection, archive: BackupArchive, *, replace: bool) -> None:
    names = ", ".join(f"{SCHEMA}.{table.name}" for table in TABLES)
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
    if not replace:
        _refuse_if_used(connection)
    for table in reversed(TABLES):
        connection.execute(table.delete())
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"rows are restored through psycopg, not {type(raw).__name__}")
    for table in TABLES:
        try:
            with driver_errors_translated(), raw.cursor() as cursor:
                columns = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, table.columns.keys()))
                into = psycopg.sql.Identifier(SCHEMA, table.name)
                with cursor.copy(psycopg.sql.SQL("COPY {} ({}) FROM STDIN").format(into, columns)) as copy:
                    for line in archive.lines(table.name):
                        copy.write_row(copied(revived(from_line(line, table=table), table=table), table=table))
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            reason = error.diag.message_primary or "no reason given"
            raise corrupt(archive.path, f"the database does not take its {table.name} ({reason})") from error
    sequence = func.pg_get_serial_sequence(f"{SCHEMA}.{LabelEditRow.__tablename__}", "edit_id")
    last = select(func.max(LabelEditRow.edit_id)).scalar_subquery()
    connection.execute(select(func.setval(sequence, func.coalesce(last, 1), last.is_not(None))))


@contextlib.contextmanager
def _staged(archive: BackupArchive, home: Path) -> Iterator[Path]:
    """Unpack the scans beside the place where they belong; removed at the end, whatever happens."""
    scans = home / SCANS
    for left in scans.glob(f"{_STAGE}*"):  # of a restore that was killed; we hold the lock of the home
        shutil.rmtree(left, ignore_errors=True)
    stage = scans / f"{_STAGE}{secrets.token_hex(4)}"
    try:
        needed = sum(entry.bytes for entry in archive.scan_files) + _SPARE_BYTES
        stage.mkdir(parents=True)
        free = shutil.disk_usage(stage).free
        if needed > free:
            raise ResourceError(
                f"The scans need {needed} bytes in {home}, and {free} are free. Make room, then restore."
            )
        for entry in archive.scan_files:
            file = stage / entry.path.removeprefix(f"{SCANS}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as handle:
                for block in archive.blocks(entry.path):
                    handle.write(block)
                handle.flush()
                os.fsync(handle.fileno())
        yield stage
    except OSError as error:
        raise ResourceError(f"The scans cannot be written to {scans}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move_in(
    archive: BackupArchive, stage: Path, home: Path, *, replace: bool, undo: contextlib.ExitStack
) -> list[Path]:
    """Move each unpacked scan to its place and return the replaced ones; one that is there already is kept or replaced."""
    old: list[Path] = []
    for name in archive.scan_folders:
        target = home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if not replace:
                continue  # its name tells its content: it is the same scan
            aside = target.with_name(f"{_KEPT}{target.name}-{secrets.token_hex(4)}")
            os.replace(target, aside)
            undo.callback(os.replace, aside, target)
            old.append(aside)
        os.replace(stage / name.removeprefix(f"{SCANS}/"), target)
        undo.callback(shutil.rmtree, target, ignore_errors=True)
    return old
