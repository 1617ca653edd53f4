"""``geo-atlas model fit-statistics``."""

from __future__ import annotations

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
