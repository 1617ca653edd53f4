"""``geo-atlas label``: one command for two things that people call labelling, told apart by what is given.

The number of a cluster, or nothing: labels by hand (``cli.workspace``). A file: every row by texts (``cli.label_file``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.errors import ConfigError
from cli import cell_options as cells
from cli import options
from cli.label_file import LabelFile, label_file
from cli.workspace import label_cluster

app = typer.Typer()
_CLUSTER, _FILE = "A cluster", "A file"


@app.command()
def label(
    target: Annotated[
        str | None,
        typer.Argument(help="Number of a cluster, or an h5ad file; neither: list the edits.", show_default=False),
    ] = None,
    text: Annotated[str | None, typer.Argument(help="The cluster's label.", show_default=False)] = None,
    author: Annotated[str | None, typer.Option("--author", help="Who says so.", rich_help_panel=_CLUSTER)] = None,
    note: Annotated[str | None, typer.Option("--note", help="Why.", rich_help_panel=_CLUSTER)] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Show the machine's label of this cluster again.", rich_help_panel=_CLUSTER)
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="List every edit ever made.", rich_help_panel=_CLUSTER)
    ] = False,
    release: options.ReleaseName = None,
    home: options.Home = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Text file with one label a line.", rich_help_panel=_FILE)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Parquet file to write: rows x labels.", rich_help_panel=_FILE)
    ] = None,
    template: cells.Template = None,
    tissue: cells.Tissue = None,
    as_written: cells.AsWritten = False,
    input_kind: cells.InputKind = cells.Kind.auto,
    layer: cells.Layer = None,
    unit: cells.Unit = None,
    organism: cells.Organism = None,
    model_dir: cells.Model = None,
    cosine: Annotated[
        bool, typer.Option("--cosine", help="Write cosines, not their softmax over the labels.", rich_help_panel=_FILE)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.", rich_help_panel=_FILE)
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Label a cluster by hand, or score every row of an h5ad file by every label of a list.

    By hand, the machine's label, author and date are kept; without a number the edits are listed. Of a file, row ids are kept
    in their order, and what each label is read as is shown.

    Example: geo-atlas label 12 "Dilated heart muscle" --author Ada --note "troponin, TTN"

    Example: geo-atlas label my.h5ad --labels types.txt --out scores.parquet
    """
    if labels is None and out is None and (target is None or target.isascii() and target.isdigit()):
        label_cluster(
            None if target is None else int(target), text,
            author=author, note=note, remove=remove, history=history, release=release, home=home, as_json=as_json,
        )  # fmt: skip
        return
    if target is None or labels is None or out is None:
        raise ConfigError(
            "Give the number of a cluster, or an h5ad file with --labels FILE and --out FILE: "
            "geo-atlas label my.h5ad --labels types.txt --out scores.parquet."
        )
    label_file(
        LabelFile(
            file=Path(target), labels=labels, out=out, model=model_dir, templates=tuple(template or ()), tissue=tissue,
            as_written=as_written, kind=input_kind, layer=layer, unit=unit, organism=organism, cosine=cosine, force=force,
            as_json=as_json,
        )
    )  # fmt: skip
