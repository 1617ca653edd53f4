"""Gene-set libraries as pseudo-transcriptomes: names, directions, what is dropped before cleaning, and reproducible draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expression_files import wide_gene_map
from training_files import write_gmt

from atlas.errors import InputError
from indexer.training.sources.gene_set_files import read_gene_sets
from indexer.training.sources.gene_sets import GeneSetSource, SetNoise
from indexer.training.sources.set_names import library_of, read_set_name
from indexer.training.sources.source import GeneWeightSource, RowRandom

GENES = wide_gene_map(900)


def symbols(start: int, stop: int) -> list[str]:
    return [f"G{i}" for i in range(start, stop)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_gmt(tmp_path / "Cells.gmt", {"B Cells": symbols(0, 20), "NK": symbols(20, 40), "Tiny": symbols(0, 3)})
    write_gmt(
        tmp_path / "Disease_Perturbations_from_GEO_up.gmt",
        {
            "asthma DOID-2841 human GSE27011 sample 5": symbols(100, 120),
            "acne C0702166 human GSE107993 sample 1": symbols(0, 9),
        },
    )
    write_gmt(
        tmp_path / "Disease_Perturbations_from_GEO_down.gmt",
        {
            "asthma DOID-2841 human GSE27011 sample 5": symbols(115, 140),
            "acne C0702166 human GSE107993 sample 1": symbols(9, 20),
        },
    )
    write_gmt(tmp_path / "RNA.gmt", {"X liver GSE5 up": symbols(0, 9), "X liver GSE5 down": symbols(9, 20)})
    return tmp_path


@pytest.mark.parametrize(
    ("raw", "library", "text"),
    [
        ("asthma DOID-2841 human GSE27011 sample 568", "Disease_Perturbations_from_GEO", "asthma"),
        ("Cancer, lung C0242379 mouse GSE7 sample 2", "Disease_Perturbations_from_GEO", "lung Cancer"),
        (
            "ADAR KD HUVEC HUMAN GSE60217 RNASEQ DOWN",
            "TF_Perturbations_Followed_by_Expression",
            "ADAR knockdown in HUVEC",
        ),
        ("ABL1 druginhibition 77 GSE24493", "Kinase_Perturbations_from_GEO", "ABL1 drug inhibition"),
        (
            "Asthma Tracheal-bronchial GSE61141 up",
            "RNA-Seq_Disease_Gene_and_Drug_Signatures_from_GEO",
            "Asthma Tracheal-bronchial",
        ),
        ("Artery - Coronary Male 20-29 Up", "GTEx_Tissues_V8_2023", "Coronary Artery"),
        ("ADIPOSE (BULK TISSUE)", "ARCHS4_Tissues", "adipose tissue"),
        ("CD19+ B CELLS", "ARCHS4_Tissues", "CD19+ B cells"),
        ("Beta cell:Pancreatic Islet", "CellMarker_Augmented_2021", "Pancreatic Islet Beta cell"),
        ("Thymocyte:Undefined", "CellMarker_Augmented_2021", "Thymocyte"),
        ("Kupffer Cell Liver Mouse", "CellMarker_2024", "Kupffer Cell Liver"),
        ("Acinar CL0002064", "Azimuth_Cell_Types_2021", "Acinar"),
        ("Neutrophil Fat CL:0000775", "Tabula_Muris", "Neutrophil Fat"),
        ("Large Intestine-cd4-positive T Cell", "Tabula_Sapiens", "Large Intestine CD4-positive T Cell"),
        ("B cell - Fallopian Tube", "HuBMAP_ASCTplusB_augmented_2022", "Fallopian Tube B cell"),
        ("Salivarygland", "Human_Gene_Atlas", "Salivary gland"),
        ("CD19+ BCells(neg. sel.)", "Human_Gene_Atlas", "CD19+ B Cells"),
        ("Heart Development (GO:0007507)", "GO_Biological_Process_2023", "Heart Development"),
        ("11 pairs of ribs (HP:0000878)", "Human_Phenotype_Ontology", "11 pairs of ribs"),
        ("my own set", "mine", "my own set"),
    ],
)
def test_set_names_read_as_a_person_writes_them(raw: str, library: str, text: str) -> None:
    assert read_set_name(raw, library=library).text == text


def test_set_names_tell_direction_and_studies() -> None:
    name = read_set_name("X liver GSE5 down", library="RNA-Seq")
    assert (name.direction, name.key, name.accessions) == (-1, "X liver GSE5", ("GSE5",))
    assert read_set_name("acne GSE5 sample 1", library="D", direction=-1).direction == -1
    assert library_of("Disease_Perturbations_from_GEO_down") == ("Disease_Perturbations_from_GEO", -1)
    assert library_of("GTEx_Tissues_V8_2023") == ("GTEx_Tissues_V8_2023", 1)


def test_gene_sets_halves_of_a_signature_become_one_signed_row(folder: Path) -> None:
    sets = read_gene_sets([folder], genes=GENES)
    row = sets.texts.index("asthma")
    dense = sets.matrix[row].toarray().ravel()
    assert set(np.flatnonzero(dense > 0)) == set(range(100, 115))
    assert set(np.flatnonzero(dense < 0)) == set(range(120, 140))  # 115-119 are on both sides and say nothing
    one_file = sets.matrix[sets.texts.index("X liver")].toarray().ravel()
    assert (one_file[:9] > 0).all()
    assert (one_file[9:20] < 0).all()


def test_gene_sets_of_a_held_out_study_go_before_their_names_are_cleaned(folder: Path) -> None:
    """GSE107993 is one study with GSE107991, so holding out either drops the set; its cleaned name would not tell."""
    whole = read_gene_sets([folder], genes=GENES)
    held = read_gene_sets([folder], genes=GENES, drop_series=["GSE107991"])
    assert "acne" in whole.texts
    assert "acne" not in held.texts
    assert held.dropped["held_out_series"] == 2
    assert not any("GSE" in text for text in whole.texts)


def test_gene_sets_of_evaluation_studies_are_always_dropped(tmp_path: Path) -> None:
    write_gmt(tmp_path / "A.gmt", {"islets human GSE84133 sample 1": symbols(0, 9), "liver": symbols(0, 9)})
    sets = read_gene_sets([tmp_path], genes=GENES)
    assert sets.texts == ("liver",)
    assert sets.dropped == {"held_out_series": 1}


def test_gene_sets_libraries_are_chosen_and_left_out_by_name(folder: Path) -> None:
    chosen = GeneSetSource([folder], genes=GENES, libraries=["Disease_Perturbations_from_GEO", "Cells"])
    assert chosen.libraries == ("Cells", "Disease_Perturbations_from_GEO")
    left = GeneSetSource([folder], genes=GENES, leave_out=["Disease_Perturbations_from_GEO"])
    assert left.libraries == ("Cells", "RNA")
    with pytest.raises(InputError, match="no library Nope"):
        GeneSetSource([folder], genes=GENES, leave_out=["Nope"])
    with pytest.raises(InputError, match="no gene-set library"):
        GeneSetSource([folder], genes=GENES, libraries=["Cells"], leave_out=["Cells"])


def test_gene_sets_draws_are_the_rows_own_and_reproducible(folder: Path) -> None:
    source = GeneSetSource([folder], genes=GENES)
    assert isinstance(source, GeneWeightSource)
    first = source.gene_weights([0, 1, 2], rng=RowRandom(7))
    again = source.gene_weights([2, 0], rng=RowRandom(7))
    np.testing.assert_array_equal(again, first[[2, 0]])
    assert not np.array_equal(source.gene_weights([0], rng=RowRandom(8)), first[:1])
    assert not np.array_equal(source.gene_weights([0], rng=RowRandom(7, 1)), first[:1])
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, rtol=1e-5)


def test_gene_sets_without_randomness_are_the_sets_themselves(folder: Path) -> None:
    source = GeneSetSource([folder], genes=GENES)
    weights = source.gene_weights(range(len(source)))
    for row in range(len(source)):
        dense = source.sets.matrix[row].toarray().ravel()
        np.testing.assert_allclose(weights[row], dense / np.linalg.norm(dense), rtol=1e-6)


def test_gene_sets_background_stays_within_its_bounds_and_below_the_set(folder: Path) -> None:
    source = GeneSetSource([folder], genes=GENES)
    row = source.sets.texts.index("B Cells")
    n_background, n_kept = [], []
    for seed in range(60):
        used = np.flatnonzero(source.gene_weights([row], rng=RowRandom(seed))[0])
        n_kept.append(int((used < 20).sum()))
        n_background.append(int((used >= 20).sum()))
    assert min(n_kept) >= 6
    assert max(n_kept) == 20
    assert max(n_background) <= 600
    assert min(n_background) < 60
    assert max(n_background) > 400
    quiet = GeneSetSource([folder], genes=GENES, noise=SetNoise(background=0))
    assert set(np.flatnonzero(quiet.gene_weights([row], rng=RowRandom(1))[0])) <= set(range(20))


def test_gene_sets_expression_puts_up_above_and_down_below_the_rest(folder: Path) -> None:
    source = GeneSetSource([folder], genes=GENES)
    aligned = source.expression([source.sets.texts.index("asthma")])
    values, measured = aligned.values[0], aligned.measured[0]
    up, down = np.arange(100, 115), np.arange(120, 140)
    rest = np.setdiff1d(np.flatnonzero(measured), [*up, *down])
    assert rest.size > 300
    assert values[up].min() > values[rest].max() >= values[rest].min() > values[down].max() > 0
    assert not values[~measured].any()


def test_gene_sets_captions_carry_synonyms_of_cell_types(folder: Path) -> None:
    source = GeneSetSource([folder], genes=GENES)
    texts = source.captions(source.sets.texts.index("NK"))
    assert texts[0] == "NK"
    assert "natural killer cell" in texts
    assert source.captions(source.sets.texts.index("asthma")) == ("asthma",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("only a name\n", "line 1: no gene set"),
        ("a\t\tG1,zero\n", "weight above 0"),
        ("a\t\tG1,-2\n", "weight above 0"),
        ("", "No gene set is left"),
    ],
)
def test_gene_sets_broken_files_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.gmt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_gene_sets([path], genes=GENES)


def test_gene_sets_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.gmt"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="not UTF-8"):
        read_gene_sets([path], genes=GENES)


def test_gene_sets_weights_of_a_file_are_kept(tmp_path: Path) -> None:
    write_gmt(tmp_path / "w.gmt", {"set": [f"G{i},{i + 1}" for i in range(6)]})
    row = read_gene_sets([tmp_path], genes=GENES).matrix[0].toarray().ravel()
    np.testing.assert_array_equal(row[:6], np.arange(1, 7))
