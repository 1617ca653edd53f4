"""Labels of cell types as readable texts: what is changed, what is left alone, and that it is told."""

from __future__ import annotations

import pytest

from atlas.cells.cell_ontology import cell_ontology
from atlas.cells.label_text import ABBREVIATIONS, clean_labels, label_paraphrases
from atlas.errors import InputError


def cleaned(label: str, tissue: str | None = None) -> str:
    return clean_labels([label], tissue=tissue)[0].cleaned


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("CD14+ Mono", "CD14-positive monocyte"),
        ("CD16- NK cells", "CD16-negative natural killer cell"),
        ("Naive_CD4_T", "naive CD4-positive T cell"),
        ("CD8+ Cytotoxic T", "CD8-positive cytotoxic T cell"),
        ("CD4+/CD45RO+ Memory", "CD4-positive CD45RO-positive memory T cell"),
        ("CD4+/CD25 T Reg", "CD4-positive CD25-positive regulatory T cell"),
        ("CD56bright NK", "CD56bright natural killer cell"),
        ("CD11bhi+ macrophages", "CD11b-high macrophage"),
        ("CD14++CD16- Mono", "CD14-positive CD16-negative monocyte"),
        ("CD3-CD56+ NK", "CD3-negative CD56-positive natural killer cell"),
        ("HLA-DR+ B", "HLA-DR-positive B cell"),
        ("PD-1+ CD8 T", "PD-1-positive CD8-positive T cell"),
        ("IL-17+ T", "IL-17-positive T cell"),
        ("B", "B cell"),
        ("DC", "dendritic cell"),
        ("Platelets", "platelet"),
        ("interneurons", "interneuron"),
        ("kupffer", "Kupffer cell"),
        ("Muller cell", "Muller cell"),
        ("Schwann cells", "Schwann cell"),
        ("endothelial", "endothelial cell"),
        ("12_Fibroblasts", "fibroblast"),
        ("Hepatocytes 3", "hepatocyte"),
        ("cluster 4: Mast cells", "mast cell"),
        ("immune_other", "immune cell"),
        ("Artery - Coronary", "coronary artery"),
        ("Adipose - Visceral (Omentum)", "visceral adipose (omentum)"),
        ("Cells - Cultured fibroblasts", "cultured fibroblast"),
    ],
)
def test_clean_labels_written_as_people_write_them_become_readable(label: str, text: str) -> None:
    assert cleaned(label) == text


@pytest.mark.parametrize(
    "label",
    [
        "liver",
        "urinary bladder",
        "whole blood",
        "thyroid",
        "pituitary",
        "2-cell stage blastomere",
        "alveolar epithelial cell type 2",
        "granulocyte-macrophage progenitor B",
        "Vdelta2 gamma-delta T cell",
        "A549 lung adenocarcinoma cell line",
        "hippocampus",
        "L5 IT neuron",
    ],
)
def test_clean_labels_that_read_well_are_left_alone(label: str) -> None:
    row = clean_labels([label])[0]
    assert (row.cleaned, row.rules) == (label, ())


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("alpha", "pancreatic alpha cell"),
        ("ductal", "pancreatic ductal cell"),
        ("gamma", "pancreatic gamma cell"),
        ("quiescent_stellate", "quiescent pancreatic stellate cell"),
        ("macrophage", "macrophage"),
        ("B_cell", "B cell"),
        ("endothelial", "endothelial cell"),
    ],
)
def test_clean_labels_of_a_known_tissue_name_it_where_the_cell_needs_it(label: str, text: str) -> None:
    assert cleaned(label, "pancreatic islet") == text


def test_clean_labels_in_blood_never_name_blood() -> None:
    assert cleaned("beta", "peripheral blood mononuclear cells") == "beta cell"


def test_clean_labels_tell_every_rule_and_the_term() -> None:
    row = clean_labels(["CD14+ Mono"])[0]
    assert row.raw == "CD14+ Mono"
    assert row.rules == ("marker", "abbreviation")
    assert row.term_id == "CL:0001054"


def test_clean_labels_that_would_read_the_same_stay_apart() -> None:
    rows = clean_labels(["T cells 1", "T cells 2", "B cells 7"])
    assert [row.cleaned for row in rows] == ["T cells 1", "T cells 2", "B cell"]
    rows = clean_labels(["Pericyte", "Pericytes"])
    assert [(row.cleaned, row.rules) for row in rows] == [("Pericyte", ("kept apart",)), ("Pericytes", ("kept apart",))]


def test_clean_labels_are_a_fixed_point() -> None:
    """Cleaning a cleaned label changes nothing."""
    labels = ["CD14+ Mono", "Naive_CD4_T", "B", "alpha", "Platelets", "NK", "CD34+", "Artery - Tibial", "immune_other"]
    once = [row.cleaned for row in clean_labels(labels, tissue="islet")]
    assert [row.cleaned for row in clean_labels(once, tissue="islet")] == once


@pytest.mark.parametrize("word", ["unknown", "Normal", "n/a", "not available", "True", "cell culture", "42", " "])
def test_a_tissue_that_is_none_is_not_put_before_a_cell(word: str) -> None:
    assert cleaned("alpha", tissue=word) == "alpha cell"


@pytest.mark.parametrize("label", ["", "   ", "x" * 501])
def test_clean_labels_empty_or_endless_are_refused(label: str) -> None:
    with pytest.raises(InputError, match="expected 1 to 500"):
        clean_labels([label])


def test_label_paraphrases_begin_with_the_label_and_carry_the_synonyms() -> None:
    texts = label_paraphrases("NK")
    assert texts[0] == "natural killer cell"
    assert "NK cell" in texts
    assert len({text.lower() for text in texts}) == len(texts)
    assert label_paraphrases("alpha", tissue="pancreas")[:2] == ("pancreatic alpha cell", "pancreatic A cell")
    assert label_paraphrases("no such thing") == ("no such thing",)


def test_cell_ontology_names_and_synonyms_lead_to_one_term_each() -> None:
    ontology = cell_ontology()
    names = [name.lower() for term in ontology.by_name.values() for name in (term.name, *term.synonyms)]
    assert len(ontology.by_name) > 2_000
    assert ontology.find("T lymphocyte") == ontology.find("t cell") == ontology.by_name["t cell"]
    synonyms = [name.lower() for term in ontology.by_name.values() for name in term.synonyms]
    assert len(set(synonyms)) == len(synonyms)
    assert set(names) == set(ontology.by_name) | set(ontology.by_synonym)
    assert ontology.spell("SCHWANN CELL") == "Schwann cell"


def test_abbreviations_contradict_no_unshared_name_of_the_ontology() -> None:
    """Where the ontology knows the short form, it is the same cell, be it by another name."""
    ontology = cell_ontology()
    other_name = {"MPP": "hematopoietic multipotent progenitor cell", "Tfh": "T follicular helper cell"}
    other_name |= {"AT1": "type I pneumocyte", "AT2": "type II pneumocyte"}
    for short, text in ABBREVIATIONS.items():
        term = ontology.find(short)
        if term is not None:
            assert term.name in {text, other_name.get(short)}, (short, term.name)
