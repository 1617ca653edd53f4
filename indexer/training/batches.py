"""From draws to tensors: expression, one of an item's captions, its weight, and features of frozen towers from the cache.

Each source is asked once a batch. What stands in a batch depends on its draws and the seed alone.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.errors import InputError
from indexer.training.draws import Draw
from indexer.training.features import FeatureCache, content_key
from indexer.training.sources.source import PairSource, RowRandom
from indexer.training.two_towers import TwoTowers

_CAPTION_STREAM = "caption:"


@dataclass
class Batches:
    """Turns draws into the arguments of ``TwoTowers.forward``.

    Beside these a batch has ``items``, the names of the pairs, and ``counts`` of texts, of texts that are cut, and of items
    without signal.

    Parameters
    ----------
    sources
        Numbered as the draws number them.
    model
        Its towers say how to read rows and texts.
    seed
        Of captions and augmentation.
    replicates
        Draw one of an item's captions; otherwise the first.
    augment
        Let sources augment expression.
    sample_weights
        Use the weights of the sources' items; otherwise all count the same.
    templates
        What texts are filled into, one drawn with the caption.
    transcriptome_cache, text_cache
        Kept features of a locked tower.
    """

    sources: Sequence[PairSource]
    model: TwoTowers
    seed: int = 0
    replicates: bool = True
    augment: bool = True
    sample_weights: bool = True
    templates: tuple[str, ...] = ("{x}",)
    transcriptome_cache: FeatureCache | None = None
    text_cache: FeatureCache | None = None

    def __call__(self, draws: Sequence[Draw]) -> dict[str, Any]:
        """Return the tensors of a batch.

        Raises
        ------
        InputError
            If fewer than two of the drawn items have any expression.
        """
        rows = self._rows(draws)
        usable = [row is not None for row in rows]
        items = [f"{self.sources[d.source].name}/{self.sources[d.source].item_ids[d.row]}" for d in draws]
        if sum(usable) < 2:
            raise InputError(
                f"A batch is empty after filtering: {sum(usable)} of {len(draws)} items have expression that the model can read "
                f"(for example {', '.join(items[:5])} have none). Check that the files hold expression of the model's genes.",
                details={"items": items[:100]},
            )
        stand_in = next(row for row in rows if row is not None)  # weight 0 keeps it out of the loss
        texts = [self._text(draw) for draw in draws]
        groups = [zlib.crc32(text.casefold().encode()) for text in texts]
        return {
            "transcriptome": self.transcriptome_inputs([stand_in if row is None else row for row in rows]),
            "text": self.text_inputs(texts),
            "weights": torch.from_numpy(self._weights(draws, usable)),
            "groups": torch.tensor(groups, dtype=torch.long),
            "items": items,
            "counts": torch.tensor([len(texts), self.model.text.n_truncated(texts), usable.count(False)]),
        }

    def transcriptome_inputs(self, rows: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the tower's tensors, or its features if it is locked and they are kept."""
        tower = self.model.transcriptome
        if self.transcriptome_cache is None or not tower.locked:
            inputs: dict[str, Tensor] = tower.collate(rows)
            return inputs
        keys = [content_key(str(row.dtype).encode(), row.tobytes()) for row in rows]

        def compute(missing: list[int]) -> np.ndarray:
            return self._frozen(tower, tower.collate([rows[i] for i in missing]))

        return {"features": torch.from_numpy(self.transcriptome_cache.get(keys, compute=compute))}

    def text_inputs(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the tower's tensors, or its features if it is locked and they are kept."""
        tower = self.model.text
        if self.text_cache is None or not tower.locked:
            inputs: dict[str, Tensor] = tower.collate(texts)
            return inputs

        def compute(missing: list[int]) -> np.ndarray:
            return self._frozen(tower, tower.collate([texts[i] for i in missing]))

        keys = [content_key(text.encode("utf-8", "replace")) for text in texts]
        return {"features": torch.from_numpy(self.text_cache.get(keys, compute=compute))}

    @staticmethod
    @torch.no_grad()
    def _frozen(tower: Any, inputs: dict[str, Tensor]) -> np.ndarray:
        """Run a locked tower where its weights lie, a bounded number of rows at once."""
        device = next(tower.parameters()).device
        n, parts = len(next(iter(inputs.values()))), []
        for start in range(0, n, 64):
            chunk = {name: tensor[start : start + 64].to(device) for name, tensor in inputs.items()}
            parts.append(tower(**chunk).float().cpu().numpy())
        return np.concatenate(parts)

    def _rows(self, draws: Sequence[Draw]) -> list[np.ndarray | None]:
        """Ask each source once for each pass of it that the batch touches."""
        asked: dict[tuple[int, int], list[int]] = defaultdict(list)
        for position, draw in enumerate(draws):
            asked[draw.source, draw.passes].append(position)
        found: list[np.ndarray | None] = [None] * len(draws)
        for (source, passes), positions in asked.items():
            rng = RowRandom(self.seed, passes) if self.augment else None
            rows = [draws[position].row for position in positions]
            for position, row in zip(
                positions, self.model.transcriptome.read(self.sources[source], rows, rng=rng), strict=True
            ):
                found[position] = row
        return found

    def _text(self, draw: Draw) -> str:
        source = self.sources[draw.source]
        captions = source.captions(draw.row)
        chosen = 0
        template = 0
        if self.replicates:
            rng = RowRandom(self.seed, draw.passes).of(_CAPTION_STREAM + source.name, draw.row)
            chosen = int(rng.integers(len(captions)))
            template = int(rng.integers(len(self.templates)))
        return self.templates[template].replace("{x}", captions[chosen])

    def _weights(self, draws: Sequence[Draw], usable: Sequence[bool]) -> np.ndarray:
        weights = np.ones(len(draws), dtype=np.float32)
        if self.sample_weights:
            weights = np.array([self.sources[d.source].weights[d.row] for d in draws], dtype=np.float32)
        return np.where(usable, weights, 0.0).astype(np.float32)
