"""``geo-atlas label``: a cluster by hand, or every row of a person's own file by texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.errors import ConfigError, InputError
from cli import cell_options as cells
from cli import options
from cli.output import RichProgress, print_json, print_table, say
from cli.workspace import label_cluster

if TYPE_CHECKING:
    from atlas.cells.rows import CellRows
    from atlas.cells.scoring import Reading
    from atlas.cells.texts import LabelTexts
    from atlas.model.joint import JointModel

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
    from atlas.cells.output import refuse_target
    from atlas.cells.rows import open_rows
    from atlas.cells.scoring import read_genes, tissue_of
    from atlas.cells.texts import label_texts

    refuse_target(out, force=force, inputs=(Path(target), labels))
    names, model = read_labels(labels), cells.load_model(model_dir)
    with open_rows(Path(target), layer=layer, unit=cells.unit_of(unit)) as rows:
        place = tissue_of(rows) if tissue is None else tissue or None
        texts = label_texts(names, templates=tuple(template or ()), tissue=place, as_written=as_written)
        reading = read_genes(rows, model=model, organism=organism)
        _show(reading, texts, as_json=as_json)
        if len(names) == 1 and not cosine:
            say("There is one label, so its share is 1 in every row: --cosine tells rows apart.")
        n_rows = _write(rows, texts, model=model, reading=reading, kind=input_kind, out=out, cosine=cosine, force=force)
    if as_json:
        print_json(
            {
                "path": str(out), "n_rows": n_rows, "labels": texts.labels, "texts": texts.texts,
                "templates": texts.templates, "tissue": texts.tissue, "model": model.hash,
                "repeated_row_ids": reading.repeated_ids,
            }
        )  # fmt: skip
    say(f"Wrote {out}: {n_rows:,} rows x {len(names):,} labels.")


def read_labels(path: Path) -> tuple[str, ...]:
    """Read one label a line; empty lines and lines that begin with # say nothing.

    Raises
    ------
    InputError
        If the file cannot be read as text, or holds no label.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # no other sign ends a line
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text; expected one label a line.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    names = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not names:
        raise InputError(f"{path} holds no label; expected one a line.")
    return names


def _show(reading: Reading, texts: LabelTexts, *, as_json: bool) -> None:
    for remark in reading.notes:
        say(remark)
    if not as_json:
        rows = zip(texts.labels, texts.texts, texts.rules, strict=True)
        print_table(("label", "read as", "rules"), ((one, read, ", ".join(rules)) for one, read, rules in rows))


def _write(
    rows: CellRows,
    texts: LabelTexts,
    *,
    model: JointModel,
    reading: Reading,
    kind: cells.Kind,
    out: Path,
    cosine: bool,
    force: bool,
) -> int:
    from atlas.cells.output import write_scores
    from atlas.cells.scoring import logit_scale_of, score_blocks

    organism = reading.coverage.organism
    blocks = score_blocks(rows, texts.embed(model), model=model, organism=organism, input=kind.value)
    with RichProgress()(reading.n_rows, "rows") as bar:
        return write_scores(
            out,
            cells.counted(blocks, bar),
            texts=texts,
            reading=reading,
            model_hash=model.hash,
            logit_scale=None if cosine else logit_scale_of(model),
            force=force,
        )
