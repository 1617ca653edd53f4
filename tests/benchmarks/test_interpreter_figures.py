"""Figures of interpreters: every matrix and every label is drawn, and the same input gives the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import interpreter_figures
from benchmarks.interpreter_figures import Places, draw_confusions, draw_places


def test_confusions_are_drawn_with_labels_and_shares(tmp_path: Path) -> None:
    counts = {"one set": (np.array([[3, 1], [0, 5]]), ("alpha", "beta"))}
    draw_confusions(counts, tmp_path / "a.svg")
    draw_confusions(counts, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    for written in ("one set", "alpha", "beta", ".75", ".25", "1.00"):
        assert f">{written}<" in text


def test_places_tell_labels_by_colour_and_groups_by_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter_figures, "_umap", lambda vectors: vectors[:, :2])  # compiling it takes a minute
    rng = np.random.default_rng(0)
    places = Places(rng.normal(size=(20, 5)), ["alpha", "beta"] * 10, ["human"] * 10 + ["mouse"] * 10)
    draw_places({"pancreas": {"class token": places}}, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for written in ("pancreas: class token", "alpha, human", "alpha, mouse", "beta, human", "beta, mouse"):
        assert f">{written}<" in text
