"""The packaged term vectors: complete, repeatable, without leftovers of another model."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_model import ToyTextTower, toy_parts

from atlas.model.checkpoint import write_model
from atlas.model.text_tower import TEXT_TOWERS
from atlas.vocabulary import packaged_texts
from indexer import export_text_vectors as module
from indexer.export_text_vectors import KINDS, export_text_vectors


def test_export_repeats_byte_for_byte_and_replaces_another_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEXT_TOWERS, ToyTextTower.name, ToyTextTower)
    monkeypatch.setattr(module, "packaged_texts", lambda: ["Heart", "Liver lobule"])
    write_model(tmp_path / "model", toy_parts(8))
    (tmp_path / "out" / "of-another-model").mkdir(parents=True)
    first = export_text_vectors(tmp_path / "model", tmp_path / "out")
    assert sorted(path.name.split("-")[0] for path in first) == sorted(KINDS)
    assert sorted((tmp_path / "out").iterdir()) == sorted({path.parent for path in first})
    content = [path.read_bytes() for path in first]
    assert export_text_vectors(tmp_path / "model", tmp_path / "out") == first
    assert [path.read_bytes() for path in first] == content


def test_texts_are_distinct_and_readable() -> None:
    texts = packaged_texts()
    assert len(set(texts)) == len(texts) > 9_000
    assert not any("(GO:" in text for text in texts)
