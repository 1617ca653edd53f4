"""``geo-atlas serve``, ``geo-atlas demo``, ``geo-atlas export-starter``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.settings import load_settings
from cli import options
from cli.output import say

app = typer.Typer()

ApiPort = Annotated[int | None, typer.Option("--api-port", help="Port of the API (default: 8000).")]
UiPort = Annotated[int | None, typer.Option("--ui-port", help="Port of the pages (default: 8501).")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on (default: 127.0.0.1).")]


@app.command()
def serve(
    home: options.Home = None,
    host: Host = None,
    api_port: ApiPort = None,
    ui_port: UiPort = None,
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Start the pages beside the API.")] = True,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Start a worker that carries out jobs (see geo-atlas work).")
    ] = True,
) -> None:
    """Serve the current release: API, pages and a worker for jobs. Ctrl-C ends them all.

    Example: geo-atlas serve --api-port 8000 --ui-port 8501
    """
    from cli.serve import serve as run

    settings = load_settings(home=home, api_host=host, ui_host=host, api_port=api_port, ui_port=ui_port)
    run(settings, open_ui=ui, open_worker=worker)


@app.command()
def demo(
    home: options.Home = None,
    host: Host = None,
    api_port: ApiPort = None,
    ui_port: UiPort = None,
    serving: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the demo once it is built.")] = True,
) -> None:
    """Build an atlas of the packaged public samples, ask it for cardiomyopathy, and serve it.

    Example: geo-atlas demo
    """
    from cli.demo import demo as run

    settings = load_settings(home=home, api_host=host, ui_host=host, api_port=api_port, ui_port=ui_port)
    run(settings, serve=serving)


@app.command("export-starter")
def export_starter(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    licences: Annotated[Path, typer.Option("--licences", help="Table of series, repository and licence (TSV).")],
    release: options.ReleaseName = None,
    home: options.Home = None,
) -> None:
    """Write the public samples of a release as a starter: facts and vectors, no counts.

    Example: geo-atlas export-starter --licences provenance.tsv --out starter
    """
    from atlas.release import Home, Release
    from indexer.export_starter import export_starter as export

    opened = Release.open(Home(load_settings(home=home).home_path), release)
    export(opened, out, licences=licences)
    say(f"Wrote {out} from release {opened.name}.")
