"""Small Geneformers in the published layout: pickled dictionaries and random weights."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

TRUE_6L: dict[str, Any] = {
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.02,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.02,
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 2048,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 25426,
}


def gene_id(number: int) -> str:
    """The ids of ``toy_model.toy_genes``: gene 0 is ENSG00000000001."""
    return f"ENSG{number + 1:011d}"


def toy_dictionaries(n_genes: int, *, version: str = "v1") -> tuple[dict[str, Any], dict[str, Any]]:
    """Tokens as NumPy int16 and medians as float64, as published."""
    names = ["<pad>", "<mask>", "<cls>", "<eos>"][: 2 if version == "v1" else 4]
    tokens: dict[str, Any] = {name: number for number, name in enumerate(names)}
    tokens |= {gene_id(i): np.int16(len(names) + i) for i in range(n_genes)}
    medians = {gene_id(i): np.float64(0.5 + (i * 7 % 11) / 3) for i in range(n_genes)}
    return tokens, medians


def toy_config(vocab_size: int, **changes: Any) -> dict[str, Any]:
    """A tiny configuration in the published form."""
    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
    return {**TRUE_6L, **small, "vocab_size": vocab_size, "max_position_embeddings": 2048, **changes}


def random_model(config: dict[str, Any], *, seed: int = 0) -> Any:
    """``BertForMaskedLM`` with random weights, large enough to tell samples apart."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    kept = {key: value for key, value in config.items() if key not in ("architectures", "model_type")}
    model = BertForMaskedLM(BertConfig(**kept)).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "LayerNorm" not in name:
                tensor.normal_(0.0, 0.2)
    return model


def write_published(
    folder: Path,
    *,
    n_genes: int = 64,
    version: str = "v1",
    weights: str = "model.safetensors",
    config: dict[str, Any] | None = None,
    seed: int = 0,
) -> Any:
    """Write ``folder`` as the hub has it, dictionaries inside, and return the model that was saved."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    tokens, medians = toy_dictionaries(n_genes, version=version)
    config = config or toy_config(len(tokens))
    model = random_model(config, seed=seed)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    state = model.state_dict()
    if weights == "pytorch_model.bin":
        torch.save(state, folder / weights)
    else:
        save_file({k: v.clone() for k, v in state.items() if "decoder.weight" not in k}, folder / weights)
    write_dictionaries(folder, tokens, medians)
    return model


def write_dictionaries(folder: Path, tokens: dict[str, Any], medians: dict[str, Any], *, suffix: str = "_toy") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"token_dictionary{suffix}.pkl").write_bytes(pickle.dumps(tokens))
    (folder / f"gene_median_dictionary{suffix}.pkl").write_bytes(pickle.dumps(medians))
