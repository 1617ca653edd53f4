from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_stages import toy_plan

from atlas.blocks import block_digests
from atlas.errors import ArtifactError, InputError, NotFoundError, ResourceError
from atlas.release import Home, Release, check_name, write_pointer
from atlas.settings import Settings
from indexer.run import Builder
from indexer.stage import BuildRequest


def publish(home: Path, name: str) -> Release:
    source = home.parent / "counts.txt"
    source.write_text("counts")
    return Builder(BuildRequest(name=name, home=home, model_dir=home, settings=Settings()), toy_plan(source)).run()


def test_current_follows_the_pointer(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    publish(home.path, "one")
    publish(home.path, "two")
    assert home.names() == ["one", "two"]
    assert Release.open(home).name == "two"
    home.use("one")
    assert Release.open(home).name == "one"


def test_empty_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="geo-atlas demo"):
        Release.open(Home(tmp_path))


def test_unknown_release_lists_near_names(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    publish(home.path, "spring-2026")
    with pytest.raises(NotFoundError) as caught:
        home.use("spring-2025")
    assert caught.value.details["near_matches"] == ["spring-2026"]


def test_current_release_cannot_be_removed_another_can(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    publish(home.path, "one")
    publish(home.path, "two")
    with pytest.raises(InputError, match="current release"):
        home.remove("two")
    home.remove("one")
    assert home.names() == ["two"]
    left = [".lock", "builds", "current", "digests.json", "releases", "retired"]
    assert sorted(p.name for p in home.path.iterdir()) == left
    assert home.retired_names() == ["one"]


def test_changed_file_is_refused_on_open(tmp_path: Path) -> None:
    release = publish(tmp_path / "home", "one")
    path = release.path("vectors.npy")
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    with pytest.raises(ArtifactError, match="was changed after it was published") as caught:
        Release(release.folder)
    assert caught.value.kind == "corrupt"


def test_large_files_are_checked_by_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = publish(tmp_path / "home", "one")
    path = release.path("vectors.npy")
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    monkeypatch.setattr("atlas.release.SMALL_FILE_BYTES", 1)
    opened = Release(release.folder)
    assert opened.verified == 0.0
    with pytest.raises(ArtifactError, match="vectors.npy"):
        opened.verify()
    with pytest.raises(ArtifactError, match="vectors.npy"):
        opened.raise_if_corrupt()


def test_missing_and_truncated_files_are_named(tmp_path: Path) -> None:
    release = publish(tmp_path / "home", "one")
    release.path("vectors.npy").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="has 1 bytes, its manifest says"):
        Release(release.folder)
    release.path("vectors.npy").unlink()
    with pytest.raises(ArtifactError, match="lacks vectors.npy"):
        Release(release.folder)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [("{", "corrupt"), ("[]", "incompatible"), ('{"schema_version": "9.0"}', "incompatible")],
)
def test_manifest_of_another_kind_is_refused(tmp_path: Path, payload: str, kind: str) -> None:
    release = publish(tmp_path / "home", "one")
    release.path("manifest.json").write_text(payload)
    with pytest.raises(ArtifactError) as caught:
        Release(release.folder)
    assert caught.value.kind == kind


def test_manifest_with_an_unknown_field_is_corrupt(tmp_path: Path) -> None:
    release = publish(tmp_path / "home", "one")
    payload = json.loads(release.path("manifest.json").read_text())
    release.path("manifest.json").write_text(json.dumps({**payload, "extra": 1}))
    with pytest.raises(ArtifactError, match="extra"):
        Release(release.folder)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a\n"])
def test_names_that_could_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name)


def test_large_file_is_checked_before_its_first_use_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = publish(tmp_path / "home", "one")
    monkeypatch.setattr("atlas.release.SMALL_FILE_BYTES", 1)
    opened = Release(release.folder)
    assert opened.verified == 0.0
    assert opened.checked("vectors.npy") == release.path("vectors.npy")
    opened.checked("model")
    opened.checked("samples.parquet")
    assert opened.verified == 1.0
    monkeypatch.setattr("atlas.digests.sha256_file", lambda path: pytest.fail("an unchanged file was read again"))
    Release(release.folder).checked("vectors.npy")


def test_pointer_of_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "current").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot name a release"):
        Home(tmp_path).current()


def test_pointer_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder is expected")
    with pytest.raises(ResourceError, match="Cannot write .*current"):
        write_pointer(tmp_path / "home" / "current", "one")


def test_large_file_that_was_changed_is_refused_before_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = publish(tmp_path / "home", "one")
    path = release.path("vectors.npy")
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    monkeypatch.setattr("atlas.release.SMALL_FILE_BYTES", 1)
    with pytest.raises(ArtifactError, match="was changed"):
        Release(release.folder).checked("vectors.npy")


def test_folder_that_was_renamed_is_refused(tmp_path: Path) -> None:
    release = publish(tmp_path / "home", "one")
    release.folder.rename(release.folder.with_name("other"))
    with pytest.raises(ArtifactError, match="rename the folder back"):
        Release.open(Home(tmp_path / "home"), "other")


def test_large_file_with_blocks_is_checked_part_by_part_and_its_changed_bytes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.release.SMALL_FILE_BYTES", 1)
    monkeypatch.setattr("atlas.blocks.BLOCK_BYTES", 16)
    release = publish(tmp_path / "home", "one")
    manifest = json.loads(release.path("manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"] == "vectors.npy":
            entry["blocks"] = block_digests(release.path("vectors.npy"))
    release.path("manifest.json").write_text(json.dumps(manifest))
    n_bytes = release.path("vectors.npy").stat().st_size
    opened = Release(release.folder)
    for path in ("model", "samples.parquet"):
        opened.checked(path)
    before = opened.verified
    path, guard = opened.guarded("vectors.npy")
    assert guard is not None
    guard.require(0, 16)
    assert before < opened.verified < 1.0
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    with pytest.raises(ArtifactError, match=f"vectors.npy .* {(n_bytes - 1) // 16 * 16} to {n_bytes - 1}"):
        guard.require(n_bytes - 1, n_bytes)
    with pytest.raises(ArtifactError, match="was changed"):
        opened.raise_if_corrupt()
    for check in (lambda: Release(release.folder).checked("vectors.npy"), lambda: Release(release.folder).verify()):
        with pytest.raises(ArtifactError, match="was changed"):
            check()
