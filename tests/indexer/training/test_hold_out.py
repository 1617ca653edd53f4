"""What is learned from, what chooses the checkpoint, what is not touched: disjoint, by whole studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from toy_training import ToySource

from atlas.errors import ConfigError
from indexer.training.hold_out import split_rows


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
