"""The plan of the house, held against the code: who imports whom, what an import costs, how long a file may be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("atlas", "indexer", "api", "ui", "cli")
HEAVY = {
    "torch",
    "faiss",
    "transformers",
    "umap",
    "igraph",
    "leidenalg",
    "sklearn",
    "anndata",
    "streamlit",
    "openai",
    "pymilvus",
    "ray",
}
LONGEST_FILE = 500


def test_imports_go_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.is_file():
        pytest.skip("import-linter is not installed beside this Python")
    result = subprocess.run(
        [str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_contracts_of_pages_and_client_name_every_other_part_of_the_atlas() -> None:
    """A room added later must not be open to the pages, or to the client, because a list was forgotten."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    parts = {
        f"atlas.{path.stem}"
        for path in (ROOT / "atlas").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    forbidden = {
        source: set(one["forbidden_modules"])
        for one in contracts
        if one["type"] == "forbidden"
        for source in one["source_modules"]
    }
    for source in ("ui", "atlas.client"):
        assert parts - {"atlas.__init__", "atlas.client"} <= forbidden[source], source


@pytest.mark.parametrize(
    ("module", "allowed"),
    [("atlas", set()), ("atlas.client", set()), ("atlas.settings", set()), ("api.main", set()), ("cli.main", set())],
)
def test_import_loads_no_heavy_library(module: str, allowed: set[str]) -> None:
    assert _loaded_by(module) & HEAVY <= allowed


def test_client_needs_httpx_and_the_standard_library_only() -> None:
    third_party = _loaded_by("atlas.client") - set(sys.stdlib_module_names) - _loaded_by("httpx") - {"atlas"}
    assert not {name for name in third_party if not name.startswith("_")}


def test_the_pages_know_nothing_of_the_atlas_but_its_client() -> None:
    pattern = re.compile(r"^\s*(?:from|import)\s+(atlas[\w.]*|indexer|api|cli)\b", re.MULTILINE)
    for path in (ROOT / "ui").rglob("*.py"):
        assert set(pattern.findall(path.read_text(encoding="utf-8"))) <= {"atlas.client"}, path


@pytest.mark.parametrize("room", [*ROOMS, "migrations", "tests", "benchmarks"])
def test_no_file_is_too_long_to_read(room: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / room).rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            if not path.read_text(encoding="utf-8").startswith(('"""', 'r"""')):
                silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_lock_holds_plain_pins_that_satisfy_the_project() -> None:
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)  # no host, path or local label
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): pin for name, _, pin in (line.partition("==") for line in lines)}
    assert len(pinned) == len(lines)
    assert not [name for name in pinned if name.startswith(("nvidia", "triton", "geo-atlas"))]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["cpu"], *extras["embedded"], *extras["dev"]]:
        wanted = Requirement(text)
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        assert name in pinned, f"{name} is not in requirements.lock"
        assert wanted.specifier.contains(pinned[name]), text
        try:
            assert version(name)
        except PackageNotFoundError:
            pytest.fail(f"{name} is required but not installed here")


def _loaded_by(module: str) -> set[str]:
    """Top-level modules that importing ``module`` loads, measured in a fresh process."""
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return set(json.loads(result.stdout))
