"""Rank-value tokens, against the published procedure written out plainly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geneformer_models import gene_id, toy_dictionaries
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix

from atlas.errors import InputError
from atlas.model.geneformer import tokenizer as module
from atlas.model.geneformer.published_pickle import read_published_dictionary
from atlas.model.geneformer.tokenizer import RankTokens, RankValueTokenizer
from atlas.model.geneformer.vocabulary import GeneVocabulary


def plain_tokens(
    counts: np.ndarray,
    *,
    genes: Sequence[str],
    tokens: Mapping[str, Any],
    medians: Mapping[str, Any],
    n_counts: float,
    length: int,
) -> list[int]:
    """One sample, gene by gene, as the paper's code orders it: argsort of the negative scaled values."""
    kept = [(i, gene) for i, gene in enumerate(genes) if gene in tokens and gene in medians and counts[i] != 0]
    scaled = np.array([float(counts[i]) / n_counts * 10_000 / medians[gene] for i, gene in kept], dtype=np.float64)
    ranked = [int(tokens[kept[place][1]]) for place in np.argsort(-scaled)]
    if "<cls>" not in tokens:
        return ranked[:length]
    return [int(tokens["<cls>"]), *ranked[: length - 2], int(tokens["<eos>"])]


def cells(n: int, n_genes: int, *, seed: int = 0, share: float = 0.3) -> np.ndarray:
    chance = np.random.default_rng(seed)
    counts = chance.poisson(3.0, (n, n_genes)) * (chance.random((n, n_genes)) < share)
    counts[:, 0] += 1
    return np.asarray(counts, dtype=np.float32)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("length", [3, 7, 40, None])
@pytest.mark.parametrize("form", [np.asarray, csr_matrix, csc_matrix, coo_matrix])
def test_tokens_are_those_of_the_plain_procedure(version: str, length: int | None, form: Any) -> None:
    tokens, medians = toy_dictionaries(50, version=version)
    del medians[gene_id(7)]
    del medians[gene_id(30)]
    genes = [gene_id(i) for i in np.random.default_rng(1).permutation(70)]  # 20 of them have no token
    counts = cells(30, len(genes))
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(tokens, medians), max_length=length)
    seen = encoder.tokenize(form(counts), genes=genes)
    for i, row in enumerate(counts):
        expected = plain_tokens(
            row,
            genes=genes,
            tokens=tokens,
            medians=medians,
            n_counts=float(row.sum()),
            length=length or encoder.max_length,
        )
        assert seen.row(i).tolist() == expected
    assert seen.lengths.max() <= encoder.max_length


def test_two_million_values_at_once_or_ten_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, medians = toy_dictionaries(50)
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(tokens, medians))
    genes, counts = [gene_id(i) for i in range(50)], cells(23, 50)
    whole = encoder.tokenize(counts, genes=genes)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 10)
    for values in (counts, csr_matrix(counts)):
        parts = encoder.tokenize(values, genes=genes)
        assert np.array_equal(parts.ids, whole.ids)
        assert np.array_equal(parts.offsets, whole.offsets)


def test_a_sample_is_tokenised_alone() -> None:
    tokens, medians = toy_dictionaries(50)
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(tokens, medians))
    genes, counts = [gene_id(i) for i in range(50)], cells(20, 50)
    whole = encoder.tokenize(counts, genes=genes)
    for i in (0, 7, 19):
        assert np.array_equal(encoder.tokenize(counts[i : i + 1], genes=genes).row(0), whole.row(i))


def test_order_of_genes_in_a_file_decides_nothing_but_ties() -> None:
    tokens, medians = toy_dictionaries(50)
    medians = {gene: 1.0 + i / 97 for i, gene in enumerate(medians)}
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(tokens, medians))
    genes, counts = [gene_id(i) for i in range(50)], cells(20, 50)
    order = np.random.default_rng(0).permutation(50)
    turned = encoder.tokenize(counts[:, order], genes=[genes[i] for i in order])
    assert np.array_equal(turned.ids, encoder.tokenize(counts, genes=genes).ids)


def test_equal_values_keep_the_order_of_the_file_when_asked_to() -> None:
    tokens, medians = toy_dictionaries(40)
    medians = dict.fromkeys(medians, 2.0)
    vocabulary = GeneVocabulary.from_dictionaries(tokens, medians)
    genes = [gene_id(i) for i in range(40)]
    counts = np.ones((1, 40), dtype=np.float32)
    stable = RankValueTokenizer(vocabulary, ties="stable").tokenize(counts, genes=genes[::-1]).row(0)
    assert stable.tolist() == [int(tokens[gene]) for gene in genes[::-1]]
    published = RankValueTokenizer(vocabulary).tokenize(counts, genes=genes).row(0)
    assert published.tolist() == (np.argsort(-np.full(40, 1.0 / 40 * 10_000 / 2)) + 2).tolist()


def test_total_is_a_factor_that_changes_no_order_and_can_be_given() -> None:
    tokens, medians = toy_dictionaries(50)
    medians = {gene: 1.0 + i / 97 for i, gene in enumerate(medians)}
    vocabulary = GeneVocabulary.from_dictionaries(tokens, medians)
    genes = [*(gene_id(i) for i in range(50)), "ACTB", "ENSMUSG00000000001"]
    counts = cells(20, 52)
    published = RankValueTokenizer(vocabulary).tokenize(counts, genes=genes)
    for other in (
        RankValueTokenizer(vocabulary, totals="ensg").tokenize(counts, genes=genes),
        RankValueTokenizer(vocabulary).tokenize(counts, genes=genes, n_counts=np.full(20, 12_345)),
    ):
        assert np.array_equal(other.ids, published.ids)


def test_versions_are_cut_off_and_duplicated_genes_are_added_up() -> None:
    tokens, medians = toy_dictionaries(6)
    medians = dict.fromkeys(medians, 1.0)
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(tokens, medians))
    genes = [f"{gene_id(0)}.4", gene_id(1), gene_id(0), "unknown", gene_id(2).lower()]
    counts = np.array([[3, 5, 4, 100, 1], [0, 1, 2, 0, 0]], dtype=np.float32)
    for values in (counts, csr_matrix(counts)):
        seen = encoder.tokenize(values, genes=genes)
        assert seen.row(0).tolist() == [tokens[gene_id(0)], tokens[gene_id(1)], tokens[gene_id(2)]]
        assert seen.row(1).tolist() == [tokens[gene_id(0)], tokens[gene_id(1)]]


def test_explicit_zeros_of_a_sparse_matrix_are_not_expressed() -> None:
    tokens, medians = toy_dictionaries(3)
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(tokens, medians))
    values = csr_matrix((np.array([0.0, 2.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    assert values.nnz == 2
    assert encoder.tokenize(values, genes=[gene_id(i) for i in range(3)]).row(0).tolist() == [tokens[gene_id(1)]]


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_empty_sample_is_an_error_that_names_it_or_one_token(form: Any) -> None:
    tokens, medians = toy_dictionaries(10_000)
    vocabulary = GeneVocabulary.from_dictionaries(tokens, medians)
    genes = [gene_id(0), "unknown"]
    counts = form(np.array([[3, 1], [0, 8]], dtype=np.float32))
    with pytest.raises(InputError, match="Sample 'GSM2' expresses none") as failure:
        RankValueTokenizer(vocabulary).tokenize(counts, genes=genes, sample_ids=["GSM1", "GSM2"])
    assert failure.value.details["sample_id"] == "'GSM2'"
    seen = RankValueTokenizer(vocabulary, empty="cellwhisperer").tokenize(counts, genes=genes)
    assert [seen.row(0).tolist(), seen.row(1).tolist()] == [[2], [9_743]]


@pytest.mark.parametrize(
    ("values", "genes", "more", "problem"),
    [
        (np.ones((2, 3), np.float32), 2, {}, "shape"),
        (np.ones(3, np.float32), 3, {}, "shape"),
        (np.array([[1, -1, 0]], np.float32), 3, {}, "has the value -1.0 in column 2"),
        (np.array([[1, np.nan, 0]], np.float32), 3, {}, "has the value nan in column 2"),
        (csr_matrix(np.array([[0, 1, 0], [1, 0, np.inf]], np.float32)), 3, {}, "Sample number 2 has the value inf"),
        (np.ones((2, 3), np.float32), 3, {"n_counts": [1]}, "n_counts"),
        (np.ones((2, 3), np.float32), 3, {"n_counts": [1, -1]}, "n_counts"),
        (np.ones((2, 3), np.float32), 3, {"n_counts": [0, 1]}, "has the total 0.0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(values: Any, genes: int, more: dict[str, Any], problem: str) -> None:
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(*toy_dictionaries(5)))
    with pytest.raises(InputError, match=problem):
        encoder.tokenize(values, genes=[gene_id(i) for i in range(genes)], **more)


def test_genes_without_any_token_are_refused_with_examples() -> None:
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(*toy_dictionaries(5)))
    with pytest.raises(InputError, match=r"None of the 2 genes has a Geneformer token \(for example 'ACTB', 'GAPDH'\)"):
        encoder.tokenize(np.ones((1, 2)), genes=["ACTB", "GAPDH"])
    with pytest.raises(InputError, match="holds no gene"):
        RankValueTokenizer(GeneVocabulary.from_dictionaries(*toy_dictionaries(5, version="v2")), max_length=2)


def test_no_sample_is_no_token() -> None:
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(*toy_dictionaries(5)))
    assert len(encoder.tokenize(np.zeros((0, 5)), genes=[gene_id(i) for i in range(5)])) == 0


def test_padding_fills_rows_up_to_the_longest() -> None:
    tokens = RankTokens.from_rows([np.array([5, 6]), np.array([7]), np.array([], dtype=int), np.array([8, 9, 4])])
    assert tokens.padded(np.array([1, 0])).tolist() == [[7, 0], [5, 6]]
    assert tokens.padded(np.array([2, 3])).tolist() == [[0, 0, 0], [8, 9, 4]]
    assert tokens.padded(np.array([], dtype=int)).shape == (0, 0)


@pytest.mark.data
@pytest.mark.parametrize(("corpus", "length"), [("gc30M", 2_048), ("gc104M", 4_096)])
def test_true_dictionaries_and_true_samples_give_the_published_tokens(
    corpus: str, length: int, data_root: Path
) -> None:
    import anndata

    folder = data_root / "genes" / "geneformer_original"
    tokens = read_published_dictionary(folder / f"token_dictionary_{corpus}.pkl")
    medians = read_published_dictionary(folder / f"gene_median_dictionary_{corpus}.pkl")
    encoder = RankValueTokenizer(GeneVocabulary.from_dictionaries(tokens, medians))
    for name, n in (("human_pbmc3k_10x", 30), ("bulk_human_gtex_tissue_means_54", 4), ("human_pbmc68k_reduced", 30)):
        file = anndata.read_h5ad(data_root / "evaluation" / f"{name}.h5ad")[:n]
        genes = [str(gene) for gene in file.var["ensembl_id"]]
        seen = encoder.tokenize(file.X, genes=genes)
        dense = file.X if isinstance(file.X, np.ndarray) else file.X.toarray()
        for i, row in enumerate(dense.astype(np.float64)):
            expected = plain_tokens(row, genes=genes, tokens=tokens, medians=medians, n_counts=row.sum(), length=length)
            assert seen.row(i).tolist() == expected
