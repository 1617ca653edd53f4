"""Files that appear whole or not at all, and the drafts of killed processes."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atlas.drafts import draft_of
from atlas.errors import InputError, ResourceError

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from atlas.drafts import draft_of
with draft_of(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    print("begun", flush=True)
    sys.stdin.read()
"""


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing ``path``."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        try:
            assert child.stdout.readline() == "begun\n"
            yield child
        finally:
            child.kill()
            child.wait()


def drafts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.tmp"))


def test_a_draft_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("old")
    with draft_of(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert drafts(tmp_path) == []


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("old")

    def fail(error: Exception) -> None:
        with draft_of(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(InputError, match="no"):
        fail(InputError("no"))
    with pytest.raises(ResourceError, match="cannot be written: No space left"):
        fail(OSError(errno.ENOSPC, "No space left"))
    assert path.read_text() == "old"
    assert drafts(tmp_path) == []


def test_the_draft_of_a_killed_process_is_swept_and_that_of_a_living_one_kept(tmp_path: Path) -> None:
    path, other = tmp_path / "scores [1].parquet", tmp_path / "scores [1].parquet.x"
    with writer(path) as killed:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert len(drafts(tmp_path)) == 1
    other.with_name(f".{other.name}.7.tmp").write_text("of another file")
    with writer(path) as living:
        assert [one.name for one in drafts(tmp_path)] == [f".{path.name}.{living.pid}.tmp", f".{other.name}.7.tmp"]
        with draft_of(path) as draft:
            draft.write_text("mine")
        assert len(drafts(tmp_path)) == 2
        assert path.read_text() == "mine"


def test_a_folder_that_may_not_be_written_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "unlink", refused)  # as the system answers, though there is nothing to remove
    with pytest.raises(ResourceError, match="cannot be written: Read-only"), draft_of(tmp_path / "page.md"):
        pass
    with pytest.raises(ResourceError, match="cannot be written"), draft_of(tmp_path / "none" / "page.md"):
        pass
