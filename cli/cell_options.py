"""Options of the commands that read a person's own h5ad file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.resources import resource_path
from cli.output import print_table, say
from indexer.stage import Advance

if TYPE_CHECKING:
    from atlas.cells.row_texts import RowTexts
    from atlas.cells.scoring import ScoreBlock
    from atlas.expression.units import Unit as ExpressionUnit
    from atlas.model.joint import JointModel

_SHOWN = 20  # lines of what single tissues read otherwise
_TEXTS, _READING = "What labels are read as", "How a file of rows is read"  # panels of the help


class Kind(StrEnum):
    """What the rows are."""

    auto = "auto"
    bulk = "bulk"
    cells = "cells"


Template = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="Sentence with the blank {x}, or celltype, organ_tissue, disease, tissue (those of the paper); repeatable, "
        "averaged. Default: the bare label and two short sentences.",
        rich_help_panel=_TEXTS,
    ),
]
Tissue = Annotated[
    str | None,
    typer.Option(
        "--tissue",
        help='Where all rows are from; helps cleaning labels. Default: what obs says of each row, "": nothing.',
        rich_help_panel=_TEXTS,
    ),
]
AsWritten = Annotated[
    bool,
    typer.Option("--as-written", help="Take the labels as they are, without cleaning.", rich_help_panel=_TEXTS),
]
InputKind = Annotated[
    Kind,
    typer.Option("--input", help="What the rows are; auto: told from each row alone.", rich_help_panel=_READING),
]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        help="X, raw, or a layer. Default: the first of counts, raw and X that is there.",
        rich_help_panel=_READING,
    ),
]
Unit = Annotated[
    str | None,
    typer.Option("--unit", help="counts, tpm, fpkm or log2; default: as each row shows.", rich_help_panel=_READING),
]
Organism = Annotated[
    str | None,
    typer.Option("--organism", help="human or mouse; default: whose genes the names are.", rich_help_panel=_READING),
]
Model = Annotated[Path | None, typer.Option("--model", help="Model folder (default: the packaged one).")]


def load_model(folder: Path | None) -> JointModel:
    """Load the model a command asks for, or the packaged one."""
    from atlas.model.joint import JointModel

    return JointModel.load(model_folder(folder))


def model_folder(folder: Path | None) -> Path:
    """Return the model folder a command asks for, or the packaged one."""
    return folder or resource_path("starter/model")


def unit_of(text: str | None) -> ExpressionUnit | None:
    """Return the unit that was declared."""
    from atlas.expression.units import parse_unit

    return parse_unit(text) if text else None


def show_tissues(texts: RowTexts) -> None:
    """Show what rows of single tissues are read as, where a file names several."""
    lines = [(one.tissue, one.n_rows, label, text) for one in texts.by_tissue for label, text in one.texts.items()]
    if texts.n_tissues > 1 or lines:
        say(f"Labels are read by the tissue of each row; the file names {texts.n_tissues:,}.")
    if lines:
        print_table(("tissue", "rows", "label", "read as"), lines[:_SHOWN], title="\nOther in rows of a tissue")
    if len(lines) > _SHOWN:
        say(f"... and {len(lines) - _SHOWN:,} more; the file of scores names them all.")


def counted(blocks: Iterable[ScoreBlock], bar: Advance) -> Iterator[ScoreBlock]:
    """Pass blocks on and move the bar by their rows."""
    for block in blocks:
        yield block
        bar.advance(len(block.row_ids))
