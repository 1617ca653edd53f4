"""``geo-atlas interpreter train | predict | evaluate``: a frozen language model reads cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlas.errors import ConfigError, InputError
from cli import cell_options as cells
from cli import options
from cli.output import RichProgress, print_json, print_table, say

if TYPE_CHECKING:
    from indexer.interpreter.presets import Preset

app = typer.Typer(no_args_is_help=True)

Label = Annotated[str, typer.Option("--label", help="Column of obs with the labels.")]
PresetName = Annotated[
    str, typer.Option("--preset", help="starter, two-species, scinterpreter-paper, screader-paper, or a .json file.")
]
Change = Annotated[
    list[str] | None, typer.Option("--set", help="Change of the preset, e.g. genes.top_k=128; repeatable.")
]
Reader = Annotated[
    str | None, typer.Option("--reader", help="Folder or hub id of a language model (default: the packaged MiniLM).")
]
Texts = Annotated[
    Path | None,
    typer.Option(
        "--gene-texts", help="Table of gene descriptions: ensembl_id, symbol, organism, text (default: packaged)."
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda (default: the processor).")]


@app.callback()
def _group() -> None:
    """Let a frozen language model read cells: train, predict, evaluate."""


@app.command()
def train(
    files: Annotated[list[Path], typer.Argument(help="Labelled h5ad files, of one species or two.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new interpreter.")],
    label: Label = "cell_type",
    preset: PresetName = "starter",
    change: Change = None,
    reader: Reader = None,
    gene_texts: Texts = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an interpreter that is there.")] = False,
    layer: cells.Layer = None,
    unit: cells.Unit = None,
    organism: cells.Organism = None,
    device: Device = None,
    as_json: options.Json = False,
) -> None:
    """Train on labelled cells. The same command after a stop goes on where it was.

    Example: geo-atlas interpreter train my.h5ad --label cell_type --out my-interpreter
    """
    from atlas.settings import load_settings
    from indexer.interpreter.making import own_labels, train_interpreter

    told = _preset(preset, change, reader=reader, gene_texts=gene_texts)
    made, read = train_interpreter(
        files, out, preset=told, label=label, layer=layer, unit=cells.unit_of(unit), organism=organism, force=force,
        settings=load_settings(), device=_device(device), progress=RichProgress(),
    )  # fmt: skip
    for note in read.notes:
        say(note)
    right = own_labels(made, read)
    say(
        f"Of the cells it learned from, {right:.0%} get their own label; of others, fewer (geo-atlas interpreter evaluate)."
    )
    if as_json:
        print_json(
            {
                "path": str(out),
                "labels": made.labels,
                "n_cells": len(read),
                "left_out": read.left_out,
                "hash": made.hash,
            }
        )
    say(
        f"Wrote {out}: {len(made.labels)} labels, learned from {len(read):,} cells. "
        f"Use it: geo-atlas interpreter predict {out} FILE"
    )


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="Folder of an interpreter.")],
    file: Annotated[Path, typer.Argument(help="h5ad file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write: label, probabilities, embedding.")],
    ask: Annotated[
        Path | None, typer.Option("--ask", help="Texts, one a line, to be scored beside the learned labels.")
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option("--reader", help="Folder or hub id of the language model now, if it was moved since training."),
    ] = None,
    domain: Annotated[
        Path | None, typer.Option("--domain", help="Where the joint model is now, if it was moved since training.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    layer: cells.Layer = None,
    unit: cells.Unit = None,
    organism: cells.Organism = None,
    device: Device = None,
    as_json: options.Json = False,
) -> None:
    """Say of every cell which type it is, how sure, and where it lies among the others.

    Example: geo-atlas interpreter predict my-interpreter my.h5ad --out cells.parquet
    """
    from collections import Counter

    from atlas.cells.output import refuse_target
    from atlas.interpreter.interpreter import Interpreter
    from atlas.interpreter.output import write_interpretation
    from cli.label_file import read_labels

    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out} lies in the interpreter's own folder; give another --out.")
    refuse_target(out, force=force, inputs=(file, *(() if ask is None else (ask,))))
    texts = () if ask is None else tuple(dict.fromkeys(read_labels(ask)))
    made = Interpreter.load(
        folder, reader=reader or None, domain=None if domain is None else str(domain), device=_device(device)
    )
    read, reading = made.read(file, layer=layer, unit=cells.unit_of(unit), organism=organism)
    found = made.interpret(read, notes=reading.notes)
    shares = made.ask(read, texts) if texts else None
    if len(texts) == 1:
        say("One text alone has the share 1 in every cell: shares are among the texts. Ask for several.")
    for note in found.notes:
        say(note)
    write_interpretation(out, found, texts=texts, shares=shares, interpreter=made.hash, force=force)
    counts = Counter(one or "(not read)" for one in found.best)
    if as_json:
        print_json({"path": str(out), "n_rows": len(found.row_ids), "labels": dict(counts), "interpreter": made.hash})
    else:
        print_table(("label", "cells"), counts.most_common())
    say(f"Wrote {out}: {len(found.row_ids):,} cells.")


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled h5ad file.")],
    label: Label = "cell_type",
    donor: Annotated[
        str | None, typer.Option("--donor", help="Column of obs with donors, who are never split.")
    ] = None,
    preset: PresetName = "starter",
    change: Change = None,
    reader: Reader = None,
    gene_texts: Texts = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings with other seeds and folds.")] = 5,
    n_folds: Annotated[int, typer.Option("--folds", min=2, help="Folds of cells, or of donors.")] = 3,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Bootstrap draws.")] = 1_000,
    work: Annotated[
        Path | None, typer.Option("--work", help="Folder of what is done, so that a stop loses nothing.")
    ] = None,
    layer: cells.Layer = None,
    unit: cells.Unit = None,
    organism: cells.Organism = None,
    device: Device = None,
    as_json: options.Json = False,
) -> None:
    """Measure an interpreter on labelled cells beside GenePT, random gene vectors and log expression, on the same folds.

    Example: geo-atlas interpreter evaluate my.h5ad --label cell_type --donor donor
    """
    import tempfile

    from atlas.drafts import ready_folder
    from atlas.settings import load_settings
    from indexer.evaluation.tables import plain, show
    from indexer.interpreter import evaluate as measuring
    from indexer.interpreter.labelled_cells import expect_columns
    from indexer.interpreter.making import Ingredients

    told = _preset(preset, change, reader=reader, gene_texts=gene_texts)
    expect_columns([file], label=label, group=donor, layer=layer, unit=cells.unit_of(unit))
    with tempfile.TemporaryDirectory() as scratch:
        keep = Path(scratch) if work is None else ready_folder(work)
        ready = Ingredients.load(
            told, work=keep, settings=load_settings(), device=_device(device), progress=RichProgress()
        )
        one = measuring.read_set(
            file, ready, label=label, donor=donor, layer=layer, unit=cells.unit_of(unit), organism=organism
        )
        splits = measuring.by_folds(one, n_folds=n_folds)
        for note in (*one.cells.notes, *measuring.without_example(one, splits, seeds=range(seeds))):
            say(note)
        progress = RichProgress()
        found = {
            told.name: measuring.measure_interpreter(
                one, ready, splits, seeds=range(seeds), keep=keep, progress=progress
            )
        }
        found |= measuring.measure_floors(one, splits, seeds=range(seeds), keep=keep)
    figures = measuring.figures(found, n_draws=draws)
    better = measuring.against(found[told.name], {n: o for n, o in found.items() if n != told.name}, n_draws=draws)
    if as_json:
        print_json(plain({"n": len(one.cells), "labels": one.cells.labels, "left_out": one.cells.left_out, "seeds": seeds,
                          "folds": n_folds, "figures": figures, "better_by": better}))  # fmt: skip
        return
    rows = [(name, *(show(of[m]) for m in measuring.MEASURES), show(better.get(name))) for name, of in figures.items()]
    print_table(
        ("method", "accuracy", "precision, macro", "recall, macro", "F1, macro", f"{told.name} better by (F1)"), rows,
        title=f"{len(one.cells):,} cells, {len(one.cells.labels)} labels, {seeds} seeds, {n_folds} folds, 95 % intervals",
    )  # fmt: skip


def _preset(name: str, change: list[str] | None, *, reader: str | None, gene_texts: Path | None) -> Preset:
    from indexer.interpreter.presets import load_preset

    changes = list(change or ())
    changes += [] if reader is None else [f"reader.source={_quoted(reader)}"]
    changes += [] if gene_texts is None else [f"vectors.texts={_quoted(str(gene_texts))}"]
    return load_preset(name, changes=tuple(changes))


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)


def _device(asked: str | None) -> str | None:
    """Return the device asked for.

    Raises
    ------
    ConfigError
        If it is none there is.
    """
    if asked is None or asked == "cpu":
        return asked
    import torch

    known: Any = torch.cuda
    if asked != "cuda" or not known.is_available():
        raise ConfigError(
            f"The device {asked!r} is not here; expected cpu{', or cuda' if known.is_available() else ''}."
        )
    return asked
