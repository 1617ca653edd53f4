"""Agreement of labels with annotations: against its definition, and what it does to the choice of a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from atlas.landscape.agreement import MAX_CHARS, MAX_DISTINCT, Annotations, Depositors, agreement, annotation
from atlas.landscape.labels import KeywordRow, label_clusters, label_from_terms


def units(n: int, *, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, 6))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def row(term: str, distinct: float) -> KeywordRow:
    return KeywordRow("PanglaoDB_Augmented_2021", term, 0.3, distinct, distinct)


def test_agreement_equals_its_definition() -> None:
    terms, said, reference = units(4, seed=0), units(3, seed=1), units(50, seed=2)
    counts = (5, 2, 1)
    for term, found in zip(terms, agreement(terms, said, counts=counts, reference=reference), strict=True):
        shares = [np.mean([r @ one < term @ one for r in reference]) for one in said]
        assert found == pytest.approx(np.average(shares, weights=counts), abs=0.011)  # one of 50 may count as equal


def test_equal_terms_count_half_so_a_reference_term_is_not_punished() -> None:
    reference = units(10, seed=3)
    best = np.argsort(reference @ reference[0])
    found = agreement(reference, reference[:1], counts=(1,), reference=reference)
    assert found[best[-1]] == pytest.approx(0.95)
    assert found[best[0]] == pytest.approx(0.05)
    assert agreement(reference.astype(np.float16).astype(np.float32), reference[:1], counts=(1,), reference=reference)[
        best[-1]
    ] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("tissue", "source", "characteristics", "expected"),
    [
        ("whole blood", "Whole Blood", "tissue: Whole Blood", ("whole blood",)),
        ("coadread", "colon  adenocarcinoma", "", ("coadread", "colon adenocarcinoma")),
        ("liver", "n/a", "cell type: Hepatocyte,age: 50,cell line: HepG2", ("liver", "hepatocyte", "hepg2")),
        ("", "", "age: 5,rin: 8", ()),
        ("x" * 5000, "", "", ("x" * MAX_CHARS,)),
    ],
)
def test_annotation_is_the_stated_material(
    tissue: str, source: str, characteristics: str, expected: tuple[str, ...]
) -> None:
    assert annotation(tissue, source, characteristics=characteristics) == expected


def test_annotations_are_counted_whole_and_by_part() -> None:
    counted = Counter({("lung", "a549"): 4, ("lung", "calu3"): 3, (): 5, ("skin",): 3})
    said = Annotations.of(counted)
    assert (said.n_annotated, said.texts, said.counts) == (10, ("lung, a549", "lung, calu3", "skin"), (4, 3, 3))
    assert (said.top, said.top_share) == ("lung", 0.7)
    assert Annotations.of(Counter({(): 3})) == Annotations(0, (), (), None, None)
    many = Annotations.of(Counter({(f"s{i:04d}",): 1 for i in range(MAX_DISTINCT + 5)}))
    assert (many.n_annotated, len(many.texts)) == (MAX_DISTINCT + 5, MAX_DISTINCT)


def test_depositors_embed_a_text_once_and_judge_only_what_is_annotated() -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[1.0, 0.0] if "heart" in text else [0.0, 1.0] for text in texts], dtype=np.float16)

    said = [Annotations.of(Counter({("heart",): 2})), Annotations.of(Counter())]
    reference = np.array([[0.9, 0.1], [0.0, 1.0]], dtype=np.float16)
    depositors = Depositors(said, embed=embed, reference=reference)
    depositors.learn(["heart muscle", "liver"])
    assert depositors.agreement(0, ["heart muscle", "liver"]) == [1.0, 0.25]
    assert depositors.agreement(1, ["liver"]) is None
    assert depositors.agreement(0, []) is None
    assert sorted(asked) == ["heart", "heart muscle", "liver"]
    assert Depositors(said, embed=embed, reference=reference[:0]).agreement(0, ["liver"]) is None


def test_a_label_worse_than_a_random_term_gives_way_to_one_of_like_merit_only() -> None:
    rows = [row("Adipocytes", 2.0), row("Chromaffin cells", 1.6), row("Podocytes", 0.7)]
    supports = {"Adipocytes": 0.1, "Chromaffin cells": 0.9, "Podocytes": 1.0}

    def judged(**changed: float) -> tuple[str, ...]:
        return label_from_terms(rows, agreement=lambda texts: [{**supports, **changed}[text] for text in texts])

    assert label_from_terms(rows)[0] == "Adipocytes"
    assert judged() == ("Chromaffin cells", "Adipocytes", "Podocytes")
    assert judged(Adipocytes=0.5)[0] == "Adipocytes"  # no worse than random: what the transcriptomes say stays
    assert label_from_terms(rows, agreement=lambda _: None) == label_from_terms(rows)
    assert label_from_terms([], agreement=lambda _: []) == ()


def test_every_cluster_is_judged_by_its_own_members() -> None:
    rows = {cluster: [row("Adipocytes", 2.0), row("Chromaffin cells", 1.9)] for cluster in (0, 1)}
    prefers = {0: "Adipocytes", 1: "Chromaffin cells"}
    labels = label_clusters(rows, agreement=lambda cluster, texts: [float(text == prefers[cluster]) for text in texts])
    assert [labels[0].text, labels[1].text] == ["Adipocytes", "Chromaffin cells"]
