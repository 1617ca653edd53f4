"""``geo-atlas evaluate ...``: how good a model is, on labelled files of one's own and on evaluation corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import cell_options as cells
from cli import options
from cli.output import print_json, print_table, say

app = typer.Typer(no_args_is_help=True)

Label = Annotated[str, typer.Option("--label", help="Column of obs with the true labels.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")]
Draws = Annotated[int, typer.Option("--draws", min=1, help="Bootstrap draws.")]
_CONFUSED = 10  # largest confusions shown


@app.callback()
def _group() -> None:
    """Measure a model: zero-shot labels, retrieval, phrases, integration."""


@app.command("zero-shot")
def zero_shot(
    file: Annotated[Path, typer.Argument(help="h5ad file with labels in obs.")],
    label: Label = "cell_type",
    template: cells.Template = None,
    tissue: cells.Tissue = None,
    as_written: cells.AsWritten = False,
    input_kind: cells.InputKind = cells.Kind.auto,
    layer: cells.Layer = None,
    unit: cells.Unit = None,
    organism: cells.Organism = None,
    model_dir: cells.Model = None,
    seed: Seed = 0,
    draws: Draws = 1_000,
    as_json: options.Json = False,
) -> None:
    """Measure zero-shot labels on a labelled file: ROC-AUC, accuracy, F1, confusions, with 95 % intervals.

    Example: geo-atlas evaluate zero-shot my.h5ad --label cell_type
    """
    from indexer.evaluation.tables import zero_shot_json, zero_shot_rows
    from indexer.evaluation.zero_shot import evaluate_file

    report = evaluate_file(
        file, label=label, model=cells.load_model(model_dir), templates=tuple(template or ()), tissue=tissue,
        as_written=as_written, input=input_kind.value, layer=layer, unit=cells.unit_of(unit), organism=organism,
        seed=seed, n_draws=draws,
    )  # fmt: skip
    for note in report.scores.reading.notes:
        say(note)
    if report.n_without_label or report.n_without_signal:
        say(f"Left out: {report.n_without_label:,} rows without a label, {report.n_without_signal:,} without signal.")
    if as_json:
        print_json(zero_shot_json(report))
        return
    labels, figures, confused = zero_shot_rows(report, n_confused=_CONFUSED)
    print_table(("label", "read as", "n", "ROC-AUC", "recall", "precision", "most taken for"), labels)
    asked = report.as_asked
    print_table(
        ("measure", "as asked", "labels as written", "set-centred"),
        figures,
        title=f"\n{asked.n:,} rows, {asked.n_labels} labels, seed {seed}, model {report.scores.model_hash[:12]}",
    )
    print_table(("true", "taken for", "rows"), confused, title="\nLargest confusions")
