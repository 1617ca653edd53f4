"""``geo-atlas doctor``: what this installation has, and what would stop it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import typer

from atlas import __version__
from atlas.errors import AtlasError
from atlas.release import Home, Release
from atlas.resources import resource_path
from atlas.settings import Settings, load_settings
from cli import options
from cli.output import print_json, print_table

app = typer.Typer()
Finding = tuple[str, bool, str]


@app.command()
def doctor(home: options.Home = None, as_json: options.Json = False) -> None:
    """Check the installation, the home, the database and the current release; exit status 1 if something is wrong.

    Example: geo-atlas doctor
    """
    settings = load_settings(home=home)
    findings = list(_examine(settings))
    if as_json:
        for name, ok, text in findings:
            print_json({"check": name, "ok": ok, "finding": text})
    else:
        print_table(("check", "", "finding"), ((n, "ok" if ok else "PROBLEM", text) for n, ok, text in findings))
    if not all(ok for _, ok, _ in findings):
        raise typer.Exit(1)


def _examine(settings: Settings) -> Iterator[Finding]:
    yield (
        "geo-atlas",
        True,
        f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    yield _faiss()
    yield _installed("torch")
    yield _guarded("model", lambda: _model(settings))
    yield _memory()
    yield _home(settings.home_path)
    yield _guarded("database", lambda: _database(settings))
    yield _guarded("release", lambda: _release(settings))
    if settings.search_engine == "milvus":
        yield _guarded("milvus", lambda: _milvus(settings))
    configured = settings.llm_base_url or "none configured: captions and labels are deterministic"
    yield "language model", True, configured


def _guarded(name: str, check: Callable[[], str]) -> Finding:
    try:
        return name, True, check()
    except AtlasError as error:
        return name, False, error.message


def _faiss() -> Finding:
    found = {}
    for name in ("faiss-cpu", "faiss-gpu-cu12"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    if len(found) == 2:
        return (
            "faiss",
            False,
            f"{text}: both install the same folder. Uninstall both, then install one extra, cpu or gpu.",
        )
    if not found:
        return "faiss", False, 'not installed: pip install "geo-atlas[cpu]" or "geo-atlas[gpu]"'
    return "faiss", True, text


def _installed(name: str) -> Finding:
    if find_spec(name) is None:
        return name, False, f"not installed: pip install {name}"
    return name, True, version(name)


def _model(settings: Settings) -> str:
    from atlas.model.joint import JointModel

    model = JointModel.load(resource_path("starter/model"))
    return f"packaged model {model.hash[:12]}, {model.dim} dimensions, {len(model.genes.symbols)} genes"


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return "memory", True, "unknown"
    return "memory", total >= 4, f"{total:.1f} GiB, {os.cpu_count()} cores; the demo needs 4 GiB"


def _home(path: Path) -> Finding:
    place = path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    writable = os.access(place, os.W_OK)
    text = f"{path}: {free:.1f} GiB free, {'writable' if writable else 'NOT writable'}"
    return "home", writable and free >= 1, text


def _database(settings: Settings) -> str:
    from atlas.catalog.database import open_database

    kind = "external" if settings.database_url else "embedded"
    with open_database(settings) as database, database.connect() as connection:
        return f"{kind}, Postgres {connection.exec_driver_sql('SHOW server_version').scalar()}"


def _milvus(settings: Settings) -> str:
    from atlas.vectors.engines import connect_milvus

    connection = connect_milvus(settings)
    try:
        with connection.asking("say its version"):
            found = connection.client.get_server_version(timeout=connection.timeout_s)
    finally:
        connection.close()
    return f"{connection.uri}, version {found}"


def _release(settings: Settings) -> str:
    home = Home(settings.home_path)
    if not home.pointer.is_file():
        return "none published yet: geo-atlas demo, or geo-atlas build"
    release = Release.open(home)
    return f"{release.name}: {release.manifest.n_samples} samples, {release.verified:.0%} of its bytes verified"
