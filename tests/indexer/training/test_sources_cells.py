"""Labelled cells and mean profiles as training pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expression_files import wide_gene_map
from training_files import write_cells

from atlas.errors import InputError, NotFoundError
from indexer.training.augmentation import Augmentation
from indexer.training.sources.labelled_cells import Columns, LabelledCellsSource
from indexer.training.sources.profiles import ProfileSource
from indexer.training.sources.source import RowRandom

GENES = wide_gene_map(50)
SYMBOLS = [f"G{i}" for i in range(50)]
LABELS = ["B", "B", "NK", "CD14+ Mono", "", "NK", "B", "B"]
OBS = {
    "cell_type": LABELS,
    "tissue": ["blood"] * 8,
    "donor": ["d1", "d1", "d2", "d2", "d2", "d1", "d2", "d1"],
}


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).poisson(5, size=(8, 50)).astype(np.float32)


@pytest.fixture
def cells(tmp_path: Path, values: np.ndarray) -> Path:
    return write_cells(tmp_path / "blood.h5ad", values, genes=SYMBOLS, obs=OBS)


def test_cells_labels_are_cleaned_and_filled_into_the_template(cells: Path) -> None:
    source = LabelledCellsSource([cells], genes=GENES)
    assert len(source) == 7
    assert source.captions(0)[:2] == ("A sample of B cell from a healthy individual", "B cell")
    assert "A sample of NK cell from a healthy individual" in source.captions(2)
    assert source.captions(3) == (
        "A sample of CD14-positive monocyte from a healthy individual",
        "CD14-positive monocyte",
    )
    assert source.captions_of.cleaning["", "CD14+ Mono"].rules == ("marker", "abbreviation")
    plain = LabelledCellsSource([cells], genes=GENES, template="{x}")
    assert plain.captions(2)[0] == "natural killer cell"
    with pytest.raises(InputError, match="no {x}"):
        LabelledCellsSource([cells], genes=GENES, template="A cell")


def test_cells_rows_without_a_label_are_left_out_and_values_are_the_files(cells: Path, values: np.ndarray) -> None:
    source = LabelledCellsSource([cells], genes=GENES)
    assert list(source.item_ids) == [f"cell{i}" for i in (0, 1, 2, 3, 5, 6, 7)]
    aligned = source.expression([6, 4, 0, 4])
    np.testing.assert_array_equal(aligned.values[:, :50], values[[7, 5, 0, 5]])


def test_cells_of_one_file_are_one_study_and_public_donors_join_files(
    tmp_path: Path, cells: Path, values: np.ndarray
) -> None:
    def other(name: str, donor: str) -> Path:
        obs = {"cell_type": ["B"] * 8, "donor": [donor] * 8}
        return write_cells(tmp_path / f"{name}.h5ad", values, genes=SYMBOLS, obs=obs)

    paths = [cells, other("x", "d1"), other("y", "GTEX-145MN"), other("z", "GTEX-145MN-1526")]
    source = LabelledCellsSource(paths, genes=GENES, columns=Columns(donor="donor"))
    blocks = [str(source.blocks[row]) for row in (0, 7, 15, 23)]
    assert len(set(blocks)) == 3  # d1 of one study is not d1 of another; a GTEx donor is the same everywhere
    assert blocks[2] == blocks[3]


def test_cells_are_capped_by_label_and_study_reproducibly(cells: Path) -> None:
    capped = LabelledCellsSource([cells], genes=GENES, max_per_label=2, seed=4)
    labels = [capped.captions(row)[1] for row in range(len(capped))]
    assert sorted(labels) == ["B cell"] * 2 + ["CD14-positive monocyte"] + ["natural killer cell"] * 2
    again = LabelledCellsSource([cells], genes=GENES, max_per_label=2, seed=4)
    assert list(again.item_ids) == list(capped.item_ids)
    assert again.fingerprint == capped.fingerprint != LabelledCellsSource([cells], genes=GENES).fingerprint


@pytest.mark.parametrize("kind", [LabelledCellsSource, ProfileSource])
def test_cells_evaluation_sets_are_refused(kind: type, tmp_path: Path, values: np.ndarray) -> None:
    path = write_cells(tmp_path / "human_pbmc3k_10x.h5ad", values, genes=SYMBOLS, obs=OBS)
    with pytest.raises(InputError, match="is an evaluation set"):
        kind([path], genes=GENES)


def test_cells_missing_column_and_no_label_are_refused(cells: Path, tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(NotFoundError):
        LabelledCellsSource([cells], genes=GENES, columns=Columns(label="nope"))
    empty = write_cells(tmp_path / "e.h5ad", values, genes=SYMBOLS, obs={"cell_type": [""] * 8})
    with pytest.raises(InputError, match="No row of e.h5ad has a value"):
        LabelledCellsSource([empty], genes=GENES)


def test_profiles_are_the_mean_parts_per_million_of_each_label(cells: Path, values: np.ndarray) -> None:
    source = ProfileSource([cells], genes=GENES, columns=Columns(tissue="tissue"))
    assert list(source.item_ids) == ["blood / blood / B", "blood / blood / CD14+ Mono", "blood / blood / NK"]
    parts = values / values.sum(axis=1, keepdims=True) * 1e6
    aligned = source.expression([2, 0])
    np.testing.assert_allclose(aligned.values[0, :50], parts[[2, 5]].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(aligned.values[1, :50], parts[[0, 1, 6, 7]].mean(axis=0), rtol=1e-5)
    assert source.captions(0)[1] == "B cell"
    assert set(source.blocks) == {"blood"}


def test_profiles_augmented_leave_the_table_alone(cells: Path) -> None:
    source = ProfileSource([cells], genes=GENES, augmentation=Augmentation(p_cell=1.0))
    before = source.expression([0, 1]).values.copy()
    drawn = source.expression([0, 1], rng=RowRandom(1))
    assert not np.array_equal(drawn.values, before)
    np.testing.assert_array_equal(source.expression([0, 1]).values, before)
