"""What is learned from, what chooses the checkpoint, what is not touched: disjoint, by whole studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from expression_files import wide_gene_map
from toy_training import ToySource
from training_files import N_GENES, write_corpus, write_gmt

from atlas.errors import ConfigError
from indexer.training.hold_out import representatives, split_rows
from indexer.training.sources.corpus import CorpusSource
from indexer.training.sources.gene_sets import GeneSetSource


def embed(texts: Sequence[str]) -> np.ndarray:
    rng = [np.random.default_rng(sum(map(ord, text))) for text in texts]
    return np.stack([one.normal(size=8) for one in rng]).astype(np.float32)


class Studies(ToySource):
    """Four items a study; every second item repeats the text before it."""

    def __init__(self, n: int, *, kind: str = "corpus", name: str = "toy") -> None:
        super().__init__(n, name=name)
        self.kind = kind

    def links(self) -> Iterator[tuple[int, str]]:
        yield from ((row, f"study:GSE{row // 4}") for row in range(len(self)))

    def captions(self, row: int) -> tuple[str, ...]:
        return (f"liver {row // 2}",)


def studies(rows: np.ndarray) -> set[int]:
    return {int(row) // 4 for row in rows}


def test_three_parts_share_no_study() -> None:
    source = Studies(200)
    rows = split_rows([source], fold=(2, 5), n_validation=6, embed=embed)
    assert len(rows.train[0]) + len(set(rows.report["held_out_studies"])) * 4 <= 200
    apart = {int(name.removeprefix("GSE")) for name in rows.report["held_out_studies"]}
    choosing = {int(name.removeprefix("GSE")) for name in rows.report["validation_studies"]}
    assert len(apart) == 10
    assert not apart & choosing
    assert studies(rows.train[0]) == set(range(50)) - apart - choosing
    assert 0 < len(rows.validation[0]) <= 6
    assert studies(rows.validation[0]) <= choosing
    texts = [source.captions(int(row))[0] for row in rows.validation[0]]
    assert len(set(texts)) == len(texts)


def test_folds_cover_all_studies_once() -> None:
    source = Studies(100)
    seen = [
        split_rows([source], fold=(k, 5), n_validation=0, embed=embed).report["held_out_studies"] for k in range(1, 6)
    ]
    assert sorted(name for names in seen for name in names) == sorted(f"GSE{i}" for i in range(25))


def test_gene_sets_follow_the_study_they_were_made_from() -> None:
    corpus, sets = Studies(80), Studies(80, kind="genesets", name="sets")
    rows = split_rows([corpus, sets], fold=(1, 4), n_validation=4, embed=embed)
    assert studies(rows.train[0]) == studies(rows.train[1])
    assert len(rows.validation[1]) == 0
    assert len(rows.validation[0])


def test_everything_is_learned_from_if_nothing_is_to_be_chosen() -> None:
    rows = split_rows([Studies(40)], n_validation=0, embed=embed)
    assert rows.train[0].tolist() == list(range(40))
    assert rows.validation[0].tolist() == []
    assert rows.report["held_out_studies"] == []


def test_a_fold_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="no fold 6 of 5"):
        split_rows([Studies(40)], fold=(6, 5), embed=embed)


def test_gene_sets_of_held_out_studies_are_held_out_with_them(tmp_path: Path) -> None:
    series = [f"GSE{1 + i // 4}" for i in range(40)]
    (tmp_path / "sets").mkdir()
    write_gmt(
        tmp_path / "sets" / "S.gmt",
        {f"disease {i} human GSE{i} sample 1": [f"G{j}" for j in range(10 * i, 10 * i + 9)] for i in range(1, 15)},
    )
    genes = wide_gene_map(N_GENES)
    corpus = CorpusSource([write_corpus(tmp_path / "a.h5", series)], genes=genes)
    sets = GeneSetSource([tmp_path / "sets"], genes=genes)
    apart: list[str] = []
    for k in range(1, 5):
        rows = split_rows([corpus, sets], fold=(k, 4), n_validation=0)
        held = set(rows.report["held_out_studies"])
        assert held
        assert not {name for row in rows.train[0] for name in corpus.series_of(row)} & held
        assert not {name for row in rows.train[1] for name in sets.sets.accessions[row]} & held
        apart += held
    assert sorted(apart) == sorted(set(series))


def test_representatives_take_the_member_nearest_to_each_centre() -> None:
    centres = np.eye(3)
    rng = np.random.default_rng(0)
    vectors = np.concatenate(
        [centres[i] + rng.normal(0, 0.1 * (1 + np.arange(6))[:, None] / 6, (6, 3)) for i in range(3)]
    )
    texts = [f"text {i}" for i in range(18)]
    table = dict(zip(texts, vectors, strict=True))
    chosen = representatives(texts, n=3, embed=lambda wanted: np.array([table[text] for text in wanted]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = [6 * i + int(np.argmax(unit[6 * i : 6 * i + 6] @ unit[6 * i : 6 * i + 6].mean(axis=0))) for i in range(3)]
    assert chosen.tolist() == wanted


def test_representatives_count_equal_texts_once_and_are_as_many_as_there_are() -> None:
    texts = ["b", "a", "b", "c", "a"]
    assert representatives(texts, n=10, embed=embed).tolist() == [0, 1, 3]
    assert len(representatives([f"{letter}{i}" for letter in "abc" for i in range(50)], n=7, embed=embed)) <= 7
