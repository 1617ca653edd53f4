"""Labels: readable, short, unique, with evidence; a language model is believed only if it keeps the rules."""

from __future__ import annotations

import pytest

from atlas.errors import UpstreamError
from atlas.landscape.labels import (
    KeywordRow,
    check_title,
    keyword_lines,
    label_clusters,
    label_from_terms,
    make_unique,
    readable_label,
)


def row(library: str, term: str, distinct: float = 2.0) -> KeywordRow:
    return KeywordRow(library, term, 0.3, distinct, distinct)


@pytest.mark.parametrize(
    ("library", "term", "label"),
    [
        ("Tabula_Sapiens", "Lung-dendritic Cell", "Lung dendritic cell"),
        ("Tabula_Sapiens", "Bladder-bladder Urothelial Cell", "Bladder urothelial cell"),
        ("Tabula_Sapiens", "Blood-cd8-positive, Alpha-Beta T Cell", "Blood CD8-positive, alpha-beta T cell"),
        ("Tabula_Sapiens", "Blood-type I Nk T Cell", "Blood type I NK T cell"),
        ("Azimuth_2023", "Tonsil-L2-VEGFA+", "Tonsil VEGFA+"),
        ("PanglaoDB_Augmented_2021", "Pulmonary Alveolar Type I Cells", "Pulmonary alveolar type I cells"),
        ("Disease_Perturbations_from_GEO_up", "uveal melanoma DOID-6039 human GSE1 sample 2", "Uveal melanoma"),
        ("GO_Biological_Process_2023", "T Cell Activation (GO:0042110)", "T cell activation"),
        ("Mine", "mRNA_decay", "mRNA decay"[:1].upper() + "mRNA decay"[1:]),
    ],
)
def test_terms_become_readable_labels(library: str, term: str, label: str) -> None:
    assert readable_label(row(library, term)) == label


def test_agreement_of_libraries_beats_a_lone_strong_term() -> None:
    rows = [
        row("PanglaoDB_Augmented_2021", "Tuft Cells", 2.2),
        row("PanglaoDB_Augmented_2021", "Cardiomyocytes", 2.0),
        row("Azimuth_2023", "Heart-L1-Cardiomyocyte", 2.0),
        row("GO_Biological_Process_2023", "Cardiomyocyte Differentiation (GO:1)", 2.0),
    ]
    assert label_from_terms(rows)[0] in {"Cardiomyocytes", "Cardiomyocyte"}


def test_up_and_down_lists_are_one_witness() -> None:
    lone = [row("Disease_Perturbations_from_GEO_up", "Acne"), row("Disease_Perturbations_from_GEO_down", "Acne")]
    rival = [row("Mine", "Liver"), row("Yours", "Liver")]
    assert label_from_terms([*lone, *rival])[0] == "Liver"


def test_cell_types_are_preferred_to_experiments() -> None:
    rows = [row("Achilles_fitness_increase", "SNU398-liver", 3.0), row("Tabula_Sapiens", "Spleen-plasma Cell", 2.0)]
    assert label_from_terms(rows)[0] == "Plasma cell"


def test_an_organ_is_said_only_where_another_library_names_it() -> None:
    lone = row("Azimuth_2023", "Lung v1-L1-NK cells", 3.0)
    assert label_from_terms([lone, row("PanglaoDB_Augmented_2021", "NK Cells", 1.0)])[0] == "NK cells"
    assert label_from_terms([lone, row("Tabula_Sapiens", "Lung-nk Cell", 1.0)])[0] == "Lung NK cells"
    assert label_from_terms([row("Tabula_Sapiens", "Liver-fibroblast")])[0] == "Fibroblast"


def test_names_a_reader_knows_are_preferred_to_codes() -> None:
    rows = [row("Azimuth_2023", "Adipose-L2-hPeri", 3.0), row("PanglaoDB_Augmented_2021", "Pericytes", 2.0)]
    assert label_from_terms(rows) == ("Pericytes", "HPeri")


def test_long_terms_come_last_and_are_cut() -> None:
    rows = [row("Mine", "Regulation of one two three four of five", 9.0), row("Mine", "Short", 0.1)]
    assert label_from_terms(rows) == ("Short", "Regulation of one two three")


def test_labels_are_unique_by_a_second_term_then_a_number() -> None:
    same = [row("Mine", "Heart"), row("Mine", "Muscle", 1.0)]
    labels = label_clusters({0: same, 1: same, 2: same, 3: [], 4: [row("Mine", "heart")]})
    assert [labels[i].text for i in range(5)] == ["Heart", "Heart / Muscle", "Heart (2)", "Cluster 3", "Heart (3)"]
    assert make_unique(["A"], {"a", "a (2)"}) == "A (3)"


def test_evidence_names_the_terms_behind_the_label_first() -> None:
    rows = [row("B", f"other {i}", 5.0) for i in range(20)] + [row("A", "Liver", 30.0), row("C", "Liver cell", 1.0)]
    label = label_clusters({0: rows})[0]
    assert label.text == "Liver"
    assert [r.term for r in label.evidence[:2]] == ["Liver", "Liver cell"]
    assert len(label.evidence) == 12
    assert (label.method, label.prompt, label.raw_reply) == ("deterministic", None, None)


@pytest.mark.parametrize("reply", ["Failing heart", "  Failing heart.\n", "T cells of CMV carriers"])
def test_good_titles_are_taken(reply: str) -> None:
    assert check_title(reply) == reply.strip().removesuffix(".")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n",
        "one two three four five six",
        '"Heart"',
        "\u201cHeart\u201d",
        "Heart\nLiver",
        "x" * 81,
        "<b>Heart</b>",
        "123",
        "Heart\x00",
    ],
)
def test_titles_that_break_a_rule_are_refused(reply: str) -> None:
    assert check_title(reply) is None


def test_model_is_asked_again_with_another_seed_and_its_reply_is_kept() -> None:
    asked: list[tuple[str, int]] = []

    def complete(prompt: str, seed: int) -> str:
        asked.append((prompt, seed))
        return '"Heart"' if seed == 0 else "Failing heart."

    rows = [row("Azimuth_2023", "Heart-L1-B")]
    label = label_clusters({0: rows}, complete=complete, prompt="Terms:\n{keywords}\n")[0]
    assert (label.text, label.method, label.raw_reply) == ("Failing heart", "llm", "Failing heart.")
    assert label.prompt == "Terms:\nAzimuth_2023: Heart B (2.0)\n"
    assert [seed for _, seed in asked] == [0, 1]


def test_stubborn_or_failing_models_fall_back() -> None:
    rows = [row("Mine", "Liver")]
    label = label_clusters({0: rows}, complete=lambda *_: "much too long a title for any cluster", attempts=2)[0]
    assert (label.text, label.method) == ("Liver", "deterministic")
    assert label.raw_reply == "much too long a title for any cluster"

    def broken(prompt: str, seed: int) -> str:
        raise UpstreamError("down")

    label = label_clusters({0: rows}, complete=broken)[0]
    assert (label.text, label.method, label.raw_reply) == ("Liver", "deterministic", None)


def test_titles_of_a_model_are_unique_too() -> None:
    labels = label_clusters({0: [row("Mine", "Liver")], 1: [row("Mine", "Bile duct")]}, complete=lambda *_: "Organ")
    assert [label.text for label in labels.values()] == ["Organ", "Organ / Bile duct"]
    assert labels[1].method == "llm"


def test_prompt_lists_libraries_by_their_strongest_term() -> None:
    rows = [row("A", "weak", 1.0), row("B", "strong (GO:0000001)", 3.0), row("B", "mid", 2.0)]
    assert keyword_lines(rows) == "B: strong (3.0); mid (2.0)\nA: weak (1.0)"
