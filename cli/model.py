"""``geo-atlas model fit-statistics | fetch | import``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from atlas.resources import resource_path
from cli.output import RichProgress, say

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Work on model folders."""


@app.command("fit-statistics")
def fit(
    counts: Annotated[list[Path], typer.Option("--counts", help="Expression file to fit on; repeatable.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    model_dir: Annotated[Path | None, typer.Option("--model", help="Model to start from (default: packaged).")] = None,
    exclude_series: Annotated[list[str] | None, typer.Option(help="Series not to fit on; repeatable.")] = None,
) -> None:
    """Fit gene means and deviations on expression files and write a model folder that carries them.

    Example: geo-atlas model fit-statistics --counts human_gene_v2.6.h5 --out my-model
    """
    from indexer.fit_statistics import fit_statistics

    base = model_dir or resource_path("starter/model")
    fit_statistics(base, tuple(counts), out=out, exclude_series=tuple(exclude_series or ()), progress=RichProgress())
    say(f"Wrote {out}. Build with it: geo-atlas build --model {out} ...")


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="geneformer-v1-6l, -v1-12l, -v2-104m, -v2-316m or biobert-v1.1.")],
    out: Annotated[Path | None, typer.Option("--out", help="New folder (default: ./NAME).")] = None,
    endpoint: Annotated[
        str, typer.Option("--endpoint", envvar="HF_ENDPOINT", help="Address of the model hub or of a mirror.")
    ] = "https://huggingface.co",
) -> None:
    """Download a published model, check every file against its sha256, and convert it where it needs to be.

    An interrupted download goes on where it stopped. Example: geo-atlas model fetch geneformer-v1-12l --out models/geneformer
    """
    from atlas.model.geneformer.fetching import fetch_model
    from atlas.model.hub import Hub
    from atlas.model.published import find_model

    model = find_model(name)
    hub = Hub(endpoint, token=os.environ.get("HF_TOKEN") or None)
    folder = out or Path(model.name)
    with RichProgress()(model.n_bytes or None, "bytes") as bar:
        fetch_model(model, folder, hub=hub, progress=bar.advance)
    say(f"Wrote {folder}. {_USE[model.kind].format(folder=folder)}")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder of one published Geneformer: config.json and weights.")],
    out: Annotated[Path | None, typer.Option("--out", help="New folder (default: ./<name of DIR>-imported).")] = None,
    dictionaries: Annotated[
        Path | None, typer.Option("--dictionaries", help="Folder of the token and median dictionaries.")
    ] = None,
) -> None:
    """Take over a Geneformer that lies on this machine: weights checked, dictionaries converted, nothing in them run.

    Example: geo-atlas model import Geneformer/Geneformer-V1-10M --out models/geneformer
    """
    from atlas.model.geneformer.importing import import_geneformer

    folder = out or Path(f"{source.resolve().name}-imported")
    read = import_geneformer(source, folder, dictionaries=dictionaries)
    known = read.source.name
    whose = f"the published weights of {known}" if known else "not the weights of a model we know, their shapes fit"
    say(f"These are {whose}. {len(read.vocabulary):,} genes, vectors of {read.dim}.")
    say(f"Wrote {folder}. {_USE['geneformer'].format(folder=folder)}")


_USE = {
    "geneformer": "Train with it: geo-atlas train --preset cellwhisperer-paper --transcriptome {folder} ...",
    "text": "It is a text tower: name the folder where a preset or a model asks for an encoder.",
}
