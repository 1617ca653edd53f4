"""Every example of the REST page runs, and every error code of the service is explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from api_checks import TOKEN
from fake_atlas import FakeBackend

from api import errors as api_errors
from api.errors import _HTTP_CODES, RETRY_AFTER_S, STATUS
from atlas.errors import AtlasError

DOCS = Path(__file__).resolve().parents[2] / "docs"
REST = (DOCS / "rest.md").read_text(encoding="utf-8")
ERRORS = (DOCS / "errors.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"

CODES = (
    {kind.code for kind in STATUS if kind is not AtlasError} | set(_HTTP_CODES.values()) | {"bad_request", "internal"}
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", REST, re.DOTALL)


def test_python_examples_run(
    base_url: str, backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.jobs.prompt = True
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLAS_TOKEN", TOKEN)
    program = "\n".join(blocks("python"))
    assert program.count(ADDRESS) == 1
    exec(compile(program.replace(ADDRESS, base_url), "rest.md", "exec"), {})


def test_shell_examples_run(base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_TOKEN", TOKEN)
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("curl or bash is not installed")
    program = "\n".join(blocks("sh"))
    assert program.count("curl -s ") >= 40
    program = program.replace(ADDRESS, base_url).replace("curl -s ", "curl -sS --fail --noproxy '*' ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"release":"one"') >= 30


def test_readme_examples_run(base_url: str, backend: FakeBackend) -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (program,) = [one for one in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "atlas.client" in one]
    assert ADDRESS in program
    exec(compile(program.replace(ADDRESS, base_url), "README.md", "exec"), {})
    (asked,) = re.findall(rf'^curl -s "{ADDRESS}(.*)"$', readme, re.MULTILINE)
    assert httpx.get(base_url + asked).status_code == 200


def test_readme_example_without_a_service_runs(tiny_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (program,) = [one for one in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "atlas.atlas" in one]
    assert program.count("~/.geo-atlas/demo") == 1
    exec(compile(program.replace("~/.geo-atlas/demo", str(tiny_home)), "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_every_route_is_listed_and_shown(http) -> None:  # type: ignore[no-untyped-def]
    examples = "\n".join(blocks("sh"))
    for path, item in http.get("/openapi.json").json()["paths"].items():
        for method in item:
            assert f"`{method.upper()} {path}`" in REST
        shown = re.escape(path)
        for name in re.findall(r"\\{\w+\\}", shown):
            shown = shown.replace(name, r"[\w$.-]+")
        assert re.search(rf'\$API{shown}["?]', examples), f"no curl example of {path}"


@pytest.mark.parametrize("code", sorted(CODES))
def test_error_code_has_heading_and_row(code: str) -> None:
    assert f"\n## {code}\n" in ERRORS
    assert f"| `{code}` |" in ERRORS


def test_error_table_tells_status_and_retry() -> None:
    for kind, status in STATUS.items():
        if kind is not AtlasError:
            row = next(line for line in ERRORS.splitlines() if line.startswith(f"| `{kind.code}` |"))
            assert [cell.strip() for cell in row.split("|")][2] == str(status)
    for code, seconds in RETRY_AFTER_S.items():
        row = next(line for line in ERRORS.splitlines() if line.startswith(f"| `{code}` |"))
        assert [cell.strip() for cell in row.split("|")][4] == str(seconds)


def test_no_code_is_explained_that_does_not_exist() -> None:
    assert set(re.findall(r"^## (\w+)$", ERRORS, re.MULTILINE)) == CODES | {"database_unavailable"}
    assert all(
        kind.code in CODES for kind in vars(api_errors).values() if isinstance(kind, type) and hasattr(kind, "code")
    )
