"""Presets: everything a run of training is told, as data.

In: a name among :func:`preset_names` or a JSON file, and changes ``key=value``. Out: one frozen :class:`Preset`. The files lie in
``indexer/training/presets``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from atlas.errors import ConfigError
from indexer.training.closed_form_spec import ClosedFormSpec
from indexer.training.retrieval import METRICS

_SCHEMA_VERSION: Literal[1] = 1
_FOLDER = "indexer.training"
Told = TypeVar("Told", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSpec(_Strict):
    """Low-rank adapter of a text tower."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("query", "value")  # ends of the names of linear layers


class TextSpec(_Strict):
    """The text tower and its head."""

    tower: Literal["minilm", "encoder"] = "minilm"
    source: str | None = None  # folder or hub id of an encoder
    revision: str | None = None
    pooling: Literal["mean", "cls", "pooler"] = "mean"
    max_tokens: int = Field(128, ge=3)  # of an encoder; the packaged MiniLM reads 256
    adapter: LoraSpec | None = (
        None  # how an unlocked tower changes; null: all of its weights (never of the packaged MiniLM)
    )
    head: Literal["memory", "projection"] = "projection"
    memory_keys: bool = True  # of a memory head: learn a matrix before the names are compared
    memory_values: bool = True  # of a memory head: learn the vectors of the gene sets
    memory_dropout: float = Field(0.0, ge=0, lt=1)  # of a memory head: chance that a set is out of sight in training
    templates: tuple[str, ...] = Field(("{x}",), min_length=1)

    @model_validator(mode="after")
    def _source_fits(self) -> Self:
        if self.tower == "encoder" and self.source is None:
            raise ValueError("the tower 'encoder' needs a source (--text-tower FOLDER or hub id)")
        if self.tower == "minilm" and self.source is not None:
            raise ValueError("the packaged tower 'minilm' has no source; use the tower 'encoder'")
        if self.tower == "minilm" and self.pooling != "mean":
            raise ValueError(
                "the packaged tower 'minilm' pools by the mean (text.pooling=mean); use the tower 'encoder'"
            )
        return self


class TranscriptomeSpec(_Strict):
    """The transcriptome tower and its head."""

    tower: Literal["gene_text", "geneformer"] = "gene_text"
    source: str | None = (
        None  # gene_text: model folder to start from (null: the packaged one); geneformer: folder of weights
    )
    layer: int = -2
    pooling: Literal["mean", "cls"] = "mean"
    head: Literal["projection"] | None = None

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if self.tower == "gene_text" and self.head is not None:
            raise ValueError("the tower 'gene_text' has no head: its table is learned itself")
        return self


class LossSpec(_Strict):
    """Shares of the losses, and the temperature."""

    clip: float = Field(1.0, ge=0)
    jsd: float = Field(0.0, ge=0)
    siglip: float = Field(0.0, ge=0)
    scale: float = Field(1 / 0.07, ge=1)  # one over the temperature
    max_scale: float = Field(100.0, ge=1)
    learnable_scale: bool = True
    equal_texts: Literal["negatives", "ignored"] = "negatives"
    anchor: float = Field(
        0.0, ge=0
    )  # pull of what starts from a closed form back to it: share of squared relative distance

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not self.clip + self.jsd + self.siglip > 0:
            raise ValueError("one of clip, jsd and siglip must weigh more than 0")
        return self


class OptimiserSpec(_Strict):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-4, gt=0)
    tower_learning_rate: float | None = Field(None, gt=0)  # of the towers; null: the same
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    final_fraction: float = Field(0.0, ge=0, le=1)  # of the learning rate, at the last step
    frozen_fraction: float = Field(0.0, ge=0, lt=1)  # towers stay frozen this share of the steps, then warm up as well
    max_grad_norm: float = Field(0.0, ge=0)  # 0: no clipping

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.warmup_steps and self.warmup_fraction:
            raise ValueError("give warmup_steps or warmup_fraction, not both")
        return self


class BatchSpec(_Strict):
    """How many pairs meet in a step.

    With ``cached_gradients`` the ``size * accumulation`` pairs of a step are one batch, every other one a negative; the towers
    still see ``size`` of them at a time. Without, each ``size`` pairs have only each other.
    """

    size: int = Field(64, ge=2)
    accumulation: int = Field(1, ge=1)
    cached_gradients: bool = False


class SamplingSpec(_Strict):
    """How items are drawn."""

    sample_weights: bool = True  # weights of the sources' items enter the loss
    density: bool = False  # samples, cells and profiles weigh by how rare their expression is
    caption_replicates: bool = True  # draw one of an item's captions; otherwise the first
    augment: bool = True


class ValidationSpec(_Strict):
    """How the best checkpoint is found."""

    n_items: int = Field(100, ge=0)  # held-out pairs of distinct texts; 0: none, and the last checkpoint is the model
    times: int = Field(10, ge=1)  # evaluations in a run
    choose_by: str = "text_to_transcriptome_R@10"

    @model_validator(mode="after")
    def _known_metric(self) -> Self:
        if self.choose_by not in METRICS:
            raise ValueError(f"choose_by is {self.choose_by!r}, expected one of {', '.join(METRICS)}")
        return self


class Preset(_Strict):
    """One way to train."""

    schema_version: Literal[1] = _SCHEMA_VERSION
    name: str
    summary: str
    dim: int = Field(2048, ge=2)  # of the joint space; a gene_text tower brings its own
    closed_form: ClosedFormSpec | None = None  # make what gene_text and its memory start from out of the data itself
    transcriptome: TranscriptomeSpec = TranscriptomeSpec()
    text: TextSpec = TextSpec()
    locking: Literal["LU", "UL", "UU", "LL"] = "LU"
    loss: LossSpec = LossSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    batch: BatchSpec = BatchSpec()
    epochs: float = Field(4.0, gt=0)  # passes over the training pairs, unless max_steps is given
    max_steps: int | None = Field(None, ge=0)  # 0: the closed form is the model
    sampling: SamplingSpec = SamplingSpec()
    validation: ValidationSpec = ValidationSpec()
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on a GPU that has it
    seed: int = Field(0, ge=0)


def preset_names() -> list[str]:
    """Return the names of the presets that come with the program."""
    return packaged_names(_FOLDER)


def packaged_names(folder: str) -> list[str]:
    """Return the names of the presets below a package of ours."""
    found = files(folder).joinpath("presets")
    return sorted(path.name.removesuffix(".json") for path in found.iterdir() if path.name.endswith(".json"))


def load_preset(name: str, *, changes: Sequence[str] = ()) -> Preset:
    """Read a preset and apply changes.

    Parameters
    ----------
    name
        One of :func:`preset_names`, or the path of a JSON file.
    changes
        ``key=value`` with dotted keys, for instance ``loss.jsd=0.5``; values are JSON where they parse as such, else text.

    Raises
    ------
    ConfigError
        If there is no such preset, it is no preset, or a change names no field or gives an impossible value.
    """
    return read_preset(name, Preset, folder=_FOLDER, changes=changes)


def read_preset(
    name: str, schema: type[Told], *, folder: str, changes: Sequence[str] = (), example: str = "loss.jsd=0.5"
) -> Told:
    """Read a preset of any schema; see :func:`load_preset`. ``folder`` is the package that its kind lies in."""
    raw = _read(name, folder=folder)
    for change in changes:
        _apply(raw, change, example=example)
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(
            _problem(one["loc"], one["type"], one["msg"], schema=schema) for one in error.errors(include_url=False)
        )
        raise ConfigError(f"The preset {name} cannot be used: {problems}.") from error


def _problem(place: tuple[int | str, ...], kind: str, message: str, *, schema: type[BaseModel]) -> str:
    """Return what is wrong at a place of a preset; of a field that there is not, those that there are."""
    if kind == "extra_forbidden":
        section: type[BaseModel] | None = schema
        for name in place[:-1]:
            field = None if section is None else section.model_fields.get(str(name))
            section = None if field is None else _section(field.annotation)
        if section is not None:
            message = f"there is no such field, expected one of {', '.join(sorted(section.model_fields))}"
    if kind in ("model_type", "dict_type"):
        message = "this is a section of several fields; change one of them, for instance " + ".".join(
            map(str, (*place, "field=value"))
        )
    where = ".".join(map(str, place))
    message = message.removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, also where it may hold nothing."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _read(name: str, *, folder: str) -> dict[str, Any]:
    packaged, names = files(folder).joinpath("presets", f"{name}.json"), packaged_names(folder)
    try:
        if name in names:
            text = packaged.read_text(encoding="utf-8")
        elif name.endswith(".json"):
            text = Path(name).read_text(encoding="utf-8")
        else:
            raise ConfigError(
                f"There is no preset {name!r}; expected one of {', '.join(names)}, or the path of a .json file.",
                details={"seen": name, "expected": names},
            )
        raw = json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"The preset {name} cannot be read: {error}.") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"The preset {name} is no JSON object.")
    return raw


def _apply(raw: dict[str, Any], change: str, *, example: str) -> None:
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"{change!r} is no change of a preset; expected key=value, for instance {example}.")
    *path, last = key.split(".")
    section = raw
    for part in path:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{change!r}: {part} is no section of a preset.")
    try:
        section[last] = json.loads(value)
    except json.JSONDecodeError:
        section[last] = value
