"""The split: nothing of a held-out block is trained on, in any source, and the validation set stands for what is held out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from expression_files import wide_gene_map
from training_files import N_GENES, write_corpus, write_gmt

from atlas.errors import ConfigError
from indexer.training.sources.corpus import CorpusSource
from indexer.training.sources.gene_sets import GeneSetSource
from indexer.training.split import Split, representatives, split

GENES = wide_gene_map(N_GENES)


def fake_embed(texts: Sequence[str]) -> np.ndarray:
    """Every text lies somewhere of its own."""
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=16) for text in texts]).astype(np.float32)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[CorpusSource, GeneSetSource]:
    series = [f"GSE{1 + i // 4}" for i in range(40)]
    (tmp_path / "sets").mkdir()
    write_gmt(
        tmp_path / "sets" / "S.gmt",
        {f"disease {i} human GSE{i} sample 1": [f"G{j}" for j in range(10 * i, 10 * i + 9)] for i in range(1, 15)},
    )
    corpus = CorpusSource([write_corpus(tmp_path / "a.h5", series)], genes=GENES)
    return corpus, GeneSetSource([tmp_path / "sets"], genes=GENES)


def test_split_shares_no_study_between_training_and_what_is_held_out(
    sources: tuple[CorpusSource, GeneSetSource],
) -> None:
    corpus, sets = sources
    seen: list[Split] = [
        split(sources, seed=0, fold=fold, n_folds=4, n_validation=5, embed=fake_embed) for fold in range(4)
    ]
    for one in seen:
        trained = {series for row in one.train[0] for series in corpus.series_of(row)}
        held = {series for row in one.held_out[0] for series in corpus.series_of(row)}
        assert held
        assert not trained & held
        assert not {name for row in one.train[1] for name in sets.sets.accessions[row]} & held
        assert set(one.validation[0]) <= set(one.held_out[0])
        assert not len(one.validation[1])
        assert set(one.report.held_out_studies) == held
    assert sorted(np.concatenate([one.held_out[0] for one in seen])) == list(range(40))


def test_split_without_a_fold_trains_on_everything(sources: tuple[CorpusSource, GeneSetSource]) -> None:
    whole = split(sources, seed=0, fold=None)
    assert [len(rows) for rows in whole.train] == [40, 14]
    assert not any(map(len, whole.held_out))
    assert whole.report.held_out_studies == ()


def test_split_report_counts_every_item_and_is_json(sources: tuple[CorpusSource, GeneSetSource]) -> None:
    report = split(sources, seed=2, fold=1, n_folds=4, n_validation=3, embed=fake_embed).report
    for one in report.sources:
        assert one.n_train + one.n_held_out == one.n_items
    assert report.sources[0].n_validation == 3
    assert json.loads(json.dumps(report.as_dict()))["fold"] == 1
    with pytest.raises(ConfigError, match="no fold 4 of 4"):
        split(sources, seed=0, fold=4, n_folds=4)


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
    assert representatives(texts, n=10, embed=fake_embed).tolist() == [0, 1, 3]
    assert len(representatives([f"{letter}{i}" for letter in "abc" for i in range(50)], n=7, embed=fake_embed)) <= 7
