"""``geo-atlas build``: run the plan over expression files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from atlas.errors import ConfigError
from atlas.resources import resource_path
from atlas.settings import load_settings
from cli import options
from cli.output import RichProgress, print_json, print_table, say

app = typer.Typer()


@app.command()
def build(
    name: Annotated[str, typer.Option("--name", help="Name of the release.")],
    counts: Annotated[
        list[Path] | None, typer.Option("--counts", help="ARCHS4 HDF5, h5ad or CSV/TSV; repeatable.")
    ] = None,
    starter: Annotated[
        Path | None,
        typer.Option("--starter", help="Folder of samples that are embedded already, with their vectors and model."),
    ] = None,
    home: options.Home = None,
    model_dir: Annotated[
        Path | None, typer.Option("--model", help="Model folder (default: the starter's, or the packaged one).")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="counts, tpm, fpkm or log2, where files do not say.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Keep the first N samples.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of clusters, map and calibration.")] = 0,
    library: Annotated[list[str] | None, typer.Option(help="Vocabulary to match; repeatable (default: all).")] = None,
    scan: Annotated[
        list[str] | None, typer.Option("--scan", help="Vocabulary to sweep; repeatable (default: omim_expanded).")
    ] = None,
    leiden: Annotated[
        str | None, typer.Option(help="Clustering engine: igraph or leidenalg (default: igraph).")
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Resolution of the clusters; larger gives more of them (default: 1).")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="Where samples are embedded: local or ray.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Running Ray cluster (default: one on this machine).")
    ] = None,
    force: Annotated[list[str] | None, typer.Option("--force", help="Run this stage again; repeatable.")] = None,
    without_catalog: Annotated[
        bool, typer.Option("--without-catalog", help="Do not load the database: semantic search only.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run and why, then stop.")] = False,
    as_json: options.Json = False,
) -> None:
    """Build a release from expression files, or embedded samples, and publish it. Run the same command again to resume.

    Example: geo-atlas build --counts human_gene_v2.6.h5 --name 2026-11
    """
    from atlas.expression.units import Unit
    from indexer.plan import STAGES
    from indexer.run import Builder
    from indexer.stage import BuildRequest, Engine

    if unit is not None and unit not in list(Unit):
        raise ConfigError(f"--unit {unit}: expected one of {', '.join(Unit)}.")
    if not counts and starter is None:
        raise ConfigError("There is nothing to build from. Give --counts FILE, or --starter DIR.")
    starts_with = resource_path("starter") if starter is None else starter
    if engine not in get_args(Engine):
        raise ConfigError(f"--engine {engine}: expected one of {', '.join(get_args(Engine))}.")
    settings = load_settings(home=home)
    request = BuildRequest(
        name=name,
        home=settings.home_path,
        model_dir=(model_dir or starts_with / "model").absolute(),
        settings=settings,
        counts=tuple(path.absolute() for path in counts or ()),
        starter=None if starter is None else starter.absolute(),
        unit=unit,
        limit=limit,
        seed=seed,
        with_catalog=not without_catalog,
        engine=cast("Engine", engine),
        ray_address=ray_address,
        leiden=leiden,
        resolution=resolution,
        keyword_libraries=tuple(library) if library else None,
        scan_vocabularies=tuple(dict.fromkeys(scan or BuildRequest.scan_vocabularies)),
    )
    builder = Builder(request, STAGES, force=force or (), progress=RichProgress())
    if dry_run:
        steps = builder.plan()
        if as_json:
            for step in steps:
                print_json(step)
        else:
            print_table(("stage", "action", "reason"), ((s.stage, s.action, s.reason) for s in steps))
        return
    release = builder.run()
    for entry in release.manifest.stages:
        for reason, n in entry.dropped.items():
            say(f"{entry.name}: {n} dropped, {reason}")
    if as_json:
        print_json({"release": release.name, "folder": str(release.folder), "n_samples": release.manifest.n_samples})
    else:
        say(f"Published {release.name}: {release.manifest.n_samples} samples in {release.folder}")
