"""What the network reads, in which order, and what of it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_reader import instruction, some_cells, tiny_network, tiny_reader

from atlas.interpreter.config import StrengthForm
from atlas.interpreter.network import Cells, DomainToken, Opinion, strength_numbers
from atlas.interpreter.reader import Reader


@pytest.fixture(params=["llama", "bert"])
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> Reader:
    return tiny_reader(tmp_path / "reader", request.param)


def test_genes_come_first_then_domain_instruction_and_class_token(reader: Reader) -> None:
    network = tiny_network(reader, domain_dim=7).eval()
    cells = some_cells(4, domain_dim=7)
    frame = reader.frame(instruction(reader))
    with torch.no_grad():
        sequence = network.sequence(cells)
        tokens = network.gene_tokens(cells)
        assert network.domain is not None
        assert cells.domain is not None
        domain = network.domain(cells.domain)
    for row in range(4):
        n = int((cells.genes[row] >= 0).sum())
        expected = torch.cat(
            [
                reader.words(frame.before), tokens[row, :n], domain[row : row + 1], reader.words(frame.text),
                network.class_token.detach()[None], reader.words(frame.after),
            ]
        )  # fmt: skip
        assert int(sequence.mask[row].sum()) == len(expected)
        assert torch.equal(sequence.tokens[row, : len(expected)], expected)
        assert int(sequence.place[row]) == len(expected) - 1 - len(frame.after)
        assert torch.equal(sequence.tokens[row, int(sequence.place[row])], network.class_token.detach())


def test_side_of_the_padding_changes_nothing(reader: Reader) -> None:
    network = tiny_network(reader).eval()
    cells = some_cells(6)
    with torch.no_grad():
        right, left = network(cells, padding="right"), network(cells, padding="left")
    assert torch.allclose(right[1], left[1], atol=1e-5)


def test_cell_is_read_alike_alone_and_in_company(reader: Reader) -> None:
    network = tiny_network(reader).eval()
    cells = some_cells(6)
    with torch.no_grad():
        together = network(cells)[1]
        alone = [network(Cells(cells.genes[i : i + 1], cells.strengths[i : i + 1]))[1] for i in range(6)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_gap_among_the_genes_is_no_token(reader: Reader) -> None:
    network = tiny_network(reader).eval()
    genes = torch.tensor([[3, -1, 5, -1, -1, 9], [3, 5, 9, -1, -1, -1]])
    strengths = torch.where(genes >= 0, 0.5, 0.0)
    with torch.no_grad():
        state = network(Cells(genes, strengths))[1]
    assert torch.allclose(state[0], state[1], atol=1e-5)


def test_strength_is_said_by_bumps_side_by_side() -> None:
    found = strength_numbers(torch.tensor([[0.0, 0.8, 2.8], [1.4, 90.0, 2.8]]))
    assert found.shape == (2, 3, 8)
    assert found[0].argmax(dim=1).tolist() == [0, 2, 7]
    assert torch.allclose(found[0, [0, 1, 2], [0, 2, 7]], torch.full((3,), 2.0))
    assert torch.allclose(found[1, 0, 3], found[1, 0, 4]), "half way between two"
    assert torch.equal(found[1, 1], found[1, 2]), "stronger than all places is as strong as the last"


@pytest.mark.parametrize("strength", ["direction", "numbers"])
def test_token_of_a_gene_depends_on_its_strength_and_of_papers_does_not(reader: Reader, strength: StrengthForm) -> None:
    cells = Cells(torch.full((1, 2), 5), torch.tensor([[0.2, 1.9]]))
    network = tiny_network(reader, strength=strength)
    if network.strength is not None:
        torch.nn.init.ones_(network.strength.weight)
    tokens = network.gene_tokens(cells)
    assert not torch.allclose(tokens[0, 0], tokens[0, 1])
    papers = tiny_network(reader, strength="none").gene_tokens(cells)
    assert torch.equal(papers[0, 0], papers[0, 1])


def test_mean_gene_is_as_strong_as_the_gene_it_stands_for(reader: Reader) -> None:
    network = tiny_network(reader, strength="numbers")
    network.get_buffer("gene_vectors")[7] = 0.0
    cells = Cells(torch.full((1, 2), 5), torch.tensor([[0.2, 1.9]]))
    assert torch.equal(
        network.mean_gene_tokens(cells), network.gene_tokens(replace(cells, genes=torch.full((1, 2), 7)))
    )


def test_three_groups_learn_and_the_reader_is_the_same_to_the_bit(reader: Reader) -> None:
    network = tiny_network(reader)
    network.strength = None
    assert {name.split(".")[0] for name, _ in network.learning()} == {"projection", "class_token", "head"}
    before = {name: one.clone() for name, one in reader.state_dict().items()}
    vectors = network.get_buffer("gene_vectors").clone()
    learning = dict(network.learning())
    at_first = {name: one.detach().clone() for name, one in learning.items()}
    optimiser = torch.optim.AdamW(learning.values(), lr=0.1)
    for _ in range(3):
        logits, _ = network(some_cells(8))
        torch.nn.functional.cross_entropy(logits, torch.arange(8) % 3).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert all(torch.equal(one, before[name]) for name, one in reader.state_dict().items())
    assert torch.equal(network.get_buffer("gene_vectors"), vectors)
    assert all(one.grad is None for one in reader.parameters())
    assert not any(torch.equal(one, at_first[name]) for name, one in learning.items())


def test_causal_reader_sees_the_genes_before_the_class_token_and_nothing_after(tmp_path: Path) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", "llama")).eval()
    cells = some_cells(3)
    sequence = network.sequence(cells, padding="left")
    longer = torch.cat([sequence.tokens, torch.ones_like(sequence.tokens[:, :2])], dim=1)
    mask = torch.cat([sequence.mask, torch.ones_like(sequence.mask[:, :2])], dim=1)
    with torch.no_grad():
        assert torch.allclose(
            network.states(sequence), network.states(replace(sequence, tokens=longer, mask=mask)), atol=1e-5
        )


def test_new_network_has_no_opinion(reader: Reader) -> None:
    logits, _ = tiny_network(reader)(some_cells())
    assert torch.equal(logits, torch.zeros_like(logits))


def test_domain_vectors_are_read_against_those_learned_from() -> None:
    token = DomainToken(7, 5, 4, size=0.1, dropout=0.0, noise=0.0)
    vectors = 3.0 + 0.1 * torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    token.measure(vectors)
    assert torch.allclose(token.mean, vectors.mean(dim=0))
    assert float(token.spread) == pytest.approx(0.1, rel=0.1)
    with torch.no_grad():
        expected = token.projection((vectors - vectors.mean(dim=0)) / token.spread)
        assert torch.allclose(token(vectors), expected)


def test_equal_domain_vectors_have_a_spread_to_divide_by() -> None:
    token = DomainToken(7, 5, 4, size=0.1, dropout=0.0, noise=0.0)
    token.measure(torch.full((3, 7), 0.5))
    assert torch.isfinite(token(torch.full((1, 7), 0.5))).all()


def test_noise_is_for_learning_alone() -> None:
    token = DomainToken(7, 5, 4, size=0.1, dropout=0.0, noise=0.5)
    vectors = torch.ones(2, 7)
    assert not torch.equal(token(vectors), token(vectors))
    token.eval()
    assert torch.equal(token(vectors), token(vectors))


def labelled_vectors(n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    codes = torch.arange(n) % 3
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return torch.eye(3)[codes] - 1 / 3 + 0.3 * noise, codes


def test_opinion_that_is_right_is_heard_and_one_that_misleads_is_silent() -> None:
    vectors, codes = labelled_vectors()
    right, wrong = Opinion(torch.eye(3)), Opinion(torch.eye(3).roll(1, 0))
    right.measure(vectors, codes)
    wrong.measure(vectors, codes)
    assert float(right.scale) >= 4.0
    assert (right(vectors).argmax(dim=1) == codes).float().mean() > 0.9
    assert float(wrong.scale) == 0.0
    assert torch.equal(wrong(vectors), torch.zeros(60, 3))


def test_logits_start_from_the_opinion(reader: Reader) -> None:
    network = tiny_network(reader, domain_dim=3, label_texts=torch.eye(3)).eval()
    vectors, codes = labelled_vectors(5)
    network.measure(vectors, codes)
    cells = replace(some_cells(), domain=vectors)
    assert network.opinion is not None
    with torch.no_grad():
        assert torch.allclose(network(cells)[0], network.opinion(vectors - vectors.mean(dim=0)))
    assert {name for name, _ in network.kept()} >= {"domain.mean", "domain.spread", "opinion.texts", "opinion.scale"}
    assert not any(name.startswith("opinion") for name, _ in network.learning())


def test_answer_is_the_mean_of_the_head_and_of_the_labels_texts(reader: Reader) -> None:
    words = torch.nn.functional.normalize(torch.randn(3, reader.width, generator=torch.Generator().manual_seed(1)))
    network = tiny_network(reader, label_words=words).eval()
    cells = some_cells(4)
    with torch.no_grad():
        torch.nn.init.normal_(network.head.linear.weight)
        logits, state = network(cells)
        head = network.head_logits(cells, state).softmax(dim=1)
        told = (20.0 * torch.nn.functional.normalize(state, dim=1) @ words.T).softmax(dim=1)
    assert torch.allclose(logits.softmax(dim=1), (head + told) / 2, atol=1e-6)


def test_gene_vectors_are_read_against_their_mean(reader: Reader) -> None:
    vectors = tiny_network(reader).get_buffer("gene_vectors")
    assert torch.allclose(vectors.mean(dim=0), torch.zeros(vectors.shape[1]), atol=1e-5)
    assert float(vectors.square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_a_thousand_genes_fit_a_reader_with_positions_for_them(tmp_path: Path) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", "llama")).eval()
    genes = torch.arange(1024)[None] % 64
    with torch.no_grad():
        logits, state = network(Cells(genes, torch.ones(1, 1024)))
    assert (logits.shape, state.shape) == ((1, 3), (1, 16))
