"""Blocks: what is tied together, near-duplicates against the comparison of all pairs, folds that never split a block."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from expression_files import wide_gene_map
from hypothesis import given, settings
from hypothesis import strategies as st
from training_files import N_GENES, write_corpus, write_gmt

from atlas.errors import InputError
from indexer.studies import donors_in
from indexer.training.blocking import DisjointSets, block_items, folds, link_blocks, near_duplicate_texts
from indexer.training.sources.corpus import CorpusSource
from indexer.training.sources.gene_sets import GeneSetSource

GENES = wide_gene_map(N_GENES)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_disjoint_sets_agree_with_walking_the_graph(pairs: list[tuple[int, int]]) -> None:
    sets = DisjointSets(16)
    for one, other in pairs:
        sets.join(one, other)
    group = list(range(16))
    for _ in range(16):
        for one, other in pairs:
            group[one] = group[other] = min(group[one], group[other])
    for one, other in combinations(range(16), 2):
        assert (sets.find(one) == sets.find(other)) == (group[one] == group[other])


def test_link_blocks_are_named_after_the_first_study_whatever_the_order() -> None:
    links = [
        (0, "study:GSE2"),
        (1, "study:GSE1"),
        (1, "sample:GSM7"),
        (0, "sample:GSM7"),
        (2, "donor:NA12878"),
        (3, "x"),
    ]
    assert link_blocks(5, links).tolist() == ["GSE1", "GSE1", "donor:NA12878", "x", "item 4"]
    assert link_blocks(5, links[::-1]).tolist() == link_blocks(5, links).tolist()


@pytest.mark.parametrize(
    ("series", "blocks"),
    [
        (["GSE107991", "GSE107992", "GSE107993"], 1),
        (["phs003208-block", "phs003208-LCM-neuron"], 1),
        (["TCGA-UVM", "TCGA-ACC"], 2),
        (["TCGA-COADREAD-CMScaller", "TCGA-COADREAD"], 1),
        (["GSE1,GSE2", "GSE2", "GSE3"], 2),
        (["GSE1", "GSE2"], 2),
    ],
)
def test_corpus_blocks_follow_studies_not_series(tmp_path: Path, series: list[str], blocks: int) -> None:
    source = CorpusSource([write_corpus(tmp_path / "a.h5", series)], genes=GENES)
    assert len(set(source.blocks)) == blocks


def test_corpus_blocks_join_one_patient_and_one_sample_across_studies(tmp_path: Path) -> None:
    ids = ["TCGA-A6-6782-01A-11R", "TCGA-A6-6782-11A-01R", "GSM5", "GSM6", "ERR1"]
    series = ["TCGA-COAD", "TCGA-READ", "GSE1", "GSE2", "E-GEUV-1"]
    path = write_corpus(tmp_path / "a.h5", series, geo_accession=ids, title=["x", "x", "x", "x", "NA20508.1.M"])
    again = write_corpus(
        tmp_path / "b.h5", ["GSE9", "GSE8"], geo_accession=["GSM6", "GSM99"], title=["x", "line NA20508"]
    )
    blocks = CorpusSource([path, again], genes=GENES).blocks.tolist()
    assert blocks[0] == blocks[1]
    assert blocks[3] == blocks[5] == "GSE2"
    assert blocks[4] == blocks[6]
    assert len(set(blocks)) == 4


def test_donors_are_public_names_only() -> None:
    assert donors_in("TCGA-4N-A93T-01A-11R", "GTEX-OHPL-0008", "donor: D1", "patient 3") == (
        "TCGA-4N-A93T",
        "GTEX-OHPL",
    )
    assert donors_in("NA12878", "HG00096.1", "XNA12878") == ("NA12878", "HG00096")


def _jaccard(one: str, other: str) -> float:
    first, second = (
        {" ".join(text.lower().split()[i : i + 3]) for i in range(len(text.split()) - 2)} for text in (one, other)
    )
    return len(first & second) / len(first | second)


def test_near_duplicates_equal_the_comparison_of_all_pairs() -> None:
    """Groups of edited texts among unrelated ones: the fast path finds what all pairs find."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(400)])
    texts = []
    for _ in range(40):
        base = rng.choice(words, size=60)
        for _ in range(4):
            edited = base.copy()
            edited[rng.integers(0, 60)] = rng.choice(words)
            texts.append(" ".join(edited))
    found = DisjointSets(len(texts))
    for one, other in near_duplicate_texts(texts):
        found.join(one, other)
        assert _jaccard(texts[one], texts[other]) >= 0.8
    wanted = DisjointSets(len(texts))
    for one, other in combinations(range(len(texts)), 2):
        if _jaccard(texts[one], texts[other]) >= 0.8:
            wanted.join(one, other)
    pairs = [(i, j) for i, j in combinations(range(len(texts)), 2) if wanted.find(i) == wanted.find(j)]
    missed = [pair for pair in pairs if found.find(pair[0]) != found.find(pair[1])]
    assert len(pairs) > 80
    assert len(missed) <= 0.05 * len(pairs)


def test_near_duplicates_ignore_case_and_punctuation_but_never_short_texts() -> None:
    long = "Whole blood of patients with active pulmonary tuberculosis before treatment"
    texts = [
        "whole blood",
        "Whole blood.",
        long,
        long.upper() + "!",
        "Something else entirely, of other words and length",
    ]
    assert list(near_duplicate_texts(texts)) == [(2, 3)]
    assert list(near_duplicate_texts([])) == []


def test_block_items_join_sources_and_near_equal_captions(tmp_path: Path) -> None:
    text = "blood monocytes of patients with sepsis on admission to intensive care"
    corpus = CorpusSource(
        [write_corpus(tmp_path / "a.h5", ["GSE1", "GSE2", "GSE3"], source_name_ch1=[text, text, "liver"], title=["1", "2", "3"],
                      characteristics_ch1=["", "", ""])], genes=GENES
    )  # fmt: skip
    write_gmt(tmp_path / "Sets.gmt", {"sepsis human GSE3 sample 1": [f"G{i}" for i in range(9)]})
    sets = GeneSetSource([tmp_path], genes=GENES)
    together = block_items([corpus, sets])
    assert together.blocks[1][0] == together.blocks[0][2] == "GSE3"
    assert block_items([sets, corpus]).blocks[1].tolist() == together.blocks[0].tolist()
    apart = block_items([corpus, sets], near_duplicates=False)
    assert apart.n_blocks == 3
    assert together.n_blocks == apart.n_blocks - together.n_near_duplicates


def test_folds_never_split_a_block_and_are_about_equal() -> None:
    rng = np.random.default_rng(1)
    blocks = np.array([f"B{i}" for i in rng.integers(0, 60, size=2_000)])
    fold = folds(blocks, n_folds=5, seed=3)
    assert all(len(set(fold[blocks == name])) == 1 for name in np.unique(blocks))
    sizes = np.bincount(fold, minlength=5)
    assert sizes.max() - sizes.min() <= 60
    order = rng.permutation(blocks.size)
    np.testing.assert_array_equal(folds(blocks[order], n_folds=5, seed=3), fold[order])
    assert not np.array_equal(folds(blocks, n_folds=5, seed=4), fold)
    with pytest.raises(InputError, match="cannot be dealt to 5 folds"):
        folds(np.array(["A", "A", "B"]), n_folds=5)
