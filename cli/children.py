"""The services, one process each: ``python -P -m cli.children api|ui|work [--with-parent]``; ``geo-atlas serve`` starts them.

``-P`` keeps the current folder off the import path, so folders there that are called ``api``, ``ui`` or ``atlas`` are never
imported; the pages are started by the absolute path of their file. With ``--with-parent`` a service ends when its standard
input ends: that pipe is held by the parent alone, so a parent that is killed takes its children along.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from atlas.errors import AtlasError, ConfigError
from atlas.settings import load_settings
from cli.logs import configure as configure_log

GRACE_S = 10.0
"""How long a child may take to end by itself."""

_NICENESS = 10

WITH_PARENT = "--with-parent"


def main(argv: Sequence[str]) -> int:
    """Run one service until it is told to stop; return the exit status."""
    services = {"api": run_api, "ui": run_ui, "work": run_work}
    try:
        name, *options = argv or [""]
        if name not in services or options not in ([], [WITH_PARENT]):
            raise ConfigError(f"{' '.join(argv)!r} is no service of this program: expected api, ui or work.")
        if options:
            threading.Thread(target=_wait_for_parent, name="parent-watch", daemon=True).start()
        services[name]()
    except AtlasError as error:
        typer.echo(error.message, err=True)
        return error.exit_code
    return 0


def run_api() -> None:
    """Serve REST over the current release, as the settings say."""
    import uvicorn

    from api.main import SERVER_OPTIONS, create_app

    settings = load_settings()
    configure_log(settings, service="api")
    # Phrases of users stay out of logs: uvicorn's access log is off, ours (api.access) names no query string.
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        timeout_graceful_shutdown=int(GRACE_S / 2),
        log_config=None,
        log_level="warning",
        **SERVER_OPTIONS,
    )


def run_ui() -> None:
    """Serve the pages; they find the API at ``GEO_ATLAS_API_URL``."""
    from streamlit.runtime.pages_manager import PagesManager
    from streamlit.web import cli as streamlit_cli

    # ui/pages holds modules of our own navigation. Taken for a folder of scripts, an address that leads straight to a page
    # would show an empty one until somebody has opened the first.
    PagesManager.uses_pages_directory = False
    settings = load_settings()
    flags = page_flags(host=settings.ui_host, port=settings.ui_port)
    url = settings.api_url or f"http://{settings.api_host}:{settings.api_port}"
    streamlit_cli.main(
        ["run", str(page_path()), *flags, "--", url, settings.public_api_url or ""], standalone_mode=False
    )


def run_work() -> None:
    """Carry out jobs until told to stop; questions have the right of way on the processor."""
    from atlas.workspace.worker import begin_anew, work

    settings = load_settings()
    configure_log(settings, service="work")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.suppress(OSError, AttributeError):
        os.nice(max(0, _NICENESS - os.nice(0)))  # it may be the second life of this process
    work(settings, stop=stop, renew=begin_anew)


def page_path() -> Path:
    """Absolute path of the page that Streamlit runs.

    Raises
    ------
    ConfigError
        If the installation lacks the package ``ui``.
    """
    spec = importlib.util.find_spec("ui")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("This installation lacks the package `ui`. Reinstall geo-atlas.")
    return Path(next(iter(spec.submodule_search_locations))).resolve() / "app.py"


def page_flags(*, host: str, port: int) -> list[str]:
    """Return Streamlit's options: no telemetry, no browser, no file watcher, no traceback shown to users."""
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "logger.hideWelcomeMessage": "true",
        "theme.light.primaryColor": "#0b6e69",
        "theme.dark.primaryColor": "#4fc3b8",
        "theme.baseRadius": "small",
        "logger.level": "warning",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def _wait_for_parent() -> None:
    while os.read(0, 4096):
        continue
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # the parent read them; a farewell into a broken pipe would stop the service from stopping
        os.dup2(nowhere, stream)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
