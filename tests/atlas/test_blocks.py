"""Parts of a large file are checked before they are used, and only they."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from atlas import blocks
from atlas.blocks import CheckedBlocks, block_digests
from atlas.errors import ArtifactError
from atlas.vectors.store import VectorStore

BLOCK = 1_000


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", BLOCK)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "vectors.npy"
    rng = np.random.default_rng(0)
    np.save(made, rng.normal(size=(300, 7)).astype(np.float16))
    return made


def flip(path: Path, place: int) -> None:
    payload = bytearray(path.read_bytes())
    payload[place] ^= 1
    path.write_bytes(payload)


def test_digests_are_those_of_the_blocks(path: Path) -> None:
    whole = path.read_bytes()
    expected = [hashlib.sha256(whole[at : at + BLOCK]).hexdigest() for at in range(0, len(whole), BLOCK)]
    assert block_digests(path) == expected


def test_only_what_is_required_is_checked_and_the_changed_range_is_named(path: Path) -> None:
    told: list[ArtifactError] = []
    checked = CheckedBlocks(path, block_digests(path), name="index/" + path.name, release="one", failed=told.append)
    n_bytes = path.stat().st_size
    flip(path, 2_500)
    assert checked.bytes_left == n_bytes
    checked.require(0, 2_000)
    checked.require(3_000, n_bytes)
    assert checked.bytes_left == BLOCK
    with pytest.raises(ArtifactError, match=r"index/vectors.npy of release 'one' .* bytes 2,000 to 2,999") as caught:
        checked.require(1_999, 2_001)
    assert caught.value.kind == "corrupt"
    assert caught.value.details["bytes"] == [2_000, 3_000]
    assert told == [caught.value]


def test_once_checked_is_not_read_again_until_forgotten(path: Path) -> None:
    checked = CheckedBlocks(path, block_digests(path), name="index/" + path.name, release="one")
    checked.require(0, path.stat().st_size)
    assert checked.bytes_left == 0
    flip(path, 2_500)
    checked.require(0, path.stat().st_size)
    checked.forget()
    with pytest.raises(ArtifactError):
        checked.require(0, path.stat().st_size)


@pytest.mark.parametrize("row", [71, 142, 299])
def test_a_vector_is_checked_before_it_is_used(path: Path, row: int) -> None:
    digests = block_digests(path)
    flip(path, 128 + 14 * row + 5)
    with VectorStore.open(path, guard=CheckedBlocks(path, digests, name="index/" + path.name, release="one")) as store:
        used = np.array([(row + 150) % 300])
        store.rows(used)
        for ask in (
            lambda: store.rows(np.array([row])),
            lambda: store.block(row, row + 1),
            lambda: store.exact_scores(np.ones(7, np.float32), np.array([row])),
            lambda: store.scores(np.ones(7, np.float32)),
        ):
            with pytest.raises(ArtifactError, match="was changed"):
                ask()


def test_any_row_is_covered_by_the_blocks_it_lies_in(path: Path) -> None:
    """The oracle: after asking for some rows, exactly the blocks that hold a byte of them are checked."""
    digests = block_digests(path)
    rng = np.random.default_rng(1)
    for _ in range(20):
        checked = CheckedBlocks(path, digests, name="index/" + path.name, release="one")
        rows = rng.integers(0, 300, 3)
        checked.require_rows(rows, offset=128, width=14)
        touched = {byte // BLOCK for row in rows for byte in range(128 + 14 * row, 128 + 14 * row + 14)}
        assert set(np.flatnonzero(checked._good).tolist()) == touched
