"""``geo-atlas work``: carry out jobs, such as scans of people's own term lists."""

from __future__ import annotations

from typing import Annotated

import typer

from atlas.settings import load_settings
from cli import options
from cli.output import say

app = typer.Typer()


@app.command()
def work(
    once: Annotated[
        bool, typer.Option("--once", help="End when no job waits, instead of waiting for the next.")
    ] = False,
    home: options.Home = None,
) -> None:
    """Carry out the jobs that wait, one after another, until Ctrl-C; `geo-atlas serve` starts one by itself.

    Several may run, on one machine or many, if they share home and database. A job under way goes back to the queue.

    Example: geo-atlas work
    """
    from atlas.workspace.worker import begin_anew
    from atlas.workspace.worker import work as run
    from cli.serve import stop_signals

    with stop_signals() as stop:
        n = run(load_settings(home=home), once=once, stop=stop, renew=begin_anew)
    if once:
        say(f"{n} job{'' if n == 1 else 's'} carried out.")
