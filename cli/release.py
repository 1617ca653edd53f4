"""``geo-atlas release list|use|verify|remove`` and ``geo-atlas release load|index``."""

from __future__ import annotations

from typing import Annotated

import typer

from atlas.errors import ArtifactError, AtlasError, ConfigError, NotFoundError
from atlas.manifest import read_manifest
from atlas.release import Home, Release, release_folder
from atlas.settings import load_settings
from cli import options
from cli.output import RichProgress, print_json, print_table, say

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the release.")]


@app.command("list")
def list_releases(home: options.Home = None, as_json: options.Json = False) -> None:
    """List the published releases; the current one is marked.

    Example: geo-atlas release list
    """
    place = Home(load_settings(home=home).home_path)
    try:
        current = place.current()
    except NotFoundError:
        current = None
    rows = []
    for name in place.names():
        row: dict[str, object] = {"name": name, "current": name == current, "n_samples": None, "created_at": None}
        try:
            manifest = read_manifest(place.releases / name / "manifest.json")
            row |= {"n_samples": manifest.n_samples, "created_at": manifest.created_at, "problem": None}
        except ArtifactError as error:
            row["problem"] = error.message
        rows.append(row)
    if as_json:
        for row in rows:
            print_json(row)
    else:
        columns = ("", "name", "samples", "created", "problem")
        fields = ("name", "n_samples", "created_at", "problem")
        print_table(columns, (("*" if row["current"] else "", *(row[field] for field in fields)) for row in rows))


@app.command()
def use(name: Name, home: options.Home = None) -> None:
    """Make a release the current one; running services switch by themselves.

    Example: geo-atlas release use 2026-11
    """
    place = Home(load_settings(home=home).home_path)
    Release.open(place, name)
    place.use(name)
    say(f"{name} is the current release.")


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Release (default: current).")] = None, home: options.Home = None
) -> None:
    """Check every file of a release against its manifest.

    Example: geo-atlas release verify
    """
    release = Release.open(Home(load_settings(home=home).home_path), name)
    release.verify()
    say(f"{release.name}: all {len(release.manifest.files)} files are as published.")


@app.command()
def remove(name: Name, home: options.Home = None) -> None:
    """Delete a release that is not current, and its rows in the database.

    Example: geo-atlas release remove 2025-05
    """
    from atlas.catalog.database import open_database
    from indexer.stages.load_catalog import remove_release

    settings = load_settings(home=home)
    place = Home(settings.home_path)
    with place.lock(f"remove {name}"):
        loaded = (release_folder(place, name) / "catalog.json").is_file()
        place.remove(name)
    if not loaded and not settings.database_url:  # the embedded server is not started for nothing
        say(f"{name} is removed.")
        return
    try:
        with open_database(settings) as database:
            remove_release(database, name)
    except AtlasError as error:
        say(f"{name} is removed from disk; its rows stay in the database for now: {error.message}")
        return
    say(f"{name} is removed.")


@app.command()
def load(
    name: Annotated[str | None, typer.Argument(help="Release (default: current).")] = None, home: options.Home = None
) -> None:
    """Load a release into the database again; the release folder is the truth, the database is derived from it.

    Example: GEO_ATLAS_DATABASE_URL=postgresql://... geo-atlas release load
    """
    from atlas.catalog.database import open_database
    from indexer.stages.load_catalog import load_release

    settings = load_settings(home=home)
    release = Release.open(Home(settings.home_path), name)
    with open_database(settings) as database:
        counts = load_release(database, release.folder, release.name)
    say(f"{release.name} is loaded: {counts}")


@app.command()
def index(
    name: Annotated[str | None, typer.Argument(help="Release (default: current).")] = None,
    engine: Annotated[str, typer.Option("--engine", help="Where to: milvus.")] = "milvus",
    uri: Annotated[str | None, typer.Option("--uri", help="Address of Milvus (default: GEO_ATLAS_MILVUS_URI).")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Delete the release there instead.")] = False,
    home: options.Home = None,
) -> None:
    """Move a release to a search engine that runs as a service. Run the same command again to resume.

    Example: geo-atlas release index 2026-11 --engine milvus --uri http://localhost:19530
    """
    from atlas.vectors.engines import connect_milvus
    from indexer.move_to_milvus import drop_release, move_release, release_phrases

    if engine != "milvus":
        raise ConfigError(f"--engine {engine}: expected milvus. The FAISS index is part of every release.")
    settings = load_settings(home=home, milvus_uri=uri)
    place = Home(settings.home_path)
    connection = connect_milvus(settings, timeout_s=600.0)  # nobody waits for an answer but the measurement of recall
    try:
        if drop:
            gone = drop_release(place, name or place.current(), connection)
            say("Its collection is deleted." if gone else "There was no such collection.")
            return
        release = Release.open(place, name)
        phrases = release_phrases(release, place)
        moved = move_release(place, release, connection, phrases=phrases, progress=RichProgress())
    finally:
        connection.close()
    say(
        f"{release.name} is in Milvus as {moved.collection}: {moved.n} samples, {moved.width} of {moved.dim} dimensions, "
        f"recall {moved.lowest_recall:.4f} or better. Services search there with GEO_ATLAS_SEARCH_ENGINE=milvus."
    )
