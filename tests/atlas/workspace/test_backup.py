"""Backup and restore: a round trip of everything, and every way a file can be wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from catalog_fixtures import scratch_database
from sqlalchemy import text
from workspace_cases import atlas_of, empty

from atlas.catalog.database import Database
from atlas.catalog.embedded import EmbeddedPostgres
from atlas.errors import ArtifactError, AtlasError, BusyError, InputError, ResourceError, TooLargeError
from atlas.release import Home
from atlas.settings import Settings
from atlas.workspace.archive import BackupArchive
from atlas.workspace.backup import backup
from atlas.workspace.jobs import Jobs
from atlas.workspace.label_edits import LabelEdits
from atlas.workspace.restore import restore

ATLAS = atlas_of("r1", {0: range(10), 1: range(10, 25)})
Change = Callable[[dict[str, bytes]], None]


def fill(database: Database, home: Path) -> None:
    """Make some of everything: edits with history, jobs in every state, scans, and what is no finished scan."""
    edits, jobs = LabelEdits(database), Jobs(database)
    for text_ in ("first", "zweites — ✓", "third"):
        edits.set(ATLAS, 0, label=text_, machine_label="m", author="Ada", note="line\nline")
    edits.remove(edits.set(ATLAS, 1, label="gone", machine_label="m", author="Ada").edit_id, author="Ben")
    for n in range(4):
        request = {"terms": [f"t{n}", "é\u2028"], "name": "x"}
        jobs.submit("scan", request, release="r1", client=f"c{n}", settings=Settings())
    done, failed, running = (jobs.take("w") for _ in range(3))
    assert done is not None
    assert failed is not None
    assert running is not None
    done.done({"scan": "0123456789abcdef"})
    failed.failed(InputError("no"))
    folder = home / "scans" / "r1" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "scan.json").write_text('{"a": 1}')
    (folder / "vectors.npy").write_bytes(os.urandom(3 * 2**20))
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "link.parquet").symlink_to("/etc/hostname")
    (home / "scans" / "r1" / ".expired-key-1").mkdir()
    (home / "scans" / "r1" / ".expired-key-1" / "scan.json").write_text("{}")
    (home / "scans" / "r1" / "unfinished").mkdir()
    (home / "scans" / "r1" / "unfinished" / "vectors.npy").write_bytes(b"x")


def contents(database: Database) -> dict[str, list[Any]]:
    with database.connect() as connection:
        return {
            table: [dict(row) for row in connection.execute(text(f"SELECT * FROM app.{table} ORDER BY 1")).mappings()]
            for table in ("member_sets", "label_edits", "jobs")
        }


def files_of(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (home / "scans").rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def saved_once(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a full workspace, which is empty again afterwards."""
    folder = tmp_path_factory.mktemp("saved")
    empty(database)
    fill(database, folder)
    backup(database, folder, folder / "saved.zip")
    empty(database)
    return folder / "saved.zip"


@pytest.fixture
def saved(workspace: Database, saved_once: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copy(saved_once, tmp_path / "saved.zip"))


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path: Path, entries: dict[str, bytes], *, honest: bool = True) -> Path:
    """Write entries as a zip; an honest one has a manifest that fits them."""
    if honest:
        manifest = json.loads(entries["manifest.json"])
        manifest["files"] = [
            {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in entries.items()
            if name != "manifest.json"
        ]
        for table in manifest["n_rows"]:
            manifest["n_rows"][table] = entries.get(f"tables/{table}.jsonl", b"").count(b"\n")
        entries = entries | {"manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def refused(database: Database, home: Path, path: Path, **more: Any) -> AtlasError:
    """Restore in vain: nothing may have changed."""
    before, files = contents(database), files_of(home)
    with pytest.raises(AtlasError) as caught:
        restore(database, home, path, **more)
    assert contents(database) == before
    assert files_of(home) == files
    assert [p.name for p in (home / "scans").glob(".*")] == []
    return caught.value


@pytest.mark.postgres
def test_everything_comes_back(workspace: Database, home: Path, tmp_path: Path) -> None:
    fill(workspace, home)
    before, files = contents(workspace), files_of(home)
    report = backup(workspace, home, tmp_path / "b.zip")
    assert report.n_rows == {"member_sets": 2, "label_edits": 4, "jobs": 4}
    assert report.n_scans == 1
    assert contents(workspace) == before
    empty(workspace)
    shutil.rmtree(home / "scans")
    restore(workspace, home, tmp_path / "b.zip")
    after = contents(workspace)
    assert after["member_sets"] == before["member_sets"]
    assert after["label_edits"] == before["label_edits"]
    old = {job["job_id"]: job for job in before["jobs"]}
    for job in after["jobs"]:
        changed = {name for name in job if job[name] != old[job["job_id"]][name]}
        expected = {"running": {"status", "worker", "lease_until", "attempts"}, "done": {"expires_at"}}
        assert changed == expected.get(old[job["job_id"]]["status"], set())
    assert set(files_of(home)) == {name for name in files if "/0123456789abcdef/" in name}
    assert files_of(home).items() <= files.items()
    # The queue and the numbering go on.
    assert Jobs(workspace).take("w") is not None
    made = LabelEdits(workspace).set(ATLAS, 1, label="next", machine_label="m", author="Ada")
    assert made.edit_id > max(edit["edit_id"] for edit in before["label_edits"])


@pytest.mark.postgres
def test_an_empty_workspace_is_saved_and_restored(workspace: Database, home: Path, tmp_path: Path) -> None:
    assert backup(workspace, home, tmp_path / "b.zip").n_scans == 0
    assert restore(workspace, home, tmp_path / "b.zip").n_rows == {"member_sets": 0, "label_edits": 0, "jobs": 0}
    assert LabelEdits(workspace).set(ATLAS, 0, label="first", machine_label="m", author="Ada").edit_id == 1


@pytest.mark.postgres
def test_a_backup_overwrites_nothing_and_leaves_no_half_file(
    workspace: Database, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace, home)
    taken = tmp_path / "taken.zip"
    taken.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        backup(workspace, home, taken)
    assert taken.read_text() == "mine"
    with pytest.raises(InputError, match="Name another place"):
        backup(workspace, home, tmp_path / "absent" / "b.zip")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("atlas.workspace.backup._blocks", full)
    with pytest.raises(ResourceError, match="No space left"):
        backup(workspace, home, tmp_path / "b.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "taken.zip"]
    monkeypatch.setattr(Path, "unlink", full)  # as a file system that has become read-only answers
    with pytest.raises(ResourceError, match="No space left"):
        backup(workspace, home, tmp_path / "b.zip")


@pytest.mark.postgres
def test_a_backup_is_for_its_owner_alone(workspace: Database, home: Path, tmp_path: Path) -> None:
    backup(workspace, home, tmp_path / "b.zip")
    assert (tmp_path / "b.zip").stat().st_mode & 0o077 == 0


@pytest.mark.postgres
def test_what_is_there_is_kept_unless_replaced(workspace: Database, home: Path, saved: Path) -> None:
    LabelEdits(workspace).set(ATLAS, 0, label="mine", machine_label="m", author="Ada")
    folder = home / "scans" / "r1" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "scan.json").write_text("other")
    error = refused(workspace, home, saved)
    assert isinstance(error, InputError)
    assert "--replace" in error.message
    restore(workspace, home, saved, replace=True)
    assert [edit.label for edit in LabelEdits(workspace).for_release(ATLAS)] == ["third"]
    assert (folder / "scan.json").read_text() == '{"a": 1}'
    assert [path.name for path in folder.parent.iterdir()] == ["0123456789abcdef"]


@pytest.mark.postgres
def test_a_restore_that_fails_at_the_end_leaves_all_as_it_was(
    workspace: Database, home: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LabelEdits(workspace).set(ATLAS, 0, label="mine", machine_label="m", author="Ada")
    folder = home / "scans" / "r1" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "scan.json").write_text("other")
    from atlas.workspace import restore as module

    move_in = module._move_in

    def fail_after(*given: Any, **more: Any) -> list[Path]:
        move_in(*given, **more)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "_move_in", fail_after)
    assert isinstance(refused(workspace, home, saved, replace=True), ResourceError)


@pytest.mark.postgres
def test_a_home_in_use_is_left_alone(workspace: Database, home: Path, saved: Path) -> None:
    with Home(home).lock("a build"):
        assert isinstance(refused(workspace, home, saved), BusyError)


@pytest.mark.postgres
def test_every_flipped_byte_is_found(workspace: Database, home: Path, saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.97, 0.995):
        damaged = bytearray(whole)
        damaged[int(share * (len(whole) - 1))] ^= 0xFF
        path = tmp_path / "damaged.zip"
        path.write_bytes(bytes(damaged))
        try:
            restore(workspace, home, path)
        except AtlasError:
            continue
        # A byte that nobody reads (a time stamp in the directory): then all is as it was saved.
        assert len(contents(workspace)["label_edits"]) == 4
        empty(workspace)
        shutil.rmtree(home / "scans")
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        refused(workspace, home, path)


def _drop(name: str) -> Change:
    return lambda entries: entries.pop(name) and None


def _add(name: str, data: bytes = b"x") -> Change:
    return lambda entries: entries.update({name: data})


def _row(table: str, **changes: Any) -> Change:
    def change(entries: dict[str, bytes]) -> None:
        name = f"tables/{table}.jsonl"
        first, *others = entries[name].splitlines(keepends=True)
        row = json.loads(first) | changes
        entries[name] = json.dumps(row).encode() + b"\n" + b"".join(others)

    return change


def _manifest(**changes: Any) -> Change:
    def change(entries: dict[str, bytes]) -> None:
        entries["manifest.json"] = json.dumps(json.loads(entries["manifest.json"]) | changes).encode()

    return change


HOSTILE: dict[str, Change] = {
    "a path that climbs": _add("scans/../../evil"),
    "an absolute path": _add("/tmp/evil"),
    "a path with a backslash": _add("scans\\r1\\key\\x"),
    "a hidden file": _add("scans/r1/key/.hidden"),
    "a deeper folder": _add("scans/r1/key/sub/x"),
    "a strange file": _add("readme.txt"),
    "a strange table": _add("tables/releases.jsonl", b""),
    "a lacking table": _drop("tables/jobs.jsonl"),
    "no manifest": _drop("manifest.json"),
    "a manifest of garbage": _add("manifest.json", b"\xff\xfe"),
    "a manifest that nests": _add("manifest.json", b"[" * 200_000),
    "a manifest that is a list": _add("manifest.json", b"[]"),
    "another format": _manifest(format="zip"),
    "a newer format": _manifest(format_version=2),
    "a newer schema": _manifest(schema_revision="0099"),
    "a row of garbage": _add("tables/jobs.jsonl", b"not json\n"),
    "a row that nests": _add("tables/jobs.jsonl", b"[" * 200_000 + b"\n"),
    "a cut row": _add("tables/jobs.jsonl", b'{"a": 1}'),
    "a row with another column": _row("jobs", evil=1),
    "a number where text belongs": _row("jobs", kind=3),
    "a truth where a number belongs": _row("jobs", attempts=True),
    "a number too large": _row("label_edits", made_on_cluster=10**12),
    "a time of garbage": _row("jobs", created_at="yesterday"),
    "a time without zone": _row("jobs", created_at="2026-01-01T00:00:00"),
    "nothing where something must be": _row("jobs", release=None),
    "a zero byte": _row("jobs", client="a\0b"),
    "half a character": _row("jobs", client="\ud800"),
    "a zero byte in JSON": _row("jobs", summary={"terms": ["\0"]}),
    "an unknown status": _row("jobs", status="evil"),
    "a job kept for ever": _row("jobs", keep_days=1e300),
    "a job kept no number of days": _row("jobs", keep_days=float("nan")),
    "a job of a release that climbs": _row("jobs", release="../../evil"),
    "a result that climbs": _row("jobs", result={"scan": "../../evil"}),
    "members of another key": _row("member_sets", members=["GSM1"]),
    "members that are numbers": _row("member_sets", members=[1]),
    "an edit of no members": _row("label_edits", member_key="0" * 64),
    "an edit superseded by none": _row("label_edits", superseded_by=99),
    "an edit twice": _row("label_edits", edit_id=1),
}


@pytest.mark.postgres
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_changes_nothing(
    workspace: Database, home: Path, saved: Path, tmp_path: Path, what: str
) -> None:
    entries = unpacked(saved)
    HOSTILE[what](entries)
    honest = "manifest" not in what
    error = refused(workspace, home, packed(tmp_path / "hostile.zip", entries, honest=honest))
    assert isinstance(error, (InputError, ArtifactError)), error
    if what.startswith("a newer"):
        assert "Update this program" in error.message
    assert not (tmp_path / "evil").exists()


@pytest.mark.postgres
def test_a_manifest_that_lies_is_found(workspace: Database, home: Path, saved: Path, tmp_path: Path) -> None:
    entries = unpacked(saved)
    entries["scans/r1/0123456789abcdef/scan.json"] = b'{"a": 2}'
    assert "damaged" in refused(workspace, home, packed(tmp_path / "h.zip", entries, honest=False)).message
    entries = unpacked(saved)
    entries["scans/r1/0123456789abcdef/scan.json"] += b" "
    assert "damaged" in refused(workspace, home, packed(tmp_path / "h.zip", entries, honest=False)).message


@pytest.mark.postgres
def test_a_bomb_is_refused_before_it_is_expanded(workspace: Database, home: Path, saved: Path, tmp_path: Path) -> None:
    entries = unpacked(saved)
    entries["scans/r1/key/zeros.npy"] = bytes(20 * 2**20)
    path = packed(tmp_path / "bomb.zip", entries)
    error = refused(workspace, home, path, max_bytes=10 * 2**20)
    assert isinstance(error, TooLargeError)
    assert "--max-bytes" in error.message
    restore(workspace, home, path)


@pytest.mark.postgres
def test_a_file_may_expand_so_far_by_itself(
    workspace: Database, home: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.workspace import archive

    monkeypatch.setattr(archive, "_SMALL_BYTES", 20 * 2**20)
    monkeypatch.setattr(archive, "_MAX_GROWTH", 4)
    entries = unpacked(saved) | {"scans/r1/key/zeros.npy": bytes(30 * 2**20)}
    assert isinstance(refused(workspace, home, packed(tmp_path / "b.zip", entries)), TooLargeError)


@pytest.mark.postgres
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_twice_is_refused(workspace: Database, home: Path, saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("tables/jobs.jsonl", b"")
    assert "twice" in refused(workspace, home, saved).message


def test_what_is_no_backup_says_so(tmp_path: Path) -> None:
    for name, data in {"text.zip": b"hello", "empty.zip": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="no backup of geo-atlas"), BackupArchive.open(tmp_path / name):
            pass
    for path in (tmp_path, tmp_path / "absent.zip"):
        with pytest.raises(InputError, match="cannot be read"), BackupArchive.open(path):
            pass


@pytest.mark.postgres
def test_a_full_disk_is_told_before_anything_is_unpacked(
    workspace: Database, home: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil._ntuple_diskusage(1, 1, 0)  # type: ignore[attr-defined]
    monkeypatch.setattr("atlas.workspace.restore.shutil.disk_usage", lambda _: full)
    assert isinstance(refused(workspace, home, saved), ResourceError)


@pytest.mark.postgres
def test_a_backup_moves_to_another_server(
    workspace: Database, home: Path, saved: Path, embedded_server: EmbeddedPostgres
) -> None:
    with scratch_database(embedded_server) as other:
        other.migrate()
        restore(other, home, saved)
        assert len(contents(other)["label_edits"]) == 4
    assert contents(workspace)["label_edits"] == []
