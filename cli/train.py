"""``geo-atlas train``: train a joint model and write its folder."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlas.errors import ConfigError
from cli import options
from cli.output import RichProgress, print_json, print_table, say

if TYPE_CHECKING:
    from atlas.expression.genes import GeneMap
    from indexer.training.run import TrainingReport
    from indexer.training.sources.source import PairSource

app = typer.Typer()


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    data: Annotated[
        list[str],
        typer.Option("--data", help="KIND:PATH[=weight], KIND one of corpus, genesets, cells, profiles; repeatable."),
    ],
    preset: Annotated[str, typer.Option("--preset", help="Name of a preset, or a .json file.")] = "starter",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change of the preset, e.g. loss.jsd=0.5; repeatable.")
    ] = None,
    fold: Annotated[
        str | None, typer.Option("--fold", help="K/N: hold out fold K (from 1) of N folds of studies.")
    ] = None,
    text_tower: Annotated[
        str | None, typer.Option(help="Folder or hub id of a text encoder, or minilm for the packaged one.")
    ] = None,
    transcriptome: Annotated[
        Path | None, typer.Option(help="Model folder to start from, or folder of Geneformer weights.")
    ] = None,
    exclude_series: Annotated[list[str] | None, typer.Option(help="Series never to learn from; repeatable.")] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out-library", help="Gene-set library never to learn from; repeatable.")
    ] = None,
    check_against: Annotated[
        list[Path] | None,
        typer.Option(
            help="h5ad file that will be measured on; training data that share rows with it are refused; repeatable."
        ),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", help="Column of obs with the labels of cells and profiles.")
    ] = "cell_type",
    tissue: Annotated[str | None, typer.Option(help="Column of obs with the tissue of cells and profiles.")] = None,
    study: Annotated[str | None, typer.Option(help="Column of obs with the study of cells and profiles.")] = None,
    donor: Annotated[str | None, typer.Option(help="Column of obs with the donor of cells and profiles.")] = None,
    organism: Annotated[str, typer.Option(help="human or mouse: of all files.")] = "human",
    max_steps: Annotated[
        int | None, typer.Option(min=0, help="Optimiser steps (default: the preset's; 0: the closed form alone).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all that is drawn (default: the preset's).")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Folder of kept features, which runs may share (default: in --out).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    as_json: options.Json = False,
) -> None:
    """Train a joint model and write its folder. Run the same command again with --resume to go on after a stop.

    Example: geo-atlas train --preset starter --data genesets:libraries=1 --data corpus:human_gene_v2.6.h5=1 --out my-model
    """
    from indexer.training.data import DataOptions, DataSpec, open_sources
    from indexer.training.hold_out import split_rows
    from indexer.training.job import Job
    from indexer.training.presets import load_preset
    from indexer.training.record import check_folder
    from indexer.training.run import train as run
    from indexer.training.towers import open_base

    _check_device(device)
    specs, k_of_n = [DataSpec.parse(text) for text in data], _fold(fold)
    told = load_preset(preset, changes=_changes(change, text_tower=text_tower, transcriptome=transcriptome, seed=seed))
    check_folder(out, preset=told, resume=resume)
    base = open_base(told)
    if organism not in base.genes.organisms:
        known = ", ".join(sorted(set(base.genes.organisms)))
        raise ConfigError(f"--organism {organism}: the model that training starts from has genes of {known}.")
    reading = DataOptions(
        tuple(exclude_series or ()), tuple(leave_out or ()), label, tissue, study, donor, organism, told.sampling.augment
    )  # fmt: skip
    sources = open_sources(specs, genes=base.genes, options=reading)
    rows = split_rows(
        [source for source, _ in sources], fold=k_of_n, n_validation=told.validation.n_items, seed=told.seed
    )
    facts: dict[str, Any] = reading.left_out()
    if check_against:
        facts["checked_against"] = _refuse_shared(
            [source for source, _ in sources], check_against, genes=base.genes, organism=organism
        )
    job = Job(
        told, sources, rows.with_facts(**facts), out, base=base, max_steps=max_steps, device=device, features=features
    )
    _show(run(job, resume=resume, progress=RichProgress()), as_json=as_json)


def _refuse_shared(
    sources: Sequence[PairSource], files: Sequence[Path], *, genes: GeneMap, organism: str
) -> dict[str, Any]:
    """Refuse data that share rows with files to be measured on; say what was compared."""
    from indexer.training.leakage import refuse_shared

    compared = refuse_shared(sources, files, genes=genes, organism=organism)
    rows = sum(one["n_rows"] for one in compared["files"])
    say(f"Nothing shared: {compared['n_items']:,} items compared with {rows:,} rows of {len(files)} files.")
    if compared["n_too_few_genes"]:
        say(
            f"{compared['n_too_few_genes']:,} pairs of an item and a file share too few genes and were compared by name alone."
        )
    for source, name, study in compared["same_studies"]:
        say(f"{source} and {name} both have the study {study}; no row is the same.")
    return compared


def _show(report: TrainingReport, *, as_json: bool) -> None:
    """Print what a run did."""
    if as_json:
        print_json({**dataclasses.asdict(report), "model": str(report.model)})
        return
    figures = [(name, f"{report.started_with[name]:.3f}", f"{value:.3f}") for name, value in report.ended_with.items()]
    if figures:
        print_table(("held-out pairs", "before", "after"), figures, title=f"Retrieval among {report.n_pool} pairs")
    say(f"Wrote {report.model}: {report.n_steps:,} steps, {report.chosen} was best.")


def _changes(
    given: list[str] | None, *, text_tower: str | None, transcriptome: Path | None, seed: int | None
) -> list[str]:
    """Return the options that stand for changes of the preset, the explicit ones last."""
    changes = []
    if text_tower == "minilm":
        changes += ["text.tower=minilm", "text.source=null", "text.pooling=mean"]
    elif text_tower is not None:
        changes += ["text.tower=encoder", f"text.source={json.dumps(text_tower)}"]
    if transcriptome is not None:
        changes.append(f"transcriptome.source={json.dumps(str(transcriptome))}")
    if seed is not None:
        changes.append(f"seed={seed}")
    return changes + list(given or ())


def _check_device(device: str | None) -> None:
    if device not in (None, "cpu", "cuda"):
        raise ConfigError(f"--device {device}: expected cpu or cuda.")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ConfigError(
                "--device cuda: there is no GPU that torch can use here. Leave --device away, or say cpu."
            )


def _fold(text: str | None) -> tuple[int, int] | None:
    """Read ``K/N``."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    first, n = (int(part) for part in match.groups()) if match else (0, 0)
    if not (1 <= first <= n and n >= 2):
        raise ConfigError(f"--fold {text}: expected K/N with K from 1 to N and N of 2 or more, for instance 1/5.")
    return first, n
