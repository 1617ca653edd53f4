"""The exit status of the program itself: of a stop, and of a command that ends early by its own decision."""

from __future__ import annotations

import sys

import pytest
import typer

from cli import main as program


def run(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> int:
    app = typer.Typer()

    @app.command()
    def one() -> None:
        raise raised

    monkeypatch.setattr(program, "app", app)
    monkeypatch.setattr(sys, "argv", ["geo-atlas"])
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        program.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), typer.Abort()])
def test_stopped_command_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException
) -> None:
    assert run(monkeypatch, raised) == 130
    assert capsys.readouterr().err == "Stopped.\n"


@pytest.mark.parametrize("status", [1, 3])
def test_status_that_a_command_ends_with_is_the_programs(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    assert run(monkeypatch, typer.Exit(status)) == status
