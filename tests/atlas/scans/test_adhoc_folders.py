"""A sweep on its way into the home: it appears whole or not at all, whoever else is at the same one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atlas.errors import AtlasError, ResourceError
from atlas.scans import adhoc
from atlas.scans.adhoc import _whole


def test_workers_with_the_same_process_id_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers that share the home may well number their processes alike."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    target = tmp_path / "release" / "0123456789abcdef"
    with _whole(target) as slow:
        (slow / "terms.parquet").write_text("slow")
        with _whole(target) as quick:
            assert quick != slow
            (quick / "scan.json").write_text("quick")
        assert (slow / "terms.parquet").read_text() == "slow"
        (slow / "scan.json").write_text("slow")
    assert (target / "scan.json").read_text() == "quick"
    assert list(target.parent.iterdir()) == [target]


def test_what_fails_leaves_nothing_and_hides_nothing(tmp_path: Path) -> None:
    target = tmp_path / "0123456789abcdef"

    def cancelled() -> None:
        with _whole(target) as folder:
            (folder / "scan.json").write_text("half")
            raise AtlasError("cancelled")

    with pytest.raises(AtlasError, match="cancelled"):
        cancelled()
    assert list(tmp_path.iterdir()) == []


def test_remains_of_a_sweep_without_its_summary_give_way(tmp_path: Path) -> None:
    target = tmp_path / "0123456789abcdef"
    target.mkdir()
    (target / "terms.parquet").write_text("left")
    with _whole(target) as folder:
        (folder / "scan.json").write_text("whole")
    assert [path.name for path in target.iterdir()] == ["scan.json"]


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(adhoc.os, "replace", refuse)
    with pytest.raises(ResourceError, match="Read-only file system"), _whole(tmp_path / "0123456789abcdef"):
        pass
    assert list(tmp_path.iterdir()) == []
