"""What an interpreter is, as data: ``config.json`` of its folder, read back and checked.

In: JSON text. Out: one frozen :class:`InterpreterConfig`. The folder holds what was learned; the reader's own weights are
named by source and fingerprint and never copied.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from atlas.digests import sha256_json
from atlas.errors import ArtifactError
from atlas.model.config import LoraRecord, Source

SCHEMA_VERSION: Literal[2] = 2
StrengthForm = Literal["none", "direction", "numbers"]
GeneOrder = Literal["expression", "above_usual"]
Precision = Literal["fp32", "bf16"]
Quantised = Literal["8bit", "4bit"]
PAPER_INSTRUCTION = "what is the cell type of this given embedding?"
_PLACED = ("reader", "domain")  # which tell where they lie; that may change
AGAIN = "Restore the folder from a copy, or train the interpreter again (geo-atlas interpreter train)."
"""What to do with a folder whose files are damaged or mixed."""

_Sha256 = Annotated[str, Field(min_length=64, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReaderConfig(_Strict):
    """The frozen language model.

    Attributes
    ----------
    source
        Folder or hub id; ``None``: the packaged MiniLM.
    fingerprint
        Of configuration, weights and tokenizer.
    width
        Length of one of its tokens.
    precision, quantised
        How its weights are held while it reads; quantised ones need the library bitsandbytes and a GPU.
    adapter
        Low-rank changes, which the papers do not have; ``None``: every weight is as it came.
    """

    source: Source | None = None
    fingerprint: _Sha256
    width: int = Field(ge=1)
    precision: Precision = "fp32"
    quantised: Quantised | None = None
    adapter: LoraRecord | None = None


class GeneTokens(_Strict):
    """Which genes of a cell are read, and in which order.

    Attributes
    ----------
    top_k
        Most genes a cell.
    order
        ``expression``: by expression, as in the papers; ``above_usual``: by how far a gene stands above its usual level (the
        domain model's weights), which leaves out what every cell expresses.
    strength
        How a token says how strong its gene is. ``none``: by position alone, as in the papers; ``direction``: one learned
        direction is added to the token; ``numbers``: numbers beside the gene's vector
        (:func:`atlas.interpreter.network.strength_numbers`), so that what a gene means may change with its strength.
    """

    top_k: int = Field(64, ge=1, le=8192)
    order: GeneOrder = "above_usual"
    strength: StrengthForm = "none"


class DomainModel(_Strict):
    """The joint model whose vector of the cell is one more token (scReader), and whose weights may order the genes.

    Attributes
    ----------
    source
        Its folder; ``None``: the packaged model.
    hash
        Of the model, see :func:`atlas.model.checkpoint.model_hash`.
    dim
        Length of its vectors.
    token
        Whether the vector is a token; if not, the model orders genes alone.
    opinion
        Whether the logits start from how well the labels' texts fit the vector, see :class:`atlas.interpreter.network.Opinion`.
    """

    source: str | None = None
    hash: _Sha256
    dim: int = Field(ge=1)
    token: bool = True
    opinion: bool = False


class NetworkConfig(_Strict):
    """What learns.

    Attributes
    ----------
    gene_dim
        Length of a gene's vector.
    hidden
        Length between the two layers of a projection.
    instruction
        Read after the genes.
    dropout
        Chance that a number is left out while learning: inside projections and before the head.
    domain_noise
        Noise on the domain vector while learning, in units of the spread of the cells' vectors.
    answers
        Whether learning also pulled the class token towards the label's own text, so that labels never learned can be asked
        for (:mod:`atlas.interpreter.answers`).
    words
        Whether an answer is the mean of what the head says and of how well the class token fits the labels' texts: encoders that
        learned with ``answers``. A causal reader would have to read a cell once a label.
    """

    gene_dim: int = Field(ge=1)
    hidden: int = Field(384, ge=1)
    instruction: str = Field(PAPER_INSTRUCTION, min_length=1, max_length=2_000)
    dropout: float = Field(0.1, ge=0, lt=1)
    domain_noise: float = Field(0.0, ge=0)
    answers: bool = False
    words: bool = False


class GeneVectorsRecord(_Strict):
    """Where the vectors of genes came from.

    Attributes
    ----------
    kind
        ``descriptions`` (texts of genes through a sentence encoder), ``symbols`` (the symbol alone), ``table`` (the gene table
        of a joint model), ``endpoint`` (an OpenAI-compatible service), ``random``.
    encoder
        Name and fingerprint of what embedded them, or the model of the endpoint.
    """

    kind: Literal["descriptions", "symbols", "table", "endpoint", "random"]
    encoder: str


class InterpreterConfig(_Strict):
    """Everything about an interpreter that is not a tensor."""

    schema_version: Literal[2] = SCHEMA_VERSION
    preset: str
    labels: tuple[str, ...] = Field(min_length=2)
    organisms: tuple[str, ...] = Field(min_length=1)  # it learned from
    reader: ReaderConfig
    genes: GeneTokens
    vectors: GeneVectorsRecord
    network: NetworkConfig
    domain: DomainModel | None = None
    vocabulary: _Sha256  # of the organisms and ids of genes.parquet, in order
    libraries: dict[str, str] = {}
    tensors: str = ""  # sha256 of interpreter.safetensors
    seal: str = ""  # sha256 of all else that is told here, but for where reader and joint model lie

    @field_validator("labels")
    @classmethod
    def _each_once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels):
            raise ValueError("a label is there twice")
        return labels


def read_config(path: Path) -> InterpreterConfig:
    """Read ``config.json``.

    Raises
    ------
    ArtifactError
        ``missing``; ``incompatible`` for another schema version; ``corrupt`` for anything else.
    """
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"There is no interpreter in {path.parent}: config.json is missing. Make one with geo-atlas interpreter train.",
            kind="missing",
            details={"path": str(path)},
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. {AGAIN}", kind="corrupt") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ArtifactError(
            f"The interpreter in {path.parent} has schema version {version!r}; this geo-atlas reads {SCHEMA_VERSION}. "
            "Train it again, or use the geo-atlas that wrote it.",
            kind="incompatible",
            details={"seen": version, "expected": SCHEMA_VERSION},
        )
    try:
        config = InterpreterConfig.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ArtifactError(
            f"{path} is no configuration of an interpreter: {problems}. {AGAIN}", kind="corrupt"
        ) from error
    if config.seal != _seal(raw):
        raise ArtifactError(f"{path} was changed since it was written. {AGAIN}", kind="corrupt")
    return config


def config_json(config: InterpreterConfig) -> str:
    """Return the text of ``config.json``, sealed; equal configurations give equal bytes."""
    told = config.model_dump(mode="json")
    return json.dumps({**told, "seal": _seal(told)}, indent=2, ensure_ascii=False) + "\n"


def _seal(told: dict[str, Any]) -> str:
    """Return the seal of what is told: of the text itself, so that fields of later days break none."""
    parts = {name: {key: one for key, one in (told.get(name) or {}).items() if key != "source"} for name in _PLACED}
    return sha256_json({**{name: one for name, one in told.items() if name != "seal"}, **parts})
