"""Answers in free text: how well labels, also such as were never learned, fit what the reader has read of a cell.

A causal reader is asked how likely its own vocabulary makes the label's words after the class token. An encoder generates
nothing: the class token's state is compared with what the same frozen reader makes of the label's text. Both need an
interpreter that learned with ``answers``: without, nothing drew the class token towards words. Source: the papers classify
over a closed head; this step is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from atlas.errors import ConfigError, InputError
from atlas.interpreter.network import Cells, Network, text_logits
from atlas.interpreter.reader import Reader

_MAX_WORDS = 64


class Answers:
    """Labels as texts, ready to be scored.

    Parameters
    ----------
    network
        The network whose reader reads them.
    texts
        One a label, in words: ``pancreatic alpha cell``.
    of_domain
        ``(n_texts, domain dim)``, the texts as the domain model sees them: its opinion is added to the scores. ``None``: none is.

    Raises
    ------
    InputError
        If there is none, or the tokenizer makes nothing of one, or one is longer than 64 tokens.
    """

    def __init__(self, network: Network, texts: Sequence[str], of_domain: Tensor | None = None) -> None:
        if not texts:
            raise InputError("No label is given; give at least one text to score.")
        if not all(text.strip(" \0\t\n") for text in texts):
            raise InputError("A text is empty; give words.")
        if len(set(texts)) < len(texts):
            raise InputError("A text is given twice, and would take two shares; give each once.")
        self.texts = tuple(texts)
        self._of_domain = of_domain
        self._network = network
        self._ids = [_words(network, text) for text in texts]
        longest = max(range(len(texts)), key=lambda i: len(self._ids[i]))
        if len(self._ids[longest]) > _MAX_WORDS:
            raise InputError(
                f"The label {texts[longest][:60]!r} takes {len(self._ids[longest])} tokens; at most {_MAX_WORDS} are read. "
                "Shorten it."
            )
        self._vectors = None if network.reader.kind == "causal" else read_texts(network.reader, texts)

    def scores(self, cells: Cells, state: Tensor | None = None) -> Tensor:
        """Return ``(n_cells, n_labels)`` float32, of which a softmax makes shares.

        Parameters
        ----------
        state
            The class token's state where it is known already; an encoder needs nothing else.
        """
        found = self._read(cells, state)
        return found if self._of_domain is None else found + self._network.opinion_of(cells, self._of_domain)

    def _read(self, cells: Cells, state: Tensor | None) -> Tensor:
        if self._vectors is None:
            return torch.stack([self._likelihood(cells, ids) for ids in self._ids], dim=1)
        if state is None:
            _, state = self._network(cells)
        return text_logits(state, self._vectors)

    def loss(self, cells: Cells, state: Tensor, codes: Tensor) -> Tensor:
        """Return how badly the true labels fit: the cross-entropy over labels, or of a causal reader over words.

        Parameters
        ----------
        codes
            ``(n,)`` int64, the label of each cell.
        """
        if self._vectors is not None:
            return nn.functional.cross_entropy(self.scores(cells, state), codes)
        lost = torch.zeros(len(codes), device=codes.device)
        for code in sorted(set(codes.tolist())):
            mine = codes == code
            lost = lost.masked_scatter(mine, -self._likelihood(_some(cells, mine), self._ids[code]))
        return lost.mean()

    def _likelihood(self, cells: Cells, ids: tuple[int, ...]) -> Tensor:
        """Return the mean log-likelihood of a label's words after the class token, ``(n,)``."""
        network, n = self._network, len(cells.genes)
        before = network.sequence(cells, padding="left")
        words = network.reader.words(ids).expand(n, -1, -1).to(before.tokens.dtype)
        tokens = torch.cat([before.tokens[:, : int(before.place[0]) + 1], words[:, :-1]], dim=1)
        mask = torch.cat(
            [before.mask[:, : int(before.place[0]) + 1], torch.ones_like(words[:, :-1, 0], dtype=torch.bool)], dim=1
        )
        hidden = network.reader.read(tokens, mask)[:, -len(ids) :]
        logits = network.reader.word_logits(hidden).float().log_softmax(dim=-1)
        wanted = torch.tensor(ids, device=logits.device).expand(n, -1)
        return logits.gather(2, wanted.unsqueeze(-1)).squeeze(-1).mean(dim=1)


def _words(network: Network, text: str) -> tuple[int, ...]:
    try:
        return network.reader.frame(text).text
    except ConfigError as error:
        raise InputError(f"The language model makes no word of the label {text[:60]!r}. Give words.") from error


def read_texts(reader: Reader, texts: Sequence[str]) -> Tensor:
    """Return what a frozen encoder makes of each text, ``(n_texts, width)`` float32: the mean over its tokens, of length 1."""
    found = []
    for text in texts:
        frame = reader.frame(text)
        words = reader.words((*frame.before, *frame.text, *frame.after)).unsqueeze(0)
        with torch.no_grad():
            hidden = reader.read(words, torch.ones(words.shape[:2], dtype=torch.bool, device=words.device))
        found.append(nn.functional.normalize(hidden[0].float().mean(dim=0), dim=0))
    return torch.stack(found)


def _some(cells: Cells, mask: Tensor) -> Cells:
    domain = None if cells.domain is None else cells.domain[mask]
    return replace(cells, genes=cells.genes[mask], strengths=cells.strengths[mask], domain=domain)
