"""The loop: cross-entropy through a frozen reader, the projections, class token and head learning, nothing else.

In: a network, what is read of labelled cells, their codes. Out: the same network, trained, and the loss of each epoch. After
every epoch what was learned and the optimiser's moments are kept; a run that was killed goes on there, and ends with the
same bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from atlas.drafts import draft_of, ready_folder
from atlas.errors import InputError
from atlas.interpreter.answers import Answers
from atlas.interpreter.cell_genes import CellGenes
from atlas.interpreter.interpreter import batch_of, memory_told
from atlas.interpreter.network import Cells, Network
from indexer.interpreter.presets import TrainingSpec
from indexer.stage import Progress, silent_progress

CHECKPOINT = "unfinished.safetensors"
_LOWEST_RATE = 0.01  # of the learning rate, at the last step


@dataclass
class _State:
    """Where a run stands."""

    epoch: int
    losses: list[float]


def train(
    network: Network,
    cells: CellGenes,
    codes: np.ndarray,
    *,
    spec: TrainingSpec,
    texts: Sequence[str] = (),
    folder: Path | None = None,
    told: str = "",
    progress: Progress = silent_progress,
) -> list[float]:
    """Train a network in place and return the mean loss of each epoch.

    Parameters
    ----------
    network
        Its reader is frozen, but for low-rank changes put into it before.
    cells, codes
        What is read of each cell, and ``(n,)`` int64 the place of its label.
    texts
        The labels in words; needed where ``spec.answers`` is above 0.
    folder
        Where a run that is killed is kept; ``None``: nowhere.
    told
        Everything else that makes the run what it is: a kept run of another is left aside.

    Raises
    ------
    InputError
        If the loss is no number.
    ResourceError
        If memory or disk do not suffice.
    """
    if spec.recompute:
        network.reader.recompute_in_backward()
    with torch.random.fork_rng(devices=[]), memory_told(training=True):
        return _Run(network, cells, codes, spec=spec, texts=texts, folder=folder, told=told).to_the_end(progress)


class _Run:
    """One run."""

    def __init__(
        self,
        network: Network,
        cells: CellGenes,
        codes: np.ndarray,
        *,
        spec: TrainingSpec,
        texts: Sequence[str],
        folder: Path | None,
        told: str,
    ) -> None:
        self._told = json.dumps([told, list(texts)])
        self._network, self._spec, self._folder = network, spec, folder
        self._rows = np.flatnonzero(cells.has_genes)
        self._cells, self._codes = cells, codes
        if cells.domain is not None:
            network.measure(torch.from_numpy(cells.domain[self._rows]), torch.from_numpy(codes[self._rows]))
        self._learning = {**dict(network.learning()), **adapters_of(network)}
        groups = [{"params": list(group), "weight_decay": decay} for decay, group in _groups(self._learning, spec)]
        self._optimiser = torch.optim.AdamW(groups, lr=spec.learning_rate)
        self._answers = Answers(network, texts) if spec.answers else None
        self._weights = _label_weights(
            codes[self._rows], n_labels=network.head.linear.out_features, balanced=spec.balanced
        )
        steps_each = math.ceil(len(self._rows) / spec.batch)
        self._n_epochs = max(spec.epochs, math.ceil(spec.min_steps / steps_each))
        self._n_steps = self._n_epochs * steps_each

    def to_the_end(self, progress: Progress) -> list[float]:
        state = self._resumed() or _State(0, [])
        with progress(self._n_epochs, "epochs") as bar:
            bar.advance(state.epoch)
            while state.epoch < self._n_epochs:
                state.losses.append(self._epoch(state.epoch))
                state.epoch += 1
                self._keep(state)
                bar.advance(1)
        self._network.eval()
        return state.losses

    def _epoch(self, epoch: int) -> float:
        """Read every cell once; all that is drawn depends on seed and epoch alone."""
        rng = np.random.default_rng((self._spec.seed, epoch))
        torch.manual_seed(int(rng.integers(2**62)))
        self._network.train()
        order = rng.permutation(self._rows)
        step, total = epoch * math.ceil(len(order) / self._spec.batch), 0.0
        for start in range(0, len(order), self._spec.batch):
            rows = order[start : start + self._spec.batch]
            loss = self._step(rows, rate=self._rate(step), rng=rng)
            total, step = total + loss * len(rows), step + 1
        return total / len(order)

    def _step(self, rows: np.ndarray, *, rate: float, rng: np.random.Generator) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        device = self._network.class_token.device
        cells = _with_genes_dropped(batch_of(self._cells, rows, device=device), self._spec.gene_dropout, rng=rng)
        codes = torch.from_numpy(self._codes[rows]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._spec.precision == "bf16"):
            loss = self._loss(cells, codes)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(
                f"The loss became {value}: the learning rate {self._spec.learning_rate:g} is too high for these data. Lower it "
                "(training.learning_rate)."
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._spec.max_grad_norm:
            nn.utils.clip_grad_norm_(self._learning.values(), self._spec.max_grad_norm)
        self._optimiser.step()
        return value

    def _loss(self, cells: Cells, codes: Tensor) -> Tensor:
        state = self._network.states(self._network.sequence(cells))
        logits = self._network.head_logits(cells, state)
        weights = None if self._weights is None else self._weights.to(logits.device)
        loss = nn.functional.cross_entropy(logits, codes, weight=weights)
        if self._answers is not None:
            loss = loss + self._spec.answers * self._answers.loss(cells, state, codes)
        return loss

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down."""
        warm = min(1.0, (step + 1) / (self._spec.warmup_fraction * self._n_steps + 1.0))
        done = (1.0 + math.cos(math.pi * step / max(self._n_steps, 1))) / 2.0
        return self._spec.learning_rate * warm * (_LOWEST_RATE + (1.0 - _LOWEST_RATE) * done)

    def _keep(self, state: _State) -> None:
        if self._folder is None:
            return
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        for name, parameter in self._learning.items():
            tensors[f"value {name}"] = parameter.detach().cpu().contiguous()
            for what, moment in self._optimiser.state[parameter].items():
                tensors[f"{what} {name}"] = torch.as_tensor(moment).cpu().contiguous()
        told = {"epoch": str(state.epoch), "losses": json.dumps(state.losses), "run": self._identity()}
        with draft_of(ready_folder(self._folder) / CHECKPOINT) as draft:
            draft.write_bytes(save(tensors, metadata=told))

    def _resumed(self) -> _State | None:
        """Go on where a run of the same cells and rules stopped; another run's file is left aside."""
        path = None if self._folder is None else self._folder / CHECKPOINT
        if path is None or not path.is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as found:
                told: Mapping[str, str] = found.metadata() or {}
                if told.get("run") != self._identity():
                    return None
                for name, parameter in self._learning.items():
                    with torch.no_grad():
                        parameter.copy_(found.get_tensor(f"value {name}"))
                    self._optimiser.state[parameter] = {
                        "step": found.get_tensor(f"step {name}"),
                        **{
                            what: found.get_tensor(f"{what} {name}").to(parameter.device)
                            for what in ("exp_avg", "exp_avg_sq")
                        },
                    }
        except (OSError, SafetensorError, ValueError):
            return None  # half a file of a killed run: begin again
        return _State(int(told["epoch"]), json.loads(told["losses"]))

    def _identity(self) -> str:
        """Say what a kept run is of."""
        import hashlib

        digest = hashlib.sha256(f"{self._spec.model_dump_json()}\n{self._told}\n".encode())
        for part in (self._cells.genes, self._cells.strengths, self._codes, self._cells.domain):
            digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        for name, parameter in self._learning.items():
            digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        return digest.hexdigest()


def adapters_of(network: Network) -> dict[str, nn.Parameter]:
    """Return the low-rank matrices put into the reader, none by default."""
    return {name: one for name, one in network.reader.named_parameters(prefix="reader") if one.requires_grad}


def _groups(learning: Mapping[str, nn.Parameter], spec: TrainingSpec) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """Yield weight decay and parameters: matrices decay; norms, biases and the class token do not."""
    yield spec.weight_decay, [one for one in learning.values() if one.ndim > 1]
    yield 0.0, [one for one in learning.values() if one.ndim <= 1]


def _label_weights(codes: np.ndarray, *, n_labels: int, balanced: bool) -> Tensor | None:
    if not balanced:
        return None
    counts = np.bincount(codes, minlength=n_labels)
    return torch.from_numpy((len(codes) / (np.maximum(counts, 1) * np.count_nonzero(counts))).astype(np.float32))


def _with_genes_dropped(cells: Cells, share: float, *, rng: np.random.Generator) -> Cells:
    """Leave genes out by chance, the strongest never: a cell keeps at least one."""
    if not share:
        return cells
    gone = rng.random(cells.genes.shape) < share
    gone[:, 0] = False
    return replace(cells, genes=cells.genes.masked_fill(torch.from_numpy(gone).to(cells.genes.device), -1))
