"""The page of the full size: its commands are ones that exist, what they read is made first, what was measured is kept."""

from __future__ import annotations

import importlib
import inspect
import shlex
from pathlib import Path

import pytest

from benchmarks import full_size
from benchmarks.full_size import DATA, SECTIONS, Section, measured, prepare

COMMANDS = sorted({*DATA.values(), *(one for part in SECTIONS for one in (*part.before, *part.commands))})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_a_module_with_these_options(command: str) -> None:
    name, *words = shlex.split(command.partition(" -- ")[0])
    source = inspect.getsource(importlib.import_module(f"benchmarks.{name}"))
    for option in (word for word in words if word.startswith("--")):
        assert f'"{option}"' in source, f"{name} has no {option}"


def test_what_commands_read_is_made_somewhere() -> None:
    made = {word for command in COMMANDS for word in shlex.split(command) if word.startswith("S/")}
    own = {"S/catalog", "S/killed", "S/full", "S/limited"}  # scratch folders of the commands themselves
    assert made - own == set(DATA)


def test_data_are_made_once_and_before_what_is_made_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(command: str, *, scratch: Path, profiles: Path) -> str:
        ran.append(command)
        (scratch / next(place for place, made in DATA.items() if made == command).removeprefix("S/")).mkdir()
        return ""

    monkeypatch.setattr(full_size, "run", run)
    for _ in range(2):
        prepare("growth --home S/home-small --home S/home", scratch=tmp_path, profiles=tmp_path)
    assert ran == [DATA[place] for place in ("S/small", "S/home-small", "S/pr80", "S/home")]


def test_a_section_is_measured_once_unless_asked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(full_size, "run", lambda command, **places: seen.append(command) or f"{len(seen)} runs")
    section = Section("one", "One", "Said of it.", ("sweep --home here",), before=("prepared",))
    first = measured(section, scratch=tmp_path, profiles=tmp_path, anew=False)
    assert first == "## One\n\nSaid of it.\n\n`python -m benchmarks.sweep --home here`\n\n```\n2 runs\n```\n"
    assert measured(section, scratch=tmp_path, profiles=tmp_path, anew=False) == first
    assert seen == ["prepared", "sweep --home here"]
    monkeypatch.setattr(full_size, "run", lambda command, **places: "| a |\n|---|\n| 4 runs |")
    assert "\n\n| a |\n|---|\n| 4 runs |\n" in measured(section, scratch=tmp_path, profiles=tmp_path, anew=True)


def test_places_are_put_in_and_a_failure_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scratch folder"
    script = "import sys, pathlib; print(sys.argv[1:]); sys.exit(len(sys.argv) == 2 or sys.argv[-1] in ('S/home', 'FILE.h5'))"
    monkeypatch.setattr(full_size, "MODULE", ("-c", script))
    said = full_size.run("sweep --home S/home FILE.h5", scratch=folder, profiles=tmp_path / "a.h5")
    assert said == str(["benchmarks.sweep", "--home", "S/home", "FILE.h5"])
    where = full_size.run("sweep --home S/home", scratch=folder, profiles=tmp_path / "a.h5")
    assert str(tmp_path) not in where
    with pytest.raises(SystemExit, match="what is done is kept"):
        full_size.run("sweep", scratch=folder, profiles=tmp_path)
