"""Baselines: each against the numbers a person would compute, and a row alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_files import cell_counts
from toy_model import WORDS, ToyTextTower, toy_parts

from atlas.cells.scoring import take_rows
from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, align
from atlas.expression.matrix import build_matrix
from indexer.evaluation.baselines import (
    LabelSet,
    lexical_scorer,
    marker_scorer,
    read_markers,
    standings,
    text_only_scorer,
)

GENES = toy_parts(64).gene_map
TRUTH = ["heart", "liver", "brain", "heart"]
MARKERS = {word: [f"G{i}" for i in range(64) if WORDS[i % len(WORDS)] == word] for word in WORDS}


def rows() -> AlignedExpression:
    names = [f"G{i}" for i in range(64)]
    matrix = build_matrix(cell_counts(TRUTH), genes=names, sample_ids=list("abcd"))
    return align(matrix, GENES)


def labels(*names: str) -> LabelSet:
    return LabelSet(names, names, GENES, "human")


def test_standing_is_the_z_score_within_a_row() -> None:
    aligned = rows()
    logs = np.log1p(aligned.values / aligned.values.sum(axis=1, keepdims=True) * 1e6)
    expected = (logs - logs.mean(axis=1, keepdims=True)) / logs.std(axis=1, keepdims=True)
    assert standings(aligned) == pytest.approx(expected, abs=1e-4)


def test_markers_of_the_nearest_name_find_the_label() -> None:
    score = marker_scorer(labels("heart", "liver", "brain"), markers=MARKERS, embed=ToyTextTower().embed)
    found = score(rows())
    assert np.argmax(found, axis=1).tolist() == [0, 1, 2, 0]
    own = np.flatnonzero([WORDS[i % len(WORDS)] == "heart" for i in range(64)])
    assert found[:, 0] == pytest.approx(standings(rows())[:, own].mean(axis=1), abs=1e-5)
    alone = score(take_rows(rows(), np.array([False, True, False, False])))
    assert alone[0] == pytest.approx(found[1], abs=1e-6)


def test_label_that_names_a_gene_is_scored_by_it() -> None:
    found = lexical_scorer(labels("G3+ cell", "heart"))(rows())
    assert found[:, 0] == pytest.approx(standings(rows())[:, 3], abs=1e-5)
    assert (found[:, 1] == 0).all()


def test_text_alone_compares_names_of_genes_with_the_label() -> None:
    asked: list[list[str]] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.append(list(texts))
        return ToyTextTower().embed(texts)

    score = text_only_scorer(labels("heart", "liver"), embed=embed)
    assert score(rows()).shape == (4, 2)
    best = int(np.argmax(rows().values[0]))
    assert asked[1][0].split()[0] == f"G{best}"


def test_marker_table_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "markers.tsv"
    path.write_text(
        "species\tofficial gene symbol\tcell type\nHs\tCD3D\tT cells\nHs\tCD3D\tT cells\nHs\tCD19\tB cells\n"
    )
    assert read_markers(path) == {"T cells": ("CD3D",), "B cells": ("CD19",)}
    path.write_text("species\tgene\n")
    with pytest.raises(InputError, match="cell type"):
        read_markers(path)
    path.write_text("official gene symbol\tcell type\n")
    with pytest.raises(InputError, match="no marker"):
        read_markers(path)
