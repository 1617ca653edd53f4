"""``geo-atlas demo``: an atlas of the packaged public samples, built for real, asked a phrase, served."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

from atlas.errors import InputError
from atlas.release import Home, Release
from atlas.resources import resource_path
from atlas.settings import Settings
from cli.output import RichProgress, print_search, say

logger = logging.getLogger(__name__)

RELEASE = "demo"
PHRASE = "cardiomyopathy"
DEMO_HOME = Path("~/.geo-atlas/demo")
"""Home of the demo where none is named, so it never changes which release a person's own atlas serves."""


def demo(settings: Settings, *, serve: bool = True) -> None:
    """Build the release ``demo`` unless it is there, print the answer to a phrase, then serve until Ctrl-C.

    Parameters
    ----------
    settings
        A home named by flag, environment or file is used as it is; otherwise ``DEMO_HOME``.
    serve
        Start API and pages after the answer.
    """
    settings = demo_settings(settings)
    _build(settings)
    _ask(settings)
    if serve:
        from cli.serve import serve as run

        run(settings, open_worker=True)
    else:
        say(f'Ask for more: geo-atlas search "pancreatic islets" --home {settings.home}')
        say(f"Serve it:     geo-atlas serve --home {settings.home}")


def demo_settings(settings: Settings) -> Settings:
    """Return the settings with the demo's own home, unless a home was named."""
    return settings if "home" in settings.model_fields_set else settings.model_copy(update={"home": DEMO_HOME})


def _build(settings: Settings) -> Release:
    """Build from the packaged starter; a demo of another starter or version of the code is replaced."""
    from indexer.plan import STAGES
    from indexer.run import Builder
    from indexer.stage import BuildRequest

    starter = resource_path("starter")
    request = BuildRequest(
        name=RELEASE, home=settings.home_path, model_dir=starter / "model", settings=settings, starter=starter
    )
    builder = Builder(request, STAGES, progress=RichProgress())
    say(f"Building the demo in {settings.home_path} (minutes the first time) …")
    try:
        return builder.run()
    except InputError as error:
        if error.details.get("release") != RELEASE:
            raise
        logger.info("the demo there was made from another starter or program version, and is made anew")
        home = Home(settings.home_path)
        if home.current() == RELEASE:
            home.pointer.unlink()
        home.remove(RELEASE)
        return builder.run()


def _ask(settings: Settings) -> None:
    from atlas.atlas import Atlas

    with closing(Atlas.open(settings, release=RELEASE)) as opened:
        print_search(opened.search_text(PHRASE, k=10), as_json=False)
