"""The architecture of a model as data: ``config.json`` of a model folder, read back and checked.

In: JSON text. Out: one frozen :class:`ModelConfig`. A folder written under another schema version is refused before
anything else of it is looked at.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from atlas.errors import ArtifactError

SCHEMA_VERSION: Literal[1] = 1


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TextConfig(_Strict):
    """How a phrase becomes a vector.

    The vector is the mean of the tower's vectors of every template filled with the phrase, minus the gene table's centre,
    without its removed components, L2-normalised.
    """

    tower: str = "minilm"
    fingerprint: str = Field(min_length=64, max_length=64)  # sha256 of weights and tokenizer
    templates: tuple[str, ...] = Field(("{x}",), min_length=1)

    @field_validator("templates")
    @classmethod
    def _one_blank_each(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if any(template.count("{x}") != 1 for template in templates):
            raise ValueError("each template holds the blank {x} exactly once")
        return templates


class GeneTextConfig(_Strict):
    """How a transcriptome becomes a vector: a weighted mean of the vectors of its genes' descriptions."""

    tower: Literal["gene_text"] = "gene_text"
    standardisation: Literal["rank", "z"] = "rank"  # within a sample, over its measured genes
    power: float = Field(2.5, gt=0, le=8)  # weight = positive part of the standardised expression to this power
    top_genes: int | None = Field(None, ge=1)  # keep only the strongest genes; null keeps all positive ones
    clip: float = Field(8.0, gt=0)  # largest standardised expression
    deviation_floor: float = Field(1.0, gt=0)  # smallest deviation of a gene; 1 is the spread of all genes in a sample
    shrinkage_studies: float = Field(2.0, ge=0)  # variance is shrunk to the median as if seen in this many more studies
    removed_components: int = Field(0, ge=0)  # leading components of the gene texts taken out of both towers


class StatisticsRecord(_Strict):
    """What the per-gene means and deviations were fitted on."""

    n_samples: int = Field(ge=1)
    n_studies: int = Field(ge=1)
    excluded_series: tuple[str, ...]
    sources: tuple[str, ...]  # sha256 of each file


class ModelConfig(_Strict):
    """Everything about a model that is not a tensor."""

    schema_version: Literal[1] = SCHEMA_VERSION
    dim: int = Field(ge=1)
    text: TextConfig
    transcriptome: GeneTextConfig
    statistics: StatisticsRecord | None = None  # null until `geo-atlas model fit-statistics` has run


def read_config(path: Path) -> ModelConfig:
    """Read ``config.json``.

    Raises
    ------
    ArtifactError
        ``missing``; ``incompatible`` for another schema version or tower; ``corrupt`` for anything else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"There is no model in {path.parent}: config.json is missing. Give a model folder (--model DIR).",
            kind="missing",
            details={"path": str(path)},
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}. Restore the model folder.", kind="corrupt") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"The model in {path.parent} has schema version {version!r}; this geo-atlas reads {SCHEMA_VERSION}. "
            "Use a model written by this version, or the geo-atlas that wrote it.",
            kind="incompatible",
            details={"seen": version, "expected": SCHEMA_VERSION},
        )
    try:
        return ModelConfig.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ArtifactError(f"{path} is not a model configuration: {problems}.", kind="corrupt") from error


def config_json(config: ModelConfig) -> str:
    """Return the text of ``config.json``; equal configurations give equal bytes."""
    return json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
