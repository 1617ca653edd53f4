"""Which genes of a cell are read, in which order, against a plain reading of its counts."""

from __future__ import annotations

import numpy as np
import pytest
from cell_files import cells
from tiny_reader import TOP_K, toy_gene_reader, toy_gene_vectors
from toy_model import ToyTextTower, toy_parts

from atlas.cells.rows import open_rows
from atlas.errors import InputError
from atlas.expression.align import GeneAligner
from atlas.interpreter.cell_genes import CellGenes, GeneReader, explain_unread, joined
from atlas.interpreter.config import GeneTokens
from atlas.model.config import GeneTextConfig
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS

LABELS = ["heart", "liver", "blood", "skin", "heart"]


def read(data: object, reader: GeneReader, **options: str) -> CellGenes:
    with open_rows(data) as rows:
        return reader.read(rows, **options)[0]


def test_genes_are_read_by_decreasing_expression() -> None:
    data = cells(LABELS)
    found = read(data, toy_gene_reader())
    counts = data.X.toarray()
    for row, values in enumerate(counts):
        order = sorted(range(64), key=lambda gene: (-values[gene], gene))[:TOP_K]
        assert found.genes[row].tolist() == order
        logs = np.log1p(values[order] / values.sum() * 1e4)
        assert np.allclose(found.strengths[row], logs / np.sqrt(np.mean(logs**2)), atol=1e-6)
    assert found.organisms == ("human",) * 5


def test_gene_that_is_not_expressed_or_has_no_description_is_not_read() -> None:
    data = cells(["heart"])
    values = np.zeros((1, 64), np.float32)
    values[0, [4, 9, 11]] = [5, 7, 2]
    data.X = values
    found = read(data, toy_gene_reader(toy_gene_vectors(without=(9,))))
    assert found.genes.tolist() == [[4, 11, -1, -1, -1, -1]]
    assert (found.strengths[0, 2:] == 0).all()


def test_cell_without_a_readable_gene_is_told() -> None:
    data = cells(["heart", "liver"])
    values = data.X.toarray()
    values[1] = 0
    data.X = values
    found = read(data, toy_gene_reader())
    assert found.has_genes.tolist() == [True, False]
    assert explain_unread(found) == '1 of 2 cells express no gene that can be read (for example "c1").'
    assert explain_unread(found.take(np.array([0]))) is None


def test_source_of_unknown_genes_is_refused() -> None:
    data = cells(["heart"])
    data.var_names = [f"nothing{i}" for i in range(64)]
    with pytest.raises(InputError, match="None of the 64 gene names is recognised"):
        read(data, toy_gene_reader())


def test_mouse_genes_are_those_of_the_mouse() -> None:
    found = read(cells(LABELS, mouse=True), toy_gene_reader())
    assert (found.genes >= 64).all()
    assert set(found.organisms) == {"mouse"}


def test_genes_above_their_usual_level_come_from_the_domain_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    model = JointModel.of_parts(toy_parts(64, n_mouse=64))
    data = cells(LABELS)
    config = GeneTokens(top_k=TOP_K, order="above_usual", strength="direction")
    reader = GeneReader(model.genes, np.ones(len(model.genes), bool), config, model, token=True)
    found = read(data, reader)
    with open_rows(data) as rows:
        aligner = GeneAligner(rows.genes, rows.symbols, genes=model.genes)
        vectors, weights = model.embed_with_weights(aligner.align(next(iter(rows.matrices()))), top=TOP_K)
    assert found.domain is not None
    assert np.array_equal(found.domain, vectors)
    for row, one in enumerate(weights):
        n = len(one.genes)
        assert found.genes[row, :n].tolist() == one.genes.tolist()
        assert (found.genes[row, n:] == -1).all()


def test_order_of_a_model_without_the_model_is_refused() -> None:
    vectors = toy_gene_vectors()
    with pytest.raises(InputError, match="order by expression"):
        GeneReader(vectors.gene_map, vectors.has_vector, GeneTokens(order="above_usual"))


def test_sources_are_joined_in_order() -> None:
    one, other = read(cells(["heart"]), toy_gene_reader()), read(cells(["skin"], mouse=True), toy_gene_reader())
    both = joined([one, other])
    assert both.organisms == ("human", "mouse")
    assert np.array_equal(both.genes, np.concatenate([one.genes, other.genes]))
    assert both.take(np.array([1])).organisms == ("mouse",)


def test_genes_without_a_description_give_their_place_to_weaker_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    model = JointModel.of_parts(toy_parts(64, n_mouse=64))
    described = np.arange(len(model.genes)) % 20 == 0
    config = GeneTokens(top_k=TOP_K, order="above_usual")
    reader = GeneReader(model.genes, described, config, model, token=True)
    data = cells(LABELS)
    found = read(data, reader)
    with open_rows(data) as rows:
        aligner = GeneAligner(rows.genes, rows.symbols, genes=model.genes)
        _, weights = model.embed_with_weights(aligner.align(next(iter(rows.matrices()))), top=len(model.genes))
    for row, one in enumerate(weights):
        expected = one.genes[described[one.genes]][:TOP_K].tolist()
        assert found.genes[row, : len(expected)].tolist() == expected
    assert "7 of 128 genes have a description" in reader.few_described(found)[0]
    assert not GeneReader(model.genes, np.ones(128, bool), config, model, token=True).few_described(found)


def test_too_few_measured_genes_are_told_and_not_taken_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    model = JointModel.of_parts(toy_parts(64, n_mouse=64, recipe=GeneTextConfig(min_genes=65)))
    reader = GeneReader(model.genes, np.ones(len(model.genes), bool), GeneTokens(), model, token=True)
    with pytest.raises(InputError, match=r"shares 64 measured genes with the model; it needs 65"):
        read(cells(LABELS), reader)
