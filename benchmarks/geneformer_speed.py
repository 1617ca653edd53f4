"""How fast samples go through Geneformer: our path beside the naive padded loop, in one run, on the same samples.

Run: python -m benchmarks.geneformer_speed [--model FOLDER] [--samples 16] [--threads 2] [--device auto] [--eager]

The naive loop is what embedding scripts do: the whole model with its head, batches in the order of the file, every sample padded
to the 2,048 ranks the model reads, all hidden states kept, one of them averaged over the tokens. Ours leaves out head and last
layer, sorts by length and bounds a batch in tokens. Without ``--model`` the weights are random, in the shapes of the published
six layers (V1): speed does not depend on their values. Lengths are deciles of real samples, tokenised with the published
dictionaries: PBMC 3k (droplets), pancreas (Baron et al.), and anything deep or bulk, which always fills 2,048 ranks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlas.model.geneformer.tokenizer import RankTokens

WIDTH = 2_048
NAIVE_BATCH = 8
V1_6L: dict[str, Any] = {
    "attention_probs_dropout_prob": 0.02,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.02,
    "hidden_size": 256,
    "intermediate_size": 512,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": WIDTH,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 25_426,
}
DECILES: dict[str, Sequence[int]] = {
    "cells, PBMC 3k": (196, 527, 626, 680, 738, 780, 830, 889, 1_014, 1_240, 2_194),
    "cells, pancreas": (722, 958, 1_168, 1_353, 1_542, 1_667, 1_743, 1_902, 2_140, 2_368, 3_161),
    "bulk or deep cells": (WIDTH, WIDTH),
}


def draw(deciles: Sequence[int], n: int, *, n_tokens: int, seed: int = 0) -> RankTokens:
    """Return samples of realistic lengths and random genes, in no order."""
    rng = np.random.default_rng(seed)
    lengths = np.interp(rng.random(n), np.linspace(0, 1, len(deciles)), deciles).astype(int).clip(1, WIDTH)
    return RankTokens.from_rows([4 + rng.permutation(n_tokens - 4)[:length] for length in lengths])


def random_folder(folder: Path) -> Path:
    """Random weights in the published shapes, as tensors; enough for the encoder, which needs no dictionaries."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = whole_model(V1_6L, attention="sdpa")
    state = {k: v.clone() for k, v in model.state_dict().items() if "decoder.weight" not in k}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(V1_6L), encoding="utf-8")
    return folder


def whole_model(config: dict[str, Any], *, attention: str) -> Any:
    from transformers import BertConfig, BertForMaskedLM

    kept = {key: value for key, value in config.items() if key not in ("architectures", "model_type", "torch_dtype")}
    return BertForMaskedLM(BertConfig(**kept, attn_implementation=attention)).eval()


def naive_loop(folder: Path, *, attention: str, to_width: bool, device: str) -> Callable[[RankTokens], np.ndarray]:
    """Load the whole model and return the loop that the others are compared with."""
    import torch
    from safetensors.torch import load_file

    model = whole_model(json.loads((folder / "config.json").read_text(encoding="utf-8")), attention=attention)
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    model.tie_weights()
    model.to(device)

    def run(tokens: RankTokens) -> np.ndarray:
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(tokens), NAIVE_BATCH):
                rows = np.arange(start, min(start + NAIVE_BATCH, len(tokens)))
                ids = torch.from_numpy(tokens.padded(rows))
                if to_width:
                    ids = torch.nn.functional.pad(ids, (0, WIDTH - ids.shape[1]))
                mask = (ids != 0).long().to(device)
                hidden = model(input_ids=ids.to(device), attention_mask=mask, output_hidden_states=True).hidden_states[
                    -2
                ]
                pooled = (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
                vectors.append(pooled.float().cpu().numpy())
        return np.concatenate(vectors)

    return run


def timed(run: Callable[[RankTokens], np.ndarray], tokens: RankTokens) -> tuple[float, float, np.ndarray]:
    """Return seconds and CPU seconds a sample, and the vectors; CPU seconds hardly change with what else the machine does."""
    started, cpu_started = time.perf_counter(), time.process_time()
    vectors = run(tokens)
    return (
        (time.perf_counter() - started) / len(tokens),
        (time.process_time() - cpu_started) / len(tokens),
        vectors,
    )


def measure(folder: Path, *, n: int, device: str, threads: int, eager: bool) -> None:
    """Print one table: samples a second, ratio to the naive loop, and how far the vectors are from its.

    The ratio is that of CPU seconds, of seconds on a GPU.
    """
    import torch

    from atlas.model.geneformer.tower import TokenEncoder

    torch.set_num_threads(threads)
    n_tokens = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    ours = TokenEncoder(folder, device=device)
    paths: list[tuple[str, Callable[[RankTokens], np.ndarray]]] = [
        ("naive: padded to 2,048", naive_loop(folder, attention="sdpa", to_width=True, device=device)),
        ("the same, padded to the longest of 8", naive_loop(folder, attention="sdpa", to_width=False, device=device)),
        ("ours", ours.embed),
    ]
    if eager:
        paths.insert(
            1, ("the same, eager attention", naive_loop(folder, attention="eager", to_width=True, device=device))
        )
    warm = RankTokens.from_rows([np.arange(4, 40)])
    print("| samples | median ranks | path | samples/s | CPU s a sample | times the naive loop | furthest from it |")
    print("|---|---|---|---|---|---|---|")
    for kind, deciles in DECILES.items():
        tokens = draw(deciles, n, n_tokens=n_tokens)
        base: tuple[float, np.ndarray] | None = None
        for name, run in paths:
            run(warm)
            seconds, cpu_seconds, vectors = timed(run, tokens)
            spent = cpu_seconds if device == "cpu" else seconds
            base = base or (spent, vectors)
            far = (np.linalg.norm(vectors - base[1], axis=1) / np.linalg.norm(base[1], axis=1)).max()
            print(
                f"| {kind} | {np.median(tokens.lengths):,.0f} | {name} | {1 / seconds:.2f} | {cpu_seconds:.2f} "
                f"| {base[0] / spent:.1f} | {far:.0e} |",
                flush=True,
            )


def main() -> None:
    """Measure on the CPU, and on the GPU if there is one."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="folder made by geo-atlas model fetch or import")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--eager", action="store_true", help="also the naive loop as it was before fused attention")
    args = parser.parse_args()
    devices = ["cpu", "cuda"] if args.device == "auto" and torch.cuda.is_available() else [args.device]
    with tempfile.TemporaryDirectory() as work:
        folder = args.model or random_folder(Path(work))
        for device in devices:
            device = "cpu" if device == "auto" else device
            n = args.samples if device == "cpu" else max(args.samples, 512)
            print(f"\n{device}, {n} samples a line, {args.threads} threads\n")
            measure(folder, n=n, device=device, threads=args.threads, eager=args.eager)


if __name__ == "__main__":
    main()
