from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.captions import deterministic_caption, informative_characteristics, tissue_facet

NOTHING = {"characteristics": "", "series_title": ""}


def test_caption_of_a_full_sample() -> None:
    caption = deterministic_caption(
        "N61311_Dex",
        "airway smooth muscle cells",
        characteristics="treatment: Dexamethasone,ercc_mix: -,cell line: N61311,cell type: airway smooth muscle cells,RIN: 8.4",
        series_title="Human Airway Smooth Muscle Transcriptome Changes (GSE52778)",
    )
    assert caption == (
        "airway smooth muscle cells; treatment: Dexamethasone; cell line: N61311; N61311 Dex. "
        "Study: Human Airway Smooth Muscle Transcriptome Changes."
    )


@pytest.mark.parametrize(
    "title", ["GSM3528727", "SRR350976", "TCGA-OR-A5J1-01A-11R-A29S-07", "C00039", "7", "CA.102548", ""]
)
def test_caption_leaves_out_titles_that_are_codes(title: str) -> None:
    assert deterministic_caption(title, "liver", **NOTHING) == "liver."


def test_caption_says_a_title_once() -> None:
    assert deterministic_caption("Adipose", "adipose", **NOTHING) == "adipose."


def test_caption_keeps_negative_findings() -> None:
    caption = deterministic_caption("", "blood", characteristics="mutation: none,HIVStatus: Negative", series_title="")
    assert caption == "blood; mutation: none; HIVStatus: Negative."


def test_caption_of_nothing_is_empty() -> None:
    assert deterministic_caption("", " - ", characteristics="age: NA,sex: not available", series_title="GSE5") == ""


@pytest.mark.parametrize(
    "raw",
    [
        "RIN: 8.4",
        "patient id: 7",
        "sample_id: x",
        "batch: 2",
        "ercc_mix: -",
        "age: n/a",
        "donor: D1",
        "BioSample accession: S",
    ],
)
def test_characteristics_without_information_are_left_out(raw: str) -> None:
    assert informative_characteristics(raw) == ()


TEXT = st.text("abc XYZ:,;_-.()09é<>'\"\n", max_size=60)


@given(title=TEXT, source=TEXT, characteristics=TEXT, series=TEXT)
def test_caption_invents_no_word(title: str, source: str, characteristics: str, series: str) -> None:
    caption = deterministic_caption(title, source, characteristics=characteristics, series_title=series)
    given_text = f"{title} {source} {characteristics} {series}".replace("_", " ")
    for word in caption.replace("Study:", "").replace("_", " ").split():
        assert word.strip(".;: ,()-") in given_text
    assert "\n" not in caption
    assert caption == deterministic_caption(title, source, characteristics=characteristics, series_title=series)


@pytest.mark.parametrize(
    ("source", "characteristics", "facet"),
    [
        ("Blood sample", "Tissue: Whole  Blood,age: 3", "whole blood"),
        ("left ventricle", "etiology: NF", "left ventricle"),
        ("", "cell_type: TIBC", "tibc"),
        ("superior temporal gyrus", "BrainRegion: STG", "superior temporal gyrus"),
        ("liver", "tissue: NA", "liver"),
        ("", "condition: control", ""),
        ("-", "", ""),
    ],
)
def test_tissue_facet(source: str, characteristics: str, facet: str) -> None:
    assert tissue_facet(source, characteristics) == facet
