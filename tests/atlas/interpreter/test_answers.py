"""Labels as free text: a causal reader's likelihood of words, an encoder's cosine, each against a plain computation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_reader import some_cells, tiny_network, tiny_reader

from atlas.errors import InputError
from atlas.interpreter.answers import Answers
from atlas.interpreter.network import COSINE_SCALE


def test_causal_reader_scores_words_as_a_plain_loop_does(tmp_path: Path) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", "llama")).eval()
    reader, cells = network.reader, some_cells(4)
    with torch.no_grad():
        found = Answers(network, ["heart", "blood cell type"]).scores(cells)
        sequence = network.sequence(cells)
        for row in range(4):
            prefix = sequence.tokens[row, : int(sequence.place[row]) + 1]
            for column, text in enumerate(("heart", "blood cell type")):
                ids = reader.frame(text).text
                logs = []
                for i, wanted in enumerate(ids):
                    tokens = torch.cat([prefix, reader.words(ids[:i])])[None]
                    hidden = reader.read(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
                    logs.append(float(reader.word_logits(hidden[0, -1]).log_softmax(0)[wanted]))
                assert float(found[row, column]) == pytest.approx(sum(logs) / len(logs), abs=1e-4)


def test_encoder_compares_the_class_token_with_its_own_reading_of_a_text(tmp_path: Path) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", "bert")).eval()
    cells, reader = some_cells(4), network.reader
    with torch.no_grad():
        found = Answers(network, ["heart", "blood liver"]).scores(cells)
        state = network(cells)[1]
        for column, text in enumerate(("heart", "blood liver")):
            ids = torch.tensor([reader.tokenizer(text)["input_ids"]])
            vector = reader.backbone(input_ids=ids).last_hidden_state[0].mean(dim=0)
            expected = COSINE_SCALE * torch.nn.functional.cosine_similarity(state, vector[None])
            assert torch.allclose(found[:, column], expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_learning_with_answers_draws_cells_to_the_text_of_their_label(tmp_path: Path, kind: str) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", kind))
    cells, codes = some_cells(12), torch.arange(12) % 2
    answers = Answers(network, ["heart", "blood"])
    optimiser = torch.optim.AdamW([one for _, one in network.learning()], lr=0.02)
    losses = []
    for _ in range(60):
        loss = answers.loss(cells, network(cells)[1], codes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02
    assert all(one.grad is None for one in network.reader.parameters())


def test_no_text_and_endless_text_are_refused(tmp_path: Path) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", "llama"))
    with pytest.raises(InputError, match="No label is given"):
        Answers(network, [])
    with pytest.raises(InputError, match="takes 65 tokens"):
        Answers(network, ["heart", "heart " * 65])


@pytest.mark.parametrize(
    ("texts", "said"),
    [(["heart", "heart"], "twice"), (["  "], "empty"), ([""], "empty"), (["\0"], "empty")],
)
def test_text_given_twice_or_empty_is_refused(tmp_path: Path, texts: list[str], said: str) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", "llama"))
    with pytest.raises(InputError, match=said):
        Answers(network, texts)


def test_text_of_which_the_tokenizer_makes_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network(tiny_reader(tmp_path / "reader", "llama"))
    monkeypatch.setattr(network.reader, "_ids", lambda text, *, special: [])
    with pytest.raises(InputError, match="makes no word of the label"):
        Answers(network, ["\u200b"])
