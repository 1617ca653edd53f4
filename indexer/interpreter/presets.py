"""Presets of interpreters: everything a training is told, as data.

In: a name among :func:`preset_names` or a JSON file, and changes ``key=value``. Out: one frozen :class:`Preset`. The files lie in
``indexer/interpreter/presets``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from atlas.interpreter.config import PAPER_INSTRUCTION, GeneTokens, Precision, Quantised
from indexer.training.presets import LoraSpec, packaged_names, read_preset

FOLDER = "indexer.interpreter"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReaderSpec(_Strict):
    """The language model that reads."""

    source: str | None = None  # folder or hub id; null: the packaged MiniLM
    revision: str | None = None
    precision: Precision = "fp32"
    quantised: Quantised | None = None  # 8bit or 4bit, with the library bitsandbytes
    adapter: LoraSpec | None = None  # low-rank changes of the reader; the papers have none

    @model_validator(mode="after")
    def _whole_weights_change(self) -> Self:
        if self.adapter is not None and self.quantised is not None:
            raise ValueError(
                "low-rank changes are merged into the weights, which quantised ones do not take: give one of the two"
            )
        return self


class VectorsSpec(_Strict):
    """What stands for a gene.

    ``descriptions``, ``symbols``: read by ``encoder`` (null: the packaged MiniLM; descriptions without an encoder and without
    ``texts`` are those that come with the program). ``table``: the domain model's gene table. ``endpoint``: descriptions read
    by an OpenAI-compatible service. ``random``: drawn by the seed.
    """

    kind: Literal["descriptions", "symbols", "table", "endpoint", "random"] = "descriptions"
    texts: str | None = None  # table of descriptions: ensembl_id, symbol, organism, text
    encoder: str | None = None  # folder or hub id; of an endpoint, the name of its model


class NetworkSpec(_Strict):
    """What learns."""

    hidden: int = Field(384, ge=1)
    instruction: str = Field(PAPER_INSTRUCTION, min_length=1, max_length=2_000)
    dropout: float = Field(0.1, ge=0, lt=1)
    domain_noise: float = Field(0.0, ge=0)  # on the domain vector while learning, in units of its spread


class DomainSpec(_Strict):
    """The joint model."""

    source: str | None = None  # its folder; null: the packaged model
    token: bool = True  # whether its vector is a token, or it orders genes alone
    opinion: bool = False  # whether the logits start from how well the labels' texts fit the vector

    @model_validator(mode="after")
    def _opinion_of_a_token(self) -> Self:
        if self.opinion and not self.token:
            raise ValueError("the opinion is of the vector that is a token: domain.opinion needs domain.token")
        return self


class TrainingSpec(_Strict):
    """How it learns."""

    epochs: int = Field(12, ge=1)
    min_steps: int = Field(0, ge=0)  # of the optimiser: few cells are read in more epochs, until there are so many
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, ge=0)
    gene_dropout: float = Field(0.1, ge=0, lt=1)  # chance that a gene of a cell is not read
    balanced: bool = False  # whether every label weighs the same
    answers: float = Field(0.0, ge=0)  # weight of the loss that draws the class token towards the label's text
    precision: Precision = "fp32"  # of what is computed; bf16 is autocast
    recompute: bool = False  # keep hidden states between layers alone: less memory, a third more time
    seed: int = Field(0, ge=0)


class Preset(_Strict):
    """One way to make an interpreter."""

    schema_version: Literal[1] = 1
    name: str
    summary: str
    reader: ReaderSpec = ReaderSpec()
    genes: GeneTokens = GeneTokens()
    vectors: VectorsSpec = VectorsSpec()
    network: NetworkSpec = NetworkSpec()
    domain: DomainSpec | None = None
    training: TrainingSpec = TrainingSpec()

    @model_validator(mode="after")
    def _domain_where_needed(self) -> Self:
        if self.domain is None and self.genes.order == "above_usual":
            raise ValueError("the order above_usual needs a joint model (domain), or order genes by expression")
        return self


def preset_names() -> list[str]:
    """Return the names of the presets that come with the program."""
    return packaged_names(FOLDER)


def load_preset(name: str, *, changes: tuple[str, ...] = ()) -> Preset:
    """Read a preset and apply changes ``key=value`` with dotted keys, for instance ``genes.top_k=128``.

    Raises
    ------
    ConfigError
        If there is no such preset, it is no preset, or a change names no field or gives an impossible value.
    """
    return read_preset(name, Preset, folder=FOLDER, changes=changes, example="genes.top_k=128")


def absolute(path: str | None) -> str | None:
    """Return a path that an interpreter's folder can name wherever it is opened from; a hub id stays as it is."""
    return str(Path(path).resolve()) if path is not None and Path(path).exists() else path
