"""The held-out pairs a run is measured on, embedded as they are: no augmentation, the first caption, distinct texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from indexer.training.batches import Batches
from indexer.training.retrieval import retrieval
from indexer.training.sources.source import PairSource

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 64


class HeldOut:
    """A pool of pairs, read once.

    Parameters
    ----------
    batches
        Sources and model.
    rows
        Of each source, the rows that are held out.
    n_items
        Largest pool; of more, a random part by ``seed``, each source in proportion.
    template
        What the texts are filled into.
    """

    def __init__(self, batches: Batches, *, rows: Sequence[np.ndarray], n_items: int, template: str, seed: int) -> None:
        self._batches = batches
        self._texts: list[str] = []
        self._expression: list[np.ndarray] = []
        pool = [(source, int(row)) for source, kept in zip(batches.sources, rows, strict=True) for row in kept]
        order = np.random.default_rng(seed).permutation(len(pool))
        seen: set[str] = set()
        for start in range(0, len(order), _ROWS_AT_ONCE):
            for source, row in (pool[i] for i in order[start : start + _ROWS_AT_ONCE]):
                self._add(source, row, seen=seen, template=template)
                if len(self) == n_items:
                    return

    def __len__(self) -> int:
        return len(self._texts)

    def measure(self) -> dict[str, float]:
        """Return retrieval over the pool, see :func:`indexer.training.retrieval.retrieval`."""
        model = self._batches.model
        device = next(model.parameters()).device
        transcriptomes, texts = [], []
        for start in range(0, len(self), _ROWS_AT_ONCE):
            stop = start + _ROWS_AT_ONCE
            inputs = self._batches.transcriptome_inputs(self._expression[start:stop])
            transcriptomes.append(model.embed_transcriptomes(_to(inputs, device)))
            texts.append(model.embed_texts(_to(self._batches.text_inputs(self._texts[start:stop]), device)))
        return retrieval(torch.cat(transcriptomes).cpu().numpy(), torch.cat(texts).cpu().numpy())

    def _add(self, source: PairSource, row: int, *, seen: set[str], template: str) -> None:
        text = template.replace("{x}", source.captions(row)[0])
        if text.casefold() in seen:
            return
        expression = self._batches.model.transcriptome.read(source, [row], rng=None)[0]
        if expression is not None:
            seen.add(text.casefold())
            self._texts.append(text)
            self._expression.append(expression)


def _to(inputs: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in inputs.items()}
