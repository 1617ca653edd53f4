"""The text tower ``encoder``: any Hugging Face encoder, from a folder or from the hub.

In: a folder in the layout of ``save_pretrained`` (``config.json``, weights, tokenizer) or the id of a hub repository in that
layout. Out: ``(n_texts, dim)`` float32, L2-normalised. Truncation is always set. No code of the repository is ever run, and
weights that are pickles are read by torch's loader of plain tensors alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np

from atlas.errors import ArtifactError, ConfigError, InputError, UpstreamError
from atlas.model.config import LoraRecord, Pooling, Source, TextConfig
from atlas.model.encoding import BatchEncoder, merge_adapter, quiet_transformers, report_truncated
from atlas.texts import valid_utf8

logger = logging.getLogger(__name__)

DEFAULT_MAX_TOKENS = 256
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # the second only where the first is absent
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
    "merges.txt", "*.model",
)  # fmt: skip
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError)  # what a damaged folder makes of it
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


class EncoderTower:
    """A Hugging Face encoder.

    Parameters
    ----------
    source
        Folder, or id of a repository on the hub.
    revision
        Branch, tag or commit of that repository.
    pooling
        ``mean``, ``cls`` or ``pooler``; ``auto`` is the pooler if the model has a trained one, else the mean, as the paper
        did for BioBERT and BioGPT. The choice is kept in :attr:`pooling`.
    max_tokens
        Where texts are cut; by default 256 or what the model can read, if that is less.
    adapter, adapter_tensors
        Low-rank changes of the weights, merged here.
    threads
        Torch threads to set on loading; ``None`` leaves torch's own choice.

    Raises
    ------
    ArtifactError
        ``missing`` if there is no such folder, no weights or no tokenizer; ``corrupt`` if they cannot be read or lack
        layers; ``incompatible`` if a pooler is asked for and there is none, or the model is no encoder.
    ConfigError
        If ``max_tokens`` is more than the model can read.
    UpstreamError
        If the hub cannot be reached or does not have the repository.
    """

    name = "encoder"

    def __init__(
        self,
        source: Path | str,
        *,
        revision: str | None = None,
        pooling: Pooling | Literal["auto"] = "auto",
        max_tokens: int | None = None,
        adapter: LoraRecord | None = None,
        adapter_tensors: Mapping[str, np.ndarray] = MappingProxyType({}),
        threads: int | None = None,
        batch_tokens: int = 1024,
    ) -> None:
        self.folder = find_source(Source(path=str(source), revision=revision))
        self._tokenizer, model, has_pooler = load_encoder(self.folder, threads=threads)
        self.pooling = _choose_pooling(pooling, has_pooler=has_pooler, folder=self.folder)
        limit = n_positions(model, self._tokenizer)
        self.max_tokens = min(DEFAULT_MAX_TOKENS, limit) if max_tokens is None else max_tokens
        if not 3 <= self.max_tokens <= limit:
            raise ConfigError(
                f"Texts are to be cut at {self.max_tokens:,} tokens; the encoder in {self.folder} reads 3 to {limit:,}. "
                "Give a number in that range."
            )
        self.dim = int(model.config.hidden_size)
        self.fingerprint = encoder_fingerprint(self.folder, pooling=self.pooling, max_tokens=self.max_tokens)
        if adapter is not None:
            merge_adapter(model, adapter, adapter_tensors)
        pad_id = self._tokenizer.pad_token_id
        self._encoder = BatchEncoder(
            model, pooling=self.pooling, batch_tokens=batch_tokens, pad_id=0 if pad_id is None else int(pad_id)
        )

    @classmethod
    def of_config(
        cls, config: TextConfig, *, folder: Path, adapter_tensors: Mapping[str, np.ndarray], threads: int | None
    ) -> Self:
        """Return the tower a model's configuration names; a relative source starts from the model's ``folder``."""
        if config.source is None:
            raise InputError("The text tower 'encoder' needs a source.")
        local = folder / config.source.path
        return cls(
            local if local.is_dir() else config.source.path,
            revision=config.source.revision,
            pooling=config.pooling,
            max_tokens=config.max_tokens,
            adapter=config.adapter,
            adapter_tensors=adapter_tensors,
            threads=threads,
        )

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n_texts, dim)`` float32, L2-normalised, in the order given; longer texts are cut and counted in the log."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        ids = self._tokenize(texts, truncation=True)
        full = [i for i, row in enumerate(ids) if len(row) == self.max_tokens]
        cut = self.n_truncated([texts[i] for i in full])
        report_truncated(cut, len(texts), max_tokens=self.max_tokens)
        return self._encoder.encode([row or [self._filler] for row in ids])

    def n_truncated(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are longer than ``max_tokens``, and therefore cut."""
        return sum(len(row) > self.max_tokens for row in self._tokenize(texts, truncation=False)) if texts else 0

    def _tokenize(self, texts: Sequence[str], *, truncation: bool) -> list[list[int]]:
        with quiet_transformers():  # it warns of texts beyond its own limit, which we cut ourselves
            found = self._tokenizer(
                [valid_utf8(text) for text in texts],
                truncation=truncation,
                max_length=self.max_tokens if truncation else None,
                padding=False,
                return_attention_mask=False,
            )
        ids: list[list[int]] = found["input_ids"]
        return ids

    @property
    def _filler(self) -> int:
        """A token that stands for a text of none, which some tokenizers make of an empty text."""
        for name in ("unk_token_id", "eos_token_id", "pad_token_id"):
            if getattr(self._tokenizer, name, None) is not None:
                return int(getattr(self._tokenizer, name))
        return 0


def find_source(source: Source, *, patterns: Sequence[str] = (*_WEIGHTS, *_TOKENIZER, "config.json")) -> Path:
    """Return the folder of a source; a hub repository is fetched into the cache of ``huggingface_hub`` if it is not there.

    Raises
    ------
    ArtifactError
        If it is neither a folder nor the id of a repository.
    UpstreamError
        If the hub cannot be reached or does not have it.
    """
    folder = Path(source.path)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(source.path):
        raise ArtifactError(
            f"There is no folder {source.path}, and it is no id of a hub repository (owner/name). "
            "Give the folder of an encoder, with config.json, weights and tokenizer.",
            kind="missing",
            details={"path": source.path},
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(source.path, revision=source.revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UpstreamError(
            f"{source.path} is no folder here and could not be fetched from the hub: {reason} "
            "Check the spelling and the connection, or fetch it elsewhere and give its folder.",
            details={"source": source.path},
        ) from error


def load_encoder(folder: Path, *, threads: int | None = None) -> tuple[Any, Any, bool]:
    """Return tokenizer, model in evaluation mode (float32), and whether it has a trained pooler.

    Raises
    ------
    ArtifactError
        As :class:`EncoderTower`.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads warn when a server forks
    expect_files(folder)
    from pickle import UnpicklingError  # what torch's loader of plain tensors raises; nothing is unpickled here

    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer

    if threads is not None:
        torch.set_num_threads(threads)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **local)
            model, info = AutoModel.from_pretrained(
                str(folder), output_loading_info=True, dtype=torch.float32, weights_only=True, **local
            )
    except (*_UNREADABLE, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"The encoder in {folder} cannot be read: {reason}. Give a folder written by save_pretrained.",
            kind="corrupt",
            details={"path": str(folder)},
        ) from error
    if getattr(model.config, "is_encoder_decoder", False):
        raise ArtifactError(f"The model in {folder} is an encoder-decoder; give an encoder.", kind="incompatible")
    absent = sorted(info["missing_keys"])
    if other := [name for name in absent if "pooler" not in name]:
        raise ArtifactError(
            f"The weights in {folder} lack {len(other)} layers of the encoder (for example {other[0]}). "
            "Give the complete weights.",
            kind="corrupt",
            details={"missing": other[:20]},
        )
    has_pooler = getattr(model, "pooler", None) is not None and not absent
    return tokenizer, model.eval(), has_pooler


def n_positions(model: Any, tokenizer: Any) -> int:
    """Return how many tokens the encoder can read."""
    stated = (getattr(model.config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None))
    limits = [int(limit) for limit in stated if isinstance(limit, int) and 0 < limit < 10**9]
    limit = min(limits, default=DEFAULT_MAX_TOKENS)
    if getattr(model.config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        limit = min(limit, int(model.config.max_position_embeddings) - 2)  # its positions begin after the padding's
    return limit


def encoder_fingerprint(folder: Path, *, pooling: str, max_tokens: int) -> str:
    """Return the sha256 over names and sums of configuration, weights and tokenizer, with pooling and cut-off."""
    digest = hashlib.sha256(f"encoder {pooling} max{max_tokens}\n".encode())
    for path in _files(folder):
        with path.open("rb") as stream:
            digest.update(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """Return the files that decide what a vector is, by name."""
    weights = sorted(folder.glob(_WEIGHTS[0])) or sorted(folder.glob(_WEIGHTS[1]))
    tokenizer = {path for pattern in _TOKENIZER for path in folder.glob(pattern)}
    return sorted({folder / "config.json", *weights, *tokenizer})


def expect_files(folder: Path) -> None:
    """Name what a folder lacks before a library says so in its own words."""
    found = _files(folder)
    lacks = {
        "config.json": (folder / "config.json").is_file(),
        "weights (*.safetensors)": any(path.suffix in (".safetensors", ".bin") for path in found),
        "tokenizer": any(path.suffix not in (".safetensors", ".bin") and path.name != "config.json" for path in found),
    }
    if missing := [name for name, there in lacks.items() if not there]:
        raise ArtifactError(
            f"The encoder folder {folder} has no {' and no '.join(missing)}. Give a folder written by save_pretrained.",
            kind="missing",
            details={"path": str(folder), "missing": missing},
        )


def _choose_pooling(asked: Pooling | Literal["auto"], *, has_pooler: bool, folder: Path) -> Pooling:
    if asked == "pooler" and not has_pooler:
        raise ArtifactError(
            f"The encoder in {folder} has no trained pooler. Use mean or cls pooling, or auto.",
            kind="incompatible",
            details={"path": str(folder)},
        )
    if asked == "auto":
        return "pooler" if has_pooler else "mean"
    return asked
