"""The wheel in a fresh environment, run from a folder whose ``api/``, ``ui/`` and ``atlas/`` are someone else's."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [pytest.mark.wheel, pytest.mark.slow, pytest.mark.timeout(1500)]


def run(*command: str, cwd: Path, timeout_s: float = 1200) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # Without hatchling here, the build fetches it, as any `pip install .` does.
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(out), str(ROOT), cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; other people's packages are borrowed from this one, ours are not.

    A path in a ``.pth`` file is added without reading the ``.pth`` files in it, so an editable install of this checkout in the
    lending environment stays unseen.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder), cwd=folder)
    python = folder / "bin" / "python"
    own = Path(
        run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    )
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()])
    (own / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
        cwd=folder,
    )
    return folder


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("api", "ui", "atlas", "indexer", "cli", "starter", "migrations"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(
            "raise RuntimeError('a folder of the user was imported')\n", encoding="utf-8"
        )
    return folder


@pytest.fixture(scope="module")
def demo_home(environment: Path, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "starter" / "samples.parquet").is_file():
        pytest.skip("this checkout has no starter samples (starter/samples.parquet)")
    home = tmp_path_factory.mktemp("demo-home")
    result = run(str(environment / "bin" / "geo-atlas"), "demo", "--no-serve", "--home", str(home), cwd=elsewhere)
    assert "cardiomyopathy" in result.stdout
    assert len(re.findall(r"^ *\d+ +(?:GSM|SRR|ERR|DRR|TCGA)", result.stdout, re.MULTILINE)) == 10
    return home


def test_wheel_carries_what_the_program_reads_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "ui/app.py",
        "ui/style.css",
        "ui/icon.svg",
        "api/viewer/map.js",
        "atlas/_resources/migrations/env.py",
    ):
        assert needed in names
    assert any(name.startswith("atlas/_resources/starter/model/") for name in names)
    assert any(name.startswith("atlas/vocabularies/") for name in names)
    assert any(name.startswith("atlas/_resources/migrations/versions/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))]


def test_installed_program_is_the_wheel(environment: Path, elsewhere: Path) -> None:
    python = str(environment / "bin" / "python")
    code = "import atlas, api, cli, indexer, ui; print(*(m.__path__[0] for m in (atlas, api, cli, indexer, ui)), sep='\\n')"
    for place in run(python, "-P", "-c", code, cwd=elsewhere).stdout.split():
        assert Path(place).is_relative_to(environment)


def test_demo_is_built_and_answers(environment: Path, elsewhere: Path, demo_home: Path) -> None:
    command = str(environment / "bin" / "geo-atlas")
    found = run(command, "search", "liver", "-k", "5", "--json", "--home", str(demo_home), cwd=elsewhere).stdout
    hits = [json.loads(line) for line in found.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert {hit["release"] for hit in hits} == {"demo"}


def test_demo_is_served_and_nothing_is_left(environment: Path, elsewhere: Path, demo_home: Path) -> None:
    command = [
        str(environment / "bin" / "geo-atlas"),
        "serve",
        "--home",
        str(demo_home),
        "--api-port",
        "0",
        "--ui-port",
        "0",
    ]
    process = subprocess.Popen(command, cwd=elsewhere, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        pages, api = (re.search(r"http://[^\s/]+", process.stdout.readline()) for _ in range(2))
        assert pages
        assert api
        with httpx.Client(trust_env=False, timeout=60) as http:
            assert http.get(f"{api[0]}/v1/search", params={"q": "whole blood", "k": 3}).json()["release"] == "demo"
            assert http.get(pages[0]).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    listed = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(demo_home) not in listed  # the database names its folder; API and pages are of this environment
    assert f"{environment}/bin/python" not in listed
