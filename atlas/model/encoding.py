"""Running a Hugging Face encoder over tokenised texts: length buckets, padding, pooling, low-rank changes.

In: token ids. Out: ``(n, dim)`` float32, L2-normalised. Padding is masked, so a text's vector does not depend on its
neighbours in the batch; matrix products of different shapes still round differently, by about 1e-7 a component.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from atlas.errors import ArtifactError
from atlas.model.config import LoraRecord, Pooling
from atlas.model.tensors import ADAPTER_PREFIX

logger = logging.getLogger(__name__)


class BatchEncoder:
    """An encoder and how its last layer becomes one vector a text.

    Parameters
    ----------
    model
        ``transformers`` model in evaluation mode.
    pooling
        ``mean`` over the non-padding tokens of the last layer, its first token (``cls``), or the model's ``pooler``.
    batch_tokens
        Upper bound of tokens (texts times the longest of them) in one forward pass: bounds memory at any text length.
    pad_id
        Token that fills up short texts; masked.
    """

    def __init__(self, model: Any, *, pooling: Pooling, batch_tokens: int = 1024, pad_id: int = 0) -> None:
        self.model = model
        self._pooling = pooling
        self._batch_tokens = batch_tokens
        self._pad_id = pad_id

    def encode(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Return ``(n, dim)`` float32, L2-normalised, in the order given; no text may be empty of tokens."""
        vectors = np.zeros((len(token_ids), int(self.model.config.hidden_size)), dtype=np.float32)
        for batch in length_buckets([len(ids) for ids in token_ids], batch_tokens=self._batch_tokens):
            vectors[batch] = self._encode_batch([token_ids[i] for i in batch])
        return vectors

    def _encode_batch(self, token_ids: list[Sequence[int]]) -> np.ndarray:
        import torch

        width = max(map(len, token_ids))
        ids = torch.full((len(token_ids), width), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(token_ids), width), dtype=torch.long)
        for i, row in enumerate(token_ids):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        with torch.inference_mode():
            pooled = pool(self.model(input_ids=ids, attention_mask=mask), mask, pooling=self._pooling)
            pooled = torch.nn.functional.normalize(pooled.float(), dim=1)
        return np.asarray(pooled.numpy(), dtype=np.float32)


def pool(output: Any, mask: Any, *, pooling: Pooling) -> Any:
    """Return one vector a text as a torch tensor, ``(n, dim)``, not normalised.

    Parameters
    ----------
    output
        What the model returned.
    mask
        ``(n, width)``, 1 for tokens, 0 for padding.
    """
    if pooling == "pooler":
        return output.pooler_output
    hidden = output.last_hidden_state
    if pooling == "cls":
        return hidden[:, 0]
    return (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def merge_adapter(model: Any, record: LoraRecord, tensors: Mapping[str, np.ndarray]) -> None:
    """Add ``alpha / rank * B @ A`` to the weights of the layers an adapter names, in place.

    Raises
    ------
    ArtifactError
        ``corrupt`` if a tensor is missing; ``incompatible`` if a layer is not there, is not linear, or has another shape.
    """
    import torch

    layers = dict(model.named_modules())
    wanted = [f"{ADAPTER_PREFIX}{name}.{part}" for name in record.modules for part in "ab"]
    if lacking := [name for name in wanted if name not in tensors]:
        raise ArtifactError(
            f"The configuration names an adapter of {len(record.modules)} layers; of its tensors {lacking[:4]} are missing. "
            "Restore the folder.",
            kind="corrupt",
            details={"missing": lacking},
        )
    for name in record.modules:
        a, b = (torch.from_numpy(tensors[f"{ADAPTER_PREFIX}{name}.{part}"].astype(np.float32)) for part in "ab")
        weight = getattr(layers.get(name), "weight", None)
        expected = (b.shape[0], a.shape[1])
        if weight is None or tuple(weight.shape) != expected:
            seen = "none" if weight is None else str(tuple(weight.shape))
            raise ArtifactError(
                f"The adapter changes the layer {name!r} of shape {expected}; the language model's is {seen}. "
                "Use the language model it was trained with.",
                kind="incompatible",
                details={"layer": name, "seen": seen, "expected": list(expected)},
            )
        with torch.no_grad():
            weight += ((record.alpha / record.rank) * (b @ a)).to(weight)


def length_buckets(lengths: Sequence[int], *, batch_tokens: int) -> list[np.ndarray]:
    """Return batches of row numbers, similar lengths together, each at most ``batch_tokens`` wide times long."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    batches: list[np.ndarray] = []
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop - start + 1) * lengths[order[stop]] > batch_tokens:
            batches.append(order[start:stop])
            start = stop
    return batches


def report_truncated(n: int, n_texts: int, *, max_tokens: int) -> None:
    """Log how many texts were cut; what was left out of a vector must not go unseen."""
    if n:
        logger.warning("%d of %d texts are longer than %d tokens and were cut there", n, n_texts, max_tokens)


@contextmanager
def cut_texts_unsaid() -> Iterator[None]:
    """Say nothing of texts that are cut: for such as are written to be longer than what is read."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence its progress bar and its report of unused layers; both would land among our own lines."""
    from transformers.utils import logging as hf_module

    hf_logging: Any = hf_module  # its functions carry no types
    verbosity, had_bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if had_bars:
            hf_logging.enable_progress_bar()
