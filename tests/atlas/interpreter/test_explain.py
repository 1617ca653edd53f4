"""Genes that moved an answer, against answers to cells that do not express them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_files import cells
from tiny_reader import tiny_preset, toy_file, write_reader

from atlas.cells.rows import open_rows
from atlas.errors import InputError, NotFoundError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.interpreter.explain import deletion_curve, explain
from atlas.interpreter.interpreter import Interpreter
from indexer.interpreter.making import train_interpreter

LABELS = ["heart", "liver", "blood"] * 8


def taught(base: Path, kind: str, **training: float) -> Interpreter:
    texts = base / "genes.tsv"
    from toy_model import gene_word

    rows = [f"ENSG{i + 1:011d}\tG{i}\thuman\t{gene_word(i)}" for i in range(64)]
    texts.write_text("\n".join(["ensembl_id\tsymbol\torganism\ttext", *rows]) + "\n", encoding="utf-8")
    preset = tiny_preset(
        write_reader(base / "reader", kind), vectors={"kind": "descriptions", "texts": str(texts)},
        training={"epochs": 25, "batch": 8, "learning_rate": 0.02, "gene_dropout": 0.0, **training},
    )  # fmt: skip
    return train_interpreter([toy_file(base, LABELS)], base / "made", preset=preset)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    return taught(tmp_path_factory.mktemp("explain"), "llama")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """An encoder, whose answers are means of what the head says and of how well the labels' texts fit."""
    return taught(tmp_path_factory.mktemp("explain"), "bert", answers=0.5)


def aligned(made: Interpreter, data: object) -> AlignedExpression:
    with open_rows(data) as rows:
        aligner = GeneAligner(rows.genes, rows.symbols, genes=made.genes.genes)
        return aligner.align(next(iter(rows.matrices())))


def test_effect_is_what_the_answer_loses_when_the_cell_does_not_express_the_gene(made: Interpreter) -> None:
    data = cells(LABELS, seed=3)
    found = explain(made, aligned(made, data), 1)
    assert found.n_read == len(found.genes) == 6
    whole = made.predict(data).probabilities[1]
    code = made.labels.index(found.label)
    assert found.probability == pytest.approx(float(whole[code]), abs=1e-5)
    for gene in found.genes:
        other = data.copy()
        values = other.X.toarray()
        values[1, int(gene.symbol[1:])] = 0
        other.X = values
        without = made.predict(other).probabilities[1, code]
        assert gene.effect == pytest.approx(float(np.log(whole[code]) - np.log(without)), abs=1e-4)
    sizes = [abs(gene.effect) for gene in found.genes]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("which", ["made", "encoder"])
def test_gradients_add_up_to_the_change_they_explain(which: str, request: pytest.FixtureRequest) -> None:
    import torch

    from atlas.interpreter.interpreter import batch_of

    made: Interpreter = request.getfixturevalue(which)
    data = aligned(made, cells(LABELS, seed=3))
    found = explain(made, data, 0, method="gradients")
    batch = batch_of(made.genes.read_aligned(data), np.array([0]))
    network, code = made.network, made.labels.index(found.label)
    assert (network.label_words is not None) == (which == "encoder")
    with torch.no_grad():
        own = network.gene_tokens(batch)
        mean = network.mean_gene_tokens(batch)
        at, start = (
            float(
                network.logits(batch, network.states(network.sequence(batch, gene_tokens=one))).log_softmax(1)[0, code]
            )
            for one in (own, mean)
        )
    assert sum(gene.effect for gene in found.genes) == pytest.approx(at - start, abs=0.05 * abs(at - start) + 1e-3)


def test_taking_genes_away_by_effect_hurts_more_than_by_chance(made: Interpreter) -> None:
    data = aligned(made, cells(LABELS, seed=3))
    rng, gains = np.random.default_rng(0), []
    for row in range(9):
        found = explain(made, data, row)
        rows = [int(gene.symbol[1:]) for gene in found.genes if gene.effect > 0]
        ours = deletion_curve(made, data, row, rows, label=found.label)
        assert ours[0] == pytest.approx(found.probability, abs=1e-5)
        read = [int(gene.symbol[1:]) for gene in found.genes]
        chance = [
            deletion_curve(made, data, row, rng.permutation(read)[: len(rows)].tolist(), label=found.label)
            for _ in range(4)
        ]
        gains.append(np.mean(chance) - ours.mean())
    assert np.mean(gains) > 0


def test_top_label_and_unknown_label(made: Interpreter) -> None:
    data = aligned(made, cells(LABELS, seed=3))
    assert len(explain(made, data, 0, top=2).genes) == 2
    assert explain(made, data, 0, label="skin" if "skin" in made.labels else "liver").label == "liver"
    with pytest.raises(NotFoundError, match="no label that the interpreter learned"):
        explain(made, data, 0, label="neuron")


def test_empty_cell_cannot_be_explained(made: Interpreter) -> None:
    data = aligned(made, cells(LABELS, seed=3))
    data.values[0] = 0
    with pytest.raises(InputError, match="no gene can be read"):
        explain(made, data, 0)
