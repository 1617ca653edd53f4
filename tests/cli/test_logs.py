"""The log of a service as text and as JSON lines; the same figures in both, one line a record."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.settings import Settings
from cli.logs import configure


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    rooms = {name: logging.getLogger(name).level for name in ("api", "atlas", "indexer", "cli")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in rooms.items():
        logging.getLogger(name).setLevel(before)


def lines(capsys: pytest.CaptureFixture[str], home: Path, log_format: str) -> list[str]:
    configure(Settings(home=home, log_format=log_format), service="api")
    fields = {"request_id": "r1", "path": "/v1/map\n{", "status": 200, "ms": 1.5}
    logging.getLogger("api.access").info("%s", 'request_id="r1" status=200', extra={"fields": fields})
    logging.getLogger("httpx").info("not shown")
    try:
        raise ValueError("what went wrong")
    except ValueError:
        logging.getLogger("atlas.x").exception("a failure")
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_json_lines_are_one_object_a_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    access, failure = (json.loads(line) for line in lines(capsys, tmp_path, "json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", access.pop("time"))
    assert access == {
        "level": "INFO",
        "logger": "api.access",
        "service": "api",
        "request_id": "r1",
        "path": "/v1/map\n{",
        "status": 200,
        "ms": 1.5,
    }
    assert failure["message"] == "a failure"
    assert "what went wrong" in failure["traceback"]


def test_text_lines_begin_with_time_level_and_logger(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second, *rest = lines(capsys, tmp_path, "text")
    assert re.fullmatch(r'\S+Z INFO api\.access request_id="r1" status=200', first)
    assert re.fullmatch(r"\S+Z ERROR atlas\.x a failure", second)
    assert rest[-1] == "ValueError: what went wrong"
