"""Entry point: one Typer application, and the translation of errors into one sentence and an exit status."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys

import typer

from atlas.errors import AtlasError
from cli import (
    ask,
    browse,
    build,
    doctor,
    evaluate,
    export,
    interpreter,
    label,
    model,
    release,
    scan,
    serving,
    train,
    vocabulary,
    work,
    workspace,
)

_STOPPED = 130  # what shells call a command ended by Ctrl-C

app = typer.Typer(
    name="geo-atlas",
    help="An atlas of public human transcriptomes: search it by phrase, by sample, by your own expression.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for room in (build, ask, browse, scan, export, serving, work, workspace, label, train, doctor):
    app.registered_commands += room.app.registered_commands
app.add_typer(release.app, name="release", help="List, choose, verify or remove releases.")
app.add_typer(evaluate.app, name="evaluate", help="Measure a model on labelled data.")
app.add_typer(interpreter.app, name="interpreter", help="Let a frozen language model read cells.")
app.add_typer(model.app, name="model", help="Work on model folders.")
app.add_typer(workspace.jobs, name="jobs", help="List or cancel jobs.")
app.add_typer(vocabulary.app, name="vocabulary", help="List, add or fetch vocabularies.")


@app.callback()
def _setup(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say more on stderr."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Say only warnings on stderr."),
) -> None:
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for room in ("atlas", "indexer", "api", "cli"):
        logging.getLogger(room).setLevel(level)


def main() -> None:
    """Run the command; an expected failure is one sentence on stderr and its exit status."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # models are folders; nothing is fetched behind the user's back
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A polite kill unwinds as Ctrl-C does, so that the embedded database is left in order.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # JSON is UTF-8 whatever the locale; a title with a sign that the locale lacks must not end an answer midway.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        _end(app(standalone_mode=False))
    except AtlasError as error:
        sys.stderr.write(f"geo-atlas: {error.message}\n")
        for note in getattr(error, "__notes__", []):
            sys.stderr.write(f"  {note}\n")
        sys.exit(error.exit_code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        _end(_STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))


def _end(status: object) -> None:
    """End with a command's status: the library hands back that of an early exit, Ctrl-C included, and raises nothing."""
    if status == _STOPPED:
        sys.stderr.write("Stopped.\n")
    if isinstance(status, int) and status:
        sys.exit(status)


if __name__ == "__main__":
    main()
