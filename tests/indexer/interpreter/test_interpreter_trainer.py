"""The loop that trains an interpreter: it learns, repeats itself to the bit, and survives a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_reader import TOP_K, tiny_network, tiny_reader, toy_gene_reader

from atlas.cells.rows import open_rows
from atlas.errors import InputError
from atlas.interpreter.cell_genes import CellGenes
from atlas.interpreter.interpreter import learned_of
from atlas.interpreter.network import Network
from indexer.interpreter import trainer
from indexer.interpreter.presets import TrainingSpec
from indexer.interpreter.trainer import CHECKPOINT, train

LABELS = ["heart", "liver", "blood"] * 8
SPEC = TrainingSpec(epochs=4, batch=8, learning_rate=0.02, gene_dropout=0.1)


@pytest.fixture
def cells_read() -> CellGenes:
    from cell_files import cells

    with open_rows(cells(LABELS)) as rows:
        return toy_gene_reader().read(rows)[0]


CODES = np.array([("blood", "heart", "liver").index(one) for one in LABELS])


def network_of(folder: Path, *, dropout: float = 0.2) -> Network:
    return tiny_network(tiny_reader(folder / "reader", "llama"), dropout=dropout)


def same(one: Network, other: Network) -> bool:
    mine, theirs = learned_of(one), learned_of(other)
    return set(mine) == set(theirs) and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_loss_falls_and_cells_are_told_apart(tmp_path: Path, cells_read: CellGenes) -> None:
    network = network_of(tmp_path, dropout=0.0)
    losses = train(network, cells_read, CODES, spec=SPEC.model_copy(update={"epochs": 20, "gene_dropout": 0.0}))
    assert losses[-1] < 0.5 * losses[0]
    assert not network.training


def test_same_seed_gives_the_same_bits_and_another_other_ones(tmp_path: Path, cells_read: CellGenes) -> None:
    one, other, third = (network_of(tmp_path) for _ in range(3))
    torch.manual_seed(99)  # of somebody else, who is not disturbed either
    expected = torch.random.get_rng_state()
    for network, seed in ((one, 0), (other, 0), (third, 1)):
        train(network, cells_read, CODES, spec=SPEC.model_copy(update={"seed": seed}))
    assert same(one, other)
    assert not same(one, third)
    assert torch.equal(torch.random.get_rng_state(), expected)


def test_killed_run_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, cells_read: CellGenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = network_of(tmp_path)
    losses = train(whole, cells_read, CODES, spec=SPEC)
    plain: Any = trainer._Run._epoch

    def killed(run: Any, epoch: int) -> float:
        if epoch == 2:
            raise KeyboardInterrupt
        return float(plain(run, epoch))

    monkeypatch.setattr(trainer._Run, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(network_of(tmp_path), cells_read, CODES, spec=SPEC, folder=tmp_path / "kept")
    monkeypatch.setattr(trainer._Run, "_epoch", plain)
    second = network_of(tmp_path)
    assert train(second, cells_read, CODES, spec=SPEC, folder=tmp_path / "kept") == losses
    assert same(whole, second)


def test_kept_run_of_other_cells_or_rules_is_left_aside(tmp_path: Path, cells_read: CellGenes) -> None:
    train(network_of(tmp_path), cells_read, CODES, spec=SPEC, folder=tmp_path / "kept")
    other = SPEC.model_copy(update={"seed": 7})
    fresh, again = network_of(tmp_path), network_of(tmp_path)
    train(fresh, cells_read, CODES, spec=other)
    train(again, cells_read, CODES, spec=other, folder=tmp_path / "kept")
    assert same(fresh, again)
    renamed = network_of(tmp_path)
    train(renamed, cells_read, CODES, spec=other, folder=tmp_path / "kept", told="another instruction")
    assert same(fresh, renamed)  # it began anew: the kept run was of something else, and had ended
    (tmp_path / "kept" / CHECKPOINT).write_bytes(b"half a file")
    third = network_of(tmp_path)
    train(third, cells_read, CODES, spec=other, folder=tmp_path / "kept")
    assert same(fresh, third)


def test_loss_that_is_no_number_ends_the_run(tmp_path: Path, cells_read: CellGenes) -> None:
    network = network_of(tmp_path)
    with torch.no_grad():
        network.class_token.fill_(float("nan"))
    with pytest.raises(InputError, match="learning rate"):
        train(network, cells_read, CODES, spec=SPEC)


def test_strongest_gene_is_never_dropped(cells_read: CellGenes) -> None:
    from atlas.interpreter.interpreter import batch_of

    batch = batch_of(cells_read, np.arange(len(cells_read)))
    left = trainer._with_genes_dropped(batch, 0.99, rng=np.random.default_rng(0))
    assert (left.genes[:, 0] >= 0).all()
    assert int((left.genes >= 0).sum()) < 0.5 * len(cells_read) * TOP_K


def test_balanced_labels_weigh_the_same() -> None:
    weights = trainer._label_weights(np.array([0, 0, 0, 1]), n_labels=3, balanced=True)
    assert weights is not None
    assert weights.tolist()[:2] == pytest.approx([4 / 6, 2.0])
    assert len(weights) == 3  # a label that a fold has no cell of
    assert trainer._label_weights(np.array([0, 1]), n_labels=2, balanced=False) is None


def test_run_of_something_else_is_not_gone_on_with(
    tmp_path: Path, cells_read: CellGenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    plain: Any = trainer._Run._epoch
    monkeypatch.setattr(trainer._Run, "_epoch", lambda run, epoch: asked.append(epoch) or plain(run, epoch))
    for told in ("one", "one", "another"):
        train(network_of(tmp_path), cells_read, CODES, spec=SPEC, folder=tmp_path / "kept", told=told)
    assert asked == [0, 1, 2, 3, 0, 1, 2, 3]


def test_few_cells_are_read_more_often(tmp_path: Path, cells_read: CellGenes) -> None:
    spec = SPEC.model_copy(update={"epochs": 1, "min_steps": 10})  # three steps an epoch
    assert len(train(network_of(tmp_path), cells_read, CODES, spec=spec)) == 4
