"""Dictionaries become one table, and come back as they were."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from geneformer_models import gene_id, toy_dictionaries

from atlas.errors import ArtifactError
from atlas.model.geneformer.published_pickle import read_published_dictionary
from atlas.model.geneformer.vocabulary import GeneVocabulary


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_vocabulary_written_and_read_is_the_same(version: str, tmp_path: Path) -> None:
    tokens, medians = toy_dictionaries(9, version=version)
    del medians[gene_id(4)]  # a token that nothing can rank keeps its number
    medians[gene_id(1000)] = 3.0  # a median that no token has
    vocabulary = GeneVocabulary.from_dictionaries(tokens, medians)
    assert vocabulary.version == version
    assert len(vocabulary) == 8
    assert vocabulary.n_tokens == len(tokens)
    assert gene_id(4) not in vocabulary.rows
    assert vocabulary.tokens[vocabulary.rows[gene_id(5)]] == tokens[gene_id(5)]
    assert vocabulary.medians[vocabulary.rows[gene_id(5)]] == medians[gene_id(5)]
    vocabulary.write(tmp_path / "a.parquet")
    read = GeneVocabulary.read(tmp_path / "a.parquet")
    assert (read.gene_ids, dict(read.specials), read.n_tokens) == (
        vocabulary.gene_ids,
        dict(vocabulary.specials),
        vocabulary.n_tokens,
    )
    assert np.array_equal(read.tokens, vocabulary.tokens)
    assert np.array_equal(read.medians, vocabulary.medians)
    assert read.digest == vocabulary.digest
    read.write(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_digest_tells_vocabularies_apart() -> None:
    tokens, medians = toy_dictionaries(5)
    one = GeneVocabulary.from_dictionaries(tokens, medians).digest
    assert GeneVocabulary.from_dictionaries(dict(reversed(tokens.items())), medians).digest == one
    assert GeneVocabulary.from_dictionaries(tokens, {**medians, gene_id(0): 9.0}).digest != one
    swapped = {**tokens, gene_id(0): tokens[gene_id(1)], gene_id(1): tokens[gene_id(0)]}
    assert GeneVocabulary.from_dictionaries(swapped, medians).digest != one


@pytest.mark.parametrize(
    ("tokens", "medians", "problem"),
    [
        ({}, {}, "are not 0, 1, 2"),
        ({"<pad>": 0, "<mask>": 1, "g": 3}, {"g": 1.0}, "are not 0, 1, 2"),
        ({"<pad>": 0, "<mask>": 1, "g": 1}, {"g": 1.0}, "are not 0, 1, 2"),
        ({"<pad>": 0, "<mask>": 1, "g": 2.0}, {"g": 1.0}, "are not 0, 1, 2"),
        ({"<pad>": 1, "<mask>": 0, "g": 2}, {"g": 1.0}, "<pad> is not token 0"),
        ({"<pad>": 0, "<mask>": 1, "<cls>": 2, "g": 3}, {"g": 1.0}, "only one of"),
        ({"<pad>": 0, "<mask>": 1, "g": 2}, {"h": 1.0}, "no gene has both"),
        ({"<pad>": 0, "<mask>": 1, "g": 2}, {"g": 0.0}, "the median of g is 0.0"),
        ({"<pad>": 0, "<mask>": 1, "g": 2}, {"g": -1}, "the median of g is -1"),
    ],
)
def test_broken_dictionaries_are_refused(tokens: dict[str, Any], medians: dict[str, Any], problem: str) -> None:
    with pytest.raises(ArtifactError, match=problem) as failure:
        GeneVocabulary.from_dictionaries(tokens, medians)
    assert failure.value.kind == "corrupt"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"name": ["<pad>"], "token": [0]}, "has the columns"),
        ({"name": ["<pad>", "<pad>"], "token": [0, 1], "median": [None, 1.0]}, "stands there twice"),
        ({"name": ["<pad>", None], "token": [0, 1], "median": [None, 1.0]}, "is empty"),
        ({"name": ["<pad>", "x"], "token": [0, "y"], "median": [None, 1.0]}, None),
    ],
)
def test_broken_table_is_refused(columns: dict[str, Any], problem: str | None, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.parquet"
    if problem is None:
        columns = {**columns, "token": ["0", "y"]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ArtifactError, match=problem or "another type"):
        GeneVocabulary.read(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="not a readable table"):
        GeneVocabulary.read(path)
    path.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        GeneVocabulary.read(path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("version", "corpus", "n_genes", "n_tokens", "length"),
    [("v1", "gc30M", 25_424, 25_426, 2_048), ("v2", "gc104M", 20_271, 20_275, 4_096)],
)
def test_true_vocabularies_are_those_of_the_tables_made_from_them(
    version: str, corpus: str, n_genes: int, n_tokens: int, length: int, data_root: Path
) -> None:
    folder = data_root / "genes" / "geneformer_original"
    vocabulary = GeneVocabulary.from_dictionaries(
        read_published_dictionary(folder / f"token_dictionary_{corpus}.pkl"),
        read_published_dictionary(folder / f"gene_median_dictionary_{corpus}.pkl"),
    )
    assert (vocabulary.version, len(vocabulary), vocabulary.n_tokens, vocabulary.max_length) == (
        version,
        n_genes,
        n_tokens,
        length,
    )
    with gzip.open(data_root / "genes" / f"geneformer_{version}_genes.tsv.gz", "rt", encoding="utf-8") as stream:
        next(stream)
        rows = [line.rstrip("\n").split("\t")[:3] for line in stream]
    assert {name: int(token) for name, token, _ in rows if name.startswith("<")} == dict(vocabulary.specials)
    expected = {name: (int(token), float(median)) for name, token, median in rows if median}
    seen = zip(vocabulary.gene_ids, vocabulary.tokens.tolist(), vocabulary.medians.tolist(), strict=True)
    assert {name: (token, median) for name, token, median in seen} == expected
