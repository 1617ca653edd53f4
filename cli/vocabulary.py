"""``geo-atlas vocabulary list|add|fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.settings import load_settings
from cli import options
from cli.output import print_json, print_table, say

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_all(home: options.Home = None, as_json: options.Json = False) -> None:
    """List the vocabularies that a build matches.

    Example: geo-atlas vocabulary list
    """
    from atlas.vocabulary import list_vocabularies

    found = list_vocabularies(load_settings(home=home).home_path)
    if as_json:
        for one in found:
            print_json(
                {"vocabulary": one.library, "n_terms": one.n_terms, "packaged": one.packaged, "keywords": one.keywords}
            )
    else:
        rows = (
            (v.library, v.n_terms, "packaged" if v.packaged else "added", "" if v.keywords else "scans only")
            for v in found
        )
        print_table(("vocabulary", "terms", "", ""), rows)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="GMT file, or a list with one term a line.")],
    name: Annotated[str | None, typer.Option(help="Name (default: the file's).")] = None,
    home: options.Home = None,
) -> None:
    """Add a vocabulary; the next build matches it.

    Example: geo-atlas vocabulary add KEGG_2021_Human.gmt
    """
    from atlas.vocabulary import add_vocabulary

    added = add_vocabulary(load_settings(home=home).home_path, file, name=name)
    say(f"Added {added.library}: {added.n_terms} terms. The next build matches it.")


@app.command()
def fetch(
    library: Annotated[str, typer.Argument(help="Enrichr library, e.g. KEGG_2021_Human.")],
    home: options.Home = None,
) -> None:
    """Fetch a library from Enrichr and add it.

    Example: geo-atlas vocabulary fetch KEGG_2021_Human
    """
    import tempfile

    from atlas.vocabulary import add_vocabulary
    from indexer.sources.enrichr import fetch_library

    settings = load_settings(home=home)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.gmt"
        fetch_library(library, base_url=settings.enrichr_url, out=path)
        added = add_vocabulary(settings.home_path, path, name=library)
    say(f"Added {added.library}: {added.n_terms} terms. The next build matches it.")
