"""The frozen language model: it reads vectors in place of words, and is never changed.

In: a folder or a hub id in the layout of ``save_pretrained``, of any causal model (Llama, Mistral, Qwen, GPT-2) or encoder
(BERT and its kin) that takes ``inputs_embeds``. Out: hidden states. No code of a repository is run; every weight is without
gradient.
"""

from __future__ import annotations

import inspect
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from atlas.errors import ArtifactError, ConfigError, MissingExtraError
from atlas.interpreter.config import Precision, Quantised
from atlas.model.config import Source
from atlas.model.encoding import quiet_transformers
from atlas.model.text_encoder import encoder_fingerprint, expect_files, find_source
from atlas.model.text_tower import packaged_minilm_folder

Kind = Literal["causal", "encoder"]
_NO_LIMIT = 10**9
_SIZED_BY = 1_000  # tokens
_SAME = 0.02
"""Share of the largest number by which two readings of the same words may differ: half precision rounds."""
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError)


@dataclass(frozen=True)
class Frame:
    """Token ids around what is read: the special tokens before and after a text, and the text's own."""

    before: tuple[int, ...]
    text: tuple[int, ...]
    after: tuple[int, ...]


class Reader(nn.Module):
    """A language model whose weights stay as they are.

    Parameters
    ----------
    backbone
        Takes ``inputs_embeds`` and gives ``last_hidden_state``.
    vocabulary
        From hidden states to logits over words; ``None``: the model has no such head.
    tokenizer
        A Hugging Face tokenizer.
    kind
        ``causal``: a token sees what stands before it; ``encoder``: all.
    fingerprint
        Of what the weights and the tokenizer are.

    Raises
    ------
    ArtifactError
        ``incompatible`` if it takes no ``inputs_embeds``, or reads words as vectors otherwise than as words.
    """

    def __init__(
        self, backbone: Any, vocabulary: Any, tokenizer: Any, *, kind: Kind, fingerprint: str, name: str = "the reader"
    ) -> None:
        super().__init__()
        takes = inspect.signature(backbone.forward).parameters
        if "inputs_embeds" not in takes:
            raise ArtifactError(
                f"{name} is a {type(backbone).__name__}, which takes no inputs_embeds: it cannot read vectors in place of words. "
                "Give a causal language model or an encoder of text.",
                kind="incompatible",
                details={"seen": type(backbone).__name__},
            )
        self.backbone = backbone.eval().requires_grad_(False)
        self.vocabulary = None if vocabulary is None else vocabulary.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.kind = kind
        self.fingerprint = fingerprint
        self.width = int(backbone.get_input_embeddings().weight.shape[1])
        self._recomputes = False
        self._takes_positions = "position_ids" in takes
        self._first_position, self.n_positions = 0, _NO_LIMIT
        self._first_position = self._settle_positions(name)
        self.n_positions = _n_positions(backbone.config) - self._first_position

    @property
    def token_size(self) -> float:
        """Root mean square of the token vectors, as they are read: some models (Gemma) multiply what stands in their table."""
        table: Tensor = self.backbone.get_input_embeddings().weight
        some = torch.arange(min(len(table), _SIZED_BY))
        with torch.no_grad():
            factor = _size(self.words(some)) / max(_size(table[: len(some)]), torch.finfo(torch.float32).tiny)
        return _size(table) * factor

    def train(self, mode: bool = True) -> Reader:
        """Stay in evaluation mode, whatever the network around it does: no dropout inside a frozen model."""
        super().train(False)
        if self._recomputes:
            self._let_layers_recompute()
        return self

    def frame(self, text: str) -> Frame:
        """Return the ids of a text and of the special tokens around it.

        Raises
        ------
        ConfigError
            If the tokenizer makes nothing of the text.
        """
        bare = self._ids(text, special=False)
        whole = self._ids(text, special=True)
        if not bare:
            raise ConfigError(f"The reader's tokenizer makes no token of {text[:80]!r}. Give words.")
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return Frame(tuple(whole[:start]), tuple(bare), tuple(whole[start + len(bare) :]))
        return Frame((), tuple(bare), ())

    def words(self, ids: tuple[int, ...] | Tensor) -> Tensor:
        """Return the vectors of token ids, ``(..., width)``."""
        table = self.backbone.get_input_embeddings()
        wanted = ids if isinstance(ids, Tensor) else torch.tensor(ids, dtype=torch.long)
        found: Tensor = table(wanted.to(table.weight.device))
        return found

    def read(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states.

        Parameters
        ----------
        tokens
            ``(n, length, width)``.
        mask
            ``(n, length)`` bool, whether there is a token; what is padded, and on which side, changes nothing.

        Returns
        -------
        ``(n, length, width)``, of any value where there is no token.

        Raises
        ------
        ConfigError
            If the sequence is longer than the model reads.
        """
        longest = int(mask.sum(dim=1).max())
        if longest > self.n_positions:
            raise ConfigError(
                f"A cell takes {longest:,} tokens; the reader takes at most {self.n_positions:,}. Choose a smaller top_k, or a "
                "shorter instruction.",
                details={"seen": longest, "maximum": self.n_positions},
            )
        more: dict[str, Any] = {}
        if self._takes_positions:
            places = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
            more["position_ids"] = places + self._first_position
        table = self.backbone.get_input_embeddings()
        out = self.backbone(
            inputs_embeds=tokens.to(table.weight.dtype),
            attention_mask=mask.long(),
            return_dict=True,
            **more,
            **_NO_CACHE[self.kind],
        )
        found: Tensor = out.last_hidden_state
        return found

    def word_logits(self, hidden: Tensor) -> Tensor:
        """Return ``(..., n_words)`` of ``(..., width)`` hidden states.

        Raises
        ------
        ArtifactError
            If the model has no head over words.
        """
        if self.vocabulary is None:
            raise ArtifactError(
                "The reader is an encoder without a head over words; it generates nothing.", kind="incompatible"
            )
        found: Tensor = self.vocabulary(hidden.to(self.vocabulary.weight.dtype))
        return found

    def recompute_in_backward(self) -> None:
        """Keep no hidden states for the backward pass but those between layers: less memory for a third more time.

        The library does so only for layers that are training; dropout, which sits deeper, stays in evaluation mode.
        """
        enable = getattr(
            self.backbone, "activation_checkpointing_enable", None
        )  # older releases have the other name alone
        (enable or self.backbone.gradient_checkpointing_enable)()
        self._recomputes = True
        self._let_layers_recompute()

    def _let_layers_recompute(self) -> None:
        from transformers.modeling_layers import GradientCheckpointingLayer

        for layer in self.backbone.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.training = True

    def _settle_positions(self, name: str) -> int:
        """Return the number of the first position: the one with which words read as vectors are read as words are.

        Models of RoBERTa's kind begin after the padding's; nothing says so but their code.
        """
        padding = getattr(self.backbone.config, "pad_token_id", None)
        ids = torch.tensor([one for one in self._ids("cell", special=True) if one != padding][:8] or [0])
        words = self.words(ids).unsqueeze(0)
        with torch.no_grad():
            plain = self.backbone(
                input_ids=ids.unsqueeze(0).to(words.device), return_dict=True, **_NO_CACHE[self.kind]
            ).last_hidden_state.float()
            if plain.shape[-1] != self.width:
                raise ArtifactError(
                    f"{name} has token vectors of {self.width:,} numbers and hidden states of {plain.shape[-1]:,}; expected the "
                    "same length. Give another language model.",
                    kind="incompatible",
                    details={"tokens": self.width, "states": plain.shape[-1]},
                )
            off: list[float] = []
            there = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
            for first in dict.fromkeys((0, 0 if padding is None else int(padding) + 1)):
                self._first_position = first
                with suppress(IndexError):  # no such position
                    off.append(float((self.read(words, there).float() - plain).abs().max()))
                    if off[-1] <= _SAME * float(plain.abs().max()):
                        return first  # and no other: where positions are relative, any would do
        raise ArtifactError(
            f"{name} reads the vectors of words otherwise than the words themselves (they differ by "
            f"{min(off, default=0.0):.2g}): its positions are counted in a way that is not known here. "
            "Give another language model.",
            kind="incompatible",
            details={"differences": off},
        )

    def _ids(self, text: str, *, special: bool) -> list[int]:
        with quiet_transformers():
            return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])


_NO_CACHE: dict[str, dict[str, Any]] = {"causal": {"use_cache": False}, "encoder": {}}


def _size(tokens: Tensor) -> float:
    return float(tokens.detach().float().pow(2).mean().sqrt())


def load_reader(
    source: Source | None = None,
    *,
    precision: Precision = "fp32",
    quantised: Quantised | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Reader:
    """Load a reader.

    Parameters
    ----------
    source
        Folder or hub id; ``None``: the packaged MiniLM.
    precision, quantised
        How weights are held; ``quantised`` needs bitsandbytes.
    device
        ``cpu``, ``cuda``; ``None``: the processor.
    threads
        Torch threads; ``None`` leaves torch's own choice.

    Raises
    ------
    ArtifactError
        If there is no such folder, it cannot be read, or the model cannot read vectors.
    UpstreamError
        If the hub cannot be reached.
    MissingExtraError
        If quantised weights are asked for without the library.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads warn when a server forks
    folder = packaged_minilm_folder() if source is None else find_source(source)
    expect_files(folder)
    if threads is not None:
        torch.set_num_threads(threads)
    tokenizer, model, kind = _load(folder, precision=precision, quantised=quantised, device=device)
    backbone = model.base_model if kind == "causal" else model
    vocabulary = model.get_output_embeddings() if kind == "causal" else None
    return Reader(
        backbone,
        vocabulary,
        tokenizer,
        kind=kind,
        fingerprint=reader_fingerprint(folder),
        name=f"The model in {folder}",
    )


def reader_fingerprint(folder: Path) -> str:
    """Return the sha256 of configuration, weights and tokenizer."""
    return encoder_fingerprint(folder, pooling="reader", max_tokens=0)


def _load(
    folder: Path, *, precision: Precision, quantised: Quantised | None, device: str | None
) -> tuple[Any, Any, Kind]:
    from pickle import UnpicklingError  # what torch's loader of plain tensors raises; nothing is unpickled here

    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    how: dict[str, Any] = {"dtype": torch.bfloat16 if precision == "bf16" else torch.float32, "weights_only": True}
    if device != "cuda" and quantised is None:
        how["attn_implementation"] = (
            "eager"  # on a processor the fused one takes two thirds of a step, most of it backwards
        )
    if quantised is not None:
        how["quantization_config"] = _quantisation(quantised)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(str(folder), **local)
            kind: Kind = "causal" if _is_causal(config) else "encoder"
            factory: Any = AutoModelForCausalLM if kind == "causal" else AutoModel
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **local)
            model, info = factory.from_pretrained(str(folder), output_loading_info=True, **local, **how)
    except (*_UNREADABLE, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"The language model in {folder} cannot be read: {reason}. Give a folder written by save_pretrained.",
            kind="corrupt",
            details={"path": str(folder)},
        ) from error
    _refuse_incomplete(sorted(info["missing_keys"]), folder=folder)
    if getattr(config, "is_encoder_decoder", False):
        raise ArtifactError(
            f"The model in {folder} is an encoder-decoder; give a causal language model or an encoder.",
            kind="incompatible",
        )
    return tokenizer, model if device is None or quantised else model.to(device), kind


def _n_positions(config: Any) -> int:
    """Return how many tokens the model has positions for; what its tokenizer cuts texts at does not matter here."""
    stated = getattr(config, "max_position_embeddings", None)
    return int(stated) if isinstance(stated, int) and stated > 0 else _NO_LIMIT


def _is_causal(config: Any) -> bool:
    """Whether the model generates: encoders such as BERT also come as causal models, but fill in masks as well."""
    from transformers.models.auto import modeling_auto as auto

    kind = getattr(config, "model_type", "")
    return kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _refuse_incomplete(absent: list[str], *, folder: Path) -> None:
    lacking = [name for name in absent if "pooler" not in name]
    if lacking:
        raise ArtifactError(
            f"The weights in {folder} lack {len(lacking)} layers of the model (for example {lacking[0]}). Give all of them.",
            kind="corrupt",
            details={"missing": lacking[:20]},
        )


def _quantisation(quantised: Quantised) -> Any:
    with suppress(ImportError):
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
        from transformers import BitsAndBytesConfig

        config: Any = BitsAndBytesConfig
        return config(load_in_8bit=quantised == "8bit", load_in_4bit=quantised == "4bit")
    raise MissingExtraError(
        f"Weights in {quantised} need the library bitsandbytes, which is not installed. Run: pip install bitsandbytes",
        details={"package": "bitsandbytes"},
    )
