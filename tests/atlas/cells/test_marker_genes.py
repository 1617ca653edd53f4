"""Genes that a label names with a sign, and where they lead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_model import ToyTextTower, toy_features_parts, write_toy_memory_model

from atlas.cells.label_text import clean_labels
from atlas.cells.marker_genes import Marker, marker_directions, markers_of
from atlas.cells.texts import MARKER_SHARE, label_texts
from atlas.expression.genes import GeneMap
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS

GENES = GeneMap(
    ensembl_ids=tuple(f"ENSG{i:011d}" for i in range(10)),
    symbols=("CD14", "FCGR3A", "FCGR3B", "CD8A", "CD8B", "NCAM1", "IL2RA", "PDCD1", "KIT", "MTR"),
    organisms=("human",) * 10,
    synonyms=((), ("CD16",), ("CD16",), (), (), ("CD56",), (), (), (), ("MS",)),
)


def named(label: str) -> list[tuple[str, tuple[int, ...], int]]:
    """Markers of a label as people write it."""
    return [(one.name, one.rows, one.sign) for one in markers_of(clean_labels([label])[0].cleaned, GENES)]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("CD14+ Mono", [("CD14", (0,), 1)]),
        ("FCGR3A+ Mono", [("FCGR3A", (1,), 1)]),
        (
            "CD14-/CD16+ monocyte",
            [("CD14", (0,), -1), ("CD16", (1,), 1)],
        ),  # CD16 is FCGR3A of the two that carry the name
        ("CD8 T", [("CD8", (3, 4), 1)]),  # a complex of two genes
        ("CD56+ NK", [("CD56", (5,), 1)]),  # by a synonym
        ("CD56lo+ NK", []),  # little is neither there nor not
        ("CD4+/CD45RA+ naive T", []),  # an isoform; and CD4 is no gene of this map
        ("CD14++CD16- Mono", [("CD14", (0,), 1), ("CD16", (1,), -1)]),
        ("CD3-CD56+ NK", [("CD56", (5,), 1)]),
        ("CD25- naive T", [("CD25", (6,), -1)]),  # a name that two genes carry, and one of them is meant
        ("PD-1+ T", [("PD-1", (7,), 1)]),
        ("Kit+ progenitor", [("kit", (8,), 1)]),
        ("MS-positive donor", []),  # two letters that are a gene's synonym mean something else
        ("T-high asthma", []),
        ("HIV-positive donor", []),  # no gene
        ("monocyte", []),
    ],
)
def test_markers_are_the_signed_genes_of_a_label(label: str, expected: list[tuple[str, tuple[int, ...], int]]) -> None:
    assert named(label) == expected


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JointModel:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    return JointModel.load(write_toy_memory_model(tmp_path / "model"))


def test_a_direction_is_the_signed_sum_of_the_genes_unit_vectors(model: JointModel) -> None:
    gene = [row / np.linalg.norm(row) for row in model.gene_vectors(np.arange(3))]
    found = marker_directions(["G0-positive cell", "G1-negative G2-high cell", "cell"], model)
    assert found.dtype == np.float64
    assert found == pytest.approx(np.array([gene[0], gene[2] - gene[1], 0 * gene[0]]))


def test_a_model_without_gene_vectors_has_no_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    model = JointModel.of_parts(toy_features_parts(16))
    assert not model.explains_by_genes
    assert not marker_directions(["G0-positive cell"], model).any()


def test_markers_compare_by_value() -> None:
    assert markers_of("CD14-positive monocyte", GENES) == (Marker("CD14", (0,), 1),)


def test_a_label_with_a_marker_leans_to_the_gene_unless_taken_as_written(model: JointModel) -> None:
    plain, marked = label_texts(["cell", "G0+ cell"], templates=["{x}"]), label_texts(["G0+ cell"], templates=["{x}"])
    (gene,) = marker_directions(["G0-positive cell"], model)
    text = model.embed_texts(marked.texts)[0] + MARKER_SHARE * gene
    assert marked.embed(model)[0] == pytest.approx(text / np.linalg.norm(text), abs=1e-6)
    assert plain.embed(model)[0] == pytest.approx(model.embed_texts(["cell"])[0], abs=1e-6)
    written = label_texts(["G0-positive cell"], as_written=True)
    assert written.embed(model)[0] == pytest.approx(model.embed_texts(["G0-positive cell"])[0], abs=1e-6)
