"""``geo-atlas evaluate ...``: how good a model is, on labelled files of one's own and on evaluation corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.drafts import draft_of
from atlas.errors import ConfigError
from cli import cell_options as cells
from cli import options
from cli.output import print_json, print_table, print_text, say

app = typer.Typer(no_args_is_help=True)

Label = Annotated[str, typer.Option("--label", help="Column of obs with the true labels.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")]
Draws = Annotated[int, typer.Option("--draws", min=1, help="Bootstrap draws.")]
Data = Annotated[
    Path, typer.Option("--data", help="Folder with evaluation/*.h5ad and corpora/counts.h5, corpora/tpm.h5.")
]
Folds = Annotated[
    list[Path] | None,
    typer.Option("--fold-models", help="Model trained without one fold of studies, as its record says; repeatable."),
]
Baselines = Annotated[
    list[str] | None, typer.Option("--baseline", help="NAME=DIR, a model folder to compare with; repeatable.")
]
Markers = Annotated[
    Path | None,
    typer.Option("--markers", help="Table of markers with the columns of PanglaoDB, for the marker baseline."),
]
BY_HAND = "<!-- by hand -->"
_CONFUSED = 10  # largest confusions shown

GeneSets = Annotated[
    Path | None,
    typer.Option("--gene-sets", help="Folder of GMT libraries of cells and tissues, for the dictionary baseline."),
]


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
    cells.show_tissues(report.scores.row_texts)
    asked = report.as_asked
    print_table(
        ("measure", "as asked", "labels as written", "set-centred"),
        figures,
        title=f"\n{asked.n:,} rows, {asked.n_labels} labels, seed {seed}, model {report.scores.model_hash[:12]}",
    )
    print_table(("true", "taken for", "rows"), confused, title="\nLargest confusions")


@app.command("all")
def everything(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Markdown file to write; figures as JSON beside it.")],
    model_dir: cells.Model = None,
    without: Annotated[
        Path | None,
        typer.Option(
            "--without-model", help="Model by the same recipe that saw nothing of the sets' origin: the headline."
        ),
    ] = None,
    fold_models: Folds = None,
    baseline: Baselines = None,
    markers: Markers = None,
    gene_sets: GeneSets = None,
    seed: Seed = 0,
    draws: Draws = 1_000,
    title: Annotated[str, typer.Option("--title", help="Heading of the page.")] = "Evaluation of the model",
) -> None:
    """Measure everything and write every table: bars, zero-shot labels, phrases, retrieval, integration.

    Of a page that is there, what stands below the line "<!-- by hand -->" is kept.

    Example: geo-atlas evaluate all --data evaluation-data --model my-model --out evaluation.md
    """
    from indexer.evaluation.measure import Request, measure_all
    from indexer.evaluation.page import page, report_json

    request = Request(
        data=data, model=cells.model_folder(model_dir), without=without, folds=tuple(fold_models or ()),
        others=named_folders(baseline), markers=markers, gene_sets=gene_sets, seed=seed, n_draws=draws,
    )  # fmt: skip
    measured = measure_all(request)
    parts = ["geo-atlas evaluate all --data DATA --model MODEL"]
    parts += ["--without-model WITHOUT"] if without else []
    parts += ["--fold-models FOLD" + " ..."] if fold_models else []
    parts += [f"--baseline {name}=DIR" for name in request.others]
    parts += ["--markers MARKERS"] if markers else []
    parts += ["--gene-sets SETS"] if gene_sets else []
    write_whole(out, f"# {title}\n\n" + page(measured, command=" ".join(parts)) + by_hand(out))
    write_whole(out.with_suffix(".json"), report_json(measured))
    say(f"Wrote {out} and {out.with_suffix('.json')}.")


@app.command()
def phrases(
    data: Data,
    model_dir: cells.Model = None,
    fold_models: Folds = None,
    baseline: Baselines = None,
    markers: Markers = None,
    gene_sets: GeneSets = None,
    seed: Seed = 0,
    draws: Draws = 1_000,
    as_json: options.Json = False,
) -> None:
    """Measure how well phrases find bulk samples: within folds of studies, against controls, in other words.

    Example: geo-atlas evaluate phrases --data evaluation-data
    """
    from indexer.evaluation.measure import Bench, Request
    from indexer.evaluation.page import phrase_sections
    from indexer.evaluation.phrase_tables import phrase_json
    from indexer.evaluation.tables import plain

    request = Request(
        data=data, model=cells.model_folder(model_dir), folds=tuple(fold_models or ()), others=named_folders(baseline),
        markers=markers, gene_sets=gene_sets, seed=seed, n_draws=draws,
    )  # fmt: skip
    tables = Bench.open(request).phrases(request)
    if as_json:
        print_json(plain(phrase_json(tables)))
    else:
        print_text("\n\n".join(phrase_sections(tables)))


@app.command()
def retrieval(
    data: Data,
    model_dir: cells.Model = None,
    fold_models: Folds = None,
    baseline: Baselines = None,
    markers: Markers = None,
    gene_sets: GeneSets = None,
    seed: Seed = 0,
    draws: Draws = 1_000,
    as_json: options.Json = False,
) -> None:
    """Measure how captions and bulk samples find each other, on pools without near-equal captions.

    Example: geo-atlas evaluate retrieval --data evaluation-data
    """
    from indexer.evaluation.measure import Bench, Request
    from indexer.evaluation.retrieval_tables import retrieval_table
    from indexer.evaluation.tables import nested, plain

    request = Request(
        data=data, model=cells.model_folder(model_dir), folds=tuple(fold_models or ()), others=named_folders(baseline),
        markers=markers, gene_sets=gene_sets, seed=seed, n_draws=draws,
    )  # fmt: skip
    found = Bench.open(request).retrieval(request)
    if as_json:
        print_json(plain(nested(found)))
    else:
        print_text(retrieval_table(found))


@app.command()
def integration(
    file: Annotated[Path, typer.Argument(help="h5ad file with labels and batches in obs.")],
    label: Label = "cell_type",
    batch: Annotated[str, typer.Option("--batch", help="Column of obs with the batches.")] = "batch",
    input_kind: cells.InputKind = cells.Kind.auto,
    layer: cells.Layer = None,
    unit: cells.Unit = None,
    organism: cells.Organism = None,
    model_dir: cells.Model = None,
    baseline: Baselines = None,
    seed: Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Measure how far the embedding of a file keeps labels together and mixes batches (scIB), beside components and chance.

    Example: geo-atlas evaluate integration my.h5ad --label cell_type --batch donor
    """
    from atlas.model.joint import JointModel
    from indexer.evaluation.integration_tables import integrate_file, integration_table
    from indexer.evaluation.tables import nested, plain

    found = integrate_file(
        file, label=label, batch=batch, model=cells.load_model(model_dir),
        others={name: JointModel.load(folder) for name, folder in named_folders(baseline).items()},
        input=input_kind.value, layer=layer, unit=cells.unit_of(unit), organism=organism, seed=seed,
    )  # fmt: skip
    if as_json:
        print_json(plain(nested(found)))
    else:
        print_text(integration_table(found))


def named_folders(given: list[str] | None) -> dict[str, Path]:
    """Read ``NAME=DIR`` options.

    Raises
    ------
    ConfigError
        If one is written otherwise.
    """
    found: dict[str, Path] = {}
    for text in given or ():
        name, sign, folder = text.partition("=")
        if not (name and sign and folder):
            raise ConfigError(f"--baseline {text!r} is not NAME=DIR, for example training-free=old-model.")
        found[name] = Path(folder)
    return found


def by_hand(path: Path) -> str:
    """Return what a person wrote below the line ``BY_HAND`` of a page, with the line; "" where there is none."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return "\n" + text[text.index(BY_HAND) :] if BY_HAND in text else ""


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all.

    Raises
    ------
    ResourceError
        If it cannot be written.
    """
    with draft_of(path) as draft:
        draft.write_text(text, encoding="utf-8")
