"""The transformer of Geneformer, up to the hidden layer that is read, and the pooling over a sample's tokens.

In: tokens ``(n, width)`` int64, padded with 0. Out: ``(n, hidden)`` float32, not normalised. The layers above the one that is
read, and the head that predicts masked genes, are neither loaded nor run.

Source: Theodoris et al., Nature 2023 (architecture: BERT, ReLU); last but one layer and mean over tokens: Schaefer et al.,
Nature Biotechnology 2025, Methods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from atlas.errors import ArtifactError, ConfigError
from atlas.model.geneformer.vocabulary import PAD

Pooling = Literal["mean", "mean_genes", "cls"]
_SPECIALS_FROM = 4  # <pad> <mask> <cls> <eos> are tokens 0 to 3 of the second version
_CONFIG_KEYS = (
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)


class GeneformerEncoder(torch.nn.Module):
    """BERT without head or pooler, cut at one hidden layer, and a pooling.

    Parameters
    ----------
    config
        Content of the published ``config.json``.
    layer
        Hidden state that is read, as in the ``hidden_states`` of the Transformers library: 0 is the embedding, -1 the last
        layer, -2 the last but one.
    pooling
        ``mean`` over all tokens but padding; ``mean_genes`` leaves ``<cls>`` and ``<eos>`` out as well; ``cls`` reads the
        first token.
    """

    def __init__(self, config: Mapping[str, Any], *, layer: int = -2, pooling: Pooling = "mean") -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        kept = {key: config[key] for key in _CONFIG_KEYS if key in config}
        kept["num_hidden_layers"] = layers_to_run(int(config["num_hidden_layers"]), layer)
        options: dict[str, Any] = {**kept, "pad_token_id": PAD, "attn_implementation": "sdpa"}
        self.bert: torch.nn.Module = BertModel(BertConfig(**options), add_pooling_layer=False)
        self.pooling: Pooling = pooling
        self.dim = int(config["hidden_size"])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return ``(n, hidden)`` float32; a sample's padding does not reach its vector."""
        inside = ids != PAD
        mask = None if bool(inside.all()) else inside.long()  # without a mask attention runs its fastest kernel
        hidden: torch.Tensor = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0].float()
        counted = inside if self.pooling == "mean" else inside & (ids >= _SPECIALS_FROM)
        weights = counted.unsqueeze(-1).float()
        return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def layers_to_run(n_layers: int, layer: int) -> int:
    """Return how many layers lie below hidden state ``layer`` of a model of ``n_layers``.

    Raises
    ------
    ConfigError
        If there is no such hidden state.
    """
    index = layer if layer >= 0 else n_layers + 1 + layer
    if not 0 <= index <= n_layers:
        raise ConfigError(
            f"The encoder has the hidden states 0 to {n_layers} (or -1 to {-n_layers - 1}), not {layer}.",
            details={"layer": layer, "n_layers": n_layers},
        )
    return index


def load_encoder(
    folder: Path, *, layer: int = -2, pooling: Pooling = "mean", dtype: torch.dtype = torch.float32
) -> GeneformerEncoder:
    """Build the encoder from ``config.json`` and ``model.safetensors``, every tensor's name and shape checked.

    Raises
    ------
    ArtifactError
        ``missing``, or ``corrupt`` if the tensors are not those of the configuration or not finite.
    """
    config = read_encoder_config(folder / "config.json")
    encoder = GeneformerEncoder(config, layer=layer, pooling=pooling)
    path = folder / "model.safetensors"
    wanted = encoder.state_dict()
    state = _read_tensors(path, wanted=set(wanted))
    problems = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    if problems:
        seen = tuple(state[problems[0]].shape) if problems[0] in state else "absent"
        raise ArtifactError(
            f"{path} does not fit its config.json: {problems[0]} is {seen}, expected {tuple(wanted[problems[0]].shape)} "
            f"({len(problems)} tensors differ). Import the published folder again.",
            kind="corrupt",
            details={"path": str(path), "tensors": problems[:20]},
        )
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"{path}: {name} is not finite. Import the published folder again.", kind="corrupt")
    encoder.load_state_dict(state)
    return encoder.to(dtype).eval()


def read_encoder_config(path: Path) -> dict[str, Any]:
    """Read a published ``config.json`` and check the numbers that shapes and memory depend on.

    Raises
    ------
    ArtifactError
        ``missing``; ``incompatible`` if it is another architecture; ``corrupt`` if a number is missing or out of range.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"There is no Geneformer model in {path.parent}: config.json is missing. "
            "Make such a folder with: geo-atlas model import DIR",
            kind="missing",
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}. Restore the folder.", kind="corrupt") from error
    if not isinstance(raw, dict) or raw.get("model_type") != "bert":
        seen = raw.get("model_type") if isinstance(raw, dict) else type(raw).__name__
        raise ArtifactError(
            f"{path} describes a model of type {seen!r}; Geneformer is of type 'bert'.", kind="incompatible"
        )
    for key, (low, high) in _RANGES.items():
        value = raw.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ArtifactError(
                f"{path}: {key} is {value!r}, expected a whole number from {low} to {high:,}.", kind="corrupt"
            )
    if raw["hidden_size"] % raw["num_attention_heads"]:
        raise ArtifactError(f"{path}: hidden_size is no multiple of num_attention_heads.", kind="corrupt")
    return raw


_RANGES: Mapping[str, tuple[int, int]] = {
    "hidden_size": (1, 16_384),
    "intermediate_size": (1, 65_536),
    "max_position_embeddings": (3, 1 << 17),
    "num_attention_heads": (1, 256),
    "num_hidden_layers": (1, 256),
    "type_vocab_size": (1, 256),
    "vocab_size": (3, 1 << 22),
}


def _read_tensors(path: Path, *, wanted: set[str]) -> dict[str, torch.Tensor]:
    """Read the wanted tensors alone; names that are neither wanted nor of a part left out are passed over."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys() if name in wanted}
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} is missing. Make such a folder with: geo-atlas model import DIR", kind="missing"
        ) from error
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a readable tensor file: {error}. Import it again.", kind="corrupt"
        ) from error
