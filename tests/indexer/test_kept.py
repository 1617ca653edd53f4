"""Arrays that are made once: damage, disks and folders that do not serve."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import ResourceError
from indexer.kept import kept_array


def refuse() -> np.ndarray:
    raise AssertionError("made again")


def test_array_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "one.npy"
    assert np.array_equal(kept_array(path, lambda: np.arange(5)), np.arange(5))
    assert np.array_equal(kept_array(path, refuse), np.arange(5))
    assert [one.name for one in path.parent.iterdir()] == ["one.npy"]


@pytest.mark.parametrize("damage", ["empty", "cut", "zip", "header"])
def test_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "one.npy"
    kept_array(path, lambda: np.arange(5))
    whole = path.read_bytes()
    broken = {
        "empty": b"", "cut": whole[:-7], "zip": b"PK\x03\x04" + whole[4:], "header": whole.replace(b"{", b"(", 1),
    }  # fmt: skip
    path.write_bytes(broken[damage])
    assert np.array_equal(kept_array(path, lambda: np.arange(5)), np.arange(5))
    assert path.read_bytes() == whole


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_finished_results_in_a_folder_that_is_read_only_are_read(tmp_path: Path) -> None:
    kept_array(tmp_path / "one.npy", lambda: np.arange(5))
    tmp_path.chmod(0o555)
    try:
        assert np.array_equal(kept_array(tmp_path / "one.npy", refuse), np.arange(5))
        with pytest.raises(ResourceError, match="cannot be used as a folder"):
            kept_array(tmp_path / "two.npy", lambda: np.arange(5))
    finally:
        tmp_path.chmod(0o755)


def test_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be used as a folder of results"):
        kept_array(tmp_path / "file" / "one.npy", lambda: np.arange(5))
