"""Every `geo-atlas ...` that a message or a docstring names is a command that exists."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from cli.main import app

ROOT = Path(__file__).resolve().parents[2]
_NAMED = re.compile(
    r"`+geo-atlas ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?|geo-atlas (release|vocabulary|model|catalog) ([a-z-]+)"
)


def _commands() -> dict[str, set[str]]:
    root = typer.main.get_command(app)
    return {name: set(getattr(one, "commands", ())) for name, one in getattr(root, "commands", {}).items()}


def _unknown(text: str, commands: dict[str, set[str]]) -> list[str]:
    found = []
    for match in _NAMED.finditer(text):
        name, sub = match[1] or match[3], match[2] or match[4]
        if name not in commands or (commands[name] and sub and sub not in commands[name]):
            found.append(match[0])
    return found


def test_messages_name_commands_that_exist() -> None:
    commands = _commands()
    assert commands["release"] >= {"list", "use", "verify", "remove", "load"}
    sources = [path for room in ("atlas", "indexer", "api", "cli", "ui") for path in (ROOT / room).rglob("*.py")]
    wrong = {str(path.relative_to(ROOT)): _unknown(path.read_text(encoding="utf-8"), commands) for path in sources}
    assert {path: names for path, names in wrong.items() if names} == {}
