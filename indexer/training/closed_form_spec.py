"""What the closed form is told; a part of a preset."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from atlas.model.config import Gate


class ClosedFormSpec(BaseModel):
    """Recipe of :func:`indexer.training.closed_form.closed_form`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    libraries: tuple[str, ...] = Field(min_length=1)  # gene sets of tissues, cells and cell lines
    signatures: tuple[str, ...] = ()  # signed ones: what goes up and down in a disease
    dim: int = Field(512, ge=2)
    power: float = Field(1.5, gt=0, le=8)  # a gene weighs its height above the usual to this power
    clip: float = Field(8.0, gt=0)
    detected_only: bool = True  # genes that a sample does not show weigh nothing
    usual_in_panel: float | None = Field(1.0, gt=0)  # usual levels are ranked anew among the genes measured
    min_genes: int = Field(1, ge=1)  # of the model's genes, a sample to be embedded must have measured so many
    components: int = Field(300, ge=1)  # directions of the samples' weights that are told apart
    ridge: float = Field(1.0, gt=0)  # trace of the ridge; that of the samples' second moment is 1
    spectrum: float = Field(1.0, ge=0, le=1)  # how much of the singular values the genes take
    borrowed: float = Field(0.3, ge=0)  # what a set takes over from sets of nearly the same name
    neighbours: int = Field(20, ge=1)
    temperature: float = Field(0.05, gt=0)
    gate_of_signatures: Gate = Gate(weight=1.5, offset=0.05, slope=0.02)
    gate_of_samples: Gate = Gate(
        weight=1.0, offset=0.05, slope=0.02
    )  # one study's samples say less than a library's sets
    scale: float = Field(7.0, gt=0)  # times the cosine, before shares; 4 to 14 differ little
    max_samples: int = Field(4_000, ge=1)  # kept in memory: 4 bytes x 19,794 genes each
    seed: int = Field(0, ge=0)
