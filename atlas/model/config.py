"""The architecture of a model as data: ``config.json`` of a model folder, read back and checked.

In: JSON text. Out: one frozen :class:`ModelConfig`. A folder written under another schema version is refused before
anything else of it is looked at. What kind of head or tower a model has is told by one field (``kind``, ``tower``); the other
fields of that part belong to the kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from atlas.errors import ArtifactError

SCHEMA_VERSION: Literal[2] = 2
Pooling = Literal["mean", "cls", "pooler"]
_Sha256 = Annotated[str, Field(min_length=64, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CentreHead(_Strict):
    """Text vector minus the gene texts' mean, without their leading components; the joint space is the tower's own."""

    kind: Literal["centre"] = "centre"
    removed_components: int = Field(0, ge=0)  # leading components of the gene texts taken out of both towers


class Gate(_Strict):
    """How much a further group of gene sets adds to the first, group 0.

    ``weight * sigmoid((D - offset) / slope)``, where D is the cosine of the phrase with the nearest name of the group less that
    with the nearest of group 0.
    """

    weight: float = Field(1.0, gt=0)
    offset: float = 0.0
    slope: float = Field(0.05, gt=0)


class MemoryHead(_Strict):
    """Attention over the names of gene sets.

    ``q = normalise(x [@ A])``; weights = softmax(q . key / temperature) over the ``n_neighbours`` nearest names; the vector
    is the normalised weighted sum of those sets' own vectors. With gates, each group of sets is attended to by itself and the
    sums of the further groups are added in proportion.
    """

    kind: Literal["memory"] = "memory"
    n_terms: int = Field(ge=1)
    key_dim: int = Field(ge=1)
    n_neighbours: int = Field(10, ge=1)
    temperature: float = Field(0.05, gt=0)
    projected: bool = False  # whether the matrix A, (text dim x key_dim), is there
    gates: tuple[Gate, ...] = ()  # of groups 1, 2, ...; none: all sets are one group


class ProjectionHead(_Strict):
    """The paper's two-layer head: two-layer branch plus linear shortcut, layer norm, L2 norm; see ``atlas.model.projection``."""

    kind: Literal["projection"] = "projection"


TextHeadConfig = Annotated[CentreHead | MemoryHead | ProjectionHead, Field(discriminator="kind")]


class Source(_Strict):
    """Where the weights of a tower lie that are not packaged.

    Attributes
    ----------
    path
        A folder, absolute or relative to the model folder, or the id of a repository on the Hugging Face hub.
    revision
        Branch, tag or commit of that repository.
    """

    path: str = Field(min_length=1)
    revision: str | None = None


class LoraRecord(_Strict):
    """Low-rank changes of a text tower's linear layers: ``W + alpha / rank * B @ A``, merged on loading.

    The tensors ``adapter.<module>.a`` (rank x inputs) and ``adapter.<module>.b`` (outputs x rank) are in ``model.safetensors``.
    """

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    modules: tuple[str, ...] = Field(min_length=1)  # dotted names of the layers inside the encoder


class TextConfig(_Strict):
    """How a phrase becomes a vector: the tower's vectors of every template filled with it, averaged, through the head."""

    tower: str = "minilm"  # or "encoder": any Hugging Face encoder, found at `source`
    source: Source | None = None
    dim: int = Field(ge=1)  # of the tower, before the head
    fingerprint: _Sha256  # of weights, tokenizer, pooling and cut-off, without the adapter
    pooling: Pooling = "mean"
    max_tokens: int = Field(256, ge=3)  # longer texts are cut
    templates: tuple[str, ...] = Field(("{x}",), min_length=1)
    adapter: LoraRecord | None = None
    head: TextHeadConfig = CentreHead()

    @field_validator("templates")
    @classmethod
    def _one_blank_each(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if any(template.count("{x}") != 1 for template in templates):
            raise ValueError("each template holds the blank {x} exactly once")
        return templates

    @model_validator(mode="after")
    def _source_where_needed(self) -> Self:
        if (self.tower == "encoder") != (self.source is not None):
            raise ValueError("the tower 'encoder' needs a source, others have none")
        return self


class CellRecipe(_Strict):
    """How a single cell is read, where it differs from bulk.

    The value of a gene is ``log1p(share of the cell x target_sum / median)``, with the gene's median among the cells that
    express it, standardised over the genes the cell was measured for.
    """

    detected_below: float = Field(0.35, gt=0, le=1)  # a row with fewer of its measured genes above zero is a cell
    target_sum: float | None = Field(10_000, gt=0)  # null: values as they are
    signed: bool = True
    power: float = Field(1.0, gt=0, le=8)
    clip: float = Field(8.0, gt=0)


class GeneTextConfig(_Strict):
    """How a transcriptome becomes a vector: a weighted sum of the vectors of its genes."""

    tower: Literal["gene_text"] = "gene_text"
    n_rows: int | None = Field(None, ge=1)  # rows of the gene table where genes share them; null: each gene has its own
    standardisation: Literal["rank", "z"] = "rank"  # within a bulk sample, over its measured genes
    signed: bool = False  # whether genes below their usual level weigh too, negatively
    power: float = Field(2.5, gt=0, le=8)  # weight = size of the standardised expression to this power
    detected_only: bool = False  # whether genes that a sample does not show (value 0, or its floor) weigh nothing
    top_genes: int | None = Field(None, ge=1)  # keep only the strongest genes; null keeps all
    clip: float = Field(8.0, gt=0)  # largest standardised expression
    usual_in_panel: float | None = Field(
        None, gt=0
    )  # genes' means are ranked anew among the genes measured, times this
    by_deviation: bool = True  # whether a score's distance from the gene's mean is divided by the gene's deviation
    deviation_floor: float = Field(1.0, gt=0)  # smallest deviation of a gene; 1 is the spread of all genes in a sample
    shrinkage_studies: float = Field(2.0, ge=0)  # variance is shrunk to the median as if seen in this many more studies
    min_genes: int = Field(1, ge=1)  # a sample that shares fewer measured genes with the model is refused
    cells: CellRecipe | None = None  # null: single cells are read as bulk

    @property
    def weighs_negatively(self) -> bool:
        """Whether a gene may weigh negatively."""
        return self.signed or (self.cells is not None and self.cells.signed)


class GeneformerConfig(_Strict):
    """Geneformer: mean over the tokens of one hidden layer, then the head."""

    tower: Literal["geneformer"] = "geneformer"
    source: Source
    fingerprint: _Sha256  # of weights and dictionaries
    vocabulary: Literal["v1", "v2"]
    dim: int = Field(ge=1)  # of the tower, before the head
    layer: int = -2  # hidden state; -2 is the last but one
    pooling: Literal["mean", "mean_genes", "cls"] = "mean"  # over all tokens, those of genes alone, or the first
    max_length: int = Field(2_048, ge=3)
    min_genes: int = Field(1, ge=1)
    head: ProjectionHead | None = None  # null: the tower's vector, L2-normalised


TranscriptomeConfig = Annotated[GeneTextConfig | GeneformerConfig, Field(discriminator="tower")]


class StatisticsRecord(_Strict):
    """What the per-gene means and deviations were fitted on."""

    n_samples: int = Field(ge=1)
    n_studies: int = Field(ge=1)
    excluded_series: tuple[str, ...]
    sources: tuple[str, ...]  # sha256 of each file


class ModelConfig(_Strict):
    """Everything about a model that is not a tensor."""

    schema_version: Literal[2] = SCHEMA_VERSION
    dim: int = Field(ge=1)
    logit_scale: float | None = Field(None, gt=0)  # factor of the cosine learned in training; null: none was
    text: TextConfig
    transcriptome: TranscriptomeConfig
    statistics: StatisticsRecord | None = None  # null until `geo-atlas model fit-statistics` has run
    vocabulary: _Sha256 | None = None  # of the organisms and ids of genes.parquet, in order; filled in on writing
    libraries: dict[str, str] = {}  # what decides vectors -> version it was written with; filled in on writing

    @model_validator(mode="after")
    def _dimensions_agree(self) -> Self:
        if isinstance(self.text.head, CentreHead) and self.text.dim != self.dim:
            raise ValueError(f"the head 'centre' keeps the tower's {self.text.dim} dimensions, but dim is {self.dim}")
        tower = self.transcriptome
        if isinstance(tower, GeneformerConfig) and tower.head is None and tower.dim != self.dim:
            raise ValueError(
                f"without a head the transcriptome tower's {tower.dim} dimensions must be dim = {self.dim}"
            )
        return self


_TOWERS = {part.model_fields["tower"].default for part in get_args(get_args(TranscriptomeConfig)[0])}
_HEADS = {part.model_fields["kind"].default for part in get_args(get_args(TextHeadConfig)[0])}


def read_config(path: Path) -> ModelConfig:
    """Read ``config.json``.

    Raises
    ------
    ArtifactError
        ``missing``; ``incompatible`` for another schema version, tower or head; ``corrupt`` for anything else.
    """
    raw = _read_json(path)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ArtifactError(
            f"The model in {path.parent} has schema version {version!r}; this geo-atlas reads {SCHEMA_VERSION}. "
            f"{_advice(version)}",
            kind="incompatible",
            details={"seen": version, "expected": SCHEMA_VERSION},
        )
    _refuse_unknown(raw, part="transcriptome", key="tower", known=_TOWERS, folder=path.parent)
    text = raw.get("text")
    _refuse_unknown(text if isinstance(text, dict) else {}, part="head", key="kind", known=_HEADS, folder=path.parent)
    try:
        return ModelConfig.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ArtifactError(f"{path} is not a model configuration: {problems}.", kind="corrupt") from error


def config_json(config: ModelConfig) -> str:
    """Return the text of ``config.json``; equal configurations give equal bytes."""
    return json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"There is no model in {path.parent}: config.json is missing. Give a model folder (--model DIR).",
            kind="missing",
            details={"path": str(path)},
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}. Restore the model folder.", kind="corrupt") from error
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}. Restore the model folder.", kind="corrupt"
        ) from error


def _advice(version: object) -> str:
    if version == 1 and not isinstance(version, bool):
        return (
            "It was written by an earlier geo-atlas: use the packaged model (leave --model away), or make this one again "
            "(`geo-atlas train`, or `geo-atlas model fit-statistics` from the packaged one)."
        )
    return "Use a model written by this version, or the geo-atlas that wrote it."


def _refuse_unknown(raw: Mapping[str, Any], *, part: str, key: str, known: set[str], folder: Path) -> None:
    """Name an unknown kind as such, before the fields of a kind we do not know are called wrong."""
    section = raw.get(part)
    seen = section.get(key) if isinstance(section, dict) else None
    if isinstance(seen, str) and seen not in known:
        raise ArtifactError(
            f"The model in {folder} has the {part} {key} {seen!r}; this geo-atlas has {sorted(known)}. "
            "Use a geo-atlas that has it.",
            kind="incompatible",
            details={"seen": seen, "expected": sorted(known)},
        )
